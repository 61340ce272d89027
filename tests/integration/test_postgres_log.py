"""The log on a real PostgreSQL: the port's contract, and what only PostgreSQL has."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from uuid import uuid4

import asyncpg  # type: ignore[import-untyped]
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocppcore.log import (
    Log,
    LogError,
    LogUnavailable,
    Membership,
    NewRecord,
    PositionLost,
    Record,
    StreamRecord,
    TopicPartition,
)
from ocppcore.postgres.log import PostgresLog
from ocppcore.postgres.log_membership import PostgresMembership, share
from ocppcore.postgres.log_reader import PostgresReader, allot
from ocppcore.postgres.log_schema import DAY_MS
from ocppcore.postgres.store_tables import stream_ddl
from tests.integration.log_contract import (
    COMPACTED,
    FIRST,
    FRAMES,
    PARTITIONS,
    PATIENCE_S,
    REQUESTS,
    STATE,
    STREAM,
    TOPICS,
    LogContract,
    Members,
    everything,
    new,
    numbers,
    read,
    reader_of,
)
from tests.integration.postgres_fixture import PostgresServer, postgres_server

__all__ = ["postgres_server"]


class PostgresHarness:
    """Logs in a namespace of their own."""

    record_bytes_max = 1024 * 1024
    in_flight_bytes_max = 256 * 1024
    poll_s = 1.0

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self.namespace = f"test{uuid4().hex[:12]}"
        self._logs: list[PostgresLog] = []

    async def open(self, **options: float) -> PostgresLog:
        return await self._open(self.namespace, **options)

    async def open_elsewhere(self) -> PostgresLog:
        return await self._open(f"{self.namespace}x")

    async def _open(self, namespace: str, **options: float) -> PostgresLog:
        streams = {STREAM: (f"{namespace}_transactions", "events")}
        await self.execute(f"CREATE SCHEMA IF NOT EXISTS {namespace}_transactions")
        await self.execute(stream_ddl(f"{namespace}_transactions", STREAM))
        log = await PostgresLog.open(
            self.server.dsn,
            namespace,
            streams=streams,
            retention_days={FRAMES: 1},
            in_flight_bytes_max=self.in_flight_bytes_max,
            **options,  # type: ignore[arg-type]
        )
        self._logs.append(log)
        return log

    async def reopen(self) -> PostgresLog:
        for log in self._logs:
            await self.kill(log)
        await self.server.crash()
        return await self.open()

    async def kill(self, log: Log) -> None:
        assert isinstance(log, PostgresLog)
        for member in log._members:
            if member._connection is not None:
                member._connection.terminate()
            member._task.cancel()
        for task in log._tasks:
            task.cancel()
        await asyncio.gather(*log._tasks, *(member._task for member in log._members), return_exceptions=True)
        log._pool.terminate()

    async def cut(self, member: Membership) -> None:
        assert isinstance(member, PostgresMembership)
        await self.execute(f"SELECT pg_terminate_backend({member._me})")

    async def write_stream_rows(self, records: Sequence[StreamRecord]) -> None:
        connection = await asyncpg.connect(self.server.dsn)
        await connection.executemany(
            f"INSERT INTO {self.namespace}_transactions.events VALUES ($1, $2, $3, $4, $5, 0)",
            [(r.partition, r.number, r.key, r.value, msgspec.json.encode(r.headers).decode()) for r in records],
        )
        await connection.close()

    def stalled(self) -> AbstractAsyncContextManager[None]:
        return self.locked(f"{self.namespace}_log.heads")

    @asynccontextmanager
    async def locked(self, table: str) -> AsyncIterator[None]:
        """While inside, nobody else writes to the table."""
        connection = await asyncpg.connect(self.server.dsn)
        try:
            async with connection.transaction():
                await connection.execute(f"LOCK TABLE {table} IN SHARE MODE")
                yield
        finally:
            await connection.close()

    def in_flight_bytes(self, log: Log) -> int:
        assert isinstance(log, PostgresLog)
        return log.in_flight_bytes

    async def waiting_for_a_lock(self, backends: int = 1) -> None:
        """Until so many backends of logs wait for a lock."""
        waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name LIKE 'csms %'"
        async with asyncio.timeout(PATIENCE_S):
            while len(await self.execute(waiting)) < backends:
                pass

    async def grow_older(self, log: PostgresLog, topic: str, *, ms: int) -> None:
        """Move what was appended to a topic into the past: the records, and the tables that hold them."""
        schema, table = f"{self.namespace}_log", f"t{log._topics[topic].id}"
        await self.script(f"CREATE TABLE {schema}.kept AS SELECT * FROM {schema}.{table}")
        for leaf, end in await self.leaves(log, topic):
            begin, until = end - DAY_MS - ms, end - ms
            await self.script(
                f"DROP TABLE {schema}.{leaf};"
                f"CREATE TABLE {schema}.{table}_{begin // DAY_MS} PARTITION OF {schema}.{table}"
                f" (PRIMARY KEY (partition, position)) FOR VALUES FROM ({begin}) TO ({until})"
            )
        await self.script(
            f"UPDATE {schema}.kept SET appended_at = appended_at - {ms};"
            f"INSERT INTO {schema}.records SELECT * FROM {schema}.kept; DROP TABLE {schema}.kept"
        )

    async def leaves(self, log: PostgresLog, topic: str) -> list[tuple[str, int]]:
        """The tables of a topic, and when each ends."""
        return await log.query(lambda connection: log._schema.leaves(connection, log._topics[topic].id))

    async def script(self, sql: str) -> None:
        connection = await asyncpg.connect(self.server.dsn)
        try:
            await connection.execute(sql)
        finally:
            await connection.close()

    async def execute(self, sql: str) -> list[tuple[object, ...]]:
        connection = await asyncpg.connect(self.server.dsn)
        try:
            return [tuple(row) for row in await connection.fetch(sql)]
        finally:
            await connection.close()

    async def close(self) -> None:
        for log in self._logs:
            await log.close()


@pytest.fixture
async def harness(postgres_server: PostgresServer) -> AsyncIterator[PostgresHarness]:
    harness = PostgresHarness(postgres_server)
    yield harness
    await harness.close()


class TestPostgresLog(LogContract):
    """The contract."""


class CountingSource:
    """Passes a reader's questions on to the log and counts those that reach the database."""

    def __init__(self, log: PostgresLog) -> None:
        self._log = log
        self.selects = 0

    async def bounds(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, tuple[int, int]]:
        return await self._log.bounds(partitions)

    async def select(self, partition: TopicPartition, position: int, since: int, limit: int) -> list[Record]:
        self.selects += 1
        return await self._log.select(partition, position, since, limit)

    def may_skip(self, topic: str) -> bool:
        return self._log.may_skip(topic)


