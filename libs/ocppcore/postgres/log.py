"""The log on PostgreSQL: `ocppcore.log` by asyncpg, on the embedded server or one of the user's own.

Records are rows (`sql/log_schema.sql`), their positions given out under a lock on the partition's head row that is held
for one statement and its commit: a reader never steps over a record that becomes visible later. The rows of a
service's stream are committed by its store, they are the log's rows: `publish` only tells readers of them.

What is where: `log_appender` writes, `log_reader` reads, `log_tail` is what both know in this process, `log_watch`
hears of other processes, `log_membership` owns cells, `log_schema` makes tables and keeps house.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import asyncpg  # type: ignore[import-untyped]
import msgspec
import structlog

from ocppcore import topics
from ocppcore.log import (
    LogError,
    LogUnavailable,
    Membership,
    NewRecord,
    Reader,
    Record,
    StreamRecord,
    TopicPartition,
)
from ocppcore.postgres.log_appender import IN_FLIGHT_BYTES_MAX, Appender
from ocppcore.postgres.log_connection import Dial
from ocppcore.postgres.log_membership import PostgresMembership
from ocppcore.postgres.log_reader import PostgresReader
from ocppcore.postgres.log_schema import DAY_MS, Schema, TopicInfo
from ocppcore.postgres.log_tail import Tail
from ocppcore.postgres.log_watch import Watch
from ocppcore.postgres.reach import UNREACHABLE, Connection, describe
from ocppcore.postgres.store_tables import schema_name, stream_table

_log = structlog.get_logger(__name__)

T = TypeVar("T")

POLL_S = 1.0
HOUSEKEEPING_S = 600.0
READ_CONNECTIONS = 4
PATIENCE_S = 60.0
CLOSE_S = 5.0

_decode_headers = msgspec.json.Decoder(dict[str, str]).decode


def default_streams(namespace: str) -> dict[str, tuple[str, str]]:
    """Per stream topic the schema and table in which its service's store keeps the rows."""
    return {
        topic.name: (schema_name(topic.name.partition(".")[0], namespace), stream_table(topic.name))
        for topic in topics.TABLE
        if topic.stream
    }


