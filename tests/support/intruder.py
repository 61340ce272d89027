"""Somebody on a Kafka cluster who writes the requests himself: what refuses them is the broker, no library."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka.client import AIOKafkaClient  # type: ignore[import-untyped]
from aiokafka.protocol.fetch import FetchRequest  # type: ignore[import-untyped]
from aiokafka.protocol.group import JoinGroupRequest  # type: ignore[import-untyped]
from aiokafka.protocol.metadata import MetadataRequest  # type: ignore[import-untyped]
from aiokafka.protocol.produce import ProduceRequest  # type: ignore[import-untyped]
from aiokafka.record.default_records import DefaultRecordBatchBuilder  # type: ignore[import-untyped]

TOPIC_REFUSED: Final = 29
GROUP_REFUSED: Final = 30
ACKNOWLEDGED_BY_ALL, ACKNOWLEDGED_WITHIN_MS = -1, 10_000
BYTES_MAX = 1_000_000
SESSION_MS = 6000


class Intruder:
    """Answers are Kafka's error codes: 0 is success."""

    def __init__(self, client: AIOKafkaClient) -> None:
        self._client = client

    async def sees(self) -> set[str]:
        """The topics that the cluster tells of."""
        answer = await self._ask(MetadataRequest(None))
        return {topic for _, topic, *_ in answer.topics}

    async def append(self, topic: str) -> int:
        """One forged record, to the first partition."""
        answer = await self._ask(
            ProduceRequest(None, ACKNOWLEDGED_BY_ALL, ACKNOWLEDGED_WITHIN_MS, [(topic, [(0, _forged())])])
        )
        [(_, [(_, code, *_)])] = answer.topics
        return int(code)

    async def read(self, topic: str) -> int:
        """The first partition from its start."""
        answer = await self._ask(FetchRequest(0, 0, BYTES_MAX, 0, [(topic, [(0, 0, BYTES_MAX)])]))
        [(_, [(_, code, *_)])] = answer.topics
        return int(code)

    async def join(self, group: str) -> int:
        """Be dealt a share of its partitions."""
        protocols = [("range", b"")]
        answer = await self._ask(JoinGroupRequest(group, SESSION_MS, SESSION_MS, "", "", "consumer", protocols))
        return int(answer.error_code)

    async def _ask(self, request: Any) -> Any:
        return await self._client.send(self._client.get_random_node(), request)


def _forged() -> bytes:
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, BYTES_MAX)
    now = int(time.time() * 1000)
    builder.append(0, timestamp=now, key=b"guarded-1", value=b'{"forged":true}', headers=[])
    return bytes(builder.build())


@asynccontextmanager
async def intruder(bootstrap: str, options: Mapping[str, Any]) -> AsyncIterator[Intruder]:
    """Connected with these of aiokafka's options."""
    client = AIOKafkaClient(bootstrap_servers=bootstrap, **options)
    await client.bootstrap()
    try:
        yield Intruder(client)
    finally:
        await client.close()
