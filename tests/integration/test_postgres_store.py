"""The PostgreSQL store holds the store's contract, and what only a real database can break."""

import asyncio
import random
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

import asyncpg  # type: ignore[import-untyped]
import pytest

from ocppcore.clock import system_clock
from ocppcore.memory import MemoryStore
from ocppcore.postgres.store import PostgresStore
from ocppcore.postgres.store_upkeep import DAY_MS
from ocppcore.store import (
    Commit,
    CopyRow,
    Delete,
    StateKey,
    Store,
    StoreUnavailable,
    Table,
    TimerKey,
    Upsert,
    Value,
)
from tests.integration import store_contract as contract
from tests.integration.postgres_fixture import PostgresServer, postgres_server
from tests.integration.store_contract import (
    EVENTS,
    METER,
    SESSIONS,
    TOKENS,
    event,
    everything,
    session,
    whole,
    write,
)

__all__ = ["postgres_server"]
_namespaces = count(1)
SOCKET = ".s.PGSQL.5432"


class Wire:
    """What a store's connections run through, so that a test can cut them, or lose the server's answers."""

    def __init__(self, dsn: str) -> None:
        self._server_dsn = urlsplit(dsn)
        self._target = Path(parse_qs(self._server_dsn.query)["host"][0]) / SOCKET
        self.directory = Path(tempfile.mkdtemp(prefix="csms-wire-", dir="/tmp"))
        self.mute = False
        self._sockets: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def dsn(self) -> str:
        query = urlencode({"host": str(self.directory), "port": 5432})
        return urlunsplit(self._server_dsn._replace(query=query))

    async def open(self) -> "Wire":
        self._server = await asyncio.start_unix_server(self._connected, self.directory / SOCKET)
        return self

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            server_reader, server_writer = await asyncio.open_unix_connection(self._target)
            self._sockets |= {writer, server_writer}
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, server_writer, answers=False))
                group.create_task(self._pump(server_reader, writer, answers=True))
        finally:
            self._tasks.discard(task)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: bool) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                if answers and self.mute:
                    self.cut()
                    return
                writer.write(data)
                await writer.drain()
        writer.close()

    def cut(self) -> None:
        """Break every connection; new ones go through."""
        for socket in self._sockets:
            socket.transport.abort()
        self._sockets.clear()
        self.mute = False

    async def close(self) -> None:
        """Break every connection, for good."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        shutil.rmtree(self.directory, ignore_errors=True)


@dataclass
class PostgresHarness:
    """Each has a namespace of its own on the one server of the test run."""

    dsn: str
    namespace: str = field(default_factory=lambda: f"s{next(_namespaces)}")
    stores: dict[PostgresStore, Wire] = field(default_factory=dict)

    async def make(self, patience_s: float = 20.0) -> PostgresStore:
        wire = await Wire(self.dsn).open()
        store = PostgresStore(
            wire.dsn, "transactions", self.namespace, patience_s=patience_s, retention_days={METER: contract.METER_DAYS}
        )
        self.stores[store] = wire
        return store

    async def open(self) -> PostgresStore:
        store = await self.make()
        await store.prepare(contract.TABLES, (contract.EVENTS, contract.METER), (contract.TOKENS, contract.STATIONS))
        return store

    async def kill(self, store: Store) -> None:
        assert isinstance(store, PostgresStore)
        await self.stores[store].close()


@pytest.fixture
async def harness(postgres_server: PostgresServer) -> AsyncIterator[PostgresHarness]:
    harness = PostgresHarness(postgres_server.dsn)
    yield harness
    for store, wire in harness.stores.items():
        await store.close()
        await wire.close()
    connection = await asyncpg.connect(postgres_server.dsn)
    try:  # some thirty files each: the server's last checkpoint would sync them all
        await connection.execute(f"DROP SCHEMA IF EXISTS {harness.namespace}_transactions CASCADE")
    finally:
        await connection.close()


@pytest.fixture
async def store(harness: PostgresHarness) -> PostgresStore:
    return await harness.open()


class TestPostgresStore(contract.StoreContract):
    pass


# A changed declaration


async def indexes(dsn: str, schema: str) -> set[str]:
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch(
            "SELECT indexname FROM pg_indexes WHERE schemaname = $1 AND tablename = 'sessions'", schema
        )
        return {row[0] for row in rows}
    finally:
        await connection.close()


async def test_indexes_follow_the_declaration(harness: PostgresHarness, store: PostgresStore) -> None:
    schema = f"{harness.namespace}_transactions"
    assert await indexes(harness.dsn, schema) == {"sessions_pkey", "sessions_by_seen", "sessions_by_ended_seen"}
    await contract.prepare(store, Table("sessions", SESSIONS.columns, SESSIONS.key, indexes=(("seen",), ("id",))))
    assert await indexes(harness.dsn, schema) == {"sessions_pkey", "sessions_by_seen", "sessions_by_id"}


async def test_every_key_sorts_by_code_point(harness: PostgresHarness, store: PostgresStore) -> None:
    """Whatever the database's own collation is: the embedded one's is C anyway, so that no row would show it."""
    connection = await asyncpg.connect(harness.dsn)
    try:
        others = await connection.fetch(
            "SELECT x.indexrelid::regclass FROM pg_index x JOIN pg_class c ON c.oid = x.indrelid"
            " WHERE c.relnamespace = $1::text::regnamespace"
            """ AND EXISTS (SELECT FROM unnest(x.indcollation) o WHERE o NOT IN (0, '"C"'::regcollation))""",
            f"{harness.namespace}_transactions",
        )
    finally:
        await connection.close()
    assert others == []


async def test_namespaces_are_apart(postgres_server: PostgresServer, store: PostgresStore) -> None:
    await write(store, Upsert(SESSIONS, session("a", "1")), stream=[event(0)])
    other = PostgresStore(postgres_server.dsn, "transactions", "elsewhere")
    try:
        await contract.prepare(other, *contract.TABLES)
        assert await other.select(SESSIONS) == []
        assert (await other.open_cells([0]))[0].owner_epoch == 1
        assert await other.stream_rows(EVENTS, 0, 0, 1) == []
    finally:
        await other.close()


# A database that goes away


async def blocked(dsn: str, namespace: str) -> int:
    """The server process that waits for a lock in a commit of this namespace, as soon as there is one."""
    connection = await asyncpg.connect(dsn)
    try:
        async with asyncio.timeout(20):
            while True:
                pid = await connection.fetchval(
                    "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = $1",
                    f"csms {namespace}_transactions",
                )
                if pid:
                    return int(pid)
    finally:
        await connection.close()


async def test_a_commit_killed_in_the_middle_leaves_nothing(harness: PostgresHarness, store: PostgresStore) -> None:
    """The server's process is killed while it waits to write a row, having written the cell and the events before."""
    await write(store, states={StateKey("Session", "z"): contract.state(b"0")})
    (row,) = await store.open_cells([0])
    commit = whole(row)
    commit.states = {**commit.states, StateKey("Session", "z"): contract.state(b"1")}
    before = await everything(store)
    blocker = await asyncpg.connect(harness.dsn)
    schema = f"{harness.namespace}_transactions"
    try:
        async with blocker.transaction():
            await blocker.execute(f"SELECT FROM {schema}.state WHERE id = 'z' FOR UPDATE")
            committing = asyncio.create_task(store.commit(commit))
            await blocker.execute("SELECT pg_terminate_backend($1)", await blocked(harness.dsn, harness.namespace))
            with pytest.raises(StoreUnavailable):
                await committing
    finally:
        await blocker.close()
    assert await everything(store) == before
    (reopened,) = await store.open_cells([0])
    assert (reopened.positions, reopened.next) == (row.positions, row.next)
    commit.cells = [contract.step(reopened, events=1, meter=1)]
    await store.commit(commit)
    assert len(await store.stream_rows(EVENTS, 0, 0, 9)) == 1


