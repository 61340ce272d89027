"""`PostgresStore`: the store port on PostgreSQL. One schema per service, every commit one statement (`store_write`).

Connections: one for commits and whatever else must not overlap, a few for reading. The statements are in `sql/`, those
that depend on declarations in `store_write`, `store_select` and `store_tables`.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import msgspec
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random

from ocppcore import topics
from ocppcore.log import StreamRecord, TopicPartition
from ocppcore.postgres import store_tables as names
from ocppcore.postgres.reach import Connection
from ocppcore.postgres.store_connection import ROLLED_BACK, Connections
from ocppcore.postgres.store_schema import WHOLE_TABLE_S, Schema
from ocppcore.postgres.store_select import in_hash_order, page
from ocppcore.postgres.store_upkeep import DAY_MS, Upkeep
from ocppcore.postgres.store_write import Statement, fenced, stream_arrays, unfenced
from ocppcore.store import (
    Among,
    CellRow,
    Commit,
    CopyKept,
    CopyRow,
    Fenced,
    ProjectionsChanged,
    StateKey,
    Store,
    Suspect,
    Table,
    TimerKey,
    Value,
    keep,
)

FENCED = "CS001"
"""SQLSTATE of the function `assert_held`."""
ROLLED_BACK_ATTEMPTS = 5
ROWS_PER_FETCH = 1000

_counters = msgspec.json.Decoder(dict[str, int])
_headers = msgspec.json.Decoder(dict[str, str])


class PostgresStore:
    """A process's handle on the store of `service` in the database that `dsn` names.

    `readers`: connections for reading at most; `patience_s`: how long a lost database is waited for before
    StoreUnavailable; `statement_s`: how long one statement may take; `retention_days`: of streams that are not kept for
    ever, by topic (default: as `topics.TABLE` declares).
    """

    def __init__(
        self,
        dsn: str,
        service: str,
        namespace: str = "",
        *,
        readers: int = 4,
        patience_s: float = 30.0,
        statement_s: float = 30.0,
        retention_days: Mapping[str, int] | None = None,
    ) -> None:
        schema = names.schema_name(service, namespace)
        self._schema = Schema(schema)
        self._connections = Connections(dsn, schema, readers=readers, patience_s=patience_s, statement_s=statement_s)
        queries = names.named_sql("store_queries.sql")
        self._sql = {
            key: sql.format(schema=self._schema.quoted, copy="{copy}", stream="{stream}", newer=queries["is_newer"])
            for key, sql in queries.items()
        }
        days = topics.retention_days() if retention_days is None else retention_days
        retention_ms = {topic: count * DAY_MS for topic, count in days.items()}
        self._upkeep = Upkeep(self._schema, self._sql, retention_ms)

    async def prepare(self, tables: Sequence[Table], streams: Sequence[str], copies: Sequence[str]) -> None:
        self._schema.declare(tables, streams, copies)
        async with self._connections.writer() as connection:
            changed = await self._schema.create(connection)
        if changed:
            raise ProjectionsChanged(changed)

    async def log_identity(self, identity: str) -> str:
        async with self._connections.writer() as connection:
            return str(await connection.fetchval(self._sql["log_identity"], identity))

    # Cells

    async def open_cells(self, cells: Sequence[int]) -> Sequence[CellRow]:
        await self._connections.hold("shared")
        async with self._connections.writer() as connection:
            rows = await connection.fetch(self._sql["open_cells"], sorted(set(cells)))
        return [_cell_row(row) for row in rows]

    async def suspect(self, cell: int, owner_epoch: int, topic: str, position: int) -> int:
        async with self._connections.writer() as connection:
            times = await connection.fetchval(self._sql["suspect"], cell, owner_epoch, topic, position)
        if times is None:
            raise Fenced(frozenset([cell]))
        return int(times)

    async def adopt_log(self, identity: str, positions: Mapping[TopicPartition, int]) -> None:
        inputs, cells = [tp.topic for tp in positions], [tp.partition for tp in positions]
        async with self._connections.writer() as connection, connection.transaction():
            first = await self._first_numbers(connection)
            arguments = (identity, inputs, cells, list(positions.values()), first)
            await connection.execute(self._sql["adopt_log"], *arguments)

    async def _first_numbers(self, connection: Connection) -> str:
        """Per cell the streams that do not begin at 0 any more: what was trimmed will not be published again."""
        found: dict[str, dict[str, int]] = {}
        for topic in self._schema.streams:
            sql = self._sql["first_numbers"].format(stream=self._schema.stream(topic))
            for cell, number in await connection.fetch(sql):
                found.setdefault(str(cell), {}).update({topic: number} if number else {})
        return msgspec.json.encode(found).decode()

    async def owned(self) -> bool:
        lock, writer = self._connections.owner_lock, self._connections.writer_pid
        return bool(await self._connections.read(lambda c: c.fetchval(self._sql["owned"], lock, writer)))

    # State

    async def load(self, keys: Sequence[StateKey]) -> Mapping[StateKey, bytes]:
        kinds, ids = [key.kind for key in keys], [key.id for key in keys]
        try:
            rows = await self._connections.read(lambda c: c.fetch(self._sql["load"], kinds, ids))
        except asyncpg.DataError:
            possible = [key for key in keys if names.storable(key.id)]
            if len(possible) == len(keys):
                raise
            return await self.load(possible)
        return {StateKey(kind, id_): data for kind, id_, data in rows}

    async def scan(self, kind: str, cell: int, after: str, limit: int) -> Sequence[tuple[str, bytes]]:
        rows = await self._connections.read(lambda c: c.fetch(self._sql["scan"], kind, cell, after, limit))
        return [(id_, data) for id_, data in rows]

    async def timers(self, cells: Sequence[int]) -> Mapping[TimerKey, int]:
        rows = await self._connections.read(lambda c: c.fetch(self._sql["timers"], cells))
        return {TimerKey(cell, name, subject): due for cell, name, subject, due in rows}

    async def expire(self, now: int, limit: int) -> int:
        async with self._connections.writer() as connection:
            return await self._upkeep.expire(connection, now, limit)

    # Commits

    async def commit(self, commit: Commit) -> None:
        """As the port says. Raises ValueError, nothing done, for what PostgreSQL cannot hold (U+0000 in a text)."""
        statement = fenced(self._schema.quoted, commit)
        if statement is None:
            return
        async with self._connections.writer() as connection:
            try:
                await _write(connection, statement)
            except asyncpg.PostgresError as error:
                if error.sqlstate != FENCED:
                    raise
                held = {int(cell) for cell in (error.detail or "").split(",") if cell}
                raise Fenced(frozenset(update.cell for update in commit.cells) - held) from None

    async def stream_rows(self, topic: str, cell: int, number: int, limit: int) -> Sequence[StreamRecord]:
        sql = self._sql["stream_rows"].format(stream=self._schema.stream(topic))
        rows = await self._connections.read(lambda c: c.fetch(sql, cell, number, limit))
        return [
            StreamRecord(topic, cell, number, key, value, _headers.decode(headers))
            for number, key, value, headers in rows
        ]

    async def stream_of(
        self, topic: str, key: str, after: tuple[int, int], limit: int
    ) -> Sequence[tuple[int, StreamRecord]]:
        sql = self._sql["stream_of"].format(stream=self._schema.stream(topic))
        try:
            rows = await self._connections.read(lambda c: c.fetch(sql, key, *after, limit))
        except asyncpg.DataError as error:
            if not _fits_no_row(error):
                raise
            return []
        return [
            (at, StreamRecord(topic, cell, number, key, value, _headers.decode(headers)))
            for at, cell, number, value, headers in rows
        ]

    async def restore_stream(self, rows: Sequence[StreamRecord]) -> None:
        async with self._connections.writer() as connection, connection.transaction():
            for topic in sorted({row.topic for row in rows}):
                ours = [row for row in rows if row.topic == topic]
                following: dict[int, int] = {}
                for row in ours:
                    following[row.partition] = max(row.number + 1, following.get(row.partition, 0))
                cells = sorted(following)
                insert = self._sql["restore_rows"].format(stream=self._schema.stream(topic))
                await connection.execute(insert, *stream_arrays(ours))
                await connection.execute(self._sql["restore_next"], topic, cells, [following[cell] for cell in cells])

    # Copies of other services' state

    async def copy_positions(self, topic: str) -> Mapping[int, int]:
        rows = await self._connections.read(lambda c: c.fetch(self._sql["copy_positions"], topic))
        return dict(rows)

    async def copy_apply(self, topic: str, rows: Sequence[CopyRow], positions: Mapping[int, int]) -> None:
        kept: dict[str, CopyKept] = {}
        for row in rows:
            kept[row.key] = keep(kept.get(row.key), row)
        ours = [kept[key].row for key in sorted(kept)]  # sorted: who races with us locks in the same order
        partitions = sorted(positions)
        arguments = [
            topic,
            [row.key for row in ours],
            [row.value for row in ours],
            [row.partition for row in ours],
            [row.position for row in ours],
            [row.source for row in ours],
            [row.number for row in ours],
            [kept[row.key].stale for row in ours],
            partitions,
            [positions[partition] for partition in partitions],
        ]
        sql = self._sql["copy_apply"].format(copy=self._schema.copy(topic))
        await self._connections.read(lambda c: c.execute(sql, *arguments))  # safe to repeat: that is its contract

    async def copy_find(self, topic: str, keys: Sequence[str]) -> Mapping[str, CopyRow]:
        sql = self._sql["copy_find"].format(copy=self._schema.copy(topic))
        try:
            rows = await self._connections.read(lambda c: c.fetch(sql, keys))
        except asyncpg.DataError:
            possible = [key for key in keys if names.storable(key)]
            if len(possible) == len(keys):
                raise
            return await self.copy_find(topic, possible)
        return {row[0]: CopyRow(*row) for row in rows}

    async def copy_all(self, topic: str) -> Sequence[CopyRow]:
        sql = self._sql["copy_all"].format(copy=self._schema.copy(topic))
        return [CopyRow(*row) for row in await self._connections.read(lambda c: c.fetch(sql))]

    async def copy_stale(self, topic: str, limit: int) -> Sequence[CopyRow]:
        sql = self._sql["copy_stale"].format(copy=self._schema.copy(topic))
        return [CopyRow(*row) for row in await self._connections.read(lambda c: c.fetch(sql, limit))]

    async def copy_reset(self, topic: str) -> None:
        sql = self._sql["copy_reset"].format(copy=self._schema.copy(topic))
        await self._connections.read(lambda c: c.execute(sql, topic))

    # Projections

    async def select(
        self,
        table: Table,
        where: Mapping[str, Value] | None = None,
        *,
        after: tuple[Value, ...] | None = None,
        order: tuple[str, ...] = (),
        descending: bool = False,
        limit: int = 100,
        among: Among | None = None,
    ) -> Sequence[dict[str, Value]]:
        sql, arguments = page(self._schema.quoted, table, where or {}, after, order, descending, limit, among)
        try:
            rows = await self._connections.read(lambda c: c.fetch(sql, *arguments))
        except asyncpg.DataError as error:
            if not _fits_no_row(error):
                raise
            return []
        return [dict(row) for row in rows]

    # Rebuild

    async def clear_rebuilt(self) -> None:
        """Also keeps the service from starting until this store is closed. Raises StoreUnavailable while it runs."""
        await self._connections.hold("alone")
        async with self._connections.writer() as connection:
            await self._schema.clear_rebuilt(connection)

    async def load_rebuilt(self, commit: Commit) -> None:
        statement = unfenced(self._schema.quoted, commit)
        if statement:
            async with self._connections.writer() as connection:
                await _write(connection, statement)

    async def rebuilt_rows(self) -> AsyncIterator[bytes]:
        """Of one moment. Once it has gone through all rows, a rebuild that this store began counts as finished."""
        encode = msgspec.json.encode
        async with (
            self._connections.reader() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            for table in sorted(self._schema.rebuilt, key=lambda table: table.name):
                async for row in _cursor(connection, in_hash_order(self._schema.quoted, table)):
                    yield encode([table.name, list(row)])
            async for kind, id_, data in _cursor(connection, self._sql["rebuilt_state"]):
                yield encode(["state", kind, id_, data.decode()])
            async for timer in _cursor(connection, self._sql["rebuilt_timers"]):
                yield encode(["timer", *timer])
        if self._connections.alone:
            async with self._connections.writer() as connection:
                await self._schema.finish_rebuild(connection)

    async def close(self) -> None:
        await self._connections.close()


async def _write(connection: Connection, statement: Statement) -> None:
    """Send it once; again only where the server says that it undid it. ValueError for a value that does not fit."""
    try:
        return await _send(connection, statement)
    except ROLLED_BACK:
        pass  # tenacity costs more than a small commit: it is for the rare second time
    async for attempt in AsyncRetrying(
        retry=retry_if_exception_type(ROLLED_BACK),
        stop=stop_after_attempt(ROLLED_BACK_ATTEMPTS),
        wait=wait_random(0.01, 0.1),
        reraise=True,
    ):
        with attempt:
            await _send(connection, statement)


async def _send(connection: Connection, statement: Statement) -> None:
    try:
        await connection.fetchval(statement.sql, *statement.arguments)
    except asyncpg.DataError as error:
        # Without its cause: that quotes the values, which may be idTokens.
        raise ValueError(f"a value of the commit does not fit its column: {type(error).__name__}") from None


def _fits_no_row(error: Exception) -> bool:
    """A value that no row can hold was asked for: U+0000 in a text, an integer of more than 64 bits."""
    refused = (asyncpg.CharacterNotInRepertoireError, asyncpg.UntranslatableCharacterError)
    return isinstance(error, refused) or isinstance(error.__cause__, (OverflowError, UnicodeError))


def _cursor(connection: Connection, sql: str) -> Any:
    return connection.cursor(sql, prefetch=ROWS_PER_FETCH, timeout=WHOLE_TABLE_S)


def _cell_row(row: Any) -> CellRow:
    return CellRow(
        row["cell"],
        row["owner_epoch"],
        _counters.decode(row["positions"]),
        row["clock"],
        _counters.decode(row["next"]),
        _counters.decode(row["published"]),
        row["strikes"],
        Suspect(**msgspec.json.decode(row["suspect"])) if row["suspect"] else None,
    )


_store: type[Store] = PostgresStore
