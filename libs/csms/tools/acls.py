"""`csms acls`: the rights of the services' users on Kafka, as commands to run, as data, or granted at once."""

import json
import shlex
from collections.abc import Iterator, Sequence
from itertools import groupby

from ocppcore.kafka.acls import Acl, Operation, Resource
from ocppcore.kafka.cluster import Cluster
from ocppcore.kafka.quiet import quieten
from ocppcore.kafka.rights import grant
from ocppcore.kafka.security import security
from ocppcore.settings import BaseServiceSettings, SettingsError

ADMIN: tuple[str, ...] = ("--command-config", "admin.properties")
"""Where the operator's own user stands: whoever grants rights needs one that may."""


APPLY_PATIENCE_S = 30.0


async def apply(found: Sequence[Acl], settings: BaseServiceSettings) -> str:
    """Grant them on the cluster of the settings, whose user must be one that may; what was done, in words.

    Raises SettingsError, RightsMissing where this user may not grant, LogUnavailable.
    """
    if not settings.kafka_bootstrap_servers:
        raise SettingsError("KAFKA_BOOTSTRAP_SERVERS is required: where the rights are to be granted")
    quieten()
    cluster = Cluster(settings.kafka_bootstrap_servers, APPLY_PATIENCE_S, security(settings))
    await grant(cluster, found)
    users = ", ".join(dict.fromkeys(acl.principal for acl in found))
    return f"{len(found)} rights are in force at {settings.kafka_bootstrap_servers}, of {users}"


def as_json(found: Sequence[Acl]) -> str:
    """A list of objects with the fields of `Acl`, for other tools."""
    return json.dumps([acl._asdict() for acl in found], indent=2)


def as_commands(found: Sequence[Acl], bootstrap: str) -> str:
    """A shell script of `kafka-acls` calls; running it again changes nothing."""
    blocks = [
        "\n".join([f"# {principal}", *(" \\\n  ".join(command) for command in _commands(list(acls), bootstrap))])
        for principal, acls in groupby(found, lambda acl: acl.principal)
    ]
    return "\n\n".join(blocks)


def _commands(found: Sequence[Acl], bootstrap: str) -> Iterator[list[str]]:
    """One for all operations that are granted on the same things; a command is lines."""
    places: dict[Operation, list[tuple[Resource, str]]] = {}
    for acl in found:
        places.setdefault(acl.operation, []).append((acl.resource, acl.name))
    operations: dict[tuple[tuple[Resource, str], ...], list[Operation]] = {}
    for operation, granted_on in places.items():
        operations.setdefault(tuple(granted_on), []).append(operation)
    for named, granted in operations.items():
        yield [
            shlex.join(["kafka-acls", "--bootstrap-server", bootstrap or "HOST:PORT", *ADMIN, "--add"]),
            shlex.join(["--allow-principal", found[0].principal]),
            " ".join(f"--operation {operation}" for operation in granted),
            *(f"--{resource} {name}" for resource, name in named),
        ]
