"""A station that dies over a command: what it has kept, and what it comes back with."""

import asyncio
from typing import Any

import pytest

from simulator.config import Faults
from tests.support.fake_csms import FakeCsms

from .test_client import QUICK
from .test_tls import playing

OLD, NEW = "0123456789abcdef", "fedcba9876543210"
PASSWORD = {
    "setVariableData": [
        {
            "component": {"name": "SecurityCtrlr"},
            "variable": {"name": "BasicAuthPassword"},
            "attributeValue": NEW,
        }
    ]
}


def dying(seed: int) -> dict[str, Any]:
    return {"seed": seed, "faults": Faults(power_cuts=1.0), "variables": QUICK}


@pytest.mark.parametrize("seed", range(6))
async def test_it_dies_before_it_took_its_password_or_after_and_says_nothing(seed: int) -> None:
    async with FakeCsms() as csms, playing(csms, **dying(seed)) as player:
        await csms.wait_for(lambda: bool(csms.of("StatusNotification")))
        asking = asyncio.create_task(csms.ask("CS1", "SetVariables", PASSWORD))
        await csms.wait_for(lambda: len(csms.of("BootNotification")) == 2)
        assert not asking.done()
        asking.cancel()
        assert csms.of("BootNotification")[1]["reason"] == "PowerUp"
        assert player.station.password in (OLD, NEW)
        assert csms.authorization["CS1"] == f"CS1:{player.station.password}"
        assert csms.closed == [None], "nobody said goodbye"


async def test_both_happen() -> None:
    found = set()
    for seed in range(6):
        async with FakeCsms() as csms, playing(csms, **dying(seed)) as player:
            await csms.wait_for(lambda csms=csms: bool(csms.of("StatusNotification")))  # type: ignore[misc]
            asking = asyncio.create_task(csms.ask("CS1", "SetVariables", PASSWORD))
            await csms.wait_for(lambda csms=csms: bool(csms.closed))  # type: ignore[misc]
            asking.cancel()
            found.add(player.station.password)
    assert found == {OLD, NEW}


async def test_other_commands_are_answered() -> None:
    async with FakeCsms() as csms, playing(csms, **dying(1)):
        await csms.wait_for(lambda: bool(csms.of("StatusNotification")))
        answer = await csms.ask("CS1", "TriggerMessage", {"requestedMessage": "Heartbeat"})
        assert answer[2]["status"] == "Accepted"
        assert csms.opened["CS1"] == 1
