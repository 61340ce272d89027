"""What stations send about smart charging: answered, and kept."""

import json

import pytest

from ocppcore.actions import FROM_STATION, owned_by, request_type
from services.smartcharging.actions import ROUTES
from services.smartcharging.service import PARTS
from tests.support.given import World

SCHEDULE = {
    "id": 1,
    "chargingRateUnit": "A",
    "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 16.1}],
}
PROFILE = {
    "id": 1,
    "stackLevel": 0,
    "chargingProfilePurpose": "TxProfile",
    "chargingProfileKind": "Relative",
    "chargingSchedule": [SCHEDULE],
}
CASES: list[tuple[str, str, dict[str, object], dict[str, str]]] = [
    (
        "NotifyChargingLimit",
        "ChargingLimitReported",
        {"chargingLimit": {"chargingLimitSource": "EMS", "isGridCritical": True}, "evseId": 1},
        {},
    ),
    ("ClearedChargingLimit", "ChargingLimitCleared", {"chargingLimitSource": "EMS"}, {}),
    (
        "NotifyEVChargingNeeds",
        "ChargingNeedsRefused",
        {"evseId": 1, "chargingNeeds": {"requestedEnergyTransfer": "DC"}},
        {"status": "Rejected"},
    ),
    (
        "NotifyEVChargingSchedule",
        "ChargingScheduleRefused",
        {"timeBase": "2023-11-14T22:00:00Z", "evseId": 1, "chargingSchedule": SCHEDULE},
        {"status": "Rejected"},
    ),
    (
        "ReportChargingProfiles",
        "ChargingProfilesReported",
        {"requestId": 1, "chargingLimitSource": "CSO", "evseId": 1, "chargingProfile": [PROFILE]},
        {},
    ),
]


@pytest.mark.requirement("K15.FR.02", "K15.FR.04")
@pytest.mark.parametrize(("action", "event", "payload", "answer"), CASES)
def test_the_message_is_answered_and_kept(
    action: str, event: str, payload: dict[str, object], answer: dict[str, str]
) -> None:
    outcome = World("smartcharging", PARTS).call(action, payload)
    assert outcome.reply is not None
    assert json.loads(outcome.reply.model_dump_json()) == answer  # type: ignore[union-attr]
    (kept,) = outcome.events
    assert f"smartcharging.{event}.v1" == kept.TYPE
    assert json.loads(bytes(kept.payload)) == payload  # type: ignore[attr-defined]


def test_every_action_that_smartcharging_owns_has_its_handler() -> None:
    assert set(ROUTES) == {action.name for action in owned_by("smartcharging")} & FROM_STATION
    for name, handler in ROUTES.items():
        assert handler.request is request_type(name)
