"""How every service is put together: its own parts, commands to stations, parked records."""

from collections.abc import Sequence

from ocppcore import commands, parking
from ocppcore.service import Part, Service, assemble


def build(name: str, parts: Sequence[Part]) -> Service:
    """The service `name` with its own parts and those that all services have."""
    return assemble(name, [*parts, commands.part(commands.commands(name)), parking.part(name)])
