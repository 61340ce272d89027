"""`csms acls`: the rights of the services' users on Kafka, as commands to run or as data."""

import json
import shlex
from collections.abc import Iterator, Sequence
from itertools import groupby

from ocppcore.kafka.acls import Acl, Operation, Resource

ADMIN: tuple[str, ...] = ("--command-config", "admin.properties")
"""Where the operator's own user stands: whoever grants rights needs one that may."""


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
