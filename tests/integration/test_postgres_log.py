"""The log on a real PostgreSQL: the port's contract, and what only PostgreSQL has."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from uuid import uuid4

import asyncpg  # type: ignore[import-untyped]
import msgspec
import pytest

from ocppcore.log import Log, Membership, StreamRecord
from ocppcore.postgres.log import PostgresLog
from ocppcore.postgres.log_membership import PostgresMembership
from ocppcore.postgres.store_tables import stream_ddl
from tests.integration.log_contract import (
    FRAMES,
    STREAM,
    LogContract,
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

    async def open(self) -> PostgresLog:
        return await self._open(self.namespace)

    async def open_elsewhere(self) -> PostgresLog:
        return await self._open(f"{self.namespace}x")

    async def _open(self, namespace: str, **options: int) -> PostgresLog:
        streams = {STREAM: (f"{namespace}_transactions", "events")}
        await self.execute(f"CREATE SCHEMA IF NOT EXISTS {namespace}_transactions")
        await self.execute(stream_ddl(f"{namespace}_transactions", STREAM))
        log = await PostgresLog.open(
            self.server.dsn,
            namespace,
            streams=streams,
            retention_ms={FRAMES: 60_000},
            in_flight_bytes_max=self.in_flight_bytes_max,
            **options,
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
        return self._stalled()

    @asynccontextmanager
    async def _stalled(self) -> AsyncIterator[None]:
        connection = await asyncpg.connect(self.server.dsn)
        async with connection.transaction():
            await connection.execute(f"SELECT 1 FROM {self.namespace}_log.heads FOR UPDATE")
            yield
        await connection.close()

    def in_flight_bytes(self, log: Log) -> int:
        assert isinstance(log, PostgresLog)
        return log.in_flight_bytes

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
