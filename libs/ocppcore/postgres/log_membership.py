"""Ownership of cells: an advisory lock of the member's session per (group, cell).

Every member holds one lock that says it is there and, for each cell it owns, the cell's lock; all see all of them in
`pg_locks`. The server lets go of both when the session ends, however it ends: nobody judges by a clock who is alive.
Each member takes free cells up to its fair share and gives back what is over it, so that cells move only as needed.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import structlog

from ocppcore.log import LogUnavailable
from ocppcore.postgres.log_connection import Dial, Pauses
from ocppcore.postgres.log_schema import Schema
from ocppcore.postgres.reach import UNREACHABLE, Connection, describe
from ocppcore.postgres.store_tables import lock_key

_log = structlog.get_logger(__name__)


def share(cells: int, members: list[int], me: int) -> int:
    """How many of the cells the member `me` should own: all the same number, the first ones one more."""
    rank = sorted(members).index(me)
    return cells // len(members) + (rank < cells % len(members))


class PostgresMembership:
    """See `ocppcore.log.Membership`."""

    def __init__(
        self,
        dial: Dial,
        schema: Schema,
        group: str,
        count: Callable[[], Awaitable[int]],
        poll_s: float,
    ) -> None:
        self._dial = dial
        self._schema = schema
        self._group = group
        self._count = count
        self._poll_s = poll_s
        self._here = _class(f"csms log {schema.name} members of {group}")
        self._owner = _class(f"csms log {schema.name} cells of {group}")
        self._channel = f"{schema.name}/{group}"[:63]
        self._cells: frozenset[int] = frozenset()
        self._told: frozenset[int] = frozenset()
        self._moved = asyncio.Event()
        self._look = asyncio.Event()
        self._connection: Connection = None
        self._failure: LogUnavailable | None = None
        self._task = asyncio.create_task(self._run(), name=f"membership of {group}")

    @property
    def cells(self) -> frozenset[int]:
        return self._cells

    async def changed(self) -> frozenset[int]:
        while self._cells == self._told:
            if self._failure is not None:
                raise self._failure
            self._moved.clear()
            await self._moved.wait()
        self._told = self._cells
        return self._told

    async def leave(self) -> None:
        self._own(frozenset())
        self._task.cancel()
        await asyncio.wait([self._task])

    def _own(self, cells: frozenset[int]) -> None:
        self._cells = cells
        self._moved.set()

    async def _run(self) -> None:
        pauses, connected_at = Pauses(), time.monotonic()
        try:
            while True:
                try:
                    await self._join()
                    pauses, self._failure = Pauses(), None
                    while True:
                        await self._round()
                        connected_at = time.monotonic()
                except UNREACHABLE as error:
                    self._lost()
                    _log.warning("lost the session that owns cells", group=self._group, error=describe(error))
                    if time.monotonic() - connected_at > self._dial.patience_s:
                        self._failure = LogUnavailable(f"no database for group {self._group}: {describe(error)}")
                        self._moved.set()
                await pauses.take()
        finally:
            await self._goodbye()

    async def _join(self) -> None:
        # A statement here takes milliseconds: one that hangs means that the session cannot be relied on.
        self._connection = connection = await self._dial.connect(timeout_s=5.0)
        connection.add_termination_listener(lambda ended: self._lost() if ended is self._connection else None)
        await connection.add_listener(self._channel, lambda *_: self._look.set())
        self._me: int = connection.get_server_pid()
        await connection.execute("SELECT pg_advisory_lock($1::integer, $2::integer)", self._here, self._me)
        self._cell_count = await self._count()
        await self._tell()

    def _lost(self) -> None:
        """The session is over, and with it every lock."""
        if self._connection is not None:
            self._connection.terminate()
        self._own(frozenset())
        self._look.set()

    async def _goodbye(self) -> None:
        """Free the cells and say so, before others notice by themselves."""
        connection, self._connection = self._connection, None
        if connection is not None and not connection.is_closed():
            with suppress(*UNREACHABLE):
                await connection.execute("SELECT pg_advisory_unlock_all()", timeout=1.0)
                await connection.execute("SELECT pg_notify($1, '')", self._channel, timeout=1.0)
                await connection.close(timeout=1.0)
        if connection is not None:
            connection.terminate()

    async def _round(self) -> None:
        """Bring what is owned nearer to the share; then wait for news, or until the next look."""
        self._look.clear()
        members, owners = await self._locks()
        mine = {cell for cell, owner in owners.items() if owner == self._me}
        wanted = share(self._cell_count, members, self._me) - len(mine)
        free = [cell for cell in range(self._cell_count) if cell not in owners]
        if wanted < 0:
            await self._give(mine, sorted(mine)[wanted:])
        elif wanted > 0 and free and await self._take(mine, free[:wanted]):
            return
        elif mine != self._cells:
            self._own(frozenset(mine))
        with suppress(TimeoutError):
            async with asyncio.timeout(self._poll_s):
                await self._look.wait()

    async def _locks(self) -> tuple[list[int], Mapping[int, int]]:
        """The backends of the members, and per owned cell its owner's."""
        members, owners = [], {}
        for class_, number, backend in await self._connection.fetch(
            self._schema.query("group_locks"), self._here, self._owner
        ):
            if class_ == self._here & 0xFFFFFFFF:
                members.append(backend)
            else:
                owners[number] = backend
        return members, owners

    async def _give(self, mine: set[int], cells: list[int]) -> None:
        self._own(frozenset(mine) - frozenset(cells))
        await asyncio.sleep(0)  # let who works on them hear of it first
        await self._connection.execute(self._schema.query("give_cells"), self._owner, cells)
        await self._tell()

    async def _take(self, mine: set[int], cells: list[int]) -> bool:
        """Whether anything was still to be had."""
        rows: list[Any] = await self._connection.fetch(self._schema.query("take_cells"), self._owner, cells)
        taken = frozenset(cell for (cell,) in rows)
        self._own(frozenset(mine) | taken)
        return bool(taken)

    async def _tell(self) -> None:
        await self._connection.execute("SELECT pg_notify($1, '')", self._channel)


def _class(purpose: str) -> int:
    """A number for the first half of an advisory lock (int4)."""
    number = lock_key(purpose) & 0xFFFFFFFF
    return number - (1 << 32) if number >= 1 << 31 else number
