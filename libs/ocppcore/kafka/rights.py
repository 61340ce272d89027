"""Rights on a cluster, asked for and granted: what a process lacks is said at its start, all of it, by name."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Final

from aiokafka.client import AIOKafkaClient  # type: ignore[import-untyped]
from aiokafka.errors import IncompatibleBrokerVersion, for_code  # type: ignore[import-untyped]
from aiokafka.protocol.admin import CreateAclsRequest, CreateAclsRequest_v1  # type: ignore[import-untyped]
from aiokafka.protocol.api import Request, RequestStruct, Response  # type: ignore[import-untyped]
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Schema, String  # type: ignore[import-untyped]

from ocppcore.kafka.acls import Acl
from ocppcore.kafka.cluster import ACLS_ARE_PRINTED, Cluster
from ocppcore.log import RightsMissing

RESOURCES: Final = {"topic": 2, "group": 3}
OPERATIONS: Final = {"Read": 3, "Write": 4, "Create": 5, "Describe": 8, "DescribeConfigs": 10}
"""Kafka's numbers; an operation's is also its bit in what a broker says is granted."""

_LITERAL: Final = 3
_ALLOW: Final = 3
_NOT_SAID: Final = -(2**31)
_NAMED_MAX: Final = 12
"""So many rights a message names."""


class _Metadata(Response):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 8
    SCHEMA: ClassVar[Any] = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", Array(("node_id", Int32), ("host", String()), ("port", Int32), ("rack", String()))),
        ("cluster_id", String()),
        ("controller_id", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("topic", String()),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("isr", Array(Int32)),
                        ("offline_replicas", Array(Int32)),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
        ("cluster_authorized_operations", Int32),
    )


class _AskForMetadata(RequestStruct):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = _Metadata
    SCHEMA: ClassVar[Any] = Schema(
        ("topics", Array(String())),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
    )


class _RightsOnTopics(Request[_AskForMetadata]):  # type: ignore[misc]
    """Metadata with what this user may do (KIP-430); aiokafka's own request stops at an older version."""

    API_KEY = 3

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)

    def build(self, request_struct_class: Any) -> Any:
        return request_struct_class(self._names, False, False, True)


class _CreateAcls(Request[CreateAclsRequest_v1]):  # type: ignore[misc]
    """Many rights at once; aiokafka's own request has one."""

    API_KEY = 30

    def __init__(self, rights: Sequence[Acl]) -> None:
        self._rights = rights

    def build(self, request_struct_class: Any) -> Any:
        return request_struct_class(
            [creation for right in self._rights for creation in _single(right).build(request_struct_class).creations]
        )


def _single(right: Acl) -> Any:
    kind, operation = RESOURCES[right.resource], OPERATIONS[right.operation]
    return CreateAclsRequest(kind, right.name, _LITERAL, right.principal, "*", operation, _ALLOW)


async def check_rights(cluster: Cluster, wanted: Iterable[Acl]) -> None:
    """Ask what this user may do with the topics among `wanted`, which exist.

    Raises RightsMissing that names what is missing. A cluster that has no rights grants everything; one that is too old
    to say (Kafka before 2.3) is not judged. What is wanted of groups is found out by joining them.
    """
    operations: dict[str, set[str]] = {}
    for right in wanted:
        if right.resource == "topic":
            operations.setdefault(right.name, set()).add(right.operation)
    granted = await cluster.patiently(lambda: _granted(cluster, list(operations)))
    missing = list(_missing(operations, granted))
    if missing:
        more = f" and {len(missing) - _NAMED_MAX} more" if len(missing) > _NAMED_MAX else ""
        raise RightsMissing(
            f"Kafka at {cluster.bootstrap}: the user {cluster.security.shown} lacks "
            f"{', '.join(missing[:_NAMED_MAX])}{more}: {ACLS_ARE_PRINTED}"
        )


def _missing(operations: Mapping[str, set[str]], granted: Mapping[str, int]) -> Iterator[str]:
    for topic, needed in operations.items():
        bits = granted.get(topic, 0)
        if bits == _NOT_SAID:
            continue
        lacking = sorted(one for one in needed if not bits >> OPERATIONS[one] & 1)
        if lacking:
            yield f"{' and '.join(lacking)} on {topic}"


async def _granted(cluster: Cluster, names: Sequence[str]) -> dict[str, int]:
    async with _client(cluster) as client:
        try:
            answer = await client.send(client.get_random_node(), _RightsOnTopics(names))
        except (IncompatibleBrokerVersion, NotImplementedError):
            return dict.fromkeys(names, _NOT_SAID)
    return {topic: bits for code, topic, _, _, bits in answer.topics if not code}


async def grant(cluster: Cluster, rights: Sequence[Acl]) -> None:
    """Create these rights, as a user that may; those that exist stay. Raises RightsMissing, LogUnavailable."""

    async def attempt() -> list[int]:
        async with _client(cluster) as client:
            answer = await client.send(client.get_random_node(), _CreateAcls(rights))
        return [int(code) for code, _ in answer.creation_responses]

    if not rights:
        return
    for right, code in zip(rights, await cluster.patiently(attempt), strict=True):
        if code:
            raise RightsMissing(
                f"Kafka at {cluster.bootstrap}: the user {cluster.security.shown} cannot grant {right.operation} on "
                f"{right.name}: {for_code(code).__name__}. Use one that may alter the cluster"
            )


@asynccontextmanager
async def _client(cluster: Cluster) -> Any:
    client = AIOKafkaClient(**cluster.options())
    try:
        await client.bootstrap()
        yield client
    finally:
        await client.close()
