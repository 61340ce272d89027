"""The store's connections: one for what must not overlap (commits), a few for reading. Retries where that is safe.

A read is repeated until it succeeds or the patience ends. A write is sent once: if its connection breaks, nobody knows
whether it was done, and the caller hears StoreUnavailable. Opening a connection may always be repeated.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import asyncpg  # type: ignore[import-untyped]
from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    retry_if_not_exception_type,
    stop_after_delay,
    wait_random_exponential,
)

from ocppcore.postgres.reach import KEEPALIVES, NEVER_REACHED, UNREACHABLE, Connection, describe
from ocppcore.postgres.store_tables import lock_key
from ocppcore.store import StoreUnavailable

T = TypeVar("T")

ROLLED_BACK = (asyncpg.TransactionRollbackError, asyncpg.LockNotAvailableError)
"""The server says that it undid the statement (a deadlock, a lock held too long): it may be sent again."""

_SETTINGS = {
    # Every statement looks rows up by key, from arrays: the plan that is right for ten rows is right for all sizes. A
    # plan made while a table was small, or a new one for each size, is not (a scan of what has grown since).
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
    **KEEPALIVES,
    "lock_timeout": "20s",
}
STATEMENTS_PREPARED_MAX = 256
CLOSE_S = 5.0


class Connections:
    """Opens on first use, opens again after a loss. Safe for many tasks of one event loop."""

    def __init__(self, dsn: str, schema: str, *, readers: int, patience_s: float, statement_s: float) -> None:
        self._options: dict[str, Any] = {
            "dsn": dsn,
            "timeout": 10.0,
            "command_timeout": statement_s,
            "statement_cache_size": STATEMENTS_PREPARED_MAX,
            "max_cached_statement_lifetime": 0,
            "max_cacheable_statement_size": 0,
            "server_settings": {**_SETTINGS, "application_name": f"csms {schema}"},
        }
        self._patience_s = patience_s
        self._owner_lock = lock_key(f"csms store {schema} owner")
        self._slots = asyncio.Semaphore(readers)
        self._idle: list[Connection] = []
        self._writer: Connection = None
        self._writing = asyncio.Lock()
        self._holds: list[str] = []
        self._closed = False

    @property
    def owner_lock(self) -> int:
        """The advisory lock of the service: shared by those who opened cells, or a rebuild's alone."""
        return self._owner_lock

    # Reading

    async def read(self, query: Callable[[Connection], Awaitable[T]]) -> T:
        """Run a query that changes nothing, or that may be repeated. Raises StoreUnavailable once patience ends."""
        try:
            return await self._read_once(query)
        except (*UNREACHABLE, *ROLLED_BACK) as error:
            self._check_open(error)
        return await self._persist(lambda: self._read_once(query))

    async def _read_once(self, query: Callable[[Connection], Awaitable[T]]) -> T:
        async with self._slots:
            connection = await self._take_reader()
            try:
                return await query(connection)
            except UNREACHABLE:
                connection.terminate()
                raise
            finally:
                self._give_back(connection)

    @asynccontextmanager
    async def reader(self) -> AsyncIterator[Connection]:
        """A connection for a longer reading, which cannot be taken up again. Losing it raises StoreUnavailable."""
        async with self._slots:
            connection = await self._persist(self._take_reader)
            try:
                yield connection
            except UNREACHABLE as error:
                connection.terminate()
                self._check_open(error)
                raise StoreUnavailable(f"the database went away during a reading: {describe(error)}") from error
            finally:
                self._give_back(connection)

    async def _take_reader(self) -> Connection:
        """asyncpg's own pool would cost a small query as much again as the query itself."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return await self._connect()

    def _give_back(self, connection: Connection) -> None:
        if self._closed:
            connection.terminate()
        elif not connection.is_closed():
            self._idle.append(connection)

    async def _connect(self) -> Connection:
        self._check_open()
        return await asyncpg.connect(**self._options)

    # Writing

    @asynccontextmanager
    async def writer(self) -> AsyncIterator[Connection]:
        """The connection for writes, for one task at a time. Losing it inside raises StoreUnavailable."""
        async with self._writing:
            if self._writer is None or self._writer.is_closed():
                self._writer = await self._persist(self._open_writer)
            try:
                yield self._writer
            except UNREACHABLE as error:
                if isinstance(error, asyncpg.InterfaceError) and not self._writer.is_closed():
                    raise  # not a lost connection: we used it wrongly
                self._writer.terminate()
                self._check_open(error)
                raise StoreUnavailable(f"the database went away during a write: {describe(error)}") from error

    async def hold(self, mode: str) -> None:
        """Hold the service's lock `shared` or `alone` until closed. Raises StoreUnavailable if others prevent it."""
        async with self.writer() as connection:
            if mode not in self._holds:
                await self._lock(connection, mode)
                self._holds.append(mode)

    @property
    def alone(self) -> bool:
        """Whether a rebuild has taken the service for itself."""
        return "alone" in self._holds

    @property
    def writer_pid(self) -> int:
        """The server's process that serves our writes; 0 if none does."""
        open_ = self._writer is not None and not self._writer.is_closed()
        return int(self._writer.get_server_pid()) if open_ else 0

    async def _open_writer(self) -> Connection:
        connection = await self._connect()
        try:
            for mode in self._holds:
                await self._lock(connection, mode)
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def _lock(self, connection: Connection, mode: str) -> None:
        suffix = "_shared" if mode == "shared" else ""
        if not await connection.fetchval(f"SELECT pg_try_advisory_lock{suffix}($1)", self._owner_lock):
            other = "a rebuild of this service is running" if suffix else "a process of this service is running"
            raise StoreUnavailable(other)

    async def _persist(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Repeat until it works, unless waiting does not help; waits between grow to 2 s."""
        retrying = AsyncRetrying(
            retry=retry_if_exception_type((*UNREACHABLE, *ROLLED_BACK)) & retry_if_not_exception_type(NEVER_REACHED),
            stop=stop_after_delay(self._patience_s),
            wait=wait_random_exponential(multiplier=0.05, max=2.0),
            reraise=True,
        )
        try:
            async for again in retrying:
                with again:
                    return await attempt()
        except NEVER_REACHED as error:
            raise StoreUnavailable(f"the database cannot be used: {describe(error)}") from error
        except (*UNREACHABLE, *ROLLED_BACK) as error:
            self._check_open(error)
            raise StoreUnavailable(f"no database for {self._patience_s:.0f} s: {describe(error)}") from error
        raise AssertionError("tenacity ends with a result or an error")

    # Closing

    def _check_open(self, error: BaseException | None = None) -> None:
        if self._closed:
            raise StoreUnavailable("the store is closed") from error

    async def close(self) -> None:
        """Give everything back; idempotent. A write that is running may end first, readings are cut off."""
        self._closed = True
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S), self._writing:
                pass
        if self._writer is not None:
            await _end(self._writer)
        while self._idle:
            await _end(self._idle.pop())


async def _end(connection: Connection) -> None:
    try:
        await asyncio.wait_for(connection.close(), CLOSE_S)
    except (*UNREACHABLE, asyncpg.PostgresError):
        connection.terminate()
