"""What a command's resource warns of: each rule broken once, and the same payload in order."""

from typing import Any

import orjson
import pytest

from ocppcore.command_warnings import WARNINGS_MAX, warnings
from ocppcore.contracts.device import Limit
from ocppcore.http.commands import check

Payload = dict[str, Any]


def warned(action: str, payload: Payload, **limit: int) -> tuple[str, ...]:
    """Of a payload that the schema takes."""
    raw = orjson.dumps(payload)
    check(action, raw)
    return warnings(action, raw, {action: Limit(**limit)} if limit else {})


def variable(name: str = "Interval", value: str = "1", **more: Any) -> Payload:
    return {"component": {"name": "C"}, "variable": {"name": name}, "attributeValue": value, **more}


def profile(purpose: str = "TxDefaultProfile", kind: str = "Absolute", *periods: Payload, **more: Any) -> Payload:
    schedule: Payload = {
        "id": 1,
        "chargingRateUnit": "A",
        "chargingSchedulePeriod": list(periods) or [{"startPeriod": 0, "limit": 8.1}],
    }
    if kind != "Relative":
        schedule["startSchedule"] = "2026-01-01T00:00:00Z"
    made = {"id": 1, "stackLevel": 0, "chargingProfilePurpose": purpose, "chargingProfileKind": kind}
    return made | {"chargingSchedule": [schedule | more.pop("schedule", {})]} | more


def set_profile(evse: int, *args: Any, **more: Any) -> Payload:
    return {"evseId": evse, "chargingProfile": profile(*args, **more)}


def period(start: int, limit: float = 16, **more: Any) -> Payload:
    return {"startPeriod": start, "limit": limit, **more}


TOKEN = {"idToken": "ABC", "type": "Central"}
ENTRY = {"idToken": TOKEN, "idTokenInfo": {"status": "Accepted"}}
ANYWHERE = {"status": "Accepted"}


@pytest.mark.parametrize(
    ("action", "payload", "limit", "items"),
    [
        ("GetVariables", {"getVariableData": [{"component": {"name": "C"}, "variable": {"name": "V"}}] * 3}, 2, 3),
        ("SetVariables", {"setVariableData": [variable("A"), variable("B")]}, 1, 2),
        ("ClearVariableMonitoring", {"id": [1, 2, 3]}, 2, 3),
        ("SendLocalList", {"versionNumber": 1, "updateType": "Full", "localAuthorizationList": [ENTRY]}, 0, 1),
    ],
)
def test_more_items_than_the_station_takes(action: str, payload: Payload, limit: int, items: int) -> None:
    (found,) = warned(action, payload, items=limit)
    assert f"{items} items" in found and f"takes {limit} " in found
    assert warned(action, payload, items=items) == ()
    assert warned(action, payload) == ()


def test_more_bytes_than_the_station_takes() -> None:
    payload = {"vendorId": "\N{EURO SIGN}"}
    assert len(orjson.dumps(payload)) == 18
    assert warned("DataTransfer", payload, bytes=17) == ("18 bytes, this station takes 17 in one DataTransfer",)
    assert warned("DataTransfer", payload, bytes=18) == ()


@pytest.mark.parametrize(
    ("action", "payload", "rule"),
    [
        ("SetVariables", {"setVariableData": [variable("BasicAuthPassword", "short")]}, "A00.FR.205"),
        ("SetVariables", {"setVariableData": [variable("basicauthpassword", "x" * 41)]}, "A00.FR.205"),
        (
            "SetVariables",
            {"setVariableData": [variable(), variable(name="INTERVAL", attributeType="Actual")]},
            "B05.FR.13",
        ),
        ("SendLocalList", {"versionNumber": 0, "updateType": "Full"}, "D01.FR.18"),
        (
            "SendLocalList",
            {
                "versionNumber": 1,
                "updateType": "Full",
                "localAuthorizationList": [ENTRY, {"idToken": TOKEN | {"idToken": "abc"}, "idTokenInfo": ANYWHERE}],
            },
            "D01.FR.06",
        ),
        ("SetMonitoringLevel", {"severity": -1}, "N05.FR.02"),
        ("GetChargingProfiles", {"requestId": 1, "chargingProfile": {}}, "K09.FR.03"),
        (
            "RequestStartTransaction",
            {"remoteStartId": 1, "idToken": TOKEN, "chargingProfile": profile("TxDefaultProfile")},
            "F01.FR.09",
        ),
        (
            "RequestStartTransaction",
            {"remoteStartId": 1, "idToken": TOKEN, "chargingProfile": profile("TxProfile", transactionId="T")},
            "F01.FR.11",
        ),
        ("SetChargingProfile", set_profile(1, "TxProfile"), "K01.FR.03"),
        ("SetChargingProfile", set_profile(0, "TxProfile", transactionId="T"), "K01.FR.16"),
        ("SetChargingProfile", set_profile(1, "ChargingStationMaxProfile"), "K04.FR.03"),
        ("SetChargingProfile", set_profile(1, "ChargingStationExternalConstraints"), "K01.FR.22"),
        ("SetChargingProfile", set_profile(0, "ChargingStationMaxProfile", "Relative"), "K01.FR.38"),
        (
            "SetChargingProfile",
            set_profile(1, "TxDefaultProfile", "Relative", schedule={"startSchedule": "2026-01-01T00:00:00Z"}),
            "K01.FR.41",
        ),
        ("SetChargingProfile", set_profile(1, "TxDefaultProfile", "Absolute", period(5)), "K01.FR.31"),
        ("SetChargingProfile", set_profile(1, "TxDefaultProfile", "Absolute", period(0), period(0)), "K01.FR.35"),
        ("SetChargingProfile", set_profile(1, "TxDefaultProfile", "Absolute", period(0, 8.15)), "one digit"),
        (
            "SetChargingProfile",
            set_profile(1, "TxDefaultProfile", "Absolute", period(0, phaseToUse=1, numberPhases=3)),
            "K01.FR.19",
        ),
        (
            "SetVariableMonitoring",
            {
                "setMonitoringData": [
                    {"component": {"name": "C"}, "variable": {"name": "V"}, "type": "Delta", "severity": 5,
                     "value": 0.1234567}
                ]
            },
            "2.1.4",
        ),
    ],
)  # fmt: skip
def test_a_rule_that_the_schema_does_not_hold(action: str, payload: Payload, rule: str) -> None:
    (found,) = warned(action, payload)
    assert rule in found


