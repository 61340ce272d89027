"""The log on a real Kafka broker: the port's contract, and what only Kafka has."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from uuid import uuid4

import pytest
from csms.kafka_broker import KafkaBroker
from ocppcore.kafka import KafkaLog
from ocppcore.kafka.membership import KafkaMembership
from ocppcore.log import Log, Membership, StreamRecord

from tests.integration.log_contract import LogContract

pytest_plugins = ["tests.support.kafka_broker"]

IN_FLIGHT_BYTES_MAX = 4_194_304


class KafkaHarness:
    """Logs in a namespace of their own. Foreign brokers take no shorter sessions than six seconds."""

    record_bytes_max = 990_000
    in_flight_bytes_max = IN_FLIGHT_BYTES_MAX
    poll_s = 0.5

    def __init__(self, broker: KafkaBroker) -> None:
        self._broker = broker
        self._namespace = f"test-{uuid4().hex[:12]}"
        self._logs: list[KafkaLog] = []

    async def open(self) -> KafkaLog:
        return self._open(self._namespace)

    async def open_elsewhere(self) -> KafkaLog:
        return self._open(f"{self._namespace}-elsewhere")

    async def reopen(self) -> KafkaLog:
        for log in self._logs:
            await self.kill(log)
        if self._broker.killable:
            self._broker.kill()
            await self._broker.restart()
        return await self.open()

    async def kill(self, log: Log) -> None:
        assert isinstance(log, KafkaLog)
        for member in log._members:
            if member._consumer is not None and member._consumer._coordinator is not None:
                member._consumer._coordinator._maybe_leave_group = _no_goodbye
        await log.close()

    async def cut(self, member: Membership) -> None:
        assert isinstance(member, KafkaMembership)
        assert member._consumer is not None
        for connection in member._consumer._client._conns.values():
            connection._writer.transport.abort()

    async def write_stream_rows(self, records: Sequence[StreamRecord]) -> None:
        """Nothing: `publish` itself carries a stream's rows to Kafka."""

    def stalled(self) -> AbstractAsyncContextManager[None]:
        return self._stalled()

    @asynccontextmanager
    async def _stalled(self) -> AsyncIterator[None]:
        self._broker.pause()
        try:
            yield
        finally:
            self._broker.resume()

    def in_flight_bytes(self, log: Log) -> int:
        assert isinstance(log, KafkaLog)
        return log.in_flight_bytes

    async def close(self) -> None:
        for log in self._logs:
            await log.close()

    def _open(self, namespace: str) -> KafkaLog:
        log = KafkaLog(
            self._broker.bootstrap,
            namespace,
            session_timeout_s=2.0 if self._broker.killable else 6.0,
            in_flight_bytes_max=IN_FLIGHT_BYTES_MAX,
        )
        self._logs.append(log)
        return log


async def _no_goodbye() -> None:
    """What a process that was killed says to its group."""


@pytest.fixture
async def harness(kafka_broker: KafkaBroker) -> AsyncIterator[KafkaHarness]:
    harness = KafkaHarness(kafka_broker)
    yield harness
    await harness.close()


class TestKafkaLog(LogContract):
    """Every test of the contract."""