async def declared(harness: PostgresHarness, **options: float) -> PostgresLog:
    log = await harness.open(**options)
    await log.declare(TOPICS, compacted=COMPACTED)
    return log


# Appending


async def test_appends_ride_through_a_crash_of_the_server(harness: PostgresHarness) -> None:
    """Killed and started again twice under load: every append is done exactly once, none is refused."""
    log = await declared(harness)
    stop = False

    async def station(key: str) -> int:
        n = 0
        while not stop:
            await log.append([new(key, n, partition=n % 2), new(key, n + 1, partition=(n + 1) % 2)])
            n += 2
        return n

    stations = [asyncio.create_task(station(f"station-{i}")) for i in range(8)]
    reader = reader_of(log, everything())
    records = await read(reader, 500)
    for _ in range(2):
        await harness.server.crash()
        records += await read(reader, 500)
    stop = True
    appended = dict(zip([f"station-{i}" for i in range(8)], await asyncio.gather(*stations), strict=True))
    records += await read(reader, sum(appended.values()) - len(records))
    assert sorted(await read(reader_of(log, everything()), len(records))) == sorted(records)
    for key, count in appended.items():
        for partition in range(2):
            mine = [int(r.value) for r in records if (r.key, r.partition) == (key, partition)]
            assert mine == list(range(partition, count, 2))


