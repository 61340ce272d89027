"""The contract of the store port (`ocppcore.store`): every adapter runs these same tests.

A test module makes an adapter run them like this::

    @pytest.fixture
    async def harness() -> AsyncIterator[StoreHarness]: ...

    class TestMemoryStore(StoreContract): ...

Each test gets a harness over an empty store of its own (a fresh namespace of a server, or a fresh twin).
"""

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Protocol

import msgspec
import pytest

from ocppcore.clock import system_clock
from ocppcore.log import StreamRecord, TopicPartition
from ocppcore.store import (
    Among,
    CellRow,
    CellUpdate,
    Commit,
    CopyRow,
    Delete,
    Fenced,
    ProjectionsChanged,
    StateKey,
    StateWrite,
    Store,
    StoreUnavailable,
    Suspect,
    Table,
    TimerKey,
    Upsert,
    Value,
)

FRAMES = "ocpp.frames.transactions"
REQUESTS = "transactions.requests"
EVENTS = "transactions.events"
METER = "transactions.meter"
TOKENS = "auth.tokens"
STATIONS = "device.stations"
DAY_MS = 86_400_000
METER_DAYS = 10
"""Retention of METER in the stores that the harnesses open; EVENTS are kept for ever."""
RETENTION_MS = {METER: METER_DAYS * DAY_MS}

SESSIONS = Table(
    "sessions",
    {
        "station": "text",
        "id": "text",
        "seen": "bigint",
        "energy_wh": "numeric",
        "ended": "boolean",
        "details": "jsonb",
    },
    ("station", "id"),
    indexes=(("seen",), ("ended", "seen")),
)
PLACES = Table("places", {"evse": "bigint", "connector": "bigint", "order": "text"}, ("evse", "connector"))
AMOUNTS = Table("amounts", {"amount": "numeric", "open": "boolean", "note": "text"}, ("amount", "open"))
CONTACTS = Table("contacts", {"station": "text", "at": "bigint"}, ("station",), volatile=True)
TABLES = (SESSIONS, PLACES, AMOUNTS, CONTACTS)

AWKWARD = (
    *(chr(code) for code in range(1, 33)),
    *'"\\/~\x7f',
    "ÿ",
    "é",
    "e\u0301",
    "\u2028",
    "\ufffd",
    "\U0001f50c",
    "",
    "a",
    "A",
    "a b",
    "a-b",
    "aa",
    "10",
    "9",
)
"""Texts whose order or spelling has tempted somebody's collation, encoder or database."""


class StoreHarness(Protocol):
    """What an adapter's test module gives the contract. It closes at the fixture's end whatever it opened."""

    async def make(self) -> Store:
        """A handle on this harness's store that is not prepared yet."""

    async def open(self) -> Store:
        """A handle on this harness's store, as another process would open it: prepared with TABLES."""

    async def kill(self, store: Store) -> None:
        """Stop everything of this handle at once and without a goodbye, as kill -9 of its process would."""


def step(row: CellRow, by: int = 1, **counters: int) -> CellUpdate:
    """The cell's next step: `by` records further on FRAMES, and the next numbers given."""
    positions = {**row.positions, FRAMES: row.positions.get(FRAMES, 0) + by}
    numbers = {**row.next, **{f"transactions.{stream}": number for stream, number in counters.items()}}
    return CellUpdate(row.cell, row.owner_epoch, row.positions, positions, row.clock + by, numbers, row.published)


def after(update: CellUpdate) -> CellRow:
    """The row that a commit of `update` leaves."""
    return CellRow(
        update.cell, update.owner_epoch, update.positions, update.clock, update.next, update.published, 0, None
    )


def event(number: int, cell: int = 0, topic: str = EVENTS, value: bytes = b"{}") -> StreamRecord:
    return StreamRecord(topic, cell, number, f"station-{number}", value, {"ce_id": f"{topic}/{cell}/{number}"})


def state(data: bytes | None, cell: int = 0, rebuilt: bool = True, expires_at: int | None = None) -> StateWrite:
    return StateWrite(cell, data, rebuilt, expires_at)


def session(station: str, id_: str, seen: int | None = 0, ended: bool | None = False) -> tuple[Value, ...]:
    return (station, id_, seen, "12.50", ended, '{"gaps":[]}')


async def write(
    store: Store,
    *rows: Upsert | Delete,
    cell: int = 0,
    states: Mapping[StateKey, StateWrite] | None = None,
    timers: Mapping[TimerKey, int | None] | None = None,
    stream: Sequence[StreamRecord] = (),
) -> None:
    """Commit these as the newest owner of the cell."""
    (row,) = await store.open_cells([cell])
    await store.commit(Commit([step(row)], states or {}, rows, stream, timers or {}))


async def everything(store: Store) -> list[object]:
    """What a commit may change, read back."""
    return [
        await store.stream_rows(EVENTS, 0, 0, 100),
        await store.stream_rows(METER, 0, 0, 100),
        await store.load([StateKey("Session", "a"), StateKey("Session", "b")]),
        await store.timers([0, 1, 2]),
        await store.select(SESSIONS),
    ]


def whole(row: CellRow, number: int = 0) -> Commit:
    """A commit with a change of every sort."""
    return Commit(
        [step(row, events=number + 1, meter=number + 1)],
        {StateKey("Session", "a"): state(b"1"), StateKey("Session", "b"): state(b"2", rebuilt=False)},
        [Upsert(SESSIONS, session("a", "1")), Upsert(SESSIONS, session("a", "2"))],
        [event(number), event(number, topic=METER)],
        {TimerKey(0, "expire", "a"): 5},
    )


