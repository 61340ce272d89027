"""Results that come later, matched with the commands that were accepted, by requestId (GEN.FR.05)."""

from typing import Any

import msgspec
import pytest

from ocppcore import actions, commands
from ocppcore.commands import ASK, Ask
from ocppcore.contracts.device import StationResult
from ocppcore.contracts.smartcharging import ChargingProfilesReported
from ocppcore.envelope import Frame
from ocppcore.results import AWAITED_MAX, RESULTS, TABLE
from ocppcore.rpc import CallResult
from services.device import service as device
from services.smartcharging import service as smartcharging
from tests.support.given import NOW, World

AT = "2026-01-01T00:00:00Z"
REPORT = {"generatedAt": AT}
LIMIT = {"chargingLimitSource": "CSO", "evseId": 1, "chargingProfile": []}
ENDINGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "NotifyReport": ({**REPORT, "seqNo": 0, "tbc": True}, {**REPORT, "seqNo": 1}),
    "NotifyMonitoringReport": ({**REPORT, "seqNo": 0, "tbc": True}, {**REPORT, "seqNo": 1, "tbc": False}),
    "NotifyCustomerInformation": (
        {**REPORT, "seqNo": 0, "tbc": True, "data": "a"},
        {**REPORT, "seqNo": 1, "data": "b"},
    ),
    "LogStatusNotification": ({"status": "Uploading"}, {"status": "Uploaded"}),
    "FirmwareStatusNotification": ({"status": "Downloading"}, {"status": "Installed"}),
    "PublishFirmwareStatusNotification": ({"status": "Downloading"}, {"status": "Published", "location": ["http://a"]}),
    "NotifyDisplayMessages": ({"tbc": True}, {"tbc": False}),
    "ReportChargingProfiles": (
        {"tbc": True, "chargingLimitSource": "CSO", "evseId": 1, "chargingProfile": []},
        {"chargingLimitSource": "CSO", "evseId": 1, "chargingProfile": []},
    ),
}
"""A first message of each kind, and the last."""
for _said in ENDINGS["ReportChargingProfiles"]:
    _said["chargingProfile"] = [
        {
            "id": 1,
            "stackLevel": 0,
            "chargingProfilePurpose": "TxDefaultProfile",
            "chargingProfileKind": "Absolute",
            "chargingSchedule": [
                {"id": 1, "chargingRateUnit": "A", "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 6}]}
            ],
        }
    ]


def world(action: str) -> World:
    service = actions.ACTIONS[action].owner
    parts = {"device": device.PARTS, "smartcharging": smartcharging.PARTS}[service]
    made = World(service, [*parts, commands.part(commands.commands(service))])
    made.connect()
    return made


def ask(made: World, action: str = "GetBaseReport", request_id: str = "7", id_: str = "c1") -> None:
    payload = msgspec.Raw(f'{{"requestId":{request_id}}}'.encode())
    made.ask(ASK, Ask(command_id=id_, action=action, payload=payload), key="cs-1")


def answer(made: World, action: str = "GetBaseReport", status: str = "Accepted", id_: str = "c1") -> None:
    frame = Frame("cs-1", "CS-1", 0, 1, 5, "ocpp2.0.1", NOW, "result", id_, action, "", b"", "")
    made.answer(frame, CallResult(id_, f'{{"status":"{status}"}}'.encode()))


def says(made: World, action: str, payload: dict[str, Any], request_id: float | None = 7) -> tuple[str, bool]:
    """The station sends a result; what its event says: of which command, and whether nobody asked."""
    about = {} if request_id is None else {"requestId": request_id}
    (event,) = made.call(action, payload | about).events
    assert isinstance(event, StationResult | ChargingProfilesReported)
    return event.command_id, event.unsolicited


def row(made: World, id_: str = "c1") -> tuple[Any, ...]:
    """(messages, status, complete)."""
    [found] = [one for one in made.rows(TABLE) if one["command_id"] == id_]
    return found["messages"], found["status"], found["complete"]


@pytest.mark.requirement("GEN.FR.05")
@pytest.mark.parametrize(("command", "result"), RESULTS.items())
def test_results_count_for_the_command_that_was_accepted(command: str, result: str) -> None:
    made, (first, last) = world(command), ENDINGS[result]
    ask(made, command)
    assert says(made, result, first) == ("", True), "before the answer nothing is expected"
    answer(made, command)
    assert row(made) == (0, "", False)

    assert says(made, result, first) == ("c1", False)
    assert row(made) == (1, first.get("status", ""), False)
    assert says(made, result, first, 8) == ("", True), "another requestId"
    assert says(made, result, last) == ("c1", False)
    assert row(made) == (2, last.get("status", ""), True)
    again = world(command)
    again.given(*made.events)
    assert again.rows(TABLE) == made.rows(TABLE), "a rebuild"


@pytest.mark.requirement("GEN.FR.05")
@pytest.mark.parametrize("status", ["Rejected", "NotSupported", "EmptyResultSet"])
def test_nothing_is_expected_of_a_command_that_was_not_accepted(status: str) -> None:
    made = world("GetBaseReport")
    ask(made)
    answer(made, status=status)
    assert made.rows(TABLE) == []
    assert says(made, "NotifyReport", ENDINGS["NotifyReport"][1]) == ("", True)


def test_a_log_that_cancels_another_is_accepted_too() -> None:
    made = world("GetLog")
    for id_, number, status in (("c1", "1", "Accepted"), ("c2", "2", "AcceptedCanceled")):
        ask(made, "GetLog", number, id_)
        answer(made, "GetLog", status, id_)
    assert says(made, "LogStatusNotification", {"status": "AcceptedCanceled"}, 1) == ("c1", False)
    assert says(made, "LogStatusNotification", {"status": "Uploaded"}, 2) == ("c2", False)
    assert (row(made), row(made, "c2")) == ((1, "AcceptedCanceled", True), (1, "Uploaded", True))


def test_a_message_that_is_sent_again_counts_once() -> None:
    made = world("GetBaseReport")
    ask(made)
    answer(made)
    _, last = ENDINGS["NotifyReport"]
    for _ in range(2):
        assert says(made, "NotifyReport", last) == ("c1", False)
    assert row(made) == (1, "", True)
    ask(made, "GetLog", id_="c2")
    answer(made, "GetLog", id_="c2")
    for status in ("Uploading", "Uploading", "Uploaded", "Uploaded"):
        says(made, "LogStatusNotification", {"status": status})
    assert row(made, "c2") == (2, "Uploaded", True)


def test_the_newest_command_of_a_request_id_gets_the_results() -> None:
    made = world("GetBaseReport")
    for id_ in ("c1", "c2"):
        ask(made, id_=id_)
        answer(made, id_=id_)
    assert says(made, "NotifyReport", ENDINGS["NotifyReport"][1]) == ("c2", False)
    assert row(made) == (0, "", False)


@pytest.mark.parametrize("action", ["LogStatusNotification", "FirmwareStatusNotification"])
def test_a_status_without_a_request_id_is_about_no_command(action: str) -> None:
    assert says(world("GetLog"), action, {"status": "Idle"}, None) == ("", False)


def test_integers_are_read_however_they_are_written() -> None:
    made = world("GetBaseReport")
    ask(made, request_id="7.0")
    answer(made)
    assert says(made, "NotifyReport", {**REPORT, "seqNo": 0.0}, 7.0) == ("c1", False)
    assert row(made) == (1, "", True)


def test_what_is_remembered_is_bounded_and_complete_ones_go_first() -> None:
    made = world("GetBaseReport")
    for number in range(AWAITED_MAX):
        ask(made, request_id=str(number), id_=f"c{number}")
        answer(made, id_=f"c{number}")
    _, last = ENDINGS["NotifyReport"]
    assert says(made, "NotifyReport", last, 3) == ("c3", False)
    ask(made, request_id="100", id_="c100")
    answer(made, id_="c100")
    assert says(made, "NotifyReport", last, 3) == ("", True)
    assert says(made, "NotifyReport", last, 0) == ("c0", False)
    assert row(made, "c3") == (1, "", True), "what is known of it stays"
