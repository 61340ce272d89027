"""Security events (A04): answered, kept one by one, classified by the standard's list, listed."""

import json
from typing import Any

import msgspec
import pytest

from ocppcore import commands
from ocppcore.contracts.device import PutStation, RemoveStation, SecurityEventReported, StationFields
from ocppcore.envelope import Refusal
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


# What the CSMS saw itself


def registered() -> World:
    world = World("device", [*PARTS, commands.part(commands.commands("device"))])
    world.ask(PutStation.NAME, PutStation(identity="CS-1", fields=StationFields(), spare="s"), key="cs-1")
    return world


def refusal(cause: str = "password", **more: Any) -> Refusal:
    return Refusal(identity="cs-1", slot=0, at=NOW, cause=cause, address="10.0.0.1", **more)


@pytest.mark.requirement("A00.FR.408")
@pytest.mark.parametrize(
    ("cause", "type_", "critical"),
    [
        ("no_certificate", "InvalidChargingStationCertificate", True),
        ("certificate_name", "InvalidChargingStationCertificate", True),
        ("certificate_organization", "InvalidChargingStationCertificate", True),
        ("certificate_expired", "InvalidChargingStationCertificate", True),
        ("certificate_revoked", "InvalidChargingStationCertificate", True),
        ("password", "FailedToAuthenticationAtCsms", False),
        ("security_profile", "FailedToAuthenticationAtCsms", False),
        ("disabled", "FailedToAuthenticationAtCsms", False),
    ],
)
def test_a_refused_handshake_is_a_security_event_of_the_csms(cause: str, type_: str, critical: bool) -> None:
    world = registered()
    world.refusal(refusal(cause, secure=True, more=7))

    event = world.events[-1]
    assert (event.TYPE, event.type, event.critical) == ("device.SecurityEventObserved.v1", type_, critical)  # type: ignore[attr-defined]
    (row,) = world.rows(SECURITY_EVENTS)
    assert row == {
        "station": "cs-1",
        "number": 1,
        "identity": "CS-1",
        "type": type_,
        "critical": critical,
        "timestamp": NOW,
        "received_at": NOW,
        "tech_info": f"{cause} refused from 10.0.0.1 over TLS, and 7 more before",
        "observed_by": "csms",
    }


def test_what_the_station_reports_and_what_the_csms_sees_are_one_list() -> None:
    world = registered()
    world.call("SecurityEventNotification", LATE)
    world.refusal(refusal())
    world.call("SecurityEventNotification", LATE)

    rows = [(row["number"], row["observed_by"]) for row in world.rows(SECURITY_EVENTS)]
    assert rows == [(1, "station"), (2, "csms"), (3, "station")]


def test_of_a_station_that_is_not_registered_nothing_is_kept() -> None:
    world = registered()
    world.ask(RemoveStation.NAME, RemoveStation(), key="cs-1")
    events = len(world.events)

    assert world.refusal(refusal()).events == ()
    assert len(world.events) == events
    assert world.rows(SECURITY_EVENTS) == []


def test_what_a_gateway_says_is_kept_within_bounds() -> None:
    world = registered()
    world.refusal(Refusal(identity="cs-1", slot=0, at=0, cause="x" * 5000, address="y" * 5000, more=-5))

    (row,) = world.rows(SECURITY_EVENTS)
    assert row["tech_info"] == f"{'x' * 50} refused from {'y' * 64} without TLS"
    assert row["received_at"] == NOW, "the clock is the log's"


@pytest.mark.requirement("A00.FR.408", "A00.FR.429")
def test_an_expired_certificate_that_is_let_in_is_one_too() -> None:
    world = registered()
    for _ in range(2):
        world.connect(epoch=1, profile=3, certificate_name="CS-1", certificate_expired=True)
    world.connect(epoch=2, profile=3, certificate_name="CS-1")

    (row,) = world.rows(SECURITY_EVENTS)
    assert (row["type"], row["critical"]) == ("InvalidChargingStationCertificate", True)
    assert row["tech_info"] == "certificate_expired admitted over TLS"
