"""The in-memory twin of the log holds the contract of the port: the simulation stands on it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from ocppcore.log import Log, Membership, StreamRecord
from ocppcore.memory import MemoryCluster, MemoryLog, MemoryMembership
from tests.integration.log_contract import LogContract

RECORD_BYTES_MAX = 2 * 1024 * 1024


class MemoryHarness:
    """Handles on one cluster: what a cluster holds outlives them."""

    record_bytes_max = RECORD_BYTES_MAX
    in_flight_bytes_max = RECORD_BYTES_MAX
    poll_s = 0.0

    def __init__(self) -> None:
        self._cluster = MemoryCluster("one")
        self._elsewhere = MemoryCluster("another")
        self._logs: list[MemoryLog] = []
        self._inside = 0

    async def open(self) -> MemoryLog:
        return self._open(self._cluster)

    async def open_elsewhere(self) -> MemoryLog:
        return self._open(self._elsewhere)

    def _open(self, cluster: MemoryCluster) -> MemoryLog:
        log = MemoryLog(cluster)
        self._logs.append(log)
        return log

    async def reopen(self) -> MemoryLog:
        await self.close()
        return await self.open()

    async def kill(self, log: Log) -> None:
        await log.close()

    async def cut(self, member: Membership) -> None:
        """In the twin a member cut off never hears of it, and has no connection of its own that it could renew."""
        assert isinstance(member, MemoryMembership)

    async def write_stream_rows(self, records: Sequence[StreamRecord]) -> None:
        """Nothing: `publish` itself carries the rows."""

    def stalled(self) -> AbstractAsyncContextManager[None]:
        return self._stalled()

    @asynccontextmanager
    async def _stalled(self) -> AsyncIterator[None]:
        go_on = asyncio.Event()

        async def interrupt(point: str) -> None:
            if point == "append":
                self._inside += 1
                await go_on.wait()
                self._inside -= 1

        self._cluster.interrupt = interrupt
        yield
        self._cluster.interrupt = None
        go_on.set()

    def in_flight_bytes(self, log: Log) -> int:
        """The contract sends equal records, an eighth of the limit each."""
        return self._inside * (self.in_flight_bytes_max // 8)

    async def close(self) -> None:
        for log in self._logs:
            await log.close()


@pytest.fixture
async def harness() -> AsyncIterator[MemoryHarness]:
    harness = MemoryHarness()
    yield harness
    await harness.close()


class TestMemoryLog(LogContract):
    """The contract."""
