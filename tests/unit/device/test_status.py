"""The status of connectors (G01), by StatusNotification and by NotifyEvent."""

import pytest

from ocppcore.contracts.device import ConnectorStatusChanged, PutStation, StationEventsReported, StationFields
from ocppcore.v201 import NotifyEventResponse, StatusNotificationResponse
from services.device.domain import connector
from services.device.domain.station import Station
from services.device.projections import CONNECTORS, HISTORY
from services.device.service import PARTS
from tests.support.given import World

T1, T2 = "2023-11-14T22:00:00Z", "2023-11-14T22:05:00.5Z"
MS1, MS2 = 1_699_999_200_000, 1_699_999_500_500


def world() -> World:
    made = World("device", PARTS)
    made.ask(PutStation.NAME, PutStation(identity="CS-1", fields=StationFields(), spare="s"), key="cs-1")
    return made


def status(value: str, timestamp: str, evse: int = 1, place: int = 1) -> dict[str, object]:
    return {"timestamp": timestamp, "connectorStatus": value, "evseId": evse, "connectorId": place}


def event(component: dict[str, object], value: str, timestamp: str = T1) -> dict[str, object]:
    return {
        "eventId": 1,
        "timestamp": timestamp,
        "trigger": "Delta",
        "actualValue": value,
        "eventNotificationType": "HardWiredNotification",
        "component": component,
        "variable": {"name": "AvailabilityState"},
    }


def notify(*data: dict[str, object]) -> dict[str, object]:
    return {"generatedAt": T1, "seqNo": 0, "eventData": list(data)}


def present(made: World) -> dict[tuple[object, object], object]:
    return {(row["evse_id"], row["connector_id"]): row["status"] for row in made.rows(CONNECTORS)}


def test_an_unknown_connector_is_learned() -> None:
    made = world()
    outcome = made.call("StatusNotification", status("Available", T1, 7, 2))
    assert outcome.reply == StatusNotificationResponse()
    assert present(made) == {(7, 2): "Available"}
    learned = made.state(Station, "cs-1")
    assert learned is not None
    assert learned.connectors == ((7, 2),)


def test_the_history_has_every_status_with_the_stations_time() -> None:
    made = world()
    made.call("StatusNotification", status("Available", T1))
    made.call("StatusNotification", status("Occupied", T2))
    assert present(made) == {(1, 1): "Occupied"}
    rows = [(row["timestamp"], row["status"], row["via"]) for row in made.rows(HISTORY)]
    assert rows == [(MS1, "Available", "StatusNotification"), (MS2, "Occupied", "StatusNotification")]


def test_a_repeat_makes_no_event_and_brings_no_old_status_back() -> None:
    made = world()
    made.call("StatusNotification", status("Available", T1))
    made.call("StatusNotification", status("Occupied", T2))
    for late in (status("Available", T1), status("Occupied", T2)):
        outcome = made.call("StatusNotification", late)
        assert outcome.reply == StatusNotificationResponse()
        assert outcome.events == ()
    assert present(made) == {(1, 1): "Occupied"}
    assert len(made.rows(HISTORY)) == 2


def test_a_clock_set_back_does_not_freeze_the_status() -> None:
    made = world()
    made.call("StatusNotification", status("Available", "2031-01-01T00:00:00Z"))
    made.call("StatusNotification", status("Faulted", T1))
    assert present(made) == {(1, 1): "Faulted"}


def test_the_same_status_at_another_time_is_another_event() -> None:
    made = world()
    made.call("StatusNotification", status("Available", T1))
    assert len(made.call("StatusNotification", status("Available", T2)).events) == 1


@pytest.mark.requirement("N07.FR.03")
def test_availability_state_of_each_component_counts_as_a_status() -> None:
    made = world()
    outcome = made.call(
        "NotifyEvent",
        notify(
            event({"name": "Connector", "evse": {"id": 1, "connectorId": 2}}, "Occupied"),
            event({"name": "EVSE", "evse": {"id": 1}}, "Occupied"),
            event({"name": "ChargingStation"}, "Available"),
        ),
    )
    assert outcome.reply == NotifyEventResponse()
    assert [type(one) for one in outcome.events] == [StationEventsReported] + [ConnectorStatusChanged] * 3
    assert present(made) == {(1, 2): "Occupied", (1, 0): "Occupied", (0, 0): "Available"}


def test_one_message_may_speak_of_a_connector_repeatedly() -> None:
    made = world()
    where: dict[str, object] = {"name": "Connector", "evse": {"id": 1, "connectorId": 1}}
    outcome = made.call(
        "NotifyEvent",
        notify(event(where, "Available", T1), event(where, "Occupied", T2), event(where, "Available", T1)),
    )
    assert len(outcome.events) == 3
    assert present(made) == {(1, 1): "Occupied"}


def test_other_events_and_values_that_are_no_status_are_only_kept() -> None:
    made = world()
    other = event({"name": "Connector", "evse": {"id": 1, "connectorId": 1}}, "Occupied")
    other["variable"] = {"name": "Power"}
    outcome = made.call("NotifyEvent", notify(other, event({"name": "EVSE", "evse": {"id": 1}}, "Sleeping")))
    assert [type(one) for one in outcome.events] == [StationEventsReported]
    assert made.rows(CONNECTORS) == []


def test_a_status_by_either_message_is_the_same_status() -> None:
    made = world()
    made.call("StatusNotification", status("Occupied", T1))
    outcome = made.call(
        "NotifyEvent", notify(event({"name": "Connector", "evse": {"id": 1, "connectorId": 1}}, "Occupied"))
    )
    assert [type(one) for one in outcome.events] == [StationEventsReported]


def test_the_number_of_connectors_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connector, "CONNECTORS_MAX", 2)
    made = world()
    for evse in (1, 2, 3):
        assert made.call("StatusNotification", status("Available", T1, evse)).reply == StatusNotificationResponse()
    assert set(present(made)) == {(1, 1), (2, 1)}
    made.call("StatusNotification", status("Faulted", T2, 2))
    assert present(made)[2, 1] == "Faulted"


def test_a_station_that_is_not_registered_is_answered_and_leaves_nothing() -> None:
    made = World("device", PARTS)
    outcome = made.call("StatusNotification", status("Available", T1))
    assert outcome.reply == StatusNotificationResponse()
    assert outcome.events == ()