def test_a_schedule_that_is_not_relative_has_a_start() -> None:
    payload = set_profile(1)
    del payload["chargingProfile"]["chargingSchedule"][0]["startSchedule"]
    (found,) = warned("SetChargingProfile", payload)
    assert "K01.FR.40" in found


@pytest.mark.parametrize("limit", [0, 8.1, 8.10, 16, 1e17, 16.0])
def test_a_sound_profile_has_no_warning(limit: float) -> None:
    periods = period(0, limit), period(60, limit, numberPhases=1, phaseToUse=2)
    assert warned("SetChargingProfile", set_profile(1, "TxDefaultProfile", "Absolute", *periods)) == ()
    relative = set_profile(1, "TxProfile", "Relative", *periods, transactionId="T")
    assert warned("SetChargingProfile", relative) == ()
    assert warned("SetChargingProfile", set_profile(0, "ChargingStationMaxProfile")) == ()


def test_no_warning_shows_a_token_or_a_password_and_there_are_not_too_many() -> None:
    data = [variable("BasicAuthPassword", f"hunter{n}") for n in range(50)]
    found = warned("SetVariables", {"setVariableData": data})
    assert len(found) == WARNINGS_MAX and "hunter" not in str(found)
    twice = {"versionNumber": 1, "updateType": "Full", "localAuthorizationList": [ENTRY, ENTRY]}
    assert "ABC" not in str(warned("SendLocalList", twice))


def test_what_is_the_vendors_own_is_not_judged() -> None:
    assert warned("DataTransfer", {"vendorId": "V", "data": {"n": 0.123456789}}) == ()
    assert warned("ClearCache", {"customData": {"vendorId": "V", "n": 0.123456789}}) == ()


@pytest.mark.requirement("F06.FR.13")
def test_a_status_notification_is_asked_of_one_connector() -> None:
    def trigger(message: str, **evse: int) -> tuple[str, ...]:
        return warned("TriggerMessage", {"requestedMessage": message, **({"evse": evse} if evse else {})})

    assert [text.partition(":")[0] for text in trigger("StatusNotification")] == ["evse.connectorId"]
    assert "F06.FR.13" in trigger("StatusNotification", id=1)[0]
    assert trigger("StatusNotification", id=1, connectorId=1) == ()
    assert trigger("Heartbeat") == trigger("MeterValues", id=1) == ()


@pytest.mark.requirement("E03.FR.05")
def test_start_and_stop_points_that_do_not_go_together() -> None:
    def points(start: str | None, stop: str | None, **more: Any) -> tuple[str, ...]:
        data = [
            {"component": {"name": "TxCtrlr"}, "variable": {"name": name}, "attributeValue": value, **more}
            for name, value in (("TxStartPoint", start), ("TxStopPoint", stop))
            if value is not None
        ]
        return warned("SetVariables", {"setVariableData": data})

    assert "E03.FR.05" in points("Authorized,EVConnected", "EVConnected")[0]
    assert "E06" in points("EVConnected", "")[0]
    assert points("authorized", "EVConnected, Authorized") == points("EVConnected", "EVConnected") == ()
    assert points("Authorized", None) == ()
    assert points("Authorized", "EVConnected", attributeType="Target") == ()