@pytest.mark.parametrize("locked", ["heads", "records"])
@pytest.mark.parametrize("lost_by", ["server", "client"])
async def test_a_batch_whose_answer_was_lost_is_done_once(harness: PostgresHarness, locked: str, lost_by: str) -> None:
    """The connection breaks while the server is in the middle of a batch, before or after it noted its outcome.

    If it is the client's end that breaks, the server goes on all the same, and commits.
    """
    log = await declared(harness)
    for n in range(3):
        async with harness.locked(f"{harness.namespace}_log.{locked}"):
            append = asyncio.create_task(log.append([new("a", n), new("b", n, partition=1)]))
            await harness.waiting_for_a_lock()
            if lost_by == "client":
                log._appender._connection._transport.abort()
                await harness.waiting_for_a_lock(2)
            else:
                await harness.execute(f"SELECT pg_terminate_backend({log._appender._connection.get_server_pid()})")
        assert list(await append) == [n, n]
    for partition in range(2):
        assert numbers(await read(reader_of(log, {TopicPartition(FRAMES, partition): 0}), 3)) == [0, 1, 2]
        assert await log.ends([TopicPartition(FRAMES, partition)]) == {TopicPartition(FRAMES, partition): 3}


async def test_a_statement_that_arrives_late_does_nothing(harness: PostgresHarness) -> None:
    """A connection that seemed lost lives on with our batch in its buffer: the row it needs is gone by then."""
    log = await declared(harness)
    await log.append([new("a", 0)])
    appender = log._appender
    connection, late, id_, number = appender._connection, appender._statement, appender._id, appender._number + 1
    appender._connection = None
    await log.append([new("a", 1)])
    with pytest.raises(asyncpg.PostgresError, match="replaced"):
        await late.fetchrow(id_, number, [log._topics[FRAMES].id], [0], [1], ["a"], ["{}"], [b"2"])
    await connection.close()
    assert numbers(await read(reader_of(log, {FIRST: 0}), 2)) == [0, 1]
    assert (await log.ends([FIRST]))[FIRST] == 2


async def test_time_never_goes_back_within_a_partition(harness: PostgresHarness) -> None:
    """Readers skip the tables of earlier days, so positions and times must rise together, whatever the clock does."""
    log = await declared(harness)
    await log.append([new("a", 0)])
    await harness.execute(f"UPDATE {harness.namespace}_log.heads SET appended_at = appended_at + 3600000")
    await log.append([new("a", 1), new("b", 0, partition=1)])
    early, late = await read(reader_of(log, {FIRST: 0}), 2)
    assert late.appended_at >= early.appended_at + 3600000


async def test_what_can_not_be_stored_is_refused_alone(harness: PostgresHarness) -> None:
    log = await declared(harness)
    refused = [
        NewRecord(FRAMES, 0, "a\x00", b"", {}),
        NewRecord(FRAMES, 0, "a\ud800", b"", {}),
        NewRecord(FRAMES, 0, "a", b"", {"h": "\ud800"}),
        NewRecord(FRAMES, PARTITIONS, "a", b"", {}),
        NewRecord("no.such.topic", 0, "a", b"", {}),
        NewRecord(STREAM, 0, "a", b"", {}),
    ]
    good = [asyncio.create_task(log.append([new("good", n)])) for n in range(6)]
    for record in refused:
        with pytest.raises(LogError):
            await log.append([record])
    await asyncio.gather(*good)
    await log.append([NewRecord(FRAMES, 0, "good", b"6", {"h": "\x00"})])
    assert numbers(await read(reader_of(log, {FIRST: 0}), 7)) == list(range(7))


async def test_a_server_that_stays_away_makes_the_log_unavailable(harness: PostgresHarness) -> None:
    log = await declared(harness, patience_s=0.5)
    reader = reader_of(log, {FIRST: 0})
    await log.append([new("a", 0)])
    async with harness.server.stopped():
        with pytest.raises(LogUnavailable, match="no database"):
            await log.append([new("a", 1)])
        with pytest.raises(LogUnavailable, match="no database"):
            await reader.fetch(1, 0)
    await log.append([new("a", 2)])
    assert numbers(await read(reader, 2)) in ([0, 2], [0, 1, 2])


