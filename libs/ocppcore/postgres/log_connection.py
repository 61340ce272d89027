"""How the log connects: one way to open a connection, and waits between attempts."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import asyncpg  # type: ignore[import-untyped]

from ocppcore.log import LogUnavailable
from ocppcore.postgres.reach import KEEPALIVES, NEVER_REACHED, UNREACHABLE, Connection, describe

T = TypeVar("T")

CONNECT_TIMEOUT_S = 10.0
PAUSE_MAX_S = 1.0

_SETTINGS = {
    # Whatever the server's default is: an append that returned is on the disk.
    "synchronous_commit": "on",
    # Every statement goes by an index and is planned once: a plan made for an empty table, or a new one each time, is
    # worse than the one that is right for all sizes.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "jit": "off",
    **KEEPALIVES,
}


class Dial:
    """Opens connections of one log."""

    def __init__(self, dsn: str, name: str, patience_s: float) -> None:
        self._dsn = dsn
        self._settings = {**_SETTINGS, "application_name": name}
        self.patience_s = patience_s

    async def connect(self, *, timeout_s: float | None = None) -> Connection:
        """A new connection; one attempt. Its statements take at most `timeout_s` (default: the log's patience)."""
        return await asyncpg.connect(
            self._dsn,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=timeout_s or self.patience_s,
            server_settings=self._settings,
        )

    async def pool(self, size: int) -> Any:
        """For reading; connections are made as needed and never reset (reads leave nothing behind)."""
        return await asyncpg.create_pool(
            self._dsn,
            min_size=0,
            max_size=size,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=self.patience_s,
            max_inactive_connection_lifetime=0,
            max_queries=1_000_000_000,
            reset=_keep,
            server_settings=self._settings,
        )

    async def persist(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Repeat what may be repeated until it works; LogUnavailable when that takes longer than the patience.

        Or at once where waiting does not help.
        """
        end = time.monotonic() + self.patience_s
        pauses = Pauses()
        while True:
            try:
                return await attempt()
            except NEVER_REACHED as error:
                raise LogUnavailable(f"the database cannot be used: {describe(error)}") from error
            except UNREACHABLE as error:
                if time.monotonic() > end:
                    raise LogUnavailable(f"no database for {self.patience_s:.0f} s: {describe(error)}") from error
            await pauses.take()


class Pauses:
    """Waits between attempts: from 20 ms, doubling up to a second, with jitter."""

    def __init__(self) -> None:
        self._next_s = 0.02

    async def take(self) -> None:
        await asyncio.sleep(self._next_s * (0.5 + random.random()))
        self._next_s = min(PAUSE_MAX_S, 2 * self._next_s)


async def _keep(_: Connection) -> None:
    """Before a connection goes back to the pool: nothing to do."""
