"""Commands that are asked for over HTTP: their ids."""

import uuid

import pytest

from ocppcore import rpc
from ocppcore.http.commands import CommandDesk, Registered
from ocppcore.memory import MemoryStore
from ocppcore.pseudonym import Pseudonyms
from ocppcore.rpc import Call
from ocppcore.seal import Seal


async def _nobody(_: str) -> None:
    return None


@pytest.mark.requirement("P4.4.1.4.1", "P4.6.4.1")
def test_every_command_has_an_id_of_its_own_that_fits_a_message() -> None:
    desk = CommandDesk("device", MemoryStore(), _nobody, Pseudonyms(b"p" * 32), Seal(b"s" * 32, "commands"))
    asks = [desk.ask(Registered(id="CS-1"), "ClearCache", b"{}") for _ in range(1000)]

    assert len({ask.command_id for ask in asks}) == 1000
    for ask in asks:
        assert uuid.UUID(ask.command_id).version == 4, "a Local Controller's own ids are others"
        frame = rpc.build_call(ask.command_id, ask.action, bytes(ask.payload))
        assert rpc.parse(frame) == Call(ask.command_id, "ClearCache", b"{}")