async def test_a_closed_log_refuses(harness: PostgresHarness) -> None:
    log = await declared(harness)
    reader = reader_of(log, {FIRST: 0})
    async with harness.stalled():
        append = asyncio.create_task(log.append([new("a", 0)]))
        await harness.waiting_for_a_lock()
        await log.close()
    with pytest.raises(LogUnavailable):
        await append
    with pytest.raises(LogUnavailable):
        await log.append([new("a", 1)])
    with pytest.raises(LogUnavailable):
        await reader.fetch(1, 0)
    await log.close()


# Reading


async def test_a_reader_at_the_end_needs_no_query(harness: PostgresHarness) -> None:
    log, other = await declared(harness), await declared(harness)
    source = CountingSource(log)
    reader = PostgresReader(log._tail, source)
    reader.assign({FIRST: 0})
    assert await reader.fetch(10, 0) == []
    for n in range(20):
        await log.append([new("a", 2 * n), new("a", 2 * n + 1)])
        assert numbers(await read(reader, 1, max_records=1) + await read(reader, 1)) == [2 * n, 2 * n + 1]
    assert source.selects == 0
    await other.append([new("b", 40)])
    await log.append([new("a", 41)])
    assert numbers(await read(reader, 2)) == [40, 41], "another process's record lies in between"
    assert source.selects > 0
    before = source.selects
    await log.append([new("a", 42)])
    assert numbers(await read(reader, 1)) == [42]
    assert source.selects == before, "the ring is contiguous again"
    late = PostgresReader(log._tail, source)
    late.assign({FIRST: 0})
    assert numbers(await read(late, 43)) == list(range(43))


async def test_retention_drops_days_and_a_reader_left_behind_is_told(harness: PostgresHarness) -> None:
    log = await declared(harness)
    await log.append([new("a", n, partition=n % 2) for n in range(10)])
    reader = reader_of(log, {FIRST: 0})
    assert len(await reader.fetch(2, 0)) == 2
    await harness.grow_older(log, FRAMES, ms=2 * DAY_MS)
    await log.append([new("b", n) for n in range(3)])
    await log.keep_house()
    assert await log.starts([FIRST, TopicPartition(FRAMES, 1)]) == {FIRST: 5, TopicPartition(FRAMES, 1): 5}
    assert await log.ends([FIRST, TopicPartition(FRAMES, 1)]) == {FIRST: 8, TopicPartition(FRAMES, 1): 5}
    assert numbers(await read(reader_of(log, {FIRST: 5}), 3)) == [0, 1, 2]
    with pytest.raises(PositionLost, match=r"within 5\.\.8"):
        await reader.fetch(2, 0)
    with pytest.raises(PositionLost, match=r"within 5\.\.8"):
        await reader_of(log, {FIRST: 4}).fetch(2, 0)
    assert await reader_of(log, {TopicPartition(FRAMES, 1): 5}).fetch(2, 0) == []


async def test_a_topic_without_retention_keeps_everything(harness: PostgresHarness) -> None:
    log = await declared(harness)
    await log.append([new("a", n, topic=REQUESTS) for n in range(3)])
    await harness.grow_older(log, REQUESTS, ms=400 * DAY_MS)
    await log.append([new("a", 3, topic=REQUESTS)])
    await log.keep_house()
    assert numbers(await read(reader_of(log, {TopicPartition(REQUESTS, 0): 0}), 4)) == [0, 1, 2, 3]


async def test_appends_go_on_when_the_day_has_no_table(harness: PostgresHarness) -> None:
    """Housekeeping makes tables two days ahead; a process that slept longer makes its own."""
    log = await declared(harness)
    for leaf, _end in await harness.leaves(log, FRAMES):
        await harness.execute(f"DROP TABLE {harness.namespace}_log.{leaf}")
    await log.append([new("a", 0)])
    assert numbers(await read(reader_of(log, {FIRST: 0}), 1)) == [0]