class Cells:
    """Owners, epochs and strikes."""

    async def test_first_opening_makes_the_cell(self, store: Store) -> None:
        assert await store.open_cells([3]) == [CellRow(3, 1, {}, 0, {}, {}, 0, None)]

    async def test_each_opening_raises_epoch_and_strikes(self, harness: StoreHarness, store: Store) -> None:
        await store.open_cells([0, 1])
        other = await harness.open()
        opened = await other.open_cells([1, 2])
        assert {row.cell: (row.owner_epoch, row.strikes) for row in opened} == {1: (2, 1), 2: (1, 0)}

    async def test_commit_moves_the_cell_and_clears_strikes_and_suspect(
        self, harness: StoreHarness, store: Store
    ) -> None:
        await store.open_cells([0])
        (row,) = await store.open_cells([0])
        await store.suspect(0, row.owner_epoch, FRAMES, 7)
        update = CellUpdate(0, 2, {}, {FRAMES: 8, REQUESTS: 1}, 1_700_000_000_000, {EVENTS: 3}, {EVENTS: 2})
        await store.commit(Commit([update]))
        (found,) = await (await harness.open()).open_cells([0])
        expected = CellRow(0, 3, {FRAMES: 8, REQUESTS: 1}, 1_700_000_000_000, {EVENTS: 3}, {EVENTS: 2}, 1, None)
        assert found == expected

    async def test_suspect_is_counted_over_owners(self, harness: StoreHarness, store: Store) -> None:
        (row,) = await store.open_cells([0])
        assert await store.suspect(0, row.owner_epoch, FRAMES, 7) == 1
        other = await harness.open()
        (row,) = await other.open_cells([0])
        assert row.suspect == Suspect(FRAMES, 7, 1)
        assert await other.suspect(0, row.owner_epoch, FRAMES, 7) == 2
        assert await other.suspect(0, row.owner_epoch, FRAMES, 8) == 1
        assert await other.suspect(0, row.owner_epoch, REQUESTS, 8) == 1

    async def test_suspect_of_an_earlier_owner_is_refused(self, harness: StoreHarness, store: Store) -> None:
        await store.open_cells([4])
        (row,) = await (await harness.open()).open_cells([4])
        with pytest.raises(Fenced) as lost:
            await store.suspect(4, row.owner_epoch - 1, FRAMES, 7)
        assert lost.value.cells == {4}

    async def test_adopting_another_log(self, harness: StoreHarness, store: Store) -> None:
        """Its inputs are read from where it is said, all events are to be published again, the rest stays."""
        await store.log_identity("one")
        rows = await store.open_cells([0, 1])
        for row in rows:
            await store.commit(Commit([CellUpdate(row.cell, 1, {}, {FRAMES: 9}, 9, {EVENTS: 5}, {EVENTS: 4})]))
        await store.adopt_log("two", {TopicPartition(FRAMES, 0): 2, TopicPartition(REQUESTS, 0): 3})
        assert await store.log_identity("three") == "two"
        zero, one = sorted(await (await harness.open()).open_cells([0, 1]), key=lambda row: row.cell)
        assert zero == CellRow(0, 2, {FRAMES: 2, REQUESTS: 3}, 9, {EVENTS: 5}, {}, 1, None)
        assert one == CellRow(1, 2, {FRAMES: 9}, 9, {EVENTS: 5}, {}, 1, None)

    async def test_log_identity_is_the_first_one_noted(self, harness: StoreHarness, store: Store) -> None:
        assert await store.log_identity("one") == "one"
        assert await (await harness.open()).log_identity("two") == "one"

    async def test_owned_from_the_first_opened_cell_to_the_end(self, harness: StoreHarness, store: Store) -> None:
        reader = await harness.open()
        assert not await store.owned()
        await store.open_cells([0])
        assert await store.owned()
        assert await reader.owned()
        await store.close()
        assert not await reader.owned()

    async def test_owned_while_any_process_is_left(self, harness: StoreHarness, store: Store) -> None:
        other = await harness.open()
        await store.open_cells([0])
        await other.open_cells([1])
        await store.close()
        reader = await harness.open()
        assert await reader.owned()
        await other.close()
        assert not await reader.owned()

    async def test_close_twice(self, store: Store) -> None:
        await store.open_cells([0])
        await store.close()
        await store.close()


