"""The reading side: a consumer without a group, on partitions and positions that the caller gives."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer  # type: ignore[import-untyped]
from aiokafka.errors import KafkaError, OffsetOutOfRangeError  # type: ignore[import-untyped]
from aiokafka.structs import TopicPartition as KafkaPartition  # type: ignore[import-untyped]

from ocppcore.kafka.cluster import Cluster, stop
from ocppcore.log import PositionLost, Reader, Record, TopicPartition

FETCH_BYTES_MAX = 8_388_608
PARTITION_FETCH_BYTES_MAX = 262_144
BROKER_WAIT_MS = 250
"""How long the broker holds a fetch that finds nothing: a new assignment waits for it."""

SILENCE_S = 10.0
"""After so long without a record the reader asks whether the cluster is still there."""

OUT_OF_RANGE_RETRIES_MAX = 40

Range = Callable[[Sequence[TopicPartition]], Awaitable[Mapping[TopicPartition, int]]]


class KafkaReader(Reader):
    """Buffers what the consumer fetched (at most two fetches' worth) and hands it out in turns over the partitions."""

    def __init__(self, cluster: Cluster, prefix: str, starts: Range, ends: Range) -> None:
        self._cluster = cluster
        self._prefix = prefix
        self._starts = starts
        self._ends = ends
        self._consumer: AIOKafkaConsumer | None = None
        self._asked: dict[TopicPartition, int] | None = None
        self._positions: dict[TopicPartition, int] = {}
        self._buffers: dict[KafkaPartition, deque[Any]] = {}
        self._heard_at = 0.0
        self._probe: asyncio.Task[Any] | None = None
        self._out_of_range = 0

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        self._asked = dict(positions)

    async def fetch(self, max_records: int, wait_s: float) -> list[Record]:
        loop = asyncio.get_running_loop()
        end = loop.time() + wait_s
        await self._apply_assignment()
        if not self._positions:
            await asyncio.sleep(wait_s)
            return []
        while True:
            await self._fill(0 if self._buffers else max(0.0, end - loop.time()))
            if self._buffers:
                return self._take(max_records)
            if loop.time() >= end:
                return []

    async def close(self) -> None:
        consumer, self._consumer = self._consumer, None
        if self._probe is not None:
            self._probe.cancel()
            await asyncio.gather(self._probe, return_exceptions=True)
        if consumer is not None:
            await stop(consumer)

    async def _apply_assignment(self) -> None:
        if self._asked is None:
            return
        if self._consumer is None and self._asked:
            self._consumer = await self._cluster.connect(self._make_consumer)
        # From here on without an await: the consumer must not fetch between assign and seek.
        asked, self._asked = self._asked, None
        self._buffers.clear()
        self._positions = asked
        self._heard_at = asyncio.get_running_loop().time()
        if self._consumer is None:
            return
        wanted = {KafkaPartition(self._prefix + tp.topic, tp.partition): at for tp, at in asked.items()}
        self._consumer.assign(list(wanted))
        for partition, position in wanted.items():
            self._consumer.seek(partition, position)

    async def _fill(self, wait_s: float) -> None:
        """Take over what the consumer has for partitions whose buffer is empty, waiting for the first record."""
        consumer = self._consumer
        assert consumer is not None, "a fetch of assigned partitions has a consumer"
        empty = [partition for partition in consumer.assignment() if partition not in self._buffers]
        if not empty:
            return
        self._check_silence()
        try:
            fetched = await consumer.getmany(*(empty if self._buffers else ()), timeout_ms=max(0, round(wait_s * 1000)))
        except OffsetOutOfRangeError as error:
            await self._judge_positions(error)
        except KafkaError as error:
            raise self._cluster.unavailable(error) from error
        else:
            # No await since the consumer moved its positions: a cancelled fetch loses nothing.
            self._buffers.update((partition, deque(records)) for partition, records in fetched.items() if records)
            if fetched:
                self._heard_at = asyncio.get_running_loop().time()
                self._out_of_range = 0

    def _take(self, max_records: int) -> list[Record]:
        """Records in equal shares over the buffered partitions; who had a turn goes to the end."""
        taken: list[Record] = []
        while self._buffers and len(taken) < max_records:
            share = max(1, (max_records - len(taken)) // len(self._buffers))
            for partition in tuple(self._buffers)[: max_records - len(taken)]:
                buffer = self._buffers.pop(partition)
                taken += [self._record(buffer.popleft()) for _ in range(min(share, len(buffer)))]
                if buffer:
                    self._buffers[partition] = buffer
        return taken

    def _record(self, record: Any) -> Record:
        topic = record.topic[len(self._prefix) :]
        self._positions[TopicPartition(topic, record.partition)] = record.offset + 1
        return Record(
            topic,
            record.partition,
            record.offset,
            (record.key or b"").decode(),
            record.value or b"",
            {name: value.decode() for name, value in record.headers},
            record.timestamp,
        )

    async def _judge_positions(self, error: OffsetOutOfRangeError) -> None:
        """Lost, or a broker that has just come up and does not know its end yet (then it is asked again)."""
        asked = {TopicPartition(tp.topic[len(self._prefix) :], tp.partition): at for tp, at in error.args[0].items()}
        starts, ends = await self._starts(tuple(asked)), await self._ends(tuple(asked))
        for tp, position in asked.items():
            if not starts[tp] <= position <= ends[tp]:
                raise PositionLost(
                    f"{tp.topic} partition {tp.partition} holds positions {starts[tp]} to {ends[tp]}, asked: {position}"
                )
        self._out_of_range += 1
        if self._out_of_range > OUT_OF_RANGE_RETRIES_MAX:
            raise self._cluster.unavailable(f"position refused although in range: {asked}")
        await asyncio.sleep(BROKER_WAIT_MS / 1000)

    def _check_silence(self) -> None:
        """The consumer hides an outage; so ask beside it, and raise once the cluster's patience has ended."""
        if self._probe is not None and self._probe.done():
            probe, self._probe = self._probe, None
            probe.result()
        now = asyncio.get_running_loop().time()
        if self._probe is None and now - self._heard_at > SILENCE_S:
            self._heard_at = now
            self._probe = asyncio.ensure_future(self._ends((next(iter(self._positions)),)))

    def _make_consumer(self) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            **self._cluster.options(),
            auto_offset_reset="none",
            enable_auto_commit=False,
            fetch_max_bytes=FETCH_BYTES_MAX,
            max_partition_fetch_bytes=PARTITION_FETCH_BYTES_MAX,
            fetch_max_wait_ms=BROKER_WAIT_MS,
        )
