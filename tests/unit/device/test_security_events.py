"""Security events (A04): answered, kept one by one, classified by the standard's list, listed."""

import json
from typing import Any

import msgspec
import pytest

from ocppcore.contracts.device import SecurityEventReported
from ocppcore.v201 import SecurityEventNotificationResponse
from services.device.domain.security_event import CRITICAL, SECURITY_EVENTS
from services.device.service import PARTS
from tests.support.given import NOW, World

LATE = {"type": "TamperDetectionActivated", "timestamp": "2020-01-01T00:00:00.500Z", "techInfo": "door"}


@pytest.mark.requirement("A04.FR.02", "A04.FR.03")
def test_every_security_event_is_kept_and_acknowledged_however_late() -> None:
    world = World("device", PARTS)
    for _ in range(2):
        outcome = world.call("SecurityEventNotification", LATE)
        assert isinstance(outcome.reply, SecurityEventNotificationResponse)
    assert [json.loads(bytes(event.payload)) for event in world.events] == [LATE, LATE]  # type: ignore[attr-defined]
    rows = world.rows(SECURITY_EVENTS)
    assert [(row["station"], row["number"], row["identity"]) for row in rows] == [
        ("cs-1", 1, "CS-1"),
        ("cs-1", 2, "CS-1"),
    ]
    assert rows[0] == rows[1] | {"number": 1}
    assert (rows[0]["timestamp"], rows[0]["received_at"], rows[0]["tech_info"]) == (1_577_836_800_500, NOW, "door")


def test_the_list_is_the_standards() -> None:
    assert len(CRITICAL) == 20
    assert sorted(name for name, critical in CRITICAL.items() if not critical) == [
        "AttemptedReplayAttacks",
        "CsmsFailedToAuthentication",
        "FailedToAuthenticationAtCsms",
        "InvalidMessages",
        "ReconfigurationOfSecurityParameters",
    ]


@pytest.mark.parametrize(
    ("type_", "critical"),
    [
        ("FirmwareUpdated", True),
        ("firmwareupdated", True),
        ("InvalidMessages", False),
        ("AcmeDoorbellRang", None),
    ],
)
def test_an_event_on_the_stream_says_whether_it_is_critical(type_: str, critical: bool | None) -> None:
    world = World("device", PARTS)
    (event,) = world.call("SecurityEventNotification", LATE | {"type": type_}).events
    assert isinstance(event, SecurityEventReported)
    assert (event.type, event.critical) == (type_, critical)
    (row,) = world.rows(SECURITY_EVENTS)
    assert (row["type"], row["critical"]) == (type_, critical)


@pytest.mark.parametrize("payload", [LATE, {}])
def test_events_of_the_first_release_are_classified_by_their_payload(payload: dict[str, Any]) -> None:
    world = World("device", PARTS)
    world.given(SecurityEventReported(at=NOW, station="CS-1", payload=msgspec.Raw(json.dumps(payload).encode())))
    (row,) = world.rows(SECURITY_EVENTS)
    assert (row["type"], row["critical"]) == (("TamperDetectionActivated", True) if payload else ("", None))