class Commits:
    """All or nothing, once, and only by the owner."""

    async def test_everything_is_there_afterwards(self, harness: StoreHarness, store: Store) -> None:
        (row,) = await store.open_cells([0])
        await store.commit(whole(row))
        other = await harness.open()
        assert await everything(other) == [
            [event(0)],
            [event(0, topic=METER)],
            {StateKey("Session", "a"): b"1", StateKey("Session", "b"): b"2"},
            {TimerKey(0, "expire", "a"): 5},
            [dict(zip(SESSIONS.columns, session("a", id_), strict=True)) for id_ in ("1", "2")],
        ]

    async def test_survives_kill_9(self, harness: StoreHarness, store: Store) -> None:
        (row,) = await store.open_cells([0])
        await store.commit(whole(row))
        before = await everything(store)
        await harness.kill(store)
        assert await everything(await harness.open()) == before

    async def test_changes_and_deletes_what_was_there(self, store: Store) -> None:
        (row,) = await store.open_cells([0])
        commit = whole(row)
        await store.commit(commit)
        row = after(commit.cells[0])
        changes = Commit(
            [step(row)],
            {StateKey("Session", "a"): state(None), StateKey("Session", "b"): state(b"3")},
            [Delete(SESSIONS, ("a", "1")), Upsert(SESSIONS, session("a", "2", seen=9)), Delete(SESSIONS, ("b", "1"))],
            (),
            {TimerKey(0, "expire", "a"): None, TimerKey(0, "expire", "b"): 6},
        )
        await store.commit(changes)
        assert await everything(store) == [
            [event(0)],
            [event(0, topic=METER)],
            {StateKey("Session", "b"): b"3"},
            {TimerKey(0, "expire", "b"): 6},
            [dict(zip(SESSIONS.columns, session("a", "2", seen=9), strict=True))],
        ]

    async def test_a_repeat_is_refused_and_doubles_nothing(self, store: Store) -> None:
        (row,) = await store.open_cells([0])
        await store.commit(whole(row))
        before = await everything(store)
        with pytest.raises(Fenced) as lost:
            await store.commit(whole(row, number=1))
        assert lost.value.cells == {0}
        assert await everything(store) == before

    async def test_an_earlier_owner_changes_nothing(self, harness: StoreHarness, store: Store) -> None:
        (row,) = await store.open_cells([0])
        await (await harness.open()).open_cells([0])
        before = await everything(store)
        with pytest.raises(Fenced) as lost:
            await store.commit(whole(row))
        assert lost.value.cells == {0}
        assert await everything(store) == before
        (row,) = await store.open_cells([0])
        assert (row.positions, row.next, row.owner_epoch) == ({}, {}, 3)

    @pytest.mark.parametrize(
        "expected", [{FRAMES: 4}, {FRAMES: 6}, {}, {FRAMES: 5, REQUESTS: 0}, {REQUESTS: 5}], ids=str
    )
    async def test_positions_must_be_exactly_those_expected(self, store: Store, expected: dict[str, int]) -> None:
        (row,) = await store.open_cells([0])
        first = step(row, by=5)
        await store.commit(Commit([first]))
        with pytest.raises(Fenced):
            await store.commit(Commit([CellUpdate(0, row.owner_epoch, expected, {FRAMES: 7}, 9, {}, {})]))
        await store.commit(Commit([step(after(first))]))

    async def test_one_lost_cell_stops_the_whole_commit_and_is_named(self, harness: StoreHarness, store: Store) -> None:
        rows = await store.open_cells([0, 1, 2])
        await (await harness.open()).open_cells([1])
        states = {StateKey("Session", "a"): state(b"1"), StateKey("Session", "b"): state(b"1", cell=2)}
        with pytest.raises(Fenced) as lost:
            await store.commit(Commit([step(row) for row in rows], states, (), [event(0), event(0, cell=2)]))
        assert lost.value.cells == {1}
        assert await everything(store) == [[], [], {}, {}, []]
        assert await store.stream_rows(EVENTS, 2, 0, 10) == []
        left = [row for row in rows if row.cell != 1]
        await store.commit(Commit([step(row) for row in left]))

    async def test_a_cell_never_opened_is_no_ones(self, store: Store) -> None:
        with pytest.raises(Fenced) as lost:
            await store.commit(Commit([CellUpdate(9, 1, {}, {FRAMES: 1}, 1, {}, {})]))
        assert lost.value.cells == {9}

    async def test_of_two_racing_commits_one_wins(self, harness: StoreHarness, store: Store) -> None:
        stores = [store, await harness.open(), await harness.open()]
        (row,) = await store.open_cells([0])
        for number in range(20):
            tries = [store.commit(Commit([step(row, events=number + 1)], stream=[event(number)])) for store in stores]
            outcomes = await asyncio.gather(*tries, return_exceptions=True)
            assert sorted(str(outcome) for outcome in outcomes) == ["None", "lost cells [0]", "lost cells [0]"]
            row = after(step(row, events=number + 1))
        assert [record.number for record in await store.stream_rows(EVENTS, 0, 0, 100)] == list(range(20))

    async def test_racing_commits_over_cells_in_any_order(self, harness: StoreHarness, store: Store) -> None:
        stores = [store, await harness.open(), await harness.open()]
        rows = list(await store.open_cells(range(12)))
        order = random.Random(7)
        for _ in range(10):
            commits = [Commit([step(row) for row in order.sample(rows, len(rows))]) for _ in stores]
            tries = [one.commit(commit) for one, commit in zip(stores, commits, strict=True)]
            outcomes = await asyncio.gather(*tries, return_exceptions=True)
            assert sum(outcome is None for outcome in outcomes) == 1, outcomes
            assert all(outcome is None or isinstance(outcome, Fenced) for outcome in outcomes), outcomes
            rows = [after(step(row)) for row in rows]

    async def test_nothing_is_lost_when_the_owner_changes_under_load(self, harness: StoreHarness, store: Store) -> None:
        """Each owner commits until it is fenced: the rows are exactly those of the commits that succeeded."""

        async def own(owner: Store) -> list[int]:
            (row,) = await owner.open_cells([0])
            done: list[int] = []
            while len(done) < 30:
                number = row.next.get(EVENTS, 0)
                update = step(row, events=number + 1)
                try:
                    await owner.commit(Commit([update], stream=[event(number)]))
                except Fenced:
                    return done
                done.append(number)
                row = after(update)
            return done

        owners = [store, *[await harness.open() for _ in range(3)]]
        done = await asyncio.gather(*(own(owner) for owner in owners))
        numbers = [record.number for record in await store.stream_rows(EVENTS, 0, 0, 1000)]
        assert numbers == sorted(number for one in done for number in one) == list(range(len(numbers)))
        assert len(numbers) >= 30

    async def test_an_empty_commit_is_no_commit(self, store: Store) -> None:
        await store.commit(Commit([]))
        assert await everything(store) == [[], [], {}, {}, []]

    async def test_many_rows_in_one_commit(self, store: Store) -> None:
        (row,) = await store.open_cells([0])
        count = 2000
        keys = [StateKey("Session", f"{number}") for number in range(count)]
        commit = Commit(
            [step(row, events=count)],
            {key: state(b"x" * 500) for key in keys},
            [Upsert(SESSIONS, session("a", key.id)) for key in keys],
            [event(number, value=b"y" * 700) for number in range(count)],
            {TimerKey(0, "expire", key.id): 1 for key in keys},
        )
        await store.commit(commit)
        assert len(await store.load(keys)) == count
        assert len(await store.stream_rows(EVENTS, 0, 0, 2 * count)) == count
        assert len(await store.select(SESSIONS, limit=2 * count)) == count
        assert len(await store.timers([0])) == count


