"""What a person may type next to the running system: commands that find it, whatever settings it was started with."""

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from pydantic import SecretStr

from ocppcore.settings import BaseServiceSettings, variables

CARRIED: Final = (
    "CSMS_DATA",
    "CSMS_LOG",
    "KAFKA_BOOTSTRAP_SERVERS",
    "DATABASE_URL",
    "CSMS_NAMESPACE",
    "CSMS_PARTITIONS",
    "CSMS_PSEUDONYM_KEY",
    "CSMS_PASSWORD_KEY",
    "CSMS_ADMIN_KEY",
    "CSMS_HTTP_PORT",
    "CSMS_OCPP_PORT",
    "CSMS_OCPP_TLS_PORT",
    "CSMS_GATEWAY_SLOTS",
)
"""The settings that the tools need too: to find log, database, keys and ports."""


class Carried(NamedTuple):
    """`prefix`: `NAME=value ` for each that differs from its default, ready to type; `secrets`: names of others whose
    values are not for a screen."""

    prefix: str
    secrets: tuple[str, ...]


def carried(read: Iterable[BaseServiceSettings]) -> Carried:
    """What must stand before a command so that it finds a system started with these settings."""
    given: dict[str, object] = {}
    for settings in read:
        for name, variable in variables(type(settings)).items():
            default = type(settings).model_fields[name].get_default(call_default_factory=True)
            value = getattr(settings, name)
            if variable in CARRIED and value != default:
                given[variable] = value
    return _written({name: given[name] for name in CARRIED if name in given})


def _written(given: Mapping[str, object]) -> Carried:
    plain = {name: value for name, value in given.items() if not isinstance(value, SecretStr)}
    prefix = "".join(f"{name}={shlex.quote(str(value))} " for name, value in plain.items())
    return Carried(prefix, tuple(name for name in given if name not in plain))


def program(argument: str) -> str:
    """How `csms` was called: `.venv/bin/csms` in a clone."""
    return argument if Path(argument).name == "csms" else "csms"
