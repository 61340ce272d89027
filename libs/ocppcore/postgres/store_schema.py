"""Creating and emptying the tables of a store. Safe from several processes at once: an advisory lock orders them."""

from collections.abc import Sequence
from typing import Any

from ocppcore.errors import OperatorError
from ocppcore.postgres import store_tables as names
from ocppcore.postgres.reach import Connection
from ocppcore.store import Table
from ocppcore.topics import DELETED_KEPT_DAYS

COPY_STALE_MS = (DELETED_KEPT_DAYS - 1) * 86_400_000
_REBUILDING = "rebuilding"
WHOLE_TABLE_S = 3600.0
"""Emptying, sorting or indexing whole tables may take as long as this, and so may waiting for another who does."""


class Schema:
    """What is declared in a service's schema, and the statements that bring the database there."""

    def __init__(self, schema: str) -> None:
        self.name = schema
        self.quoted = '"' + schema + '"'
        self._tables: Sequence[Table] = ()
        self._streams: Sequence[str] = ()
        self._copies: Sequence[str] = ()
        self._lock = names.lock_key(f"csms store {schema} schema")

    def declare(self, tables: Sequence[Table], streams: Sequence[str], copies: Sequence[str]) -> None:
        """Remember the declarations; ValueError if they contradict each other."""
        names.check_names(tables, streams, copies)
        self._tables, self._streams, self._copies = tuple(tables), tuple(streams), tuple(copies)

    @property
    def rebuilt(self) -> Sequence[Table]:
        """The tables that a rebuild writes."""
        return [table for table in self._tables if not table.volatile]

    @property
    def streams(self) -> Sequence[str]:
        return self._streams

    @property
    def copies(self) -> Sequence[str]:
        return self._copies

    def stream(self, topic: str) -> str:
        return f"{self.quoted}.{names.name(names.stream_table(topic))}"

    def copy(self, topic: str) -> str:
        return f"{self.quoted}.{names.name(names.copy_table(topic))}"

    async def create(self, connection: Connection) -> Sequence[str]:
        """Create what is missing; returns which projections must be built anew."""
        async with connection.transaction():
            await self._wait_for_turn(connection)
            if not await connection.fetchval("SELECT true FROM pg_namespace WHERE nspname = $1", self.name):
                await connection.execute(f"CREATE SCHEMA {self.quoted}")
            await self._create_core(connection)
            for stream in self._streams:
                await connection.execute(names.stream_ddl(self.quoted, stream), timeout=WHOLE_TABLE_S)
            for topic in self._copies:
                await self._create_copy(connection, topic)
            await self._forget_stale_copies(connection)
            stored = await self._shapes(connection)
            changed = [table.name for table in self._tables if not await self._settle(connection, table, stored)]
            await self._index(connection, set(changed))
            return sorted({*changed, *await self._unfinished(connection)})

    async def _wait_for_turn(self, connection: Connection) -> None:
        """One process at a time changes tables."""
        await connection.execute(f"SET LOCAL lock_timeout = '{WHOLE_TABLE_S:.0f}s'")
        await connection.execute("SELECT pg_advisory_xact_lock($1)", self._lock, timeout=WHOLE_TABLE_S)

    async def _create_core(self, connection: Connection) -> None:
        await connection.execute(names.core_ddl(self.quoted))
        layout = await connection.fetchval(
            f"INSERT INTO {self.quoted}.meta AS m VALUES ('layout', $1)"
            " ON CONFLICT (key) DO UPDATE SET value = m.value RETURNING value",
            names.LAYOUT,
        )
        if layout != names.LAYOUT:
            raise OperatorError(
                f"schema {self.name} has layout {layout}, this release works with {names.LAYOUT}: install the release "
                "that wrote it, or restore a backup that this one can read"
            )

    async def _create_copy(self, connection: Connection, topic: str) -> None:
        """A copy whose rows have no numbers yet is read once more from the start; until then it serves as it is."""
        numbered = await connection.fetchval(
            "SELECT true FROM pg_attribute WHERE attrelid = to_regclass($1) AND attname = 'number'", self.copy(topic)
        )
        await connection.execute(names.copy_ddl(self.quoted, topic))
        if not numbered:
            await connection.execute(f"DELETE FROM {self.quoted}.copies WHERE topic = $1", topic)

    async def _forget_stale_copies(self, connection: Connection) -> None:
        """What was deleted while nobody followed may be gone from the log: such copies are read from the start."""
        followed = await connection.fetchval(f"SELECT value FROM {self.quoted}.meta WHERE key = 'followed'")
        now = await connection.fetchval("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
        if followed is None or now - int(followed) < COPY_STALE_MS:
            return
        for topic in self._copies:
            await connection.execute(f"DELETE FROM {self.copy(topic)}")
            await connection.execute(f"DELETE FROM {self.quoted}.copies WHERE topic = $1", topic)

    async def _shapes(self, connection: Connection) -> dict[str, str]:
        return dict(await connection.fetch(f"SELECT name, shape FROM {self.quoted}.declared"))

    async def _settle(self, connection: Connection, table: Table, stored: dict[str, str]) -> bool:
        """Make the table as declared, unless that would lose rows that a rebuild has to bring back: then False."""
        if stored.get(table.name) == names.shape(table):
            return True
        place = f"{self.quoted}.{names.name(table.name)}"
        if (
            table.name in stored
            and not table.volatile
            and await connection.fetchval(f"SELECT true FROM {place} LIMIT 1")
        ):
            return False
        await self._make(connection, table)
        return True

    async def _make(self, connection: Connection, table: Table) -> None:
        """Anew and empty."""
        await self._drop(connection, table.name)
        await connection.execute(names.table_ddl(self.quoted, table))
        await connection.execute(
            f"INSERT INTO {self.quoted}.declared VALUES ($1, $2, $3)", table.name, names.shape(table), table.volatile
        )

    async def _drop(self, connection: Connection, table: str) -> None:
        await connection.execute(f"DROP TABLE IF EXISTS {self.quoted}.{names.name(table)}")
        await connection.execute(f"DELETE FROM {self.quoted}.declared WHERE name = $1", table)

    async def _index(self, connection: Connection, but: set[str]) -> None:
        """Indexes as declared; those that are no longer declared only cost."""
        found: list[Any] = await connection.fetch(
            "SELECT t.relname, i.relname FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid"
            " JOIN pg_class t ON t.oid = x.indrelid JOIN pg_namespace n ON n.oid = t.relnamespace"
            " WHERE n.nspname = $1 AND NOT x.indisprimary",
            self.name,
        )
        for table in self._tables:
            if table.name in but:
                continue
            wanted = {names.index_name(table, index): index for index in table.indexes}
            have = {index for of, index in found if of == table.name}
            for index in have - wanted.keys():
                await connection.execute(f"DROP INDEX {self.quoted}.{names.name(index)}")
            for index in wanted.keys() - have:
                await connection.execute(names.index_ddl(self.quoted, table, wanted[index]), timeout=WHOLE_TABLE_S)

    # Rebuild

    async def clear_rebuilt(self, connection: Connection) -> None:
        """Empty what a rebuild writes, as declared now, and note that one has begun."""
        async with connection.transaction():
            await self._wait_for_turn(connection)
            for name, volatile in await connection.fetch(f"SELECT name, volatile FROM {self.quoted}.declared"):
                if not volatile:
                    await self._drop(connection, name)
            for table in self.rebuilt:
                await self._make(connection, table)
            await self._index(connection, set())
            await self._clear_state(connection)
            await connection.execute(
                f"INSERT INTO {self.quoted}.meta VALUES ($1, '') ON CONFLICT DO NOTHING", _REBUILDING
            )

    async def _clear_state(self, connection: Connection) -> None:
        """What stays is little: taking it out and truncating is quicker than deleting the rest, and leaves no holes."""
        state, keep = f"{self.quoted}.state", "state_kept_through_rebuild"
        await connection.execute(
            f"CREATE TEMPORARY TABLE {keep} ON COMMIT DROP AS SELECT * FROM {state} WHERE NOT rebuilt",
            timeout=WHOLE_TABLE_S,
        )
        await connection.execute(f"TRUNCATE {state}, {self.quoted}.timers")
        await connection.execute(f"INSERT INTO {state} SELECT * FROM {keep}", timeout=WHOLE_TABLE_S)

    async def finish_rebuild(self, connection: Connection) -> None:
        await connection.execute(f"DELETE FROM {self.quoted}.meta WHERE key = $1", _REBUILDING)

    async def _unfinished(self, connection: Connection) -> Sequence[str]:
        if await connection.fetchval(f"SELECT true FROM {self.quoted}.meta WHERE key = $1", _REBUILDING):
            return [table.name for table in self.rebuilt] or ["state"]
        return ()