class Streams:
    """Numbered rows."""

    async def test_rows_come_in_order_from_a_number_on(self, store: Store) -> None:
        records = [event(number) for number in range(12)]
        await write(store, stream=records[7:])
        await write(store, stream=records[:7])
        assert await store.stream_rows(EVENTS, 0, 5, 4) == records[5:9]
        assert await store.stream_rows(EVENTS, 0, 11, 4) == records[11:]
        assert await store.stream_rows(EVENTS, 0, 12, 4) == []

    async def test_rows_of_one_key_are_read_in_the_order_in_which_they_were_stored(self, store: Store) -> None:
        ours = [event(number, topic=METER)._replace(key=f"cs-{number % 2}") for number in range(6)]
        for record in ours:
            await write(store, stream=[record])
        found = await store.stream_of(METER, "cs-1", (0, -1), 10)
        assert [record for _, record in found] == ours[1::2]
        stored, second = found[1]
        assert [record for _, record in await store.stream_of(METER, "cs-1", (stored, second.number), 10)] == [ours[5]]
        assert [record for _, record in await store.stream_of(METER, "cs-1", (0, -1), 2)] == ours[1:4:2]
        assert await store.stream_of(METER, "cs-1", (found[-1][0] + 1, -1), 10) == []
        assert await store.stream_of(METER, "cs-9", (0, -1), 10) == []

    async def test_cells_and_streams_number_for_themselves(self, store: Store) -> None:
        ours = [event(0), event(0, topic=METER), event(0, cell=1)]
        await write(store, stream=ours)
        assert [
            await store.stream_rows(topic, cell, 0, 9) for topic, cell in ((EVENTS, 0), (METER, 0), (EVENTS, 1))
        ] == [[record] for record in ours]

    async def test_bytes_and_headers_come_back_as_they_were(self, store: Store) -> None:
        headers = {"ce_subject": "Bäckerei \U0001f50c", "traceparent": '"quoted"\n', "empty": ""}
        record = StreamRecord(EVENTS, 0, 0, "straße", bytes(range(256)), headers)
        await write(store, stream=[record])
        assert await store.stream_rows(EVENTS, 0, 0, 1) == [record]

    async def test_restore_adds_what_is_missing(self, harness: StoreHarness, store: Store) -> None:
        rows = await store.open_cells([0, 1])
        await store.commit(Commit([step(row, events=2) for row in rows], stream=[event(0), event(1)]))
        missing = [event(1), event(2), event(3), event(0, topic=METER), event(5, cell=1)]
        for _ in range(2):
            await store.restore_stream(missing)
        assert await store.stream_rows(EVENTS, 0, 0, 9) == [event(number) for number in range(4)]
        assert await store.stream_rows(METER, 0, 0, 9) == [event(0, topic=METER)]
        found = {row.cell: row.next for row in await (await harness.open()).open_cells([0, 1])}
        assert found == {0: {EVENTS: 4, METER: 1}, 1: {EVENTS: 6}}

    async def test_restore_never_lowers_the_next_number(self, harness: StoreHarness, store: Store) -> None:
        (row,) = await store.open_cells([0])
        await store.commit(Commit([step(row, events=10)]))
        await store.restore_stream([event(3)])
        (row,) = await (await harness.open()).open_cells([0])
        assert row.next == {EVENTS: 10}

    @pytest.mark.parametrize(("published", "kept"), [(0, [0, 1, 2, 3, 4]), (3, [3, 4]), (5, [4])])
    async def test_rows_over_their_retention_go_but_for_the_newest_and_the_unpublished(
        self, harness: StoreHarness, store: Store, published: int, kept: list[int]
    ) -> None:
        (row,) = await store.open_cells([0])
        moved = replace(step(row, events=5, meter=5), published={METER: published, EVENTS: 5})
        stream = [event(number, topic=topic) for topic in (METER, EVENTS) for number in range(5)]
        await store.commit(Commit([moved], stream=stream))
        now = system_clock()
        assert await store.expire(now + METER_DAYS * DAY_MS - 60_000, 100) == 0
        assert await store.expire(now + METER_DAYS * DAY_MS + 60_000, 100) == 5 - len(kept)
        assert await store.stream_rows(METER, 0, 0, 9) == [event(number, topic=METER) for number in kept]
        assert len(await store.stream_rows(EVENTS, 0, 0, 9)) == 5
        await store.adopt_log("another", {})
        (row,) = await (await harness.open()).open_cells([0])
        assert row.published == ({METER: kept[0]} if kept[0] else {})

    async def test_a_store_that_holds_little_is_trimmed_a_little_at_a_time(self, store: Store) -> None:
        for cell in (0, 1):
            (row,) = await store.open_cells([cell])
            moved = replace(step(row, meter=9), published={METER: 9})
            await store.commit(Commit([moved], stream=[event(n, cell, METER) for n in range(9)]))
        later = system_clock() + (METER_DAYS + 1) * DAY_MS
        assert [await store.expire(later, 5) for _ in range(5)] == [5, 5, 5, 1, 0]


class States:
    """Aggregates and timers."""

    async def test_load_finds_what_exists(self, store: Store) -> None:
        await write(store, states={StateKey("Session", "a"): state(b"1"), StateKey("Station", "a"): state(bytes(256))})
        keys = [StateKey("Session", "a"), StateKey("Session", "b"), StateKey("Station", "a")]
        assert await store.load(keys) == {keys[0]: b"1", keys[2]: bytes(256)}
        assert await store.load([]) == {}

    async def test_awkward_ids(self, store: Store) -> None:
        states = {StateKey("Session", text): state(text.encode()) for text in AWKWARD}
        timers = {TimerKey(0, "expire", text): place for place, text in enumerate(AWKWARD)}
        await write(store, states=states, timers=timers)
        assert await store.load([*states]) == {key: key.id.encode() for key in states}
        assert await store.timers([0]) == timers

    async def test_what_no_database_holds_is_not_found(self, store: Store) -> None:
        """Asking for it is a stranger's right, and no reason to fail."""
        a = StateKey("Session", "a")
        await write(store, Upsert(SESSIONS, session("a", "1")), states={a: state(b"1")})
        await store.copy_apply(TOKENS, [CopyRow("a", b"1", 0, 1)], {})
        for text in ("a\0b", "\ud800"):
            assert await store.load([StateKey("Session", text), a]) == {a: b"1"}
            assert set(await store.copy_find(TOKENS, [text, "a"])) == {"a"}
            assert await store.select(SESSIONS, {"station": text}) == []
        assert await store.select(SESSIONS, {"seen": 2**70}) == []

    async def test_scan_pages_a_kind_of_a_cell_in_id_order(self, store: Store) -> None:
        ids = [text for text in AWKWARD if text]
        await write(store, states={StateKey("Session", id_): state(id_.encode()) for id_ in ids})
        await write(store, states={StateKey("Session", "other"): state(b"x", cell=1)}, cell=1)
        await write(store, states={StateKey("Station", "other"): state(b"x")})
        found: list[tuple[str, bytes]] = []
        for _ in range(len(ids)):
            found += await store.scan("Session", 0, found[-1][0] if found else "", 7)
        assert found == [(id_, id_.encode()) for id_ in sorted(ids)]

    async def test_expire_removes_what_has_passed_up_to_the_limit(self, store: Store) -> None:
        writes = {
            StateKey("Operation", str(number)): state(b"1", rebuilt=False, expires_at=number) for number in range(6)
        }
        await write(store, states={**writes, StateKey("Session", "a"): state(b"1")})
        assert await store.expire(3, 3) == 3
        assert await store.expire(3, 3) == 1
        assert await store.expire(3, 3) == 0
        assert {key.id for key in await store.load([*writes, StateKey("Session", "a")])} == {"4", "5", "a"}

    async def test_a_later_write_prolongs(self, store: Store) -> None:
        key = StateKey("Operation", "a")
        await write(store, states={key: state(b"1", rebuilt=False, expires_at=5)})
        await write(store, states={key: state(b"2", rebuilt=False, expires_at=50)})
        assert await store.expire(10, 10) == 0
        await write(store, states={key: state(b"3", rebuilt=False)})
        assert await store.expire(100, 10) == 0
        assert await store.load([key]) == {key: b"3"}

    async def test_timers_of_these_cells(self, store: Store) -> None:
        await write(store, timers={TimerKey(0, "expire", "a"): 5, TimerKey(0, "expire", "b"): 6})
        await write(store, timers={TimerKey(1, "expire", "a"): 7}, cell=1)
        await write(store, timers={TimerKey(0, "expire", "a"): 8, TimerKey(0, "expire", "b"): None})
        assert await store.timers([0, 5]) == {TimerKey(0, "expire", "a"): 8}
        assert await store.timers([0, 1]) == {TimerKey(0, "expire", "a"): 8, TimerKey(1, "expire", "a"): 7}


