"""How every service is put together: its own parts, commands to stations, parked records, and who asked for what."""

from collections.abc import Sequence

from ocppcore import commands, parking
from ocppcore.audit import audited
from ocppcore.service import Part, Service, assemble


def build(name: str, parts: Sequence[Part]) -> Service:
    """The service `name` with its own parts and those that all services have."""
    return assemble(name, audited(name, [*parts, commands.part(commands.commands(name)), parking.part(name)]))
