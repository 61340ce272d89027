"""An EV that asks for another schedule in the middle of a transaction (K17)."""

import pytest

from ocppcore.v201 import NotifyEVChargingNeedsResponse
from services.smartcharging.service import PARTS
from tests.support.given import World


@pytest.mark.requirement("K17.FR.02")
@pytest.mark.parametrize("transfer", ["DC", "AC_three_phase"])
def test_new_needs_are_answered_each_time(transfer: str) -> None:
    world = World("smartcharging", PARTS)
    needs = {"evseId": 1, "chargingNeeds": {"requestedEnergyTransfer": transfer}}
    answers = [world.call("NotifyEVChargingNeeds", needs).reply for _ in range(2)]
    assert answers == [NotifyEVChargingNeedsResponse(status="Rejected")] * 2