class Projections:
    """Declared tables."""

    @pytest.mark.parametrize(
        "row",
        [
            ("a", "1", 2**63 - 1, "0.1", True, '{"b":1,"a":[1.0,null,"\\u0000"]}'),
            ("a", "1", -(2**63), "-12345678901234567890.00000000000000000001", False, "[]"),
            ("a", "1", None, None, None, None),
            ("", "\U0001f50c", 0, "0", False, '"text"'),
            ("a", "1", 0, "12.50", True, "1.10"),
        ],
        ids=str,
    )
    async def test_values_come_back_exactly(self, store: Store, row: tuple[Value, ...]) -> None:
        await write(store, Upsert(SESSIONS, row))
        assert await store.select(SESSIONS) == [dict(zip(SESSIONS.columns, row, strict=True))]

    async def test_a_table_of_nothing_but_its_key(self, harness: StoreHarness, store: Store) -> None:
        pairs = Table("pairs", {"a": "text", "b": "bigint"}, ("a", "b"))
        await store.prepare([*TABLES, pairs], [EVENTS, METER], [TOKENS, STATIONS])
        for _ in range(2):
            await write(store, Upsert(pairs, ("x", 1)), Upsert(pairs, ("x", 2)))
        assert await store.select(pairs, {"b": 2}) == [{"a": "x", "b": 2}]
        await write(store, Delete(pairs, ("x", 2)))
        assert await store.select(pairs) == [{"a": "x", "b": 1}]

    async def test_volatile_tables_are_written_alike(self, store: Store) -> None:
        await write(store, Upsert(CONTACTS, ("a", 1)), Upsert(PLACES, (1, 2, "first")))
        await write(store, Upsert(CONTACTS, ("a", 2)), Delete(PLACES, (1, 2)))
        assert await store.select(CONTACTS) == [{"station": "a", "at": 2}]
        assert await store.select(PLACES) == []

    async def test_where_compares_every_type_and_null(self, store: Store) -> None:
        rows = [session("a", "1", seen=1), session("a", "2", seen=None), session("b", "1", seen=1, ended=None)]
        await write(store, *(Upsert(SESSIONS, row) for row in rows))

        async def ids(where: dict[str, Value]) -> list[tuple[Value, ...]]:
            return [(row["station"], row["id"]) for row in await store.select(SESSIONS, where)]

        assert await ids({"station": "a"}) == [("a", "1"), ("a", "2")]
        assert await ids({"seen": 1}) == [("a", "1"), ("b", "1")]
        assert await ids({"seen": None}) == [("a", "2")]
        assert await ids({"ended": False, "station": "a", "seen": 1}) == [("a", "1")]
        assert await ids({"ended": None}) == [("b", "1")]
        assert await ids({"energy_wh": "12.50"}) == [("a", "1"), ("a", "2"), ("b", "1")]
        assert await ids({"details": '{"gaps":[]}', "id": "2"}) == [("a", "2")]
        assert await ids({"station": "c"}) == []

    @pytest.mark.parametrize("descending", [False, True])
    @pytest.mark.parametrize("order", [(), ("seen",), ("ended", "seen"), ("id",)], ids=str)
    async def test_pages_hold_every_row_once_and_in_order(
        self, store: Store, order: tuple[str, ...], descending: bool
    ) -> None:
        chance = random.Random(3)
        rows = [
            session(
                f"s{number // 5}",
                chr(97 + number % 5),
                chance.choice([None, 1, 2, 10]),
                chance.choice([None, True, False]),
            )
            for number in range(40)
        ]
        await write(store, *(Upsert(SESSIONS, row) for row in rows))
        columns = (*order, *(column for column in SESSIONS.key if column not in order))
        found: list[dict[str, Value]] = []
        for _ in range(len(rows)):
            edge = tuple(found[-1][column] for column in columns) if found else None
            found += await store.select(SESSIONS, after=edge, order=order, descending=descending, limit=7)
        assert [row["station"] for row in found].__len__() == len(rows)

        def place(row: dict[str, Value]) -> tuple[tuple[bool, Value], ...]:
            return tuple((row[column] is None, 0 if row[column] is None else row[column]) for column in columns)

        places = [place(row) for row in found]
        assert all((a > b) if descending else (a < b) for a, b in pairwise(places))

    async def test_pages_of_a_selection(self, store: Store) -> None:
        rows = [session("a", str(number), seen=number % 3) for number in range(9)]
        await write(store, *(Upsert(SESSIONS, row) for row in rows), Upsert(SESSIONS, session("b", "0")))
        first = await store.select(SESSIONS, {"station": "a"}, order=("seen",), descending=True, limit=4)
        rest = await store.select(
            SESSIONS,
            {"station": "a"},
            order=("seen",),
            descending=True,
            after=(first[-1]["seen"], "a", first[-1]["id"]),
        )
        assert [row["id"] for row in (*first, *rest)] == ["8", "5", "2", "7", "4", "1", "6", "3", "0"]

    async def test_rows_among_values_and_prefixes(self, store: Store) -> None:
        """What is special in patterns of SQL means itself in a prefix."""
        names = ("a", "a-1", "A-1", "ab", "b", "b%", "b%1", "b_1", "bx1", "c\\1", "c1")
        await write(store, *(Upsert(SESSIONS, session(name, "1", seen=len(name))) for name in names))

        async def found(values: tuple[str, ...], prefixes: tuple[str, ...] = (), **more: Any) -> list[Value]:
            among = Among("station", values, prefixes)
            rows = await store.select(SESSIONS, among=among, **more)
            return [row["station"] for row in rows]

        assert await found(("b", "a", "nobody")) == ["a", "b"]
        assert await found((), ("a",)) == ["a", "a-1", "ab"]
        assert await found((), ("b%", "b_")) == ["b%", "b%1", "b_1"]
        assert await found((), ("c\\",)) == ["c\\1"]
        assert await found(("bx1",), ("a-",)) == ["a-1", "bx1"]
        assert await found((), ("",)) == sorted(names)
        assert await found((), ("a", "b"), limit=2, after=("ab", "1")) == ["b", "b%"]
        assert await found(("a", "ab"), ("b",), where={"seen": 2}) == ["ab", "b%"]
        assert await found(()) == []

    async def test_texts_are_ordered_by_code_point(self, store: Store) -> None:
        await write(store, *(Upsert(SESSIONS, session(text, "1")) for text in AWKWARD))
        found = [row["station"] for row in await store.select(SESSIONS)]
        assert found == sorted(AWKWARD)


def of_event(key: str, value: bytes | None, position: int, number: int) -> CopyRow:
    """A record that follows from an event of the cell device/0."""
    return CopyRow(key, value, 0, position, "device/0", number)


