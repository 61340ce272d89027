"""Reports that say whether a station shows tariffs: given a station, when it reports, then others know."""

import msgspec
import pytest

from ocppcore import topics
from ocppcore.command_end import ENDED, Ended
from ocppcore.commands import VARIABLES
from ocppcore.contracts.device import PutStation, StationFields
from services.device.service import PARTS
from tests.support.given import World


def world() -> World:
    made = World("device", PARTS)
    made.ask(PutStation.NAME, PutStation(identity="CS-1", fields=StationFields(), spare="spare-1"), key="cs-1")
    return made


def report(made: World, component: str, value: str, variable: str = "Available") -> int:
    """How many events it left."""
    data = {
        "component": {"name": component},
        "variable": {"name": variable},
        "variableAttribute": [{"value": value, "mutability": "ReadOnly"}],
    }
    payload = {"requestId": 1, "generatedAt": "2023-11-14T22:00:00Z", "seqNo": 0, "reportData": [data]}
    return len(made.call("NotifyReport", payload).events)


@pytest.mark.requirement("I01.FR.02")
def test_what_a_station_shows_is_told_on_once() -> None:
    made = world()
    before = len(made.published(topics.STATIONS))
    assert report(made, "tariffcostctrlr", "False") == 2
    assert report(made, "TariffCostCtrlr", "false") == 1
    assert report(made, "DisplayMessageCtrlr", "true") == 2
    assert report(made, "DisplayMessageCtrlr", "maybe") == 1
    assert report(made, "TariffCostCtrlr", "true", "Enabled") == 1
    assert report(made, "AuthCtrlr", "true") == 1
    told = made.published(topics.STATIONS)[before:]
    assert [one["reported"] for one in told] == [
        {"TariffCostCtrlr": False},
        {"TariffCostCtrlr": False, "DisplayMessageCtrlr": True},
    ]
    again = made.ask(
        PutStation.NAME, PutStation(identity="CS-1", fields=StationFields(boot="pending"), spare="spare-2"), key="cs-1"
    )
    assert "reported" not in again.result.body  # type: ignore[union-attr, operator]
    assert made.published(topics.STATIONS)[-1]["reported"] == told[-1]["reported"]


def test_the_report_of_an_unknown_station_is_kept_all_the_same() -> None:
    assert report(World("device", PARTS), "TariffCostCtrlr", "false") == 1


def test_a_report_without_data_says_nothing() -> None:
    payload = {"requestId": 1, "generatedAt": "2023-11-14T22:00:00Z", "seqNo": 0}
    assert len(world().call("NotifyReport", payload).events) == 1


def answer(made: World, status: str = "answered", **more: str) -> int:
    """How many events a station's answer to GetVariables left."""
    result = {
        "attributeStatus": "Accepted",
        "attributeValue": "false",
        "component": {"name": "TariffCostCtrlr"},
        "variable": {"name": "Available"},
        **more,
    }
    body = Ended(
        command_id="c",
        action="GetVariables",
        status=status,  # type: ignore[arg-type]
        reference=VARIABLES,
        response=msgspec.Raw(msgspec.json.encode({"getVariableResult": [result]} if status == "answered" else None)),
    )
    return len(made.ask(ENDED, body, key="cs-1").events)


@pytest.mark.requirement("I01.FR.02")
def test_an_answer_to_get_variables_tells_the_same_as_a_report() -> None:
    made = world()
    assert answer(made, "timeout") == 0
    assert answer(made, attributeStatus="Rejected") == 0
    assert answer(made, attributeType="Target") == 0
    assert answer(made, attributeType="Actual") == 1
    assert answer(made) == 0, "nothing new"
    assert made.published(topics.STATIONS)[-1]["reported"] == {"TariffCostCtrlr": False}
    assert answer(World("device", PARTS)) == 0
