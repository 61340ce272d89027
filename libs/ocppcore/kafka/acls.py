"""Who may do what on the cluster: each service's rights, computed from the table of topics. Nothing else is needed.

The smallest set with which a service runs: it appends to what the table says it produces, reads what it consumes, joins
the group of its own cells. Everybody sees names, sizes and settings of all topics (a process checks them at its start)
and, but for gateways, may make those that are missing; none may change or delete one. Rights on the cluster itself are
not needed: whoever may write to a topic may do so idempotently (KIP-679).
"""

from collections.abc import Collection, Iterator
from typing import Final, Literal, NamedTuple

from ocppcore import topics
from ocppcore.kafka.topics import IDENTITY

Resource = Literal["topic", "group"]
Operation = Literal["Read", "Write", "Describe", "DescribeConfigs", "Create"]

GATEWAY: Final = "gateway"
HOUSES: Final = (GATEWAY, *topics.SERVICES)
"""Each is a user of its own on the cluster."""

EVERYBODY: Final = "csms"
"""Stands in the table for every process, whatever it runs."""


class Acl(NamedTuple):
    """`principal` may do `operation` on the one resource of this very name, from every host."""

    principal: str
    resource: Resource
    name: str
    operation: Operation


def principal(house: str, prefix: str) -> str:
    """Kafka's name of a service's user: `User:csms-gateway`; with certificates the prefix is a `CN=` and so on."""
    return f"User:{prefix}{house}"


def acls(namespace: str, principal_prefix: str) -> list[Acl]:
    """What every service of an installation needs, and no more, in a fixed order."""
    before = f"{namespace}." if namespace else ""
    return [
        Acl(principal(house, principal_prefix), resource, before + name, operation)
        for house in HOUSES
        for resource, name, operation in _of(house)
    ]


def used_in(namespace: str, houses: Collection[str]) -> list[Acl]:
    """What a process with these services appends and reads all the time; `principal` is empty.

    Making and describing topics is not among it (that shows when it is done), nor is the log's identity.
    """
    before = f"{namespace}." if namespace else ""
    return [
        Acl("", resource, before + name, operation)
        for house in houses
        for resource, name, operation in _of(house)
        if resource == "topic" and operation in ("Read", "Write") and name != IDENTITY
    ]


def _of(house: str) -> Iterator[tuple[Resource, str, Operation]]:
    names = {house, EVERYBODY}
    every = [topic.name for topic in topics.TABLE]
    read = [topic.name for topic in topics.TABLE if names & {*topic.consumers}]
    written = [topic.name for topic in topics.TABLE if names & {*topic.producers}]
    general: tuple[Operation, ...] = ("Describe", "DescribeConfigs")
    if house != GATEWAY:
        # The log's identity is asked for by whoever has tables that belong to one log.
        every, read, written = [*every, IDENTITY], [*read, IDENTITY], [*written, IDENTITY]
        general = (*general, "Create")
    for operation in general:
        yield from (("topic", name, operation) for name in every)
    yield from (("topic", name, "Read") for name in read)
    yield from (("topic", name, "Write") for name in written)
    if house != GATEWAY:
        yield "group", topics.cells_group(house), "Read"
