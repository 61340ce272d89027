"""Making and checking the topics of a log on Kafka."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from aiokafka.admin import AIOKafkaAdminClient, NewTopic  # type: ignore[import-untyped]
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType  # type: ignore[import-untyped]
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code  # type: ignore[import-untyped]

from ocppcore.kafka.cluster import RETRY_S, Cluster
from ocppcore.log import LogError, PartitionsChanged

IDENTITY = "log.identity"
"""The topic of the log's identity: the only one that is not in the table of topics."""

REPLICAS = 3
DAY_MS = 86_400_000
BATCH_OVERHEAD_BYTES = 1024
MESSAGE_BYTES_MAX = "max.message.bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicPlan:
    """The topics a log wants. `replication` None: three copies, or as many as there are brokers."""

    partitions: Mapping[str, int]
    compacted: frozenset[str]
    retention_days: Mapping[str, int]
    replication: int | None
    record_bytes_max: int

    @property
    def message_bytes(self) -> int:
        return self.record_bytes_max + BATCH_OVERHEAD_BYTES

    def config(self, topic: str, copies: int) -> dict[str, str]:
        """Settings of a new topic.

        Times are the broker's, so that the log has one clock and retention follows it. An append needs all copies
        but one: durable on more than one machine, and still possible while one is down.
        """
        days = self.retention_days.get(topic)
        return {
            "message.timestamp.type": "LogAppendTime",
            "cleanup.policy": "compact" if topic in self.compacted else "delete",
            "retention.ms": "-1" if days is None else str(days * DAY_MS),
            "min.insync.replicas": str(max(1, copies - 1)),
            MESSAGE_BYTES_MAX: str(self.message_bytes),
        }


async def declare_topics(cluster: Cluster, plan: TopicPlan) -> None:
    """Make the topics that are missing and wait until all have their leaders. What exists keeps its settings.

    Raises PartitionsChanged; LogError when an existing topic takes only smaller records than this log promises.
    """

    async def attempt() -> None:
        admin = AIOKafkaAdminClient(**cluster.options())
        try:
            await admin.start()
            await _declare(admin, plan)
        finally:
            await admin.close()

    await cluster.patiently(attempt)


async def _declare(admin: AIOKafkaAdminClient, plan: TopicPlan) -> None:
    existing = await _partition_counts(admin, plan.partitions)
    _check_counts(existing, plan.partitions)
    await _check_sizes(admin, sorted(existing), plan.message_bytes)
    missing = sorted(plan.partitions.keys() - existing.keys())
    if missing:
        await _create(admin, missing, plan)
    while plan.partitions.keys() != existing.keys():
        existing = await _partition_counts(admin, plan.partitions)
        _check_counts(existing, plan.partitions)
        await asyncio.sleep(RETRY_S)


async def _partition_counts(admin: AIOKafkaAdminClient, topics: Iterable[str]) -> dict[str, int]:
    """Of those of the topics that exist and whose partitions all have a leader.

    Asks for all topics of the cluster: asking for one by name may create it with the broker's defaults.
    """
    wanted = set(topics)
    return {
        described["topic"]: len(described["partitions"])
        for described in await admin.describe_topics()
        if described["topic"] in wanted
        and not described["error_code"]
        and described["partitions"]
        and all(partition["leader"] >= 0 for partition in described["partitions"])
    }


def _check_counts(existing: Mapping[str, int], wanted: Mapping[str, int]) -> None:
    for topic, count in existing.items():
        if wanted[topic] != count:
            raise PartitionsChanged(f"{topic} has {count} partitions, asked for {wanted[topic]}")


async def _check_sizes(admin: AIOKafkaAdminClient, topics: Iterable[str], message_bytes: int) -> None:
    asked = [ConfigResource(ConfigResourceType.TOPIC, topic, {MESSAGE_BYTES_MAX: ""}) for topic in topics]
    for answer in await admin.describe_configs(asked) if asked else ():
        for error_code, _, _, topic, entries in answer.resources:
            if error_code:
                raise for_code(error_code)(f"settings of {topic}")
            for name, value, *_ in entries:
                if name == MESSAGE_BYTES_MAX and int(value) < message_bytes:
                    raise LogError(f"{topic}: {name} is {value}, it must be at least {message_bytes}")


async def _create(admin: AIOKafkaAdminClient, topics: Iterable[str], plan: TopicPlan) -> None:
    brokers = (await admin.describe_cluster())["brokers"]
    if not brokers:
        raise KafkaError("no broker is up yet")
    copies = plan.replication or min(REPLICAS, len(brokers))
    answer = await admin.create_topics(
        [NewTopic(topic, plan.partitions[topic], copies, topic_configs=plan.config(topic, copies)) for topic in topics]
    )
    for topic, error_code, *message in answer.topic_errors:
        if error_code not in (0, TopicAlreadyExistsError.errno):
            raise for_code(error_code)(f"{topic}: {' '.join(map(str, message))}")