async def test_a_commit_whose_answer_is_lost_is_found_done(harness: PostgresHarness, store: PostgresStore) -> None:
    """Nobody repeats it: the owner opens its cells again and sees from the positions that it is done."""
    (row,) = await store.open_cells([0])
    first = whole(row)
    await store.commit(first)  # prepares the statement: the next answer is that of the commit itself
    harness.stores[store].mute = True
    with pytest.raises(StoreUnavailable):
        await store.commit(whole(contract.after(first.cells[0]), number=1))
    (reopened,) = await store.open_cells([0])
    assert reopened.positions == {contract.FRAMES: 2}
    assert len(await store.stream_rows(EVENTS, 0, 0, 9)) == 2


async def test_a_broken_connection_is_replaced(harness: PostgresHarness, store: PostgresStore) -> None:
    (row,) = await store.open_cells([0])
    for number in range(3):
        harness.stores[store].cut()
        assert len(await store.stream_rows(EVENTS, 0, 0, 9)) == number
        update = contract.step(row, events=number + 1)
        await store.commit(Commit([update], stream=[event(number)]))
        assert await store.owned()
        row = contract.after(update)


# What leaves by itself


async def copied(dsn: str, namespace: str) -> dict[str, bool]:
    """The rows of the copy of the tokens: whether each is a live one."""
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch(f"SELECT key, value IS NOT NULL FROM {namespace}_transactions.copy_auth_tokens")
        return dict(rows)
    finally:
        await connection.close()


