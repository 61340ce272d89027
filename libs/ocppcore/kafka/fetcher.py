"""Fetches the assigned partitions in the background, one request per broker under way, into bounded buffers.

A broker is asked at most every `PACE_S` while little comes, because a request costs far more than the records in it,
and not at all while the buffers are full.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from aiokafka.client import AIOKafkaClient  # type: ignore[import-untyped]
from aiokafka.errors import KafkaError, for_code  # type: ignore[import-untyped]
from aiokafka.record.memory_records import MemoryRecords  # type: ignore[import-untyped]
from aiokafka.structs import TopicPartition as KafkaPartition  # type: ignore[import-untyped]

from ocppcore.kafka.cluster import Cluster
from ocppcore.kafka.fetch_session import SESSION_ERRORS, FetchSession
from ocppcore.log import LogUnavailable

FETCH_BYTES_MAX = 4_194_304
PARTITION_FETCH_BYTES_MAX = 262_144
BUFFER_BYTES_MAX = 8_388_608
WAIT_MS = 250
"""How long a broker holds a fetch that finds nothing."""

PACE_S = 0.003
PACED_BYTES_MAX = 65_536
BACKOFF_S = 0.1

OFFSET_OUT_OF_RANGE = 1
MOVED = frozenset({3, 5, 6, 9, 56, 74, 75, 76, 78})
"""Unknown topic or partition, leader away or another, storage failing, offset not available yet: ask again."""

logger = logging.getLogger(__name__)


class Chunk:
    """What one fetch brought of one partition: decoded record by record, when it is asked for."""

    __slots__ = ("_batches", "size")

    def __init__(self, batches: list[Any], size: int) -> None:
        self._batches = batches
        self.size = size

    def records(self, position: int) -> Iterator[Any]:
        """The records from `position` on (a batch may begin before it). Raises KafkaError when one is corrupt."""
        for batch in self._batches:
            if batch.is_control_batch:
                continue
            if not batch.validate_crc():
                raise KafkaError(f"a batch at position {batch.base_offset} is corrupt")
            for record in batch:
                if record.offset >= position:
                    yield record


class Fetcher:
    """Runs until `close`. `failure` is set when it gives up; `out_of_range` holds positions that a broker refused."""

    def __init__(self, cluster: Cluster, client: AIOKafkaClient, positions: Mapping[KafkaPartition, int]) -> None:
        self._cluster = cluster
        self._client = client
        self._positions = dict(positions)
        self._buffered = 0
        self._space = asyncio.Event()
        self._space.set()
        self._regroup = asyncio.Event()
        self._brokers: dict[int, asyncio.Task[None]] = {}
        self._leaderless_since: float | None = None
        self.chunks: dict[KafkaPartition, deque[Chunk]] = {}
        self.arrived = asyncio.Event()
        self.out_of_range: dict[KafkaPartition, int] = {}
        self.failure: LogUnavailable | None = None
        self._task = asyncio.get_running_loop().create_task(self._watch_brokers(), name="kafka-fetcher")
        self._task.add_done_callback(self._ended)

    async def close(self) -> None:
        tasks = [self._task, *self._brokers.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def consumed(self, chunk: Chunk) -> None:
        """Its bytes are free for the next fetch."""
        self._buffered -= chunk.size
        if self._buffered < BUFFER_BYTES_MAX:
            self._space.set()

    def retry(self, partition: KafkaPartition) -> None:
        """Fetch again from a position that a broker refused."""
        self.out_of_range.pop(partition, None)
        self._regroup.set()

    async def _watch_brokers(self) -> None:
        """Keep one task per broker that leads one of our partitions."""
        self._client.set_topics({partition.topic for partition in self._positions})
        while self.failure is None:
            self._regroup.clear()
            leaders = {self._leader(partition) for partition in self._positions.keys() - self.out_of_range.keys()}
            for node in leaders - {None}:
                assert node is not None
                if node not in self._brokers:
                    task = asyncio.get_running_loop().create_task(self._read(node), name=f"kafka-fetch {node}")
                    self._brokers[node] = task
                    task.add_done_callback(partial(self._stopped, node))
            if None in leaders:
                self._count_leaderless()
                self._client.force_metadata_update()
                await asyncio.sleep(BACKOFF_S)
            else:
                self._leaderless_since = None
                await self._regroup.wait()

    def _leader(self, partition: KafkaPartition) -> int | None:
        leader: int | None = self._client.cluster.leader_for_partition(partition)
        return None if leader == -1 else leader

    def _count_leaderless(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._leaderless_since is None:
            self._leaderless_since = now
        if now - self._leaderless_since > self._cluster.patience_s:
            missing = [partition for partition in self._positions if self._leader(partition) is None]
            self._fail(self._cluster.unavailable(f"no broker leads {missing[0].topic}, {missing[0].partition}"))

    def _stopped(self, node: int, task: asyncio.Task[None]) -> None:
        del self._brokers[node]
        self._regroup.set()
        self._ended(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error if isinstance(error, LogUnavailable) else self._cluster.unavailable(repr(error)))

    def _fail(self, error: LogUnavailable) -> None:
        self.failure = self.failure or error
        self.arrived.set()
        self._regroup.set()

    async def _read(self, node: int) -> None:
        """Fetch from one broker while it leads any of our partitions. Raises LogUnavailable when patience ends."""
        loop = asyncio.get_running_loop()
        session = FetchSession()
        heard_at = loop.time()
        while wanted := self._led_by(node):
            await self._space.wait()
            asked_at = loop.time()
            request = session.request(
                wanted, wait_ms=WAIT_MS, bytes_max=FETCH_BYTES_MAX, partition_bytes_max=PARTITION_FETCH_BYTES_MAX
            )
            try:
                response = await self._client.send(node, request)
            except KafkaError as error:
                session.forget()
                if loop.time() - heard_at > self._cluster.patience_s:
                    raise self._cluster.unavailable(error) from error
                await asyncio.sleep(BACKOFF_S)
                continue
            if response.error_code:
                session.forget()
                if response.error_code not in SESSION_ERRORS:
                    raise self._cluster.unavailable(for_code(response.error_code)())
                continue
            heard_at = loop.time()
            session.answered(response.session_id)
            size, moved = self._take(response, wanted)
            if moved:
                self._client.force_metadata_update()
                await asyncio.sleep(BACKOFF_S)
            elif size < PACED_BYTES_MAX:
                await asyncio.sleep(max(0.0, asked_at + PACE_S - loop.time()))

    def _led_by(self, node: int) -> dict[KafkaPartition, int]:
        leader = self._client.cluster.leader_for_partition
        return {
            partition: position
            for partition, position in self._positions.items()
            if leader(partition) == node and partition not in self.out_of_range
        }

    def _take(self, response: Any, wanted: Mapping[KafkaPartition, int]) -> tuple[int, bool]:
        """Buffer what came. Returns how many bytes, and whether a partition has to be looked for elsewhere."""
        size, moved = 0, False
        for topic, partitions in response.topics:
            for number, error_code, *_, data in partitions:
                partition = KafkaPartition(topic, number)
                if error_code in MOVED:
                    moved = True
                elif error_code == OFFSET_OUT_OF_RANGE:
                    self.out_of_range[partition] = wanted[partition]
                    self.arrived.set()
                elif error_code:
                    self._fail(self._cluster.unavailable(for_code(error_code)(f"{topic}, {number}")))
                elif data:
                    size += self._buffer(partition, data)
        return size, moved

    def _buffer(self, partition: KafkaPartition, data: bytes) -> int:
        records = MemoryRecords(data)
        batches = []
        while records.has_next():
            batches.append(records.next_batch())
        if not batches:
            self._fail(self._cluster.unavailable(f"{partition.topic}, {partition.partition}: an incomplete batch"))
            return 0
        self._positions[partition] = batches[-1].next_offset
        self.chunks.setdefault(partition, deque()).append(Chunk(batches, len(data)))
        self._buffered += len(data)
        if self._buffered >= BUFFER_BYTES_MAX:
            self._space.clear()
        self.arrived.set()
        return len(data)