async def test_compaction_keeps_the_newest_record_of_each_key_in_its_place(harness: PostgresHarness) -> None:
    log = await declared(harness)
    lagging = reader_of(await declared(harness), {TopicPartition(STATE, 0): 0})
    await log.append([new(f"key-{n % 3}", n, topic=STATE) for n in range(10)])
    assert numbers(await lagging.fetch(2, 0)) == [0, 1]
    for more in range(10, 13):
        await log.keep_house()
        await log.append([new("key-0", more, topic=STATE)])
    await log.keep_house()
    await log.append([new("key-0", 13, topic=STATE)])
    records = await read(reader_of(log, {TopicPartition(STATE, 0): 0}), 4)
    assert [(r.key, r.position) for r in records] == [("key-1", 7), ("key-2", 8), ("key-0", 12), ("key-0", 13)]
    assert [r.position for r in await read(lagging, 4)] == [7, 8, 12, 13]
    assert await log.starts([TopicPartition(STATE, 0)]) == {TopicPartition(STATE, 0): 0}


async def test_deletions_go_after_thirty_days_and_live_records_stay(harness: PostgresHarness) -> None:
    log = await declared(harness)
    at = TopicPartition(STATE, 0)

    def state(key: str, **fields: object) -> NewRecord:
        return NewRecord(STATE, 0, key, msgspec.json.encode(fields), {})

    await log.append([state("gone", id="G"), state("kept", id="K", note='"deleted":true'), state("gone", deleted=True)])
    await log.append([state("back", deleted=True), NewRecord(STATE, 0, "tombstone", b"", {})])
    await log.append([NewRecord(STATE, 0, "no json", b"deleted", {})])
    await harness.execute(
        f"UPDATE {harness.namespace}_log.records SET appended_at = appended_at - {31 * DAY_MS} "
        f"WHERE topic = {log._topics[STATE].id}"
    )
    await log.append([state("back", id="B"), state("fresh", deleted=True)])
    lagging = reader_of(await declared(harness), {at: 1})
    for _ in range(2):
        await log.keep_house()
    records = await read(reader_of(log, {at: 0}), 4)
    assert [record.key for record in records] == ["kept", "no json", "back", "fresh"]
    assert [record.position for record in await read(lagging, 4)] == [1, 5, 6, 7]
    assert await log.starts([at]) == {at: 0}


async def test_a_stream_whose_service_was_never_there_is_empty(harness: PostgresHarness) -> None:
    log = await declared(harness)
    await harness.execute(f"DROP SCHEMA {harness.namespace}_transactions CASCADE")
    assert await log.ends([TopicPartition(STREAM, 0)]) == {TopicPartition(STREAM, 0): 0}
    assert await reader_of(log, {TopicPartition(STREAM, 0): 0}).fetch(1, 0) == []


@given(st.lists(st.integers(1, 100), min_size=1, max_size=12), st.integers(0, 300))
def test_shares_are_even_and_use_the_budget(available: list[int], budget: int) -> None:
    shares = allot(available, budget)
    assert sum(shares) == min(budget, sum(available))
    assert all(0 <= got <= there for got, there in zip(shares, available, strict=True))
    assert all(got == there or got >= max(shares) - 1 for got, there in zip(shares, available, strict=True))


# Membership


async def test_a_broken_session_owns_nothing_at_once(harness: PostgresHarness) -> None:
    log = await declared(harness)
    member = log.membership("transactions", FRAMES)
    async with asyncio.timeout(PATIENCE_S):
        assert await member.changed() == {0, 1, 2, 3}
        await harness.cut(member)
        assert await member.changed() == frozenset()
        assert await member.changed() == {0, 1, 2, 3}


async def test_members_that_come_and_go_never_share_a_cell(harness: PostgresHarness) -> None:
    """Whoever sees itself as owner holds the cell's lock, or has just lost its session."""
    logs = [await declared(harness) for _ in range(4)]
    async with Members() as members:
        present: list[Membership] = []
        for step in range(12):
            if step % 3 < 2:
                present.append(members.add(logs[step % 4].membership("transactions", FRAMES)))
            else:
                await present.pop(0).leave()
            await members.settle(present)
            held = [cell for member in present for cell in member.cells]
            assert len(held) == len(set(held))


@given(st.integers(1, 64), st.lists(st.integers(1, 1000), min_size=1, max_size=20, unique=True))
def test_members_shares_make_up_the_whole(cells: int, members: list[int]) -> None:
    shares = [share(cells, members, member) for member in members]
    assert sum(shares) == cells
    assert max(shares) - min(shares) <= 1