async def test_deleted_rows_of_copies_go_after_thirty_days(harness: PostgresHarness, store: PostgresStore) -> None:
    rows = [CopyRow("live", b"1", 0, 1), CopyRow("gone", None, 0, 2), CopyRow("back", None, 0, 3)]
    await store.copy_apply(TOKENS, rows, {0: 4})
    await store.copy_apply(TOKENS, [CopyRow("back", b"2", 0, 4)], {0: 5})
    assert await store.expire(system_clock() + 29 * DAY_MS, 100) == 0
    assert await copied(harness.dsn, harness.namespace) == {"live": True, "gone": False, "back": True}
    assert await store.expire(system_clock() + 31 * DAY_MS, 100) == 1
    assert await copied(harness.dsn, harness.namespace) == {"live": True, "back": True}
    assert await store.copy_positions(TOKENS) == {0: 5}


async def test_no_step_of_the_upkeep_takes_more_than_its_limit(harness: PostgresHarness, store: PostgresStore) -> None:
    await store.copy_apply(TOKENS, [CopyRow(f"gone-{n}", None, 0, n) for n in range(25)], {0: 25})
    later = system_clock() + 31 * DAY_MS
    assert [await store.expire(later, 10) for _ in range(4)] == [10, 10, 5, 0]


async def test_a_copy_from_before_there_were_numbers_serves_on_and_gets_them(
    harness: PostgresHarness, store: PostgresStore
) -> None:
    rows = [CopyRow("a", b"2", 0, 3, "auth/0", 2), CopyRow("b", b"1", 0, 4, "auth/0", 3)]
    await store.copy_apply(TOKENS, [*rows, CopyRow("gone", None, 0, 5, "auth/0", 4)], {0: 6})
    schema = f"{harness.namespace}_transactions"
    connection = await asyncpg.connect(harness.dsn)
    try:
        table = f"{schema}.copy_auth_tokens"
        await connection.execute(f"ALTER TABLE {table} DROP COLUMN source, DROP COLUMN number, DROP COLUMN stale")
    finally:
        await connection.close()
    again = await harness.open()
    assert await again.copy_find(TOKENS, ["a", "b"]) == {
        "a": CopyRow("a", b"2", 0, 3), "b": CopyRow("b", b"1", 0, 4)
    }  # fmt: skip
    assert await again.copy_positions(TOKENS) == {}
    earlier = CopyRow("a", b"1", 0, 1, "auth/0", 1)
    await again.copy_apply(TOKENS, [earlier], {0: 2})
    assert (await again.copy_find(TOKENS, ["a"]))["a"].value == b"2"
    await again.copy_apply(TOKENS, rows, {0: 6})
    assert sorted(await again.copy_all(TOKENS)) == rows
    await again.copy_apply(TOKENS, [earlier._replace(position=7)], {0: 8})
    assert (await again.copy_find(TOKENS, ["a"]))["a"] == rows[0]
    assert await (await harness.open()).copy_positions(TOKENS) == {0: 8}


