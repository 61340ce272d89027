"""`python -m csms.bench.round_trip BOOTSTRAP`: records of 1 kB through Kafka and back in one process, bare.

The limit of whatever is built on aiokafka: produced with acks=all and idempotence, consumed at once. Prints JSON.
"""

import asyncio
import sys
import time
from typing import Any

import orjson
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition  # type: ignore[import-untyped]
from aiokafka.admin import AIOKafkaAdminClient, NewTopic  # type: ignore[import-untyped]
from aiokafka.errors import KafkaError  # type: ignore[import-untyped]

VALUE_BYTES = 1000
IN_FLIGHT = 200
WARMUP_S, WINDOW_S = 2.0, 8.0
RATE = 1000
TOPIC = "csms-bench-round-trip"
PARTITIONS = 4
LATE_S = 5.0


class RoundTrips:
    """Sends records that carry their number; the consumer finds out how long each took."""

    def __init__(self, producer: Any, consumer: Any) -> None:
        self._producer = producer
        self._consumer = consumer
        self._due: dict[int, float] = {}
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._number = 0
        self.took: list[float] = []
        self.count = 0

    async def consume(self) -> None:
        while True:
            found = await self._consumer.getmany(timeout_ms=1000)
            now = time.perf_counter()
            for records in found.values():
                for record in records:
                    number = int(record.value[:16])
                    self.took.append(now - self._due.pop(number))
                    self.count += 1
                    if future := self._waiting.pop(number, None):
                        future.set_result(None)

    async def send(self, due: float) -> asyncio.Future[None]:
        """Produce one record; the future is done when it came back."""
        number = self._number = self._number + 1
        self._due[number] = due
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        value = (b"%016d" % number).ljust(VALUE_BYTES, b"x")
        await self._producer.send(TOPIC, value, partition=number % PARTITIONS)
        return future

    async def one_after_another(self, until: float) -> None:
        while time.perf_counter() < until:
            await (await self.send(time.perf_counter()))

    async def on_schedule(self, seconds: float) -> None:
        begin, sent = time.perf_counter(), 0
        while sent < seconds * RATE:
            while sent < (time.perf_counter() - begin) * RATE:
                await self.send(begin + sent / RATE)
                sent += 1
            await asyncio.sleep(0.001)
        if waiting := list(self._waiting.values()):
            await asyncio.wait(waiting, timeout=LATE_S)


async def _measure(bootstrap: str) -> dict[str, object]:
    await _make_topic(bootstrap)
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, linger_ms=0)
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, fetch_max_wait_ms=500, auto_offset_reset="latest")
    await producer.start()
    await consumer.start()
    consumer.assign([TopicPartition(TOPIC, partition) for partition in range(PARTITIONS)])
    await consumer.seek_to_end()
    trips = RoundTrips(producer, consumer)
    consuming = asyncio.create_task(trips.consume())
    try:
        until = time.perf_counter() + WARMUP_S + WINDOW_S
        loops = [asyncio.create_task(trips.one_after_another(until)) for _ in range(IN_FLIGHT)]
        await asyncio.sleep(WARMUP_S)
        window, count = time.monotonic(), trips.count
        await asyncio.sleep(WINDOW_S)
        count = trips.count - count
        window_end = time.monotonic()
        await asyncio.wait(loops, timeout=LATE_S)
        trips.took.clear()
        await trips.on_schedule(WINDOW_S)
        took = sorted(trips.took)
    finally:
        consuming.cancel()
        await consumer.stop()
        await producer.stop()
    return {
        "window": (window, window_end),
        "records": count,
        "p50_ms": took[len(took) // 2] * 1000,
        "p99_ms": took[len(took) * 99 // 100] * 1000,
    }


async def _make_topic(bootstrap: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        try:
            await admin.delete_topics([TOPIC])
            await asyncio.sleep(1)
        except KafkaError:
            pass
        await admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)])
    finally:
        await admin.close()


if __name__ == "__main__":
    sys.stdout.buffer.write(orjson.dumps(uvloop.run(_measure(sys.argv[1]))))
