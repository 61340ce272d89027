"""The appending side: many tasks' records in few requests, in order, bounded, idempotent.

One producer; per partition at most one batch is under way, and a broker gets the next batches of all its partitions
together once it has answered the ones before. So a calm log sends a record at once, and a busy one fills its batches
while it waits: no lingering. aiokafka's producer repeats a batch under the same sequence number until the broker
answers (a broker restart loses and reorders nothing); only a batch that it gives up, or that takes longer than the
patience allows, fails. What is under way then has an unknown outcome: all of it is reported as such, and the next
append begins with a new producer, because the old one's sequence numbers no longer fit.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer  # type: ignore[import-untyped]
from aiokafka.errors import KafkaError  # type: ignore[import-untyped]

from ocppcore.kafka.cluster import Cluster, stop
from ocppcore.log import LogUnavailable, TopicPartition

BATCH_BYTES = 262_144
CLOSE_S = 10.0

PACE_S = 0.003
PACED_BYTES_MAX = 65_536
"""A broker gets requests at least `PACE_S` apart until so much waits: a request costs far more than its records."""

logger = logging.getLogger(__name__)


class Entry(NamedTuple):
    """A record in Kafka's terms. `size` in bytes; `number` of a stream's row, else None."""

    partition: TopicPartition
    key: bytes
    value: bytes | None
    headers: list[tuple[str, bytes]]
    size: int
    number: int | None


class _Call:
    """One call of `append`: done when the last of its records has its position."""

    __slots__ = ("entries", "future", "missing", "positions", "size")

    def __init__(self, entries: Sequence[Entry], future: asyncio.Future[list[int]]) -> None:
        self.entries = entries
        self.future = future
        self.missing = len(entries)
        self.positions = [-1] * len(entries)
        self.size = sum(entry.size for entry in entries)

    def place(self, index: int, position: int) -> None:
        self.positions[index] = position
        self.missing -= 1
        if not self.missing and not self.future.done():
            self.future.set_result(self.positions)

    def fail(self, error: LogUnavailable) -> None:
        if not self.future.done():
            self.future.set_exception(LogUnavailable(*error.args))


class _Batch:
    """Records of one partition on their way in one request."""

    __slots__ = ("builder", "members", "node", "size", "started")

    def __init__(self, builder: Any, node: int | None, started: float) -> None:
        self.builder = builder
        self.node = node
        self.started = started
        self.members: list[tuple[_Call, int]] = []
        self.size = 0

    def take(self, call: _Call, index: int) -> bool:
        """Add the record, unless the batch is full."""
        entry = call.entries[index]
        if self.builder.append(timestamp=None, key=entry.key, value=entry.value, headers=entry.headers) is None:
            return False
        self.members.append((call, index))
        self.size += entry.size
        return True


class _Lane:
    """One partition: what waits, and the batch that is under way."""

    __slots__ = ("batch", "numbered", "partition", "waiting")

    def __init__(self, partition: TopicPartition) -> None:
        self.partition = partition
        self.waiting: deque[tuple[_Call, int]] = deque()
        self.batch: _Batch | None = None
        self.numbered: int | None = None
        """The highest number of a stream that was accepted: the next one may leave no gap behind it."""

    def fill(self, batch: _Batch) -> None:
        while self.waiting and batch.take(*self.waiting[0]):
            self.waiting.popleft()
        self.batch = batch


class Appender:
    """Appends entries; `in_flight_bytes` of them are accepted and not yet acknowledged."""

    def __init__(self, cluster: Cluster, in_flight_bytes_max: int) -> None:
        self._cluster = cluster
        self._in_flight_bytes_max = in_flight_bytes_max
        self.in_flight_bytes = 0
        self._queue: deque[_Call] = deque()
        self._lanes: dict[TopicPartition, _Lane] = {}
        self._ready: dict[_Lane, None] = {}
        self._under_way: dict[_Lane, None] = {}
        self._busy: dict[int | None, int] = {}
        self._under_way_bytes = 0
        self._sent_at: dict[int | None, float] = {}
        self._rest: asyncio.TimerHandle | None = None
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._producer: AIOKafkaProducer | None = None
        self._sender: asyncio.Task[None] | None = None
        self._disposals: set[asyncio.Task[None]] = set()
        self._closed = False

    async def append(self, entries: Sequence[Entry]) -> list[int]:
        """Positions of the entries once all are durable. Accepted before the first await, so calls keep their order.

        Raises LogUnavailable: each entry was appended or not; or, after such a failure, a number would leave a gap.
        """
        if not entries:
            return []
        if self._closed:
            raise self._cluster.unavailable("the log is closed")
        self._accept_numbers(entries)
        call = _Call(entries, asyncio.get_running_loop().create_future())
        self._queue.append(call)
        self._admit()
        return await call.future

    async def close(self) -> None:
        """Let what is under way end (at most `CLOSE_S`), then stop."""
        self._closed = True
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._idle.wait()
        except TimeoutError:
            logger.warning("closed with %d bytes not acknowledged", self.in_flight_bytes)
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.gather(self._sender, return_exceptions=True)
        self._fail(self._cluster.unavailable("the log was closed"))
        await asyncio.gather(*self._disposals)

    def resume(self, partition: TopicPartition, number: int) -> None:
        """The stream's next number may be this one: others may have written those before it."""
        self._lane(partition).numbered = number - 1

    def _accept_numbers(self, entries: Sequence[Entry]) -> None:
        """Keep a stream free of gaps: readers drop numbers below the last they saw, so what is skipped is lost."""
        for entry in entries:
            if entry.number is None:
                continue
            lane = self._lane(entry.partition)
            if lane.numbered is not None and entry.number > lane.numbered + 1:
                raise self._cluster.unavailable(
                    f"{entry.partition}: number {entry.number} would leave a gap after {lane.numbered}"
                )
            lane.numbered = max(entry.number, -1 if lane.numbered is None else lane.numbered)

    def _lane(self, partition: TopicPartition) -> _Lane:
        lane = self._lanes.get(partition)
        if lane is None:
            lane = self._lanes[partition] = _Lane(partition)
        return lane

    def _admit(self) -> None:
        """Move calls from the queue to their lanes, in order, while they fit (a huge one when nothing is under way)."""
        while self._queue:
            call = self._queue[0]
            if self.in_flight_bytes and self.in_flight_bytes + call.size > self._in_flight_bytes_max:
                return
            self._queue.popleft()
            if call.future.cancelled() and not any(entry.number is not None for entry in call.entries):
                continue
            self.in_flight_bytes += call.size
            for index, entry in enumerate(call.entries):
                lane = self._lane(entry.partition)
                lane.waiting.append((call, index))
                self._ready[lane] = None
            self._idle.clear()
            self._wake()

    def _wake(self) -> None:
        """Let the sender look, unless it rests until its timer and too little waits to wake it before."""
        if self._rest is None or self._is_full():
            self._work.set()
        if self._sender is None or self._sender.done():
            self._sender = asyncio.get_running_loop().create_task(self._send_for_ever(), name="kafka-appender")

    async def _send_for_ever(self) -> None:
        error = self._cluster.unavailable("the appender stopped")
        try:
            while True:
                await self._wait_for_work()
                await self._send_ready()
        except LogUnavailable as unavailable:
            error = unavailable
        except (KafkaError, OSError) as failure:
            error = self._cluster.unavailable(failure)
        finally:
            self._fail(error)

    async def _wait_for_work(self) -> None:
        """Wait until a partition may be sent. Raises LogUnavailable when a batch has taken too long."""
        while not self._work.is_set():
            try:
                async with asyncio.timeout_at(self._deadline()):
                    await self._work.wait()
            except TimeoutError:
                deadline = self._deadline()
                if deadline is not None and asyncio.get_running_loop().time() >= deadline:
                    raise self._cluster.unavailable(
                        f"no acknowledgement within {self._cluster.patience_s:g} s"
                    ) from None
        self._work.clear()

    def _is_full(self) -> bool:
        return self.in_flight_bytes - self._under_way_bytes >= PACED_BYTES_MAX

    def _rest_until(self, due: float) -> None:
        if self._rest is None:
            self._rest = asyncio.get_running_loop().call_at(due, self._rested)

    def _end_rest(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None

    def _rested(self) -> None:
        self._rest = None
        self._work.set()

    def _deadline(self) -> float | None:
        """The loop's time at which the oldest batch has taken too long."""
        oldest = next(iter(self._under_way), None)
        if oldest is None or oldest.batch is None:
            return None
        return oldest.batch.started + self._cluster.patience_s

    async def _send_ready(self) -> None:
        """Send a batch of every partition that waits, except to brokers that have not answered the last ones yet."""
        if self._producer is None:
            self._producer = await self._cluster.connect(self._make_producer)
        producer = self._producer
        loop = asyncio.get_running_loop()
        now = loop.time()
        full = self._is_full()
        idle_nodes: set[int | None] = set()
        for lane in tuple(self._ready):
            if self._producer is not producer:
                return  # what was ready has failed meanwhile
            node = producer.client.cluster.leader_for_partition(lane.partition)
            if lane.batch is not None or (self._busy.get(node) and node not in idle_nodes):
                continue
            if node not in idle_nodes and not full and now < (due := self._sent_at.get(node, 0.0) + PACE_S):
                self._rest_until(due)
                continue
            idle_nodes.add(node)
            self._sent_at[node] = now
            batch = _Batch(producer.create_batch(), node, now)
            lane.fill(batch)
            if not lane.waiting:
                del self._ready[lane]
            self._under_way[lane] = None
            self._busy[node] = self._busy.get(node, 0) + 1
            self._under_way_bytes += batch.size
            await self._send(producer, lane, batch)

    async def _send(self, producer: AIOKafkaProducer, lane: _Lane, batch: _Batch) -> None:
        topic, partition = lane.partition
        if partition not in await producer.partitions_for(topic):
            raise self._cluster.unavailable(f"{topic} has no partition {partition}")
        # Closed now: what joined a batch that the sender has taken already would break its sequence numbers.
        batch.builder.close()
        answer = await producer.send_batch(batch.builder, topic, partition=partition)
        answer.add_done_callback(lambda answer: self._answered(lane, batch, answer))

    def _answered(self, lane: _Lane, batch: _Batch, answer: asyncio.Future[Any]) -> None:
        error = asyncio.CancelledError() if answer.cancelled() else answer.exception()
        if lane.batch is not batch:
            return  # reported as failed before
        if error is not None:
            self._fail(self._cluster.unavailable(error))
            return
        base = answer.result().offset
        if base < 0:
            # A repeat of a batch that the broker has forgotten the position of: durable, but we cannot say where.
            self._fail(self._cluster.unavailable(f"{lane.partition}: appended at a position that is not known"))
            return
        self._end(lane, batch)
        for offset, (call, index) in enumerate(batch.members):
            call.place(index, base + offset)
        self._admit()
        if self._ready:
            self._wake()
        elif not self._under_way and not self._queue:
            self._idle.set()

    def _end(self, lane: _Lane, batch: _Batch) -> None:
        lane.batch = None
        del self._under_way[lane]
        self._busy[batch.node] -= 1
        self._under_way_bytes -= batch.size
        self.in_flight_bytes -= batch.size

    def _fail(self, error: LogUnavailable) -> None:
        """Everything accepted has an unknown outcome now; the next append begins with a new producer."""
        victims = [member for lane in self._lanes.values() for member in self._take_all(lane)]
        victims += [(call, index) for call in self._queue for index in range(len(call.entries))]
        for call, index in victims:
            entry = call.entries[index]
            lane = self._lanes[entry.partition] if entry.number is not None else None
            if lane is not None and lane.numbered is not None and entry.number is not None:
                lane.numbered = min(lane.numbered, entry.number - 1)
            call.fail(error)
        self._queue.clear()
        self._ready.clear()
        self._under_way.clear()
        self._busy.clear()
        self._under_way_bytes = 0
        self._end_rest()
        self.in_flight_bytes = 0
        self._idle.set()
        if self._producer is not None:
            disposal = asyncio.get_running_loop().create_task(_dispose(self._producer))
            self._disposals.add(disposal)
            disposal.add_done_callback(self._disposals.discard)
            self._producer = None

    def _take_all(self, lane: _Lane) -> list[tuple[_Call, int]]:
        taken = [*(lane.batch.members if lane.batch else ()), *lane.waiting]
        lane.batch = None
        lane.waiting.clear()
        return taken

    def _make_producer(self) -> AIOKafkaProducer:
        return AIOKafkaProducer(
            **self._cluster.options(), enable_idempotence=True, acks="all", max_batch_size=BATCH_BYTES, linger_ms=0
        )


async def _dispose(producer: AIOKafkaProducer) -> None:
    """Stop a producer without waiting for its batches: an idempotent one would repeat them for ever."""
    producer._message_accumulator.fail_all(KafkaError("given up"))
    await stop(producer)