class Copies:
    """Other services' state."""

    async def find(self, store: Store) -> Mapping[str, CopyRow]:
        return await store.copy_find(TOKENS, ["a", "b", "c"])

    async def test_rows_and_positions_are_found_again(self, harness: StoreHarness, store: Store) -> None:
        rows = [CopyRow("a", b"1", 0, 3), CopyRow("b", bytes(range(256)), 1, 5)]
        await store.copy_apply(TOKENS, rows, {0: 4, 1: 6})
        other = await harness.open()
        assert await self.find(other) == {"a": rows[0], "b": rows[1]}
        assert await other.copy_positions(TOKENS) == {0: 4, 1: 6}

    async def test_a_repeat_changes_nothing(self, store: Store) -> None:
        rows = [CopyRow("a", b"1", 0, 3)]
        for _ in range(2):
            await store.copy_apply(TOKENS, rows, {0: 4})
        assert await self.find(store) == {"a": rows[0]}
        assert await store.copy_positions(TOKENS) == {0: 4}

    async def test_older_records_and_positions_change_nothing(self, store: Store) -> None:
        await store.copy_apply(TOKENS, [CopyRow("a", b"new", 0, 7)], {0: 8})
        await store.copy_apply(TOKENS, [CopyRow("a", b"old", 0, 3), CopyRow("b", b"1", 0, 4)], {0: 5, 1: 1})
        assert await self.find(store) == {"a": CopyRow("a", b"new", 0, 7), "b": CopyRow("b", b"1", 0, 4)}
        assert await store.copy_positions(TOKENS) == {0: 8, 1: 1}

    async def test_the_newest_of_one_batch_counts(self, store: Store) -> None:
        rows = [CopyRow("a", b"2", 0, 2), CopyRow("a", b"3", 0, 3), CopyRow("a", b"1", 0, 1)]
        await store.copy_apply(TOKENS, rows, {0: 4})
        assert await self.find(store) == {"a": CopyRow("a", b"3", 0, 3)}

    async def test_deleted_rows_are_not_found_and_stay_deleted(self, store: Store) -> None:
        await store.copy_apply(TOKENS, [CopyRow("a", b"1", 0, 1), CopyRow("a", None, 0, 2)], {0: 3})
        await store.copy_apply(TOKENS, [CopyRow("a", b"1", 0, 1)], {0: 2})
        assert await self.find(store) == {}
        await store.copy_apply(TOKENS, [CopyRow("a", b"2", 0, 4)], {0: 5})
        assert await self.find(store) == {"a": CopyRow("a", b"2", 0, 4)}

    async def test_all_live_rows_of_a_copy(self, store: Store) -> None:
        rows = [CopyRow("a", b"1", 0, 1), CopyRow("b", b"2", 0, 2), CopyRow("c", None, 0, 3)]
        await store.copy_apply(TOKENS, rows, {0: 4})
        assert sorted(await store.copy_all(TOKENS)) == rows[:2]
        assert list(await store.copy_all(STATIONS)) == []

    async def test_what_an_earlier_event_says_changes_nothing_wherever_it_stands(self, store: Store) -> None:
        newer, late = of_event("a", b"6", 4, 6), of_event("a", b"5", 7, 5)
        await store.copy_apply(TOKENS, [newer], {0: 5})
        await store.copy_apply(TOKENS, [late, of_event("b", b"1", 8, 4)], {0: 9})
        assert await self.find(store) == {"a": newer, "b": of_event("b", b"1", 8, 4)}
        assert await store.copy_positions(TOKENS) == {0: 9}
        await store.copy_apply(TOKENS, [of_event("a", b"7", 9, 7)], {0: 10})
        assert (await self.find(store))["a"] == of_event("a", b"7", 9, 7)

    async def test_an_earlier_event_of_the_same_batch_changes_nothing(self, store: Store) -> None:
        rows = [of_event("a", b"6", 4, 6), of_event("a", b"5", 7, 5), of_event("b", b"2", 5, 2)]
        await store.copy_apply(TOKENS, rows, {0: 8})
        assert await self.find(store) == {"a": rows[0], "b": rows[2]}

    async def test_a_deletion_is_not_undone_by_an_earlier_event(self, store: Store) -> None:
        await store.copy_apply(TOKENS, [of_event("a", None, 4, 6)], {0: 5})
        await store.copy_apply(TOKENS, [of_event("a", b"5", 7, 5)], {0: 8})
        assert await self.find(store) == {}
        await store.copy_apply(TOKENS, [of_event("a", b"7", 9, 7)], {0: 10})
        assert (await self.find(store))["a"].value == b"7"

    async def test_of_several_states_that_follow_from_one_event_the_last_counts(self, store: Store) -> None:
        both = [of_event("a", b"first", 4, 6), of_event("a", b"second", 5, 6)]
        await store.copy_apply(TOKENS, both[:1], {0: 5})
        await store.copy_apply(TOKENS, both[1:], {0: 6})
        again = [row._replace(position=row.position + 5) for row in both]
        await store.copy_apply(TOKENS, again, {0: 11})
        assert await self.find(store) == {"a": again[1]}

    async def test_numbers_of_different_cells_do_not_compare(self, store: Store) -> None:
        other = of_event("a", b"other", 5, 2)._replace(source="device/1")
        plain = CopyRow("a", b"plain", 0, 6)
        await store.copy_apply(TOKENS, [of_event("a", b"6", 4, 6)], {0: 5})
        await store.copy_apply(TOKENS, [other], {0: 6})
        assert await self.find(store) == {"a": other}
        await store.copy_apply(TOKENS, [plain], {0: 7})
        assert await self.find(store) == {"a": plain}

    async def test_a_key_is_stale_while_the_log_holds_an_earlier_event_last(self, store: Store) -> None:
        async def stale() -> list[CopyRow]:
            return sorted(await store.copy_stale(TOKENS, 10))

        live, gone = of_event("a", b"6", 1, 6), of_event("b", None, 2, 7)
        await store.copy_apply(TOKENS, [live, gone, of_event("c", b"1", 3, 8)], {0: 4})
        assert await stale() == []
        late = [of_event("a", b"5", 4, 5), of_event("b", b"4", 5, 4)]
        for _ in range(2):  # another process, behind the first
            await store.copy_apply(TOKENS, late, {0: 6})
            assert await stale() == [live, gone]
        assert len(await store.copy_stale(TOKENS, 1)) == 1
        again = [live._replace(position=6), gone._replace(position=7)]
        await store.copy_apply(TOKENS, again[:1], {0: 7})
        assert await stale() == [gone]
        await store.copy_apply(TOKENS, again, {0: 8})
        await store.copy_apply(TOKENS, late, {0: 6})
        assert await stale() == []
        await store.copy_apply(TOKENS, [again[0]._replace(position=9), late[0]._replace(position=10)], {0: 11})
        assert await stale() == [again[0]._replace(position=9)]
        await store.copy_apply(TOKENS, [of_event("a", b"9", 11, 9)], {0: 12})
        assert await stale() == []

    async def test_in_whatever_order_batches_come_the_latest_event_stays(
        self, harness: StoreHarness, store: Store
    ) -> None:
        stores = [store, await harness.open(), await harness.open()]
        chance = random.Random(6)
        records, made = [], 1
        for position in range(600):
            late = chance.random() < 0.3
            number = chance.randrange(made) if late else made
            made += not late
            records.append(of_event(f"{number % 50}", str(number).encode(), position, number))
        batches = [records[start : start + 40] for start in range(0, 600, 40)] * 2
        chance.shuffle(batches)
        await asyncio.gather(
            *(
                stores[place % 3].copy_apply(TOKENS, chance.sample(batch, 40), {0: batch[-1].position + 1})
                for place, batch in enumerate(batches)
            )
        )
        newest = {row.key: row for row in sorted(records, key=lambda row: (row.number, row.position))}
        last = {row.key: row for row in records}
        assert await store.copy_find(TOKENS, list(newest)) == newest
        stale = {row.key for row in await store.copy_stale(TOKENS, 100)}
        assert stale == {key for key in newest if last[key] != newest[key]}
        assert stale

    async def test_in_any_order_and_from_several_processes_the_newest_stays(
        self, harness: StoreHarness, store: Store
    ) -> None:
        stores = [store, await harness.open(), await harness.open()]
        chance = random.Random(5)
        records = [CopyRow(f"{position % 50}", str(position).encode(), 0, position) for position in range(600)]
        batches = [records[start : start + 40] for start in range(0, 600, 40)] * 2
        chance.shuffle(batches)
        await asyncio.gather(
            *(
                stores[place % 3].copy_apply(TOKENS, chance.sample(batch, 40), {0: batch[-1].position + 1})
                for place, batch in enumerate(batches)
            )
        )
        found = await store.copy_find(TOKENS, [str(key) for key in range(50)])
        assert found == {str(key): records[550 + key] for key in range(50)}
        assert await store.copy_positions(TOKENS) == {0: 600}

    async def test_topics_are_apart_and_reset_alone(self, store: Store) -> None:
        for topic in (TOKENS, STATIONS):
            await store.copy_apply(topic, [CopyRow("a", topic.encode(), 0, 1)], {0: 2})
        await store.copy_reset(TOKENS)
        assert await self.find(store) == {}
        assert await store.copy_positions(TOKENS) == {}
        assert (await store.copy_find(STATIONS, ["a"]))["a"].value == STATIONS.encode()
        assert await store.copy_positions(STATIONS) == {0: 2}
        await store.copy_apply(TOKENS, [CopyRow("a", b"again", 0, 0)], {0: 1})
        assert (await self.find(store))["a"].value == b"again"


