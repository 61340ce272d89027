"""What leaves a store by itself: expired aggregates, rows of streams over their retention, deleted rows of copies.

Done a little at a time, by whoever runs the service, on the connection that commits: at most `limit` rows of a kind.
"""

from collections.abc import Mapping
from typing import Final

from ocppcore.postgres.reach import Connection
from ocppcore.postgres.store_schema import Schema
from ocppcore.topics import DELETED_KEPT_DAYS

DAY_MS: Final = 86_400_000
EVERY_MS: Final = 60_000
"""Between two looks at streams and copies, unless the last one left something."""


class Upkeep:
    """`retention_ms`: per stream topic; one that is not named is kept for ever."""

    def __init__(self, schema: Schema, sql: Mapping[str, str], retention_ms: Mapping[str, int]) -> None:
        self._schema = schema
        self._sql = sql
        self._retention_ms = retention_ms
        self._due = 0

    async def expire(self, connection: Connection, now: int, limit: int) -> int:
        """Remove what is over at `now` (ms); returns how many rows."""
        gone = int(await connection.fetchval(self._sql["expire"], now, limit))
        if now >= self._due:
            trimmed = [await self._trim(connection, topic, now, limit) for topic in self._schema.streams]
            purged = [await self._purge(connection, topic, now, limit) for topic in self._schema.copies]
            await connection.execute(self._sql["note_followed"], str(now))
            self._due = now if max([0, *trimmed, *purged]) == limit else now + EVERY_MS
            gone += sum(trimmed) + sum(purged)
        return gone

    async def _trim(self, connection: Connection, topic: str, now: int, limit: int) -> int:
        if topic not in self._retention_ms:
            return 0
        sql = self._sql["trim"].format(stream=self._schema.stream(topic))
        return int(await connection.fetchval(sql, topic, now - self._retention_ms[topic], limit))

    async def _purge(self, connection: Connection, topic: str, now: int, limit: int) -> int:
        sql = self._sql["purge_copy"].format(copy=self._schema.copy(topic))
        return int(await connection.fetchval(sql, now - DELETED_KEPT_DAYS * DAY_MS, limit))
