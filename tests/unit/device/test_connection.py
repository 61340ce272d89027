"""Connection state, and when a station was last heard."""

from datetime import UTC, datetime

import msgspec
import pytest

from ocppcore.contracts.device import PutStation, StationConnected, StationDisconnected, StationFields
from ocppcore.v201 import HeartbeatResponse
from services.device.domain.contact import CONTACTS
from services.device.projections import STATIONS
from services.device.service import PARTS
from tests.support.given import NOW, World


def world() -> World:
    made = World("device", PARTS)
    made.ask(PutStation.NAME, PutStation(identity="CS-1", fields=StationFields(), spare="s"), key="cs-1")
    return made


@pytest.mark.requirement("G02.FR.03")
def test_a_heartbeat_is_answered_with_the_present_time_and_no_event() -> None:
    made = world()
    made.now = NOW + 5
    outcome = made.call("Heartbeat", {})
    assert outcome.reply == HeartbeatResponse(currentTime=datetime.fromtimestamp((NOW + 5) / 1000, UTC))
    assert outcome.events == ()


@pytest.mark.requirement("G02.FR.04")
def test_any_message_shows_that_the_station_is_there_noted_once_a_minute() -> None:
    made = world()
    status = {"timestamp": "2023-11-14T22:00:00Z", "connectorStatus": "Available", "evseId": 1, "connectorId": 1}
    made.call("StatusNotification", status)
    assert made.rows(CONTACTS) == [{"station": "cs-1", "last_contact_at": NOW}]
    made.wait(59_999)
    assert made.call("Heartbeat", {}).writes == ()
    made.wait(1)
    made.call("Heartbeat", {})
    assert made.rows(CONTACTS) == [{"station": "cs-1", "last_contact_at": NOW + 60_000}]


def test_connecting_and_going_are_events_and_shown() -> None:
    made = world()
    made.connect(epoch=5)
    assert isinstance(made.events[-1], StationConnected)
    (row,) = made.rows(STATIONS)
    assert row["connected"] is True
    assert msgspec.json.decode(str(row["connection"])) == {
        "connected": True,
        "since": "2023-11-14T22:13:20.000Z",
        "subprotocol": "ocpp2.0.1",
        "gatewaySlot": 0,
        "epoch": 5,
    }
    made.wait(1000)
    made.connect(epoch=5, connected=False)
    assert isinstance(made.events[-1], StationDisconnected)
    (row,) = made.rows(STATIONS)
    assert row["connected"] is False
    assert msgspec.json.decode(str(row["connection"]))["since"] == "2023-11-14T22:13:21.000Z"


def test_what_let_a_station_in_is_in_the_event() -> None:
    made = world()
    made.connect(epoch=5, profile=3, certificate_name="SN-9")
    event = made.events[-1]
    assert isinstance(event, StationConnected)
    assert (event.security_profile, event.credential, event.certificate_name) == (3, "", "SN-9")


def test_the_same_news_twice_is_one_event() -> None:
    made = world()
    made.connect(epoch=5)
    before = len(made.events)
    made.connect(epoch=5)
    assert len(made.events) == before


def test_a_station_that_is_not_registered_has_no_row() -> None:
    made = World("device", PARTS)
    made.connect()
    made.connect(connected=False)
    assert made.rows(STATIONS) == []
