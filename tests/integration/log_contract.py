"""The contract of the log port (`ocppcore.log`): every adapter runs these same tests.

A test module makes an adapter run them like this::

    @pytest.fixture
    async def harness() -> AsyncIterator[LogHarness]: ...

    class TestMemoryLog(LogContract): ...

Each test gets a harness over an empty log of its own (a fresh namespace of a server, or a fresh twin). Where a test
needs more than the port offers (another process's log, a crash, a stalled server) the harness does it.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from itertools import pairwise
from typing import Protocol

import pytest

from ocppcore.log import (
    Log,
    Membership,
    NewRecord,
    PartitionsChanged,
    PositionLost,
    Reader,
    Record,
    RecordTooLarge,
    StreamRecord,
    TopicPartition,
)

FRAMES = "ocpp.frames.transactions"
REQUESTS = "transactions.requests"
STATE = "auth.tokens"
STREAM = "transactions.events"
PARTITIONS = 4
TOPICS = {FRAMES: PARTITIONS, REQUESTS: PARTITIONS, STATE: PARTITIONS, STREAM: PARTITIONS}
COMPACTED = frozenset({STATE})
PATIENCE_S = 30.0
"""How long a test waits for something that must happen before it calls the adapter broken."""


class LogHarness(Protocol):
    """What an adapter's test module gives the contract. It closes at the fixture's end whatever it opened."""

    record_bytes_max: int
    """A value of this size plus a small key is accepted, one of twice this size is too large."""
    in_flight_bytes_max: int
    """How many bytes of values logs from `open` may have accepted and not yet written."""
    poll_s: float
    """A record appended by another process is seen at the latest after this time, even if no wake-up arrives."""

    async def open(self) -> Log:
        """A log on this harness's storage, as another process would open it. STREAM is a stream on it."""

    async def open_elsewhere(self) -> Log:
        """A log in another namespace of the same server."""

    async def reopen(self) -> Log:
        """Kill every log opened here and, where it is a server of our own, the server; start again; open a log."""

    async def kill(self, log: Log) -> None:
        """Stop everything of this log at once and without a goodbye, as kill -9 of its process would."""

    async def cut(self, member: Membership) -> None:
        """Break the member's connection to the storage once; its process lives on."""

    async def write_stream_rows(self, records: Sequence[StreamRecord]) -> None:
        """Do what a service's store does before it publishes: commit these rows where the adapter expects them."""

    def stalled(self) -> AbstractAsyncContextManager[None]:
        """While inside, the storage finishes no append on (FRAMES, 0)."""

    def in_flight_bytes(self, log: Log) -> int:
        """Bytes of values that `log` has accepted and not yet written."""


def new(key: str, n: int, *, topic: str = FRAMES, partition: int = 0, size: int = 0) -> NewRecord:
    return NewRecord(topic, partition, key, f"{n}".encode().ljust(size, b" "), {"n": str(n)})


def row(number: int, *, partition: int = 0) -> StreamRecord:
    value = f"event {number}".encode()
    return StreamRecord(STREAM, partition, number, f"key-{number % 3}", value, {"ce_id": f"{number}"})


async def started(harness: LogHarness) -> Log:
    log = await harness.open()
    await log.declare(TOPICS, compacted=COMPACTED)
    return log


async def read(reader: Reader, count: int, *, max_records: int = 1000) -> list[Record]:
    """At least `count` records; fails when they do not come."""
    records: list[Record] = []
    end = time.monotonic() + PATIENCE_S
    while len(records) < count:
        assert time.monotonic() < end, f"{len(records)} of {count} records came: {records[-3:]}"
        records += await reader.fetch(max_records, 1.0)
    return records


def reader_of(log: Log, positions: dict[TopicPartition, int]) -> Reader:
    reader = log.reader()
    reader.assign(positions)
    return reader


def everything(topic: str = FRAMES) -> dict[TopicPartition, int]:
    return {TopicPartition(topic, partition): 0 for partition in range(PARTITIONS)}


FIRST = TopicPartition(FRAMES, 0)


def numbers(records: Iterable[Record]) -> list[int]:
    return [int(record.value) for record in records]