@pytest.mark.parametrize(("days", "kept"), [(28, True), (30, False)])
async def test_a_copy_that_nobody_followed_for_long_is_read_from_the_start(
    harness: PostgresHarness, store: PostgresStore, days: int, kept: bool
) -> None:
    await store.copy_apply(TOKENS, [CopyRow("a", b"1", 0, 3)], {0: 4})
    await store.expire(system_clock() - days * DAY_MS, 10)
    again = await harness.open()
    assert await again.copy_positions(TOKENS) == ({0: 4} if kept else {})
    assert bool(await again.copy_find(TOKENS, ["a"])) is kept


async def test_committed_rows_survive_a_crash_of_the_server(
    postgres_server: PostgresServer, harness: PostgresHarness, store: PostgresStore
) -> None:
    (row,) = await store.open_cells([0])
    for number in range(20):
        update = contract.step(row, events=number + 1)
        await store.commit(Commit([update], stream=[event(number)]))
        row = contract.after(update)
    await postgres_server.crash()
    assert await store.stream_rows(EVENTS, 0, 0, 99) == [event(number) for number in range(20)]
    await store.commit(Commit([contract.step(row, events=21)], stream=[event(20)]))
    assert await store.owned()


async def test_without_a_database_the_wait_is_bounded(harness: PostgresHarness) -> None:
    store = await harness.make(patience_s=0.3)
    await harness.kill(store)
    for attempt in (store.timers([0]), store.open_cells([0]), contract.prepare(store, SESSIONS)):
        with pytest.raises(StoreUnavailable):
            await attempt


async def test_a_closed_store_stays_closed(store: PostgresStore) -> None:
    await store.close()
    for attempt in (store.timers([0]), store.open_cells([0])):
        with pytest.raises(StoreUnavailable, match="closed"):
            await attempt


async def test_what_no_text_can_hold_is_refused_and_changes_nothing(store: PostgresStore) -> None:
    (row,) = await store.open_cells([0])
    before = await everything(store)
    for text in ("a\0b", "\ud800"):
        commit = whole(row)
        commit.rows = [Upsert(SESSIONS, session(text, "1"))]
        with pytest.raises(ValueError, match="does not fit its column"):
            await store.commit(commit)
    assert await everything(store) == before
    await store.commit(whole(row))


async def test_a_number_is_given_once(store: PostgresStore) -> None:
    """Should a cell's next number ever be wrong, the whole commit fails: no event is replaced or doubled."""
    (row,) = await store.open_cells([0])
    first = whole(row)
    await store.commit(first)
    before = await everything(store)
    again = whole(contract.after(first.cells[0]))
    again.stream = [event(0, value=b"another")]
    with pytest.raises(asyncpg.UniqueViolationError):
        await store.commit(again)
    assert await everything(store) == before


async def test_a_running_commit_ends_before_the_store_closes(harness: PostgresHarness, store: PostgresStore) -> None:
    (row,) = await store.open_cells([0])
    committing = asyncio.create_task(store.commit(whole(row)))
    await asyncio.sleep(0)  # it has begun
    await store.close()
    await committing
    assert len(await (await harness.open()).stream_rows(EVENTS, 0, 0, 9)) == 1


async def test_the_same_commits_give_the_same_rows_as_in_the_twin(store: PostgresStore) -> None:
    twin = MemoryStore()
    await twin.prepare(contract.TABLES, (), ())
    chance = random.Random(11)

    def row() -> tuple[Value, ...]:
        seen = chance.choice([None, chance.randrange(-9, 99)])
        return session(chance.choice(contract.AWKWARD), chance.choice("abc"), seen, chance.choice([None, True, False]))

    for _ in range(40):
        changes: dict[object, Upsert | Delete] = {}
        for _ in range(chance.randrange(8)):
            made = row()
            key = SESSIONS.key_of(made)
            changes[key] = Upsert(SESSIONS, made) if chance.random() < 0.7 else Delete(SESSIONS, key)
        ids = chance.sample(contract.AWKWARD, 3)
        writes = {
            StateKey(kind, id_): contract.state(chance.choice([None, b"{}", b'"x"'])) for kind in "AB" for id_ in ids
        }
        timers = {TimerKey(chance.randrange(12), "t", id_): chance.choice([None, 5]) for id_ in ids}
        for one in (store, twin):
            await write(one, *changes.values(), states=writes, timers=timers)
    rows = [line async for line in store.rebuilt_rows()]
    assert rows == [line async for line in twin.rebuilt_rows()]
    assert len(rows) > 40
