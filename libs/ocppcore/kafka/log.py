"""`KafkaLog`: the log port on a Kafka cluster."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from uuid import uuid4

from aiokafka import AIOKafkaConsumer  # type: ignore[import-untyped]
from aiokafka.errors import KafkaError  # type: ignore[import-untyped]
from aiokafka.structs import TopicPartition as KafkaPartition  # type: ignore[import-untyped]

from ocppcore.kafka.acls import Acl
from ocppcore.kafka.appender import Appender, Entry
from ocppcore.kafka.cluster import Cluster, stop
from ocppcore.kafka.membership import KafkaMembership
from ocppcore.kafka.quiet import quieten
from ocppcore.kafka.reader import KafkaReader
from ocppcore.kafka.rights import check_rights
from ocppcore.kafka.security import PLAINTEXT, Security
from ocppcore.kafka.topics import IDENTITY, TopicPlan, declare_topics
from ocppcore.log import Headers, Log, NewRecord, RecordTooLarge, StreamRecord, TopicPartition

NUMBER = "number"
RECORD_OVERHEAD_BYTES = 64


class KafkaLog(Log):
    """One per process. Connects at the first use; an empty value is Kafka's tombstone on compacted topics.

    `security`: how it shows itself to the brokers and knows them.
    `patience_s`: how long an outage of the cluster is waited out before LogUnavailable. `session_timeout_s`: after so
    long without a sign of life a member's cells go to others (the broker's `group.min.session.timeout.ms` is usually
    6 s). `replication`: copies of each new partition; None: three, or as many as there are brokers.
    """

    def __init__(
        self,
        bootstrap: str,
        namespace: str = "",
        *,
        security: Security = PLAINTEXT,
        patience_s: float = 90.0,
        session_timeout_s: float = 6.0,
        in_flight_bytes_max: int = 16_777_216,
        record_bytes_max: int = 1_000_000,
        replication: int | None = None,
    ) -> None:
        quieten()
        self._cluster = Cluster(bootstrap, patience_s, security)
        self._prefix = f"{namespace}." if namespace else ""
        self._session_timeout_s = session_timeout_s
        self._record_bytes_max = record_bytes_max
        self._replication = replication
        self._appender = Appender(self._cluster, in_flight_bytes_max)
        self._readers: list[KafkaReader] = []
        self._members: list[KafkaMembership] = []
        self._asking: AIOKafkaConsumer | None = None
        self._asking_lock = asyncio.Lock()

    @property
    def in_flight_bytes(self) -> int:
        """Bytes of records accepted and not yet acknowledged by the cluster."""
        return self._appender.in_flight_bytes

    async def declare(
        self,
        partitions: Mapping[str, int],
        *,
        compacted: frozenset[str] = frozenset(),
        retention_days: Mapping[str, int] | None = None,
    ) -> None:
        """See the port. `retention_days` holds for topics that are made now; one not named in it is kept for ever."""
        plan = TopicPlan(
            partitions={self._prefix + topic: count for topic, count in partitions.items()},
            compacted=frozenset(self._prefix + topic for topic in compacted),
            retention_days={self._prefix + topic: days for topic, days in (retention_days or {}).items()},
            replication=self._replication,
            record_bytes_max=self._record_bytes_max,
        )
        await declare_topics(self._cluster, plan)
        # A new partition's broker may not know yet that it leads it: this asks until it does.
        await self.ends([TopicPartition(topic, partition) for topic, n in partitions.items() for partition in range(n)])

    async def check_rights(self, wanted: Iterable[Acl]) -> None:
        """Raises RightsMissing where this user lacks one of these, of topics that are declared."""
        await check_rights(self._cluster, wanted)

    async def identity(self) -> str:
        """The first record of a topic of its own; each under another key, so that compaction keeps the first."""
        await self.declare({IDENTITY: 1}, compacted=frozenset({IDENTITY}))
        partition = TopicPartition(IDENTITY, 0)
        if not (await self.ends([partition]))[partition]:
            made = str(uuid4())
            await self.append([NewRecord(IDENTITY, 0, made, made.encode(), {})])
        reader = self.reader()
        try:
            reader.assign(await self.starts([partition]))
            while not (records := await reader.fetch(1, self._cluster.patience_s)):
                raise self._cluster.unavailable("the log's identity cannot be read")
            return records[0].value.decode()
        finally:
            await reader.close()

    async def append(self, records: Sequence[NewRecord]) -> Sequence[int]:
        return await self._appender.append([self._entry(record, record.headers, None) for record in records])

    async def publish(self, records: Sequence[StreamRecord]) -> None:
        await self._appender.append([self._entry(record, record.headers, record.number) for record in records])

    async def ends(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        return await self._offsets(partitions, "end_offsets")

    async def starts(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        return await self._offsets(partitions, "beginning_offsets")

    def reader(self) -> KafkaReader:
        reader = KafkaReader(self._cluster, self._prefix, self.starts, self.ends)
        self._readers.append(reader)
        return reader

    def membership(self, group: str, topic: str) -> KafkaMembership:
        member = KafkaMembership(self._cluster, self._prefix + group, self._prefix + topic, self._session_timeout_s)
        self._members.append(member)
        return member

    async def close(self) -> None:
        await asyncio.gather(*(member.leave() for member in self._members))
        await asyncio.gather(*(reader.close() for reader in self._readers))
        await self._appender.close()
        asking, self._asking = self._asking, None
        if asking is not None:
            await stop(asking)

    def resume(self, stream: TopicPartition, number: int) -> None:
        self._appender.resume(TopicPartition(self._prefix + stream.topic, stream.partition), number)

    def _entry(self, record: NewRecord | StreamRecord, headers: Headers, number: int | None) -> Entry:
        key = record.key.encode()
        encoded = [(name, text.encode()) for name, text in headers.items()]
        if number is not None:
            encoded.append((NUMBER, str(number).encode()))
        size = RECORD_OVERHEAD_BYTES + len(key) + len(record.value)
        size += sum(map(len, headers)) + sum(map(len, headers.values()))
        if size > self._record_bytes_max:
            raise RecordTooLarge(f"{record.topic}: {size} bytes, the limit is {self._record_bytes_max}")
        partition = TopicPartition(self._prefix + record.topic, record.partition)
        return Entry(partition, key, record.value or None, encoded, size, number)

    async def _offsets(self, partitions: Sequence[TopicPartition], question: str) -> dict[TopicPartition, int]:
        if not partitions:
            return {}
        consumer = await self._asker()
        asked = {KafkaPartition(self._prefix + tp.topic, tp.partition): tp for tp in partitions}
        try:
            async with asyncio.timeout(self._cluster.patience_s):
                found = await getattr(consumer, question)(list(asked))
        except (KafkaError, TimeoutError) as error:
            raise self._cluster.unavailable(error) from error
        return {tp: found[each] for each, tp in asked.items()}

    async def _asker(self) -> AIOKafkaConsumer:
        """A consumer that reads nothing: it asks for first and last positions."""
        async with self._asking_lock:
            if self._asking is None:
                options = self._cluster.options() | {"request_timeout_ms": round(self._cluster.patience_s * 1000)}
                self._asking = await self._cluster.connect(lambda: AIOKafkaConsumer(**options))
            return self._asking