async def until(condition: Callable[[], bool], change: Callable[[], Awaitable[object]]) -> None:
    """Wait for the condition; `change` waits for whatever may make it true."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await change()


class Members:
    """Members of groups, each watched by a task of its own."""

    def __init__(self) -> None:
        self._tasks: dict[Membership, asyncio.Task[None]] = {}
        self._moved = asyncio.Event()

    async def moved(self) -> None:
        """Wait until some member's cells change."""
        await self._moved.wait()
        self._moved.clear()

    async def __aenter__(self) -> "Members":
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def add(self, member: Membership) -> Membership:
        self._tasks[member] = asyncio.create_task(self._watch(member))
        return member

    async def forget(self, member: Membership) -> None:
        task = self._tasks.pop(member)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def _watch(self, member: Membership) -> None:
        while True:
            await member.changed()
            self._moved.set()

    async def settle(self, members: Sequence[Membership]) -> None:
        """Wait until these members own all cells, each cell once, evenly."""

        def even() -> bool:
            owned = sorted(cell for member in members for cell in member.cells)
            sizes = [len(member.cells) for member in members]
            return owned == list(range(PARTITIONS)) and max(sizes) - min(sizes) <= 1

        await until(even, self.moved)


class LogContract:
    # Appending and reading

    async def test_what_was_appended_is_read_in_every_field(self, harness: LogHarness) -> None:
        log = await started(harness)
        headers = {"ce_id": "a/1", "kind": "", "quote": "\"'\\{}", "unicode": "zażółć ⚡", "long": "x" * 3000}
        records = [
            NewRecord(FRAMES, 0, "station-ä", b'[2,"1","Heartbeat",{}]', headers),
            NewRecord(FRAMES, 0, "", b"", {}),
            NewRecord(FRAMES, 0, "k" * 255, bytes(range(256)) * 40, {"n": "0"}),
        ]
        before = time.time() * 1000
        positions = await log.append(records)
        after = time.time() * 1000
        read_back = await read(reader_of(log, {FIRST: 0}), 3)
        assert [record.position for record in read_back] == list(positions)
        assert [(r.topic, r.partition, r.key, r.value, dict(r.headers)) for r in read_back] == [
            (r.topic, r.partition, r.key, r.value, dict(r.headers)) for r in records
        ]
        assert all(before - 1000 <= record.appended_at <= after + 1000 for record in read_back)

    async def test_a_waiting_reader_gets_the_same_record_as_one_that_comes_later(self, harness: LogHarness) -> None:
        log = await started(harness)
        waiting = reader_of(log, {FIRST: 0})
        assert await waiting.fetch(10, 0) == []
        fetch = asyncio.create_task(read(waiting, 2))
        await log.append([new("a", 0), new("b", 1)])
        assert await fetch == await read(reader_of(await harness.open(), {FIRST: 0}), 2)

    async def test_nothing_appended_gives_no_positions(self, harness: LogHarness) -> None:
        log = await started(harness)
        assert list(await log.append([])) == []

    async def test_acknowledged_records_survive_a_crash(self, harness: LogHarness) -> None:
        log = await started(harness)
        identity = await log.identity()
        positions = await log.append([new("a", n) for n in range(50)])
        log = await harness.reopen()
        await log.declare(TOPICS, compacted=COMPACTED)
        assert await log.identity() == identity
        records = await read(reader_of(log, {FIRST: 0}), 50)
        assert [record.position for record in records] == list(positions)
        assert numbers(records) == list(range(50))
        (later,) = await log.append([new("a", 50)])
        assert later > positions[-1]
        assert numbers(await read(reader_of(log, {FIRST: positions[-1] + 1}), 1)) == [50]

    async def test_many_tasks_keep_the_order_of_each_key(self, harness: LogHarness) -> None:
        log = await started(harness)
        acknowledged: dict[str, list[int]] = defaultdict(list)

        async def station(key: str, partition: int) -> None:
            for n in range(0, 60, 2):
                records = [new(key, n, partition=partition), new(key, n + 1, partition=partition)]
                acknowledged[key] += await log.append(records)

        async with asyncio.TaskGroup() as tasks:
            for i in range(20):
                tasks.create_task(station(f"station-{i}", i % PARTITIONS))
        records = await read(reader_of(log, everything()), 20 * 60)
        assert len(records) == 20 * 60
        for key, positions in acknowledged.items():
            mine = [record for record in records if record.key == key]
            assert numbers(mine) == list(range(60))
            assert [record.position for record in mine] == positions

    async def test_successive_appends_keep_their_order_without_being_awaited(self, harness: LogHarness) -> None:
        log = await started(harness)
        async with asyncio.TaskGroup() as tasks:
            appends = [tasks.create_task(log.append([new("a", n, partition=n % 2)])) for n in range(400)]
        for partition in range(2):
            records = await read(reader_of(log, {TopicPartition(FRAMES, partition): 0}), 200)
            assert numbers(records) == list(range(partition, 400, 2))
            assert [r.position for r in records] == [task.result()[0] for task in appends[partition::2]]

    async def test_one_call_reaches_several_topics_and_partitions(self, harness: LogHarness) -> None:
        log = await started(harness)
        records = [
            new("a", n, topic=topic, partition=partition)
            for n in range(3)
            for topic in (REQUESTS, FRAMES)
            for partition in (2, 0)
        ]
        positions = await log.append(records)
        for topic in (FRAMES, REQUESTS):
            for partition in (0, 2):
                read_back = await read(reader_of(log, {TopicPartition(topic, partition): 0}), 3)
                assert numbers(read_back) == [0, 1, 2]
                assert [record.position for record in read_back] == [
                    position
                    for position, record in zip(positions, records, strict=True)
                    if (record.topic, record.partition) == (topic, partition)
                ]

    async def test_starts_and_ends_surround_the_records(self, harness: LogHarness) -> None:
        log = await started(harness)
        partitions = [TopicPartition(FRAMES, 0), TopicPartition(FRAMES, 3), TopicPartition(STREAM, 1)]
        assert await log.ends(partitions) == dict.fromkeys(partitions, 0)
        assert await log.starts(partitions) == dict.fromkeys(partitions, 0)
        *_, last = await log.append([new("a", n, partition=3) for n in range(7)])
        ends = await log.ends(partitions)
        assert ends == {partitions[0]: 0, partitions[1]: last + 1, partitions[2]: 0}
        assert await (await harness.open()).ends(partitions) == ends
        (first, *_) = await read(reader_of(log, {partitions[1]: 0}), 7)
        assert first.position >= (await log.starts(partitions))[partitions[1]]

    async def test_fetch_keeps_to_its_maximum_and_goes_on_where_it_stopped(self, harness: LogHarness) -> None:
        log = await started(harness)
        await log.append([new("a", n) for n in range(25)])
        reader = reader_of(log, {FIRST: 0})
        batches: list[list[Record]] = []
        while sum(map(len, batches)) < 25:
            batches.append(await reader.fetch(10, PATIENCE_S))
        assert all(0 < len(batch) <= 10 for batch in batches)
        assert [n for batch in batches for n in numbers(batch)] == list(range(25))
        assert await reader.fetch(10, 0) == []

    async def test_a_new_assignment_replaces_the_old_one(self, harness: LogHarness) -> None:
        log = await started(harness)
        positions = await log.append([new("a", n) for n in range(10)])
        await log.append([new("b", n, partition=1) for n in range(3)])
        reader = reader_of(log, {FIRST: 0})
        assert numbers(await read(reader, 10)) == list(range(10))
        reader.assign({FIRST: positions[6], TopicPartition(FRAMES, 1): 0})
        records = await read(reader, 7)
        assert [(r.key, int(r.value)) for r in sorted(records)] == [
            *(("a", n) for n in range(6, 10)),
            *(("b", n) for n in range(3)),
        ]
        reader.assign({})
        await log.append([new("a", 10)])
        assert await reader.fetch(10, 0.05) == []

    async def test_a_full_partition_does_not_hide_the_others(self, harness: LogHarness) -> None:
        log = await started(harness)
        await log.append([new("busy", n, partition=0) for n in range(600)])
        await log.append([new("calm", n, partition=partition) for partition in (1, 2, 3) for n in range(3)])
        reader = reader_of(log, everything())
        seen: set[int] = set()
        for _ in range(12):
            records = await reader.fetch(40, PATIENCE_S)
            seen |= {record.partition for record in records}
            if len(seen) == PARTITIONS:
                break
        assert seen == set(range(PARTITIONS))
        assert any(record.partition == 0 for record in await read(reader, 1)), "the full partition was read at once"

    async def test_even_a_fetch_of_one_record_takes_turns(self, harness: LogHarness) -> None:
        log = await started(harness)
        await log.append([new("a", n, partition=partition) for partition in (0, 1) for n in range(100)])
        reader = reader_of(log, everything())
        seen = [record.partition for _ in range(60) for record in await reader.fetch(1, PATIENCE_S)]
        assert {0, 1} <= set(seen)

    async def test_an_empty_fetch_waits_its_time(self, harness: LogHarness) -> None:
        log = await started(harness)
        reader = reader_of(log, everything())
        begun = time.monotonic()
        assert await reader.fetch(10, 0.3) == []
        assert 0.25 <= time.monotonic() - begun < 0.3 + PATIENCE_S / 3

    async def test_an_append_wakes_the_readers_of_its_process(self, harness: LogHarness) -> None:
        log = await started(harness)
        reader = reader_of(log, everything())
        await reader.fetch(10, 0)
        waits = []
        for n in range(10):
            fetch = asyncio.create_task(reader.fetch(10, PATIENCE_S))
            await asyncio.wait([fetch], timeout=0.02)
            await log.append([new("a", n, partition=n % PARTITIONS)])
            appended = time.monotonic()
            assert numbers(await fetch) == [n]
            waits.append(time.monotonic() - appended)
        assert sorted(waits)[len(waits) // 2] < 0.25

    async def test_another_process_sees_an_append_within_the_poll(self, harness: LogHarness) -> None:
        log = await started(harness)
        reader = reader_of(await harness.open(), everything())
        for n in range(3):
            fetch = asyncio.create_task(reader.fetch(10, PATIENCE_S))
            await asyncio.wait([fetch], timeout=0.02)
            await log.append([new("a", n)])
            appended = time.monotonic()
            assert numbers(await fetch) == [n]
            assert time.monotonic() - appended < harness.poll_s + 1

    async def test_a_cancelled_fetch_loses_nothing(self, harness: LogHarness) -> None:
        log = await started(harness)
        reader = reader_of(log, everything())
        total = 400

        async def produce() -> None:
            for n in range(0, total, 4):
                await log.append([new("a", n + i, partition=i) for i in range(4)])

        producer = asyncio.create_task(produce())
        records: list[Record] = []
        end = time.monotonic() + PATIENCE_S
        attempt = 0
        while len(records) < total and time.monotonic() < end:
            attempt += 1
            fetch = asyncio.create_task(reader.fetch(7, 1.0))
            for _ in range(attempt % 13):
                await asyncio.wait([fetch], timeout=0)
            if attempt % 3:
                fetch.cancel()
            with suppress(asyncio.CancelledError):
                records += await fetch
        await producer
        for partition in range(PARTITIONS):
            mine = [int(record.value) for record in records if record.partition == partition]
            assert mine == list(range(partition, total, 4))

    async def test_no_record_becomes_visible_behind_a_reader(self, harness: LogHarness) -> None:
        """Three processes append to the same partitions; a reader in one of them must see every record, in order."""
        logs = [await started(harness), await harness.open(), await harness.open()]
        per_log = 300

        async def produce(name: str, log: Log) -> list[tuple[int, int]]:
            where = []
            for n in range(0, per_log, 3):
                records = [new(name, n + i, partition=(n + i) % 2) for i in range(3)]
                positions = await log.append(records)
                where += [(r.partition, p) for r, p in zip(records, positions, strict=True)]
            return where

        reader = reader_of(logs[0], everything())
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(read(reader, per_log * len(logs), max_records=17))
            producers = [tasks.create_task(produce(f"p{i}", log)) for i, log in enumerate(logs)]
        records = reading.result()
        assert sorted((r.partition, r.position) for r in records) == sorted(
            where for producer in producers for where in producer.result()
        )
        for partition in range(2):
            mine = [record.position for record in records if record.partition == partition]
            assert all(a < b for a, b in pairwise(mine))

    # Refusals

    async def test_a_position_beyond_the_end_is_lost(self, harness: LogHarness) -> None:
        log = await started(harness)
        *_, last = await log.append([new("a", n) for n in range(3)])
        assert await reader_of(log, {FIRST: last + 1}).fetch(10, 0) == []
        with pytest.raises(PositionLost, match=FRAMES):
            await read(reader_of(log, {FIRST: last + 2}), 1)

    async def test_a_record_too_large_appends_nothing_of_its_call(self, harness: LogHarness) -> None:
        log = await started(harness)
        with pytest.raises(RecordTooLarge):
            await log.append([new("a", 0), new("a", 1, size=2 * harness.record_bytes_max), new("b", 2, partition=1)])
        await log.append([new("a", 3), new("a", 4, size=harness.record_bytes_max), new("b", 5, partition=1)])
        assert sorted(numbers(await read(reader_of(log, everything()), 3))) == [3, 4, 5]

    async def test_declaring_again_changes_nothing(self, harness: LogHarness) -> None:
        log = await started(harness)
        await log.append([new("a", 0)])
        await log.declare(TOPICS, compacted=COMPACTED)
        other = await harness.open()
        await other.declare(TOPICS, compacted=COMPACTED)
        assert numbers(await read(reader_of(other, {FIRST: 0}), 1)) == [0]

    async def test_another_number_of_partitions_is_refused(self, harness: LogHarness) -> None:
        await started(harness)
        log = await harness.open()
        with pytest.raises(PartitionsChanged, match=REQUESTS):
            await log.declare({FRAMES: PARTITIONS, REQUESTS: PARTITIONS + 1})
        with pytest.raises(PartitionsChanged, match=STREAM):
            await log.declare({STREAM: PARTITIONS * 2})

    async def test_appends_wait_while_too_much_is_in_flight(self, harness: LogHarness) -> None:
        log = await started(harness)
        size = min(harness.record_bytes_max, harness.in_flight_bytes_max // 8)
        count = 3 * harness.in_flight_bytes_max // size
        async with asyncio.TaskGroup() as tasks, harness.stalled():
            appends = [tasks.create_task(log.append([new("a", n, size=size)])) for n in range(count)]
            seen = 0
            for _ in range(50):
                done, _waiting = await asyncio.wait(appends, timeout=0.01)
                assert not done
                seen = max(seen, harness.in_flight_bytes(log))
            assert 0 < seen <= harness.in_flight_bytes_max
        assert numbers(await read(reader_of(log, {FIRST: 0}), count)) == list(range(count))
        assert harness.in_flight_bytes(log) == 0

    # Streams

    async def test_published_rows_are_read_with_their_numbers(self, harness: LogHarness) -> None:
        log = await started(harness)
        rows = [row(n) for n in range(5)] + [row(0, partition=2)]
        await harness.write_stream_rows(rows)
        await log.publish(rows)
        records = await read(reader_of(log, everything(STREAM)), 6)
        assert [
            (r.partition, int(r.headers["number"]), r.key, r.value, r.headers["ce_id"])
            for r in sorted(records, key=lambda r: (r.partition, r.position))
        ] == [(r.partition, r.number, r.key, r.value, r.headers["ce_id"]) for r in rows]
        ends = await log.ends([TopicPartition(STREAM, p) for p in range(PARTITIONS)])
        assert [ends[TopicPartition(STREAM, p)] for p in range(PARTITIONS)] == [
            max((r.position + 1 for r in records if r.partition == p), default=0) for p in range(PARTITIONS)
        ]

    async def test_a_repeated_publish_adds_nothing_new(self, harness: LogHarness) -> None:
        log = await started(harness)
        rows = [row(n) for n in range(6)]
        await harness.write_stream_rows(rows)
        tail = reader_of(log, {TopicPartition(STREAM, 0): 0})
        assert len(await tail.fetch(1, 0)) <= 1
        tail.assign({TopicPartition(STREAM, 0): 0})
        for some in (rows[:3], rows[1:5], rows[:5], rows[5:]):
            await log.publish(some)
        for reader in (tail, reader_of(await harness.open(), {TopicPartition(STREAM, 0): 0})):
            seen: dict[int, Record] = {}
            end = time.monotonic() + PATIENCE_S
            while 5 not in seen:
                assert time.monotonic() < end
                for record in await reader.fetch(100, 1.0):
                    number = int(record.headers["number"])
                    assert number in seen or number == len(seen), "numbers must first be seen in order"
                    first = seen.setdefault(number, record)
                    assert (first.key, first.value, first.headers) == (
                        record.key,
                        record.value,
                        record.headers,
                    )
            assert [record.value for record in seen.values()] == [r.value for r in rows]

    async def test_a_publish_wakes_the_readers_of_its_process(self, harness: LogHarness) -> None:
        log = await started(harness)
        reader = reader_of(log, everything(STREAM))
        await reader.fetch(10, 0)
        waits = []
        for n in range(10):
            fetch = asyncio.create_task(reader.fetch(10, PATIENCE_S))
            await asyncio.wait([fetch], timeout=0.02)
            await harness.write_stream_rows([row(n)])
            await log.publish([row(n)])
            published = time.monotonic()
            assert [r.headers["number"] for r in await fetch] == [str(n)]
            waits.append(time.monotonic() - published)
        assert sorted(waits)[len(waits) // 2] < 0.25

    async def test_an_owner_that_comes_back_publishes_on_from_where_another_stopped(self, harness: LogHarness) -> None:
        log, other = await started(harness), await harness.open()
        rows = [row(n) for n in range(6)]
        await harness.write_stream_rows(rows)
        for owner, some in ((log, rows[:2]), (other, rows[2:4]), (log, rows[4:])):
            owner.resume(TopicPartition(STREAM, 0), some[0].number)
            await owner.publish(some)
        records = await read(reader_of(log, {TopicPartition(STREAM, 0): 0}), 6)
        assert [record.headers["number"] for record in records] == [str(n) for n in range(6)]

    async def test_published_rows_survive_a_crash(self, harness: LogHarness) -> None:
        log = await started(harness)
        rows = [row(n) for n in range(20)]
        await harness.write_stream_rows(rows)
        await log.publish(rows)
        log = await harness.reopen()
        await log.declare(TOPICS, compacted=COMPACTED)
        records = await read(reader_of(log, {TopicPartition(STREAM, 0): 0}), 20)
        assert [record.headers["number"] for record in records] == [str(n) for n in range(20)]

    # Namespaces

    async def test_namespaces_of_one_server_do_not_see_each_other(self, harness: LogHarness) -> None:
        log = await started(harness)
        elsewhere = await harness.open_elsewhere()
        await elsewhere.declare({FRAMES: 2, STREAM: 2})
        assert await log.identity() != await elsewhere.identity()
        await log.append([new("here", n) for n in range(3)])
        await elsewhere.append([new("there", 9)])
        assert numbers(await read(reader_of(elsewhere, {FIRST: 0}), 1)) == [9]
        assert (await elsewhere.ends([FIRST]))[FIRST] == 1
        assert numbers(await read(reader_of(log, {FIRST: 0}), 3)) == [0, 1, 2]
        async with Members() as members:
            here = members.add(log.membership("transactions", FRAMES))
            there = members.add(elsewhere.membership("transactions", FRAMES))
            await until(lambda: here.cells == {0, 1, 2, 3} and there.cells == {0, 1}, members.moved)

    # Membership

    async def test_a_single_member_owns_every_cell(self, harness: LogHarness) -> None:
        log = await started(harness)
        member = log.membership("transactions", FRAMES)
        owned: frozenset[int] = frozenset()
        async with asyncio.timeout(PATIENCE_S):
            while owned != frozenset(range(PARTITIONS)):
                before, owned = owned, await member.changed()
                assert owned != before
        assert member.cells == owned

    async def test_groups_are_independent(self, harness: LogHarness) -> None:
        log = await started(harness)
        async with Members() as members:
            one = members.add(log.membership("transactions", FRAMES))
            two = members.add(log.membership("auth", REQUESTS))
            await members.settle([one])
            await members.settle([two])

    async def test_cells_are_spread_over_members_and_handed_over(self, harness: LogHarness) -> None:
        first, second, third = await started(harness), await harness.open(), await harness.open()
        async with Members() as members:
            one = members.add(first.membership("transactions", FRAMES))
            await members.settle([one])
            two = members.add(second.membership("transactions", FRAMES))
            await members.settle([one, two])
            three = members.add(third.membership("transactions", FRAMES))
            await members.settle([one, two, three])
            await two.leave()
            assert two.cells == frozenset()
            await two.leave()
            await members.settle([one, three])

    async def test_a_member_that_dies_hands_its_cells_over(self, harness: LogHarness) -> None:
        first, second = await started(harness), await harness.open()
        async with Members() as members:
            one = members.add(first.membership("transactions", FRAMES))
            two = members.add(second.membership("transactions", FRAMES))
            await members.settle([one, two])
            await members.forget(two)
            await harness.kill(second)
            await members.settle([one])

    async def test_a_member_that_loses_its_connection_comes_back(self, harness: LogHarness) -> None:
        first, second = await started(harness), await harness.open()
        async with Members() as members:
            one = members.add(first.membership("transactions", FRAMES))
            two = members.add(second.membership("transactions", FRAMES))
            await members.settle([one, two])
            for _ in range(2):
                await harness.cut(two)
                await members.settle([one, two])

    async def test_a_closed_log_leaves_its_groups(self, harness: LogHarness) -> None:
        first, second = await started(harness), await harness.open()
        async with Members() as members:
            one = members.add(first.membership("transactions", FRAMES))
            two = members.add(second.membership("transactions", FRAMES))
            await members.settle([one, two])
            await members.forget(one)
            await first.close()
            assert one.cells == frozenset()
            await members.settle([two])