class Rebuild:
    """Emptying, filling and hashing what follows from the events."""

    async def test_clears_what_is_rebuilt_and_nothing_else(self, store: Store) -> None:
        kept = StateKey("Operation", "a")
        await write(
            store,
            *(Upsert(SESSIONS, session("a", "1")), Upsert(PLACES, (1, 1, "x")), Upsert(CONTACTS, ("a", 1))),
            states={StateKey("Session", "a"): state(b"1"), kept: state(b"2", rebuilt=False, expires_at=9)},
            timers={TimerKey(0, "expire", "a"): 5},
            stream=[event(0)],
        )
        await store.copy_apply(TOKENS, [CopyRow("a", b"1", 0, 3)], {0: 4})
        await store.clear_rebuilt()
        assert await store.select(SESSIONS) == await store.select(PLACES) == []
        assert await store.timers([0]) == {}
        assert await store.load([StateKey("Session", "a"), kept]) == {kept: b"2"}
        assert await store.select(CONTACTS) == [{"station": "a", "at": 1}]
        assert await store.stream_rows(EVENTS, 0, 0, 9) == [event(0)]
        assert await store.copy_positions(TOKENS) == {0: 4}
        assert await store.expire(9, 9) == 1
        assert [line async for line in store.rebuilt_rows()] == []

    async def test_loads_like_a_commit(self, store: Store) -> None:
        (row,) = await store.open_cells([0])
        commit = whole(row)
        await store.commit(commit)
        before = [line async for line in store.rebuilt_rows()]
        await store.clear_rebuilt()
        batch = Commit([], commit.states, commit.rows, [], commit.timers)
        for _ in range(2):
            await store.load_rebuilt(batch)
        await store.load_rebuilt(Commit([]))
        assert [line async for line in store.rebuilt_rows()] == before
        await store.load_rebuilt(Commit([], {}, [Delete(SESSIONS, ("a", "1"))], [], {TimerKey(0, "expire", "a"): None}))
        assert await store.timers([0]) == {}
        assert len(await store.select(SESSIONS)) == 1

    async def test_rows_are_canonical_and_sorted(self, store: Store) -> None:
        await write(
            store,
            Upsert(PLACES, (10, 1, "ten")),
            Upsert(PLACES, (9, 2, "nine")),
            Upsert(AMOUNTS, ("2.50", True, 'say "x"')),
            Upsert(SESSIONS, ("b", "1", 2, "0.10", None, '{"b":1,"a":2}')),
            Upsert(SESSIONS, ("a", "1", None, None, True, None)),
            Upsert(CONTACTS, ("a", 1)),
            states={
                StateKey("Station", "a"): state(b'{"x":1}'),
                StateKey("Session", "b"): state(b"{}"),
                StateKey("Session", "a"): state(b'{"y":"\xc3\xa9"}'),
                StateKey("Operation", "a"): state(b"{}", rebuilt=False),
            },
            timers={TimerKey(10, "a", "x"): 1, TimerKey(2, "b", "x"): 2, TimerKey(2, "a", "y"): 3},
        )
        assert [line async for line in store.rebuilt_rows()] == [
            b'["amounts",["2.50",true,"say \\"x\\""]]',
            b'["places",[10,1,"ten"]]',
            b'["places",[9,2,"nine"]]',
            b'["sessions",["a","1",null,null,true,null]]',
            b'["sessions",["b","1",2,"0.10",null,"{\\"b\\":1,\\"a\\":2}"]]',
            b'["state","Session","a","{\\"y\\":\\"\xc3\xa9\\"}"]',
            b'["state","Session","b","{}"]',
            b'["state","Station","a","{\\"x\\":1}"]',
            b'["timer",2,"a","y",3]',
            b'["timer",2,"b","x",2]',
            b'["timer",10,"a","x",1]',
        ]

    async def test_rows_are_sorted_by_the_bytes_of_their_encoded_keys(self, store: Store) -> None:
        keys = [(one, other) for one in AWKWARD for other in ("", "x", '"', "\t")]
        places = [(evse, connector) for evse in (-1, 0, 2, 10, 11) for connector in (1, 12, 3)]
        amounts = [(amount, open_) for amount in ("0", "-1", "10", "9.5", "0.10") for open_ in (True, False)]
        rows = [
            *(Upsert(SESSIONS, session(*key)) for key in keys),
            *(Upsert(PLACES, (*key, "")) for key in places),
            *(Upsert(AMOUNTS, (*key, "")) for key in amounts),
        ]
        random.Random(2).shuffle(rows)
        await write(store, *rows)
        encode = msgspec.json.encode
        assert [line async for line in store.rebuilt_rows()] == [
            *(encode(["amounts", [*key, ""]]) for key in sorted(amounts, key=encode)),
            *(encode(["places", [*key, ""]]) for key in sorted(places, key=encode)),
            *(encode(["sessions", list(session(*key))]) for key in sorted(keys, key=encode)),
        ]


