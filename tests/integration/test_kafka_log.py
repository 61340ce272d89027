"""The log on a real Kafka broker: the port's contract, and what only Kafka has."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.structs import TopicPartition as KafkaPartition

from csms.kafka_broker import KafkaBroker
from ocppcore.kafka import KafkaLog
from ocppcore.kafka.membership import KafkaMembership
from ocppcore.log import (
    Log,
    LogError,
    LogUnavailable,
    Membership,
    NewRecord,
    PositionLost,
    Record,
    StreamRecord,
    TopicPartition,
)
from tests.integration.log_contract import FRAMES, PARTITIONS, REQUESTS, STATE, STREAM, LogContract

pytest_plugins = ["tests.support.kafka_broker"]

IN_FLIGHT_BYTES_MAX = 4_194_304
PATIENCE_S = 60.0
IMPATIENCE_S = 4.0


class KafkaHarness:
    """Logs in a namespace of their own. Foreign brokers take no shorter sessions than six seconds."""

    record_bytes_max = 990_000
    in_flight_bytes_max = IN_FLIGHT_BYTES_MAX
    poll_s = 0.5

    def __init__(self, broker: KafkaBroker) -> None:
        self.bootstrap = broker.bootstrap
        self._broker = broker
        self._namespace = f"test-{uuid4().hex[:12]}"
        self._logs: list[KafkaLog] = []

    async def open(self) -> KafkaLog:
        return self._open(self._namespace)

    async def open_impatient(self) -> KafkaLog:
        return self._open(self._namespace, IMPATIENCE_S)

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

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            yield admin
        finally:
            await admin.close()

    async def close(self) -> None:
        for log in self._logs:
            await log.close()

    def _open(self, namespace: str, patience_s: float = PATIENCE_S) -> KafkaLog:
        log = KafkaLog(
            self._broker.bootstrap,
            namespace,
            patience_s=patience_s,
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


async def test_a_killed_broker_is_waited_for_without_loss_or_reordering(killable_broker: KafkaBroker) -> None:
    harness = KafkaHarness(killable_broker)
    log, elsewhere = await harness.open(), await harness.open()
    await log.declare({FRAMES: PARTITIONS})
    acknowledged: dict[str, list[int]] = {f"station-{k}": [] for k in range(3 * PARTITIONS)}
    seen: list[Record] = []
    flowing, back = asyncio.Event(), asyncio.Event()

    async def station(key: str, partition: int) -> None:
        """Appends until some appends were begun and acknowledged after the restart."""
        n = after = 0
        while after < 3:
            after += back.is_set()
            records = [NewRecord(FRAMES, partition, key, str(n + i).encode(), {}) for i in range(2)]
            acknowledged[key] += await log.append(records)
            n += 2

    async def read_all(stations: list[asyncio.Task[None]]) -> None:
        reader = elsewhere.reader()
        reader.assign({TopicPartition(FRAMES, partition): 0 for partition in range(PARTITIONS)})
        while not all(task.done() for task in stations) or len(seen) < sum(map(len, acknowledged.values())):
            seen.extend(await reader.fetch(500, 0.2))
            if seen and all(acknowledged.values()):
                flowing.set()

    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
        stations = [tasks.create_task(station(key, k % PARTITIONS)) for k, key in enumerate(acknowledged)]
        tasks.create_task(read_all(stations))
        await flowing.wait()
        killable_broker.kill()
        await killable_broker.restart()
        back.set()
    for key, positions in acknowledged.items():
        mine = [record for record in seen if record.key == key]
        assert [int(record.value) for record in mine] == list(range(len(positions)))
        assert [record.position for record in mine] == positions
    await harness.close()


async def test_an_outage_longer_than_the_patience_is_reported(killable_broker: KafkaBroker) -> None:
    harness = KafkaHarness(killable_broker)
    patient, log = await harness.open(), await harness.open_impatient()
    await patient.declare({FRAMES: PARTITIONS})
    first = TopicPartition(FRAMES, 0)
    await log.append([NewRecord(FRAMES, 0, "a", b"0", {})])
    reader = log.reader()
    reader.assign({first: 0})
    assert [record.value for record in await reader.fetch(1, PATIENCE_S)] == [b"0"]
    killable_broker.kill()
    try:
        reports = await asyncio.gather(
            log.append([NewRecord(FRAMES, 0, "a", b"unknown", {})]),
            reader.fetch(1, PATIENCE_S),
            log.ends([first]),
            log.declare({REQUESTS: PARTITIONS}),
            log.membership("transactions", FRAMES).changed(),
            return_exceptions=True,
        )
        for report in reports:
            assert isinstance(report, LogUnavailable)
            assert killable_broker.bootstrap in str(report)
        assert log.in_flight_bytes == 0
    finally:
        await killable_broker.restart()
    await patient.declare({FRAMES: PARTITIONS})
    (position,) = await log.append([NewRecord(FRAMES, 0, "a", b"1", {})])
    reader.assign({first: position})
    assert [record.value for record in await reader.fetch(1, PATIENCE_S)] == [b"1"]
    await harness.close()


async def test_a_publish_that_failed_leaves_no_gap_in_its_stream(killable_broker: KafkaBroker) -> None:
    harness = KafkaHarness(killable_broker)
    patient, log = await harness.open(), await harness.open_impatient()
    await patient.declare({STREAM: PARTITIONS})

    def rows(*numbers: int) -> list[StreamRecord]:
        return [StreamRecord(STREAM, 0, number, "a", b"event", {}) for number in numbers]

    await log.publish(rows(0, 1))
    killable_broker.kill()
    try:
        behind = asyncio.create_task(log.publish(rows(4)))
        with pytest.raises(LogUnavailable, match="leave a gap"):
            await behind
        failing = [asyncio.create_task(log.publish(rows(n))) for n in (2, 3)]
        for publish in failing:
            with pytest.raises(LogUnavailable):
                await publish
    finally:
        await killable_broker.restart()
    await patient.declare({STREAM: PARTITIONS})
    with pytest.raises(LogUnavailable, match="number 3 would leave a gap after 1"):
        await log.publish(rows(3))
    await log.publish(rows(2, 3, 4))
    reader = log.reader()
    reader.assign({TopicPartition(STREAM, 0): 0})
    numbers: list[int] = []
    async with asyncio.timeout(PATIENCE_S):
        while 4 not in numbers:
            numbers += [int(record.headers["number"]) for record in await reader.fetch(10, 1.0)]
    assert list(dict.fromkeys(numbers)) == [0, 1, 2, 3, 4]
    await harness.close()


async def test_a_broken_sequence_is_reported_and_a_new_producer_goes_on(harness: KafkaHarness) -> None:
    log = await harness.open()
    await log.declare({FRAMES: PARTITIONS})
    await log.append([NewRecord(FRAMES, 0, "a", b"0", {})])
    producer = log._appender._producer
    partition = KafkaPartition(log._prefix + FRAMES, 0)
    producer._txn_manager.increment_sequence_number(partition, 7)
    waiting = [asyncio.create_task(log.append([NewRecord(FRAMES, 0, "a", b"unknown", {})])) for _ in range(3)]
    with pytest.raises(LogUnavailable, match="OutOfOrderSequence"):
        await waiting[0]
    await asyncio.gather(*waiting, return_exceptions=True)
    assert list(await log.append([NewRecord(FRAMES, 0, "a", b"1", {})])) == [1]


async def test_topics_are_made_as_the_log_needs_them(harness: KafkaHarness) -> None:
    log = await harness.open()
    await log.declare(
        {FRAMES: PARTITIONS, STREAM: PARTITIONS, STATE: 1}, compacted=frozenset({STATE}), retention_days={FRAMES: 14}
    )
    async with harness.admin() as admin:
        settings = {topic: await _settings(admin, log._prefix + topic) for topic in (FRAMES, STREAM, STATE)}
    assert {topic: each["cleanup.policy"] for topic, each in settings.items()} == {
        FRAMES: "delete",
        STREAM: "delete",
        STATE: "compact",
    }
    assert {topic: int(each["retention.ms"]) for topic, each in settings.items()} == {
        FRAMES: 14 * 86_400_000,
        STREAM: -1,
        STATE: -1,
    }
    for each in settings.values():
        assert each["message.timestamp.type"] == "LogAppendTime"
        assert int(each["max.message.bytes"]) > 1_000_000


async def test_an_existing_topic_for_smaller_records_is_refused(harness: KafkaHarness) -> None:
    log = await harness.open()
    async with harness.admin() as admin:
        topic = NewTopic(log._prefix + FRAMES, PARTITIONS, 1, topic_configs={"max.message.bytes": "1000"})
        await admin.create_topics([topic])
    with pytest.raises(LogError, match=r"max\.message\.bytes is 1000"):
        await log.declare({FRAMES: PARTITIONS})


async def test_a_position_that_retention_has_deleted_is_lost(harness: KafkaHarness) -> None:
    log = await harness.open()
    await log.declare({FRAMES: PARTITIONS})
    await log.append([NewRecord(FRAMES, 0, "a", str(n).encode(), {}) for n in range(5)])
    async with harness.admin() as admin:
        await admin.delete_records({KafkaPartition(log._prefix + FRAMES, 0): RecordsToDelete(before_offset=3)})
    first = TopicPartition(FRAMES, 0)
    assert await log.starts([first]) == {first: 3}
    reader = log.reader()
    reader.assign({first: 2})
    for _ in range(2):
        with pytest.raises(PositionLost, match="holds positions 3 to 5, asked for 2"):
            await reader.fetch(10, PATIENCE_S)
    reader.assign({first: 3})
    assert [record.value for record in await reader.fetch(10, PATIENCE_S)] == [b"3", b"4"]


async def test_an_empty_value_is_a_tombstone(harness: KafkaHarness) -> None:
    log = await harness.open()
    await log.declare({STATE: 1}, compacted=frozenset({STATE}))
    await log.append([NewRecord(STATE, 0, "token", b"{}", {}), NewRecord(STATE, 0, "token", b"", {})])
    consumer = AIOKafkaConsumer(bootstrap_servers=harness.bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([KafkaPartition(log._prefix + STATE, 0)])
        assert [(await consumer.getone()).value for _ in range(2)] == [b"{}", None]
    finally:
        await consumer.stop()


async def test_cells_are_dealt_in_ranges_and_kept_while_they_are_dealt_anew(harness: KafkaHarness) -> None:
    """The same ranges for every topic of the same count: so one topic's cells stand for all inputs of a service."""
    first, second = await harness.open(), await harness.open()
    await first.declare({FRAMES: 5})
    one = first.membership("transactions", FRAMES)
    async with asyncio.timeout(PATIENCE_S):
        history = [await one.changed()]
        two = second.membership("transactions", FRAMES)
        history.append(await one.changed())
        dealt = await two.changed()
    assert history[0] == frozenset(range(5))
    assert sorted(map(sorted, (history[1], dealt))) == [[0, 1, 2], [3, 4]]


async def _settings(admin: AIOKafkaAdminClient, topic: str) -> dict[str, str]:
    (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    ((_, _, _, _, entries),) = answer.resources
    return {name: value for name, value, *_ in entries}