class PostgresLog:
    """See `ocppcore.log.Log`. Made by `open`; for one event loop."""

    def __init__(
        self,
        dial: Dial,
        schema: Schema,
        pool: Any,
        identity: str,
        known: dict[str, TopicInfo],
        retention_ms: Mapping[str, int],
        poll_s: float,
        in_flight_bytes_max: int,
    ) -> None:
        self._dial = dial
        self._schema = schema
        self._pool = pool
        self._identity = identity
        self._topics = known
        self._retention_ms = retention_ms
        self._poll_s = poll_s
        self._tail = Tail()
        self._watch = Watch(dial, schema, self._tail, self._ends, poll_s)
        self._appender = Appender(dial, schema, known, self._tail, self._watch.grown, in_flight_bytes_max)
        self._members: list[PostgresMembership] = []
        self._tasks = [
            asyncio.create_task(self._appender.run(), name="log appender"),
            asyncio.create_task(self._watch.run(), name="log watch"),
            asyncio.create_task(self._keep_house(), name="log housekeeping"),
        ]

    @classmethod
    async def open(
        cls,
        dsn: str,
        namespace: str,
        *,
        streams: Mapping[str, tuple[str, str]] | None = None,
        retention_days: Mapping[str, int] | None = None,
        patience_s: float = PATIENCE_S,
        poll_s: float = POLL_S,
        in_flight_bytes_max: int = IN_FLIGHT_BYTES_MAX,
        leaf_ms: int = DAY_MS,
    ) -> "PostgresLog":
        """The namespace's log, made if it does not exist. Raises LogUnavailable after `patience_s` without a server.

        `streams`: per stream topic the schema and table of its rows. `retention_days`: per topic how long its records
        are kept at least (a topic that is not named: for ever; those of streams are their store's to trim). Default: as
        `topics.TABLE` declares.
        """
        schema = Schema(namespace, default_streams(namespace) if streams is None else streams, leaf_ms)
        dial = Dial(dsn, f"csms {schema.name}", patience_s)
        pool = await dial.pool(READ_CONNECTIONS)

        async def enter() -> tuple[str, dict[str, TopicInfo]]:
            async with pool.acquire() as connection:
                return await schema.create(connection), await schema.topics(connection)

        try:
            identity, known = await dial.persist(enter)
        except BaseException:
            pool.terminate()
            raise
        days = topics.retention_days() if retention_days is None else retention_days
        retention_ms = {topic: count * DAY_MS for topic, count in days.items()}
        return cls(dial, schema, pool, identity, known, retention_ms, poll_s, in_flight_bytes_max)

    async def declare(self, partitions: Mapping[str, int], *, compacted: frozenset[str] = frozenset()) -> None:
        async def make(connection: Connection) -> dict[str, TopicInfo]:
            await self._schema.declare(connection, partitions, compacted)
            return await self._schema.topics(connection)

        self._topics.update(await self.query(make))

    def resume(self, stream: TopicPartition, number: int) -> None:
        """Nothing to do: the rows are in the store already."""

    async def identity(self) -> str:
        return self._identity

    async def append(self, records: Sequence[NewRecord]) -> Sequence[int]:
        return await self._appender.append(records)

    @property
    def in_flight_bytes(self) -> int:
        """Of values that were accepted and are not yet written."""
        return self._appender.in_flight_bytes

    async def publish(self, records: Sequence[StreamRecord]) -> None:
        """The rows are there already (see the module): wake this process's readers, tell the others.

        Rows are committed in the order of their numbers, so everything before the highest is visible too. Readers
        fetch them from the table: only there is when they were appended.
        """
        ends: dict[TopicPartition, int] = {}
        for record in records:
            if not self._schema.is_stream(record.topic):
                raise LogError(f"{record.topic} is no stream")
            partition = TopicPartition(record.topic, record.partition)
            ends[partition] = max(ends.get(partition, 0), record.number + 1)
        for partition, end in ends.items():
            self._tail.reached(partition, end)
        self._watch.grown(list(ends))

    async def ends(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        return {partition: end for partition, (_, end) in (await self.bounds(partitions)).items()}

    async def starts(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        return {partition: start for partition, (start, _) in (await self.bounds(partitions)).items()}

    def reader(self) -> Reader:
        return PostgresReader(self._tail, self)

    def membership(self, group: str, topic: str) -> Membership:
        async def count() -> int:
            return self._info(topic).partitions

        member = PostgresMembership(self._dial, self._schema, group, count, self._poll_s)
        self._members.append(member)
        return member

    async def close(self) -> None:
        """Leave the groups, write what was accepted (for a few seconds), give everything back. Idempotent."""
        for member in self._members:
            await member.leave()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._appender.drained()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(*UNREACHABLE):
            await asyncio.wait_for(self._pool.close(), CLOSE_S)
        self._pool.terminate()

    # Reading from the database (`log_reader.Source`)

    async def query(self, attempt: Callable[[Connection], Awaitable[T]]) -> T:
        """Run what may be repeated on a connection of the pool. Raises LogUnavailable."""

        async def once() -> T:
            async with self._pool.acquire() as connection:
                return await attempt(connection)

        try:
            return await once()
        except UNREACHABLE:
            if self._pool.is_closing():
                raise LogUnavailable("the log is closed") from None
            return await self._dial.persist(once)

    async def bounds(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, tuple[int, int]]:
        return await self.query(lambda connection: self._bounds(connection, partitions))

    async def select(self, partition: TopicPartition, position: int, since: int, limit: int) -> list[Record]:
        topic, number = partition
        stream = self._schema.is_stream(topic)
        if stream:
            query = self._schema.query("stream_rows", self._schema.stream_table(topic))
        else:
            query = self._schema.query("records", self._schema.table(self._info(topic).id))
        rows = await self.query(lambda connection: connection.fetch(query, number, position, since, limit))
        records = []
        for place, key, value, headers, appended_at in rows:
            known = _decode_headers(headers)
            if stream:
                known["number"] = str(place)
            records.append(Record(topic, number, place, key, value, known, appended_at))
        return records

    def may_skip(self, topic: str) -> bool:
        return self._info(topic).compacted

    def _info(self, topic: str) -> TopicInfo:
        try:
            return self._topics[topic]
        except KeyError:
            raise LogError(f"topic {topic} is not declared") from None

    async def _bounds(
        self, connection: Connection, partitions: Sequence[TopicPartition]
    ) -> dict[TopicPartition, tuple[int, int]]:
        found: dict[TopicPartition, tuple[int, int]] = {}
        ids = {self._info(topic).id: topic for topic, _ in partitions if not self._info(topic).stream}
        records = [(self._info(topic).id, number) for topic, number in partitions if not self._info(topic).stream]
        if records:
            rows = await connection.fetch(self._schema.query("heads"), *map(list, zip(*records, strict=True)))
            for id_, number, start, next_ in rows:
                found[TopicPartition(ids[id_], number)] = (start, next_)
        for topic in {topic for topic, _ in partitions if self._info(topic).stream}:
            cells = [number for of, number in partitions if of == topic]
            for cell, first, last in await self._stream_bounds(connection, topic, cells):
                found[TopicPartition(topic, cell)] = (first or 0, 0 if last is None else last + 1)
        for topic, number in partitions:
            if (topic, number) not in found:
                raise LogError(f"topic {topic} has no partition {number}")
        return found

    async def _stream_bounds(self, connection: Connection, topic: str, cells: list[int]) -> list[Any]:
        query = self._schema.query("stream_bounds", self._schema.stream_table(topic))
        try:
            rows: list[Any] = await connection.fetch(query, cells)
        except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):  # its service has not been here yet
            return [(cell, None, None) for cell in cells]
        return rows

    async def _ends(self, connection: Connection, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        return {partition: end for partition, (_, end) in (await self._bounds(connection, partitions)).items()}

    # Upkeep

    async def keep_house(self) -> None:
        """Tables for the days to come, retention and compaction: once, now. Done by itself every ten minutes."""
        await self.query(lambda connection: self._schema.keep_house(connection, self._retention_ms))

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(HOUSEKEEPING_S * (0.5 + random.random()))
            try:
                await self.keep_house()
            except (LogUnavailable, asyncpg.PostgresError) as error:
                _log.warning("the log's housekeeping failed, it is tried again later", error=describe(error))
