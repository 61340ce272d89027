"""The reading side: partitions from positions that the caller gives, in turns over the partitions."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

from aiokafka.client import AIOKafkaClient  # type: ignore[import-untyped]
from aiokafka.errors import KafkaError  # type: ignore[import-untyped]
from aiokafka.structs import TopicPartition as KafkaPartition  # type: ignore[import-untyped]

from ocppcore.kafka.cluster import Cluster, stop
from ocppcore.kafka.fetcher import Chunk, Fetcher
from ocppcore.log import LogUnavailable, PositionLost, Reader, Record, TopicPartition

OUT_OF_RANGE_RETRIES_MAX = 40
RETRY_S = 0.25

Range = Callable[[Sequence[TopicPartition]], Awaitable[Mapping[TopicPartition, int]]]


class KafkaReader(Reader):
    """Decodes what its fetcher buffers; a new assignment drops the buffers and begins with a new fetcher."""

    def __init__(self, cluster: Cluster, prefix: str, starts: Range, ends: Range) -> None:
        self._cluster = cluster
        self._prefix = prefix
        self._starts = starts
        self._ends = ends
        self._asked: dict[TopicPartition, int] | None = None
        self._begun: dict[KafkaPartition, int] = {}
        self._client: _Client | None = None
        self._fetcher: Fetcher | None = None
        self._decoding: dict[KafkaPartition, tuple[Chunk, Iterator[Any]]] = {}
        self._out_of_range = 0

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        self._asked = dict(positions)

    async def fetch(self, max_records: int, wait_s: float) -> list[Record]:
        loop = asyncio.get_running_loop()
        end = loop.time() + wait_s
        await self._apply_assignment()
        fetcher = self._fetcher
        if fetcher is None:
            await asyncio.sleep(wait_s)
            return []
        while True:
            fetcher.arrived.clear()
            if records := self._take(fetcher, max_records):
                return records
            if fetcher.failure is not None:
                raise LogUnavailable(*fetcher.failure.args)
            if fetcher.out_of_range:
                await self._judge(fetcher)
            try:
                async with asyncio.timeout_at(end):
                    await fetcher.arrived.wait()
            except TimeoutError:
                return []

    async def close(self) -> None:
        await self._drop_fetcher()
        client, self._client = self._client, None
        if client is not None:
            await stop(client)

    async def _apply_assignment(self) -> None:
        if self._asked is None:
            return
        if self._client is None and self._asked:
            self._client = await self._cluster.connect(lambda: _Client(self._cluster))
        await self._drop_fetcher()
        asked, self._asked = self._asked, None
        if self._client is not None and asked:
            self._begun = {KafkaPartition(self._prefix + tp.topic, tp.partition): at for tp, at in asked.items()}
            self._fetcher = Fetcher(self._cluster, self._client.kafka, self._begun)

    async def _drop_fetcher(self) -> None:
        fetcher, self._fetcher = self._fetcher, None
        self._decoding.clear()
        self._out_of_range = 0
        if fetcher is not None:
            await fetcher.close()

    def _take(self, fetcher: Fetcher, max_records: int) -> list[Record]:
        """Records in equal shares over the partitions that have some; who had a turn goes to the end.

        Without an await, so that a cancelled fetch loses nothing.
        """
        taken: list[Record] = []
        while fetcher.chunks and len(taken) < max_records:
            share = max(1, (max_records - len(taken)) // len(fetcher.chunks))
            for partition in tuple(fetcher.chunks):
                if len(taken) >= max_records:
                    break
                self._take_from(fetcher, partition, min(share, max_records - len(taken)), taken)
        return taken

    def _take_from(self, fetcher: Fetcher, partition: KafkaPartition, count: int, taken: list[Record]) -> None:
        chunks = fetcher.chunks.pop(partition)
        topic, number = partition.topic[len(self._prefix) :], partition.partition
        wanted = len(taken) + count
        while chunks and len(taken) < wanted:
            chunk, records = self._decoder(partition, chunks[0])
            try:
                for record in records:
                    taken.append(_record(topic, number, record))
                    if len(taken) >= wanted:
                        break
                else:
                    chunks.popleft()
                    del self._decoding[partition]
                    fetcher.consumed(chunk)
            except KafkaError as error:
                raise self._cluster.unavailable(f"{topic}, {number}: {error}") from error
        if chunks:
            fetcher.chunks[partition] = chunks

    def _decoder(self, partition: KafkaPartition, chunk: Chunk) -> tuple[Chunk, Iterator[Any]]:
        decoding = self._decoding.get(partition)
        if decoding is None:
            decoding = self._decoding[partition] = (chunk, chunk.records(self._begun[partition]))
        return decoding

    async def _judge(self, fetcher: Fetcher) -> None:
        """Lost, or refused by a broker that has just come up and does not know its end yet: then it is asked again."""
        refused = {
            TopicPartition(tp.topic[len(self._prefix) :], tp.partition): at for tp, at in fetcher.out_of_range.items()
        }
        starts, ends = await self._starts(tuple(refused)), await self._ends(tuple(refused))
        for tp, position in refused.items():
            if not starts[tp] <= position <= ends[tp]:
                held = f"positions {starts[tp]} to {ends[tp]}"
                raise PositionLost(f"{tp.topic} partition {tp.partition} holds {held}, asked for {position}")
        self._out_of_range += 1
        if self._out_of_range > OUT_OF_RANGE_RETRIES_MAX:
            raise self._cluster.unavailable(f"positions refused although in range: {refused}")
        await asyncio.sleep(RETRY_S)
        for partition in tuple(fetcher.out_of_range):
            fetcher.retry(partition)


def _record(topic: str, partition: int, record: Any) -> Record:
    return Record(
        topic,
        partition,
        record.offset,
        (record.key or b"").decode(),
        record.value or b"",
        {name: value.decode() for name, value in record.headers},
        record.timestamp,
    )


class _Client:
    """aiokafka's bare client, started and stopped like its others."""

    def __init__(self, cluster: Cluster) -> None:
        self.kafka = AIOKafkaClient(**cluster.options())

    async def start(self) -> None:
        await self.kafka.bootstrap()

    async def stop(self) -> None:
        # A broker holds a fetch for a while, and with TLS a goodbye is not answered before it: that took 30 s.
        for connection in tuple(self.kafka._conns.values()):
            if connection._writer is not None:
                connection._writer.transport.abort()
        await self.kafka.close()