class Declarations:
    """Columns have types, and tables are what was declared."""

    async def test_numerics_are_ordered_by_value(self, store: Store) -> None:
        amounts = ["-3", "-0.5", "0", "2", "2.5", "10", "100.00"]
        await write(store, *(Upsert(AMOUNTS, (amount, True, "")) for amount in reversed(amounts)))
        assert [row["amount"] for row in await store.select(AMOUNTS)] == amounts
        assert [row["amount"] for row in await store.select(AMOUNTS, after=("2", True))] == ["2.5", "10", "100.00"]

    async def test_numerics_are_the_same_however_they_are_written(self, store: Store) -> None:
        await write(store, Upsert(AMOUNTS, ("2.50", True, "first")), Upsert(AMOUNTS, ("3", True, "")))
        await write(store, Upsert(AMOUNTS, ("2.5", True, "again")), Delete(AMOUNTS, ("3.0", True)))
        assert await store.select(AMOUNTS, {"amount": "2.500"}) == [{"amount": "2.50", "open": True, "note": "again"}]
        assert len(await store.select(AMOUNTS)) == 1

    async def test_only_declared_columns(self, store: Store) -> None:
        for arguments in (
            {"where": {"nothing": 1}},
            {"order": ("nothing",)},
            {"where": {'id" --': None}},
            {"after": ("a",)},
            {"among": Among("nothing", ("a",))},
        ):
            with pytest.raises(ValueError):
                await store.select(SESSIONS, **arguments)

    async def test_prepare_twice_and_from_many_processes_changes_nothing(
        self, harness: StoreHarness, store: Store
    ) -> None:
        await write(store, Upsert(SESSIONS, session("a", "1")))
        stores = [store, *[await harness.open() for _ in range(4)]]
        for _ in range(2):
            await asyncio.gather(*(one.prepare(TABLES, [EVENTS, METER], [TOKENS, STATIONS]) for one in stores))
        assert len(await store.select(SESSIONS)) == 1


WIDER = Table("sessions", {**SESSIONS.columns, "cost": "numeric"}, SESSIONS.key)


async def prepare(store: Store, *tables: Table) -> None:
    await store.prepare(tables, (EVENTS, METER), (TOKENS,))


class Changes:
    """Declarations that change, and rebuilds, which bring their rows back."""

    async def test_a_changed_projection_with_rows_wants_a_rebuild(self, harness: StoreHarness, store: Store) -> None:
        await write(store, Upsert(SESSIONS, session("a", "1")), Upsert(PLACES, (1, 1, "x")))
        await store.close()
        newer = await harness.make()
        with pytest.raises(ProjectionsChanged) as changed:
            await prepare(newer, WIDER, PLACES)
        assert changed.value.tables == ("sessions",)
        await newer.clear_rebuilt()
        await newer.load_rebuilt(Commit([], {}, [Upsert(WIDER, (*session("a", "1"), "0.30"))]))
        assert [row["cost"] for row in await newer.select(WIDER)] == ["0.30"]
        assert len([row async for row in newer.rebuilt_rows()]) == 1
        await newer.close()
        await prepare(await harness.make(), WIDER, PLACES)

    async def test_a_changed_projection_without_rows_is_made_anew(self, harness: StoreHarness, store: Store) -> None:
        newer = await harness.make()
        await prepare(newer, WIDER)
        await write(newer, Upsert(WIDER, (*session("a", "1"), "0.30")))
        assert len(await newer.select(WIDER)) == 1

    async def test_a_changed_volatile_table_is_made_anew(self, harness: StoreHarness, store: Store) -> None:
        await write(store, Upsert(CONTACTS, ("a", 1)))
        table = Table("contacts", {"station": "text", "at": "bigint", "slot": "bigint"}, ("station",), volatile=True)
        newer = await harness.make()
        await prepare(newer, table)
        assert await newer.select(table) == []

    async def test_a_rebuild_that_did_not_finish_is_not_served(self, harness: StoreHarness, store: Store) -> None:
        await store.clear_rebuilt()
        await harness.kill(store)
        newer = await harness.make()
        with pytest.raises(ProjectionsChanged):
            await prepare(newer, *TABLES)
        await newer.clear_rebuilt()
        assert [row async for row in newer.rebuilt_rows()] == []
        await newer.close()
        await prepare(await harness.make(), *TABLES)

    async def test_rebuild_and_service_keep_each_other_out(self, harness: StoreHarness, store: Store) -> None:
        rebuilder = await harness.open()
        await write(store, Upsert(SESSIONS, session("a", "1")))
        with pytest.raises(StoreUnavailable, match="a process of this service is running"):
            await rebuilder.clear_rebuilt()
        assert len(await store.select(SESSIONS)) == 1
        await store.close()
        await rebuilder.clear_rebuilt()
        late = await harness.make()
        assert await late.owned()
        with pytest.raises(StoreUnavailable, match="a rebuild of this service is running"):
            await late.open_cells([0])
        await rebuilder.close()
        assert len(await late.open_cells([0])) == 1

    @pytest.mark.parametrize(
        "table",
        [
            Table("pairs", {"a": "text"}, ()),
            Table("pairs", {"a": "text"}, ("b",)),
            Table("pairs", {"a": "text"}, ("a", "a")),
            Table("pairs", {"a": "text"}, ("a",), indexes=(("b",),)),
            Table("sessions", {"a": "text"}, ("a",)),
        ],
    )
    async def test_a_declaration_that_contradicts_itself_is_refused(self, store: Store, table: Table) -> None:
        with pytest.raises(ValueError):
            await prepare(store, *TABLES, table)


class StoreContract(Cells, Commits, Streams, States, Projections, Copies, Rebuild, Declarations, Changes):
    """Everything that every store must do."""
