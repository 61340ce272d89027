"""The log's tables: made at start, a topic's when it is declared, a day's in advance; dropped after their retention.

Whatever locks more than one row does so in the order head rows, then tables, as appends do.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import structlog

from ocppcore.envelope import is_deletion
from ocppcore.log import PartitionsChanged
from ocppcore.postgres.reach import Connection
from ocppcore.postgres.store_tables import lock_key, name, named_sql, schema_name
from ocppcore.topics import DELETED_KEPT_DAYS

_log = structlog.get_logger(__name__)

LAYOUT = 1
"""Of the tables in `sql/log_schema.sql`; a release that changes them says how to come from the one before."""
DAY_MS = 86_400_000
LEAVES_AHEAD = 2
COMPACTION_RECORDS_MAX = 5_000
"""Newer records that one step of a compaction looks at, or old ones that one step of a purge does."""


class TopicInfo(NamedTuple):
    id: int
    partitions: int
    compacted: bool
    stream: bool


class Schema:
    """Names, statements and upkeep of one namespace's log. `leaf_ms`: the span of time in one table of a topic."""

    def __init__(self, namespace: str, streams: Mapping[str, tuple[str, str]], leaf_ms: int = DAY_MS) -> None:
        self.name = schema_name("log", namespace)
        self.quoted = f'"{self.name}"'
        self.channel = f"{self.name}"
        self.presence = lock_key(f"csms log {self.name} presence")
        self._streams = {topic: f'"{schema}".{name(table)}' for topic, (schema, table) in streams.items()}
        self._leaf_ms = leaf_ms
        self._lock = lock_key(f"csms log {self.name} schema")
        self._queries: dict[tuple[str, str], str] = {}

    def query(self, query: str, table: str = "") -> str:
        """A named statement, on a topic's or stream's table if it needs one."""
        found = self._queries.get((query, table))
        if found is None:
            text = named_sql("log_queries.sql")[query].format(schema=self.quoted, table=table)
            found = self._queries[query, table] = text
        return found

    def table(self, topic_id: int) -> str:
        return f'{self.quoted}."t{topic_id}"'

    def stream_table(self, topic: str) -> str:
        return self._streams[topic]

    def is_stream(self, topic: str) -> bool:
        return topic in self._streams

    # Making

    async def create(self, connection: Connection) -> str:
        """Make what is missing; returns the log's identity."""
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", self._lock)
            if not await connection.fetchval("SELECT true FROM pg_namespace WHERE nspname = $1", self.name):
                await connection.execute(f"CREATE SCHEMA {self.quoted}")
            ddl = Path(__file__).parent / "sql" / "log_schema.sql"
            await connection.execute(ddl.read_text(encoding="utf-8").format(schema=self.quoted))
            await connection.execute(self.query("identity"), uuid4(), LAYOUT)
            identity, layout = await connection.fetchrow(f"SELECT id, layout FROM {self.quoted}.identity")
            if layout != LAYOUT:
                raise RuntimeError(f"schema {self.name} has layout {layout}, this release works with {LAYOUT}")
            return str(identity)

    async def topics(self, connection: Connection) -> dict[str, TopicInfo]:
        rows = await connection.fetch(self.query("topics"))
        return {topic: TopicInfo(id_, *rest) for id_, topic, *rest in rows}

    async def declare(self, connection: Connection, partitions: Mapping[str, int], compacted: frozenset[str]) -> None:
        """Make topics; all of them or, if one exists with another count, none (PartitionsChanged)."""
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", self._lock)
            present = await self.topics(connection)
            for topic, count in partitions.items():
                if topic in present and present[topic].partitions != count:
                    raise PartitionsChanged(f"topic {topic} has {present[topic].partitions} partitions, not {count}")
            new = {topic: count for topic, count in partitions.items() if topic not in present}
            for topic, count in new.items():
                await connection.execute(self.query("declare"), topic, count, topic in compacted, self.is_stream(topic))
            made = await self.topics(connection)
            for topic in new:
                if not made[topic].stream:
                    await self._make_table(connection, made[topic])

    async def _make_table(self, connection: Connection, topic: TopicInfo) -> None:
        await connection.execute(self.query("declare_heads"), topic.id, topic.partitions)
        table = self.table(topic.id)
        of = f"CREATE TABLE {table} PARTITION OF {self.quoted}.records FOR VALUES IN ({topic.id})"
        if topic.compacted:
            await connection.execute(of)
            await connection.execute(f"ALTER TABLE {table} ADD PRIMARY KEY (partition, position)")
            await connection.execute(f"CREATE INDEX ON {table} (partition, key, position)")
        else:
            await connection.execute(f"{of} PARTITION BY RANGE (appended_at)")
            await self._make_leaves(connection, topic.id)

    async def make_leaves(self, connection: Connection, topic_ids: Sequence[int]) -> None:
        """The tables for today and the days to come."""
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", self._lock)
            for topic_id in sorted(set(topic_ids)):
                await self._make_leaves(connection, topic_id)

    async def _make_leaves(self, connection: Connection, topic_id: int) -> None:
        now = await self._now(connection)
        present = {end for _, end in await self.leaves(connection, topic_id)}
        for begin in range(now - now % self._leaf_ms, now + LEAVES_AHEAD * self._leaf_ms, self._leaf_ms):
            end = begin + self._leaf_ms
            if end not in present:
                # Rows are only ever added: nothing to clean up, the table goes as a whole.
                await connection.execute(
                    f'CREATE TABLE {self.quoted}."t{topic_id}_{begin // self._leaf_ms}" PARTITION OF '
                    f"{self.table(topic_id)} (PRIMARY KEY (partition, position)) FOR VALUES FROM ({begin}) TO ({end}) "
                    "WITH (autovacuum_vacuum_insert_threshold = -1, toast_tuple_target = 4080)"
                )

    async def leaves(self, connection: Connection, topic_id: int) -> list[tuple[str, int]]:
        """A topic's tables with the time at which each ends, oldest first."""
        rows: list[Any] = await connection.fetch(self.query("leaves"), self.table(topic_id))
        return sorted(((leaf, end) for leaf, end in rows), key=lambda leaf: leaf[1])

    async def _now(self, connection: Connection) -> int:
        return int(await connection.fetchval("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint"))

    # Upkeep

    async def keep_house(self, connection: Connection, retention_ms: Mapping[str, int]) -> None:
        """Tables for the days to come, retention, compaction. One process at a time; others leave it to that one."""
        if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", self._lock + 1):
            return
        try:
            for topic, info in (await self.topics(connection)).items():
                if info.stream:
                    continue
                if info.compacted:
                    await self._compact(connection, info)
                    await self._purge(connection, info)
                else:
                    await self.make_leaves(connection, [info.id])
                    if topic in retention_ms:
                        await self._drop_expired(connection, topic, info, retention_ms[topic])
            await connection.execute(self.query("forget_appenders"))
        finally:
            await connection.execute("SELECT pg_advisory_unlock($1)", self._lock + 1)

    async def _drop_expired(self, connection: Connection, topic: str, info: TopicInfo, retention_ms: int) -> None:
        oldest = await self._now(connection) - retention_ms
        expired = [leaf for leaf, end in await self.leaves(connection, info.id) if end <= oldest]
        if not expired:
            return
        async with connection.transaction():
            await connection.execute("SET LOCAL lock_timeout = '5s'")
            await connection.execute(self.query("lock_heads"), info.id)
            for leaf in expired:
                await connection.execute(f'DROP TABLE {self.quoted}."{leaf}"')
            await connection.execute(self.query("raise_starts", self.table(info.id)), info.id)
        _log.info("dropped what is over its retention", topic=topic, tables=len(expired))

    async def _compact(self, connection: Connection, info: TopicInfo) -> None:
        """Step by step from where the last time ended. The newest record of each key stays."""
        for partition, upto, end in await connection.fetch(self.query("compacted_upto"), info.id):
            for begin in range(upto, end, COMPACTION_RECORDS_MAX):
                until = min(begin + COMPACTION_RECORDS_MAX, end)
                async with connection.transaction():
                    await connection.execute(self.query("compact", self.table(info.id)), partition, begin, until)
                    await connection.execute(self.query("note_compaction"), info.id, partition, until)

    async def _purge(self, connection: Connection, info: TopicInfo) -> None:
        """What was deleted long ago goes too. Each record is looked at once: what is no deletion never becomes one."""
        oldest = await self._now(connection) - DELETED_KEPT_DAYS * DAY_MS
        table = self.table(info.id)
        for partition, purged, upto in await connection.fetch(self.query("purged_upto"), info.id):
            position = purged
            while position < upto:
                arguments = (partition, position, upto, oldest, COMPACTION_RECORDS_MAX)
                rows = await connection.fetch(self.query("old_records", table), *arguments)
                if not rows:
                    break
                gone = [place for place, value in rows if is_deletion(value)]
                position = rows[-1][0] + 1
                async with connection.transaction():
                    await connection.execute(self.query("purge", table), partition, gone)
                    await connection.execute(self.query("note_purge"), info.id, partition, position)
