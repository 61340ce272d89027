"""BootNotification as the registry answers it (B01, B02, B03)."""

from datetime import UTC, datetime

import msgspec
import pytest

from ocppcore import topics
from ocppcore.contracts.device import PatchStation, PutStation, StationBooted, StationChanged, StationFields
from ocppcore.v201 import BootNotificationResponse
from services.device.projections import STATIONS
from services.device.service import PARTS
from tests.support.given import NOW, World

BOOT = {
    "reason": "PowerUp",
    "chargingStation": {
        "model": "Model X",
        "vendorName": "Vendor",
        "serialNumber": "SN-9",
        "firmwareVersion": "1.2",
        "modem": {"iccid": "1", "imsi": "2"},
        "customData": {"vendorId": "org.example", "anything": [1, 2.50]},
    },
}


def world(**fields: object) -> World:
    made = World("device", PARTS)
    body = PutStation(identity="CS-1", fields=StationFields(**fields), spare="s", lowers=True)  # type: ignore[arg-type]
    made.ask(PutStation.NAME, body, key="cs-1")
    return made


@pytest.mark.requirement("B01.FR.02")
@pytest.mark.parametrize(
    ("boot", "status", "interval"),
    [("accepted", "Accepted", 300), ("pending", "Pending", 60), ("rejected", "Rejected", 60)],
)
def test_the_registry_answers(boot: str, status: str, interval: int) -> None:
    outcome = world(boot=boot).call("BootNotification", BOOT)
    assert isinstance(outcome.reply, BootNotificationResponse)
    assert (outcome.reply.status, outcome.reply.interval, outcome.registration) == (status, interval, status)


@pytest.mark.requirement("B01.FR.06")
def test_the_answer_carries_the_present_time() -> None:
    made = world()
    made.now = NOW + 1234
    reply = made.call("BootNotification", BOOT).reply
    assert isinstance(reply, BootNotificationResponse)
    assert reply.currentTime == datetime.fromtimestamp((NOW + 1234) / 1000, UTC)


def test_the_interval_is_the_registrys() -> None:
    for boot in ("accepted", "pending"):
        reply = world(boot=boot, boot_interval=7).call("BootNotification", BOOT).reply
        assert isinstance(reply, BootNotificationResponse)
        assert reply.interval == 7


def test_the_event_keeps_all_that_the_station_said_of_itself() -> None:
    outcome = world().call("BootNotification", BOOT)
    (event,) = outcome.events
    assert isinstance(event, StationBooted)
    assert (event.reason, event.status, event.cause) == ("PowerUp", "Accepted", "")
    assert msgspec.json.decode(event.charging_station) == BOOT["chargingStation"]
    assert b"2.5" in bytes(event.charging_station)


@pytest.mark.parametrize("disabled", [True, False])
def test_a_disabled_or_unknown_station_is_rejected(disabled: bool) -> None:
    made = world(disabled=True) if disabled else World("device", PARTS)
    outcome = made.call("BootNotification", BOOT)
    assert isinstance(outcome.reply, BootNotificationResponse)
    assert outcome.reply.status == "Rejected"
    event = outcome.events[0]
    assert isinstance(event, StationBooted)
    assert event.cause == ("disabled" if disabled else "unregistered")
    assert bool(made.rows(STATIONS)) is disabled


def test_the_last_boot_answer_is_the_registration_until_the_next() -> None:
    made = world(boot="pending")
    made.call("BootNotification", BOOT)
    made.ask(PatchStation.NAME, PatchStation(fields=StationFields(boot="accepted")), key="cs-1")
    assert made.published(topics.STATIONS)[-1]["registration"] == "Pending"
    outcome = made.call("BootNotification", BOOT)
    assert [type(event) for event in outcome.events] == [StationBooted, StationChanged]
    assert made.published(topics.STATIONS)[-1]["registration"] == "Accepted"
    assert made.rows(STATIONS)[0]["registration"] == "Accepted"


def test_a_boot_that_changes_nothing_publishes_no_state() -> None:
    made = world()
    before = made.published(topics.STATIONS)
    made.call("BootNotification", BOOT)
    assert made.published(topics.STATIONS) == before


def test_transactions_hears_of_a_boot_and_of_connectors_that_are_available() -> None:
    made = world()
    made.call("BootNotification", BOOT)
    made.call("BootNotification", {**BOOT, "reason": "Triggered"})
    for status in ("Occupied", "Available", "Available"):
        said = {"timestamp": "2023-11-14T22:13:20Z", "connectorStatus": status, "evseId": 2, "connectorId": 1}
        made.call("StatusNotification", said)
    told = [record for record in made.records if record.topic == "transactions.requests"]
    assert {record.key for record in told} == {"cs-1"}
    assert made.published("transactions.requests") == [
        {"what": "boot", "at": NOW},
        {"what": "available", "at": NOW, "evse_id": 2},
    ]


def test_the_row_shows_the_last_boot() -> None:
    made = world()
    made.call("BootNotification", BOOT)
    (row,) = made.rows(STATIONS)
    assert (row["vendor"], row["model"], row["serial_number"], row["firmware_version"]) == (
        "Vendor",
        "Model X",
        "SN-9",
        "1.2",
    )
    shown = msgspec.json.decode(str(row["last_boot"]))
    assert (shown["at"], shown["status"], shown["reason"]) == ("2023-11-14T22:13:20.000Z", "Accepted", "PowerUp")
    assert shown["chargingStation"] == BOOT["chargingStation"]


# With a client certificate (security profile 3)


@pytest.mark.requirement("B01.FR.11")
@pytest.mark.parametrize(
    ("name", "profile", "said", "accepted"),
    [
        ("SN-9", 3, "SN-9", True),
        ("sn-9", 3, "SN-9", True),
        ("SN-8", 3, "SN-9", False),
        ("SN-8", 3, None, True),
        ("", 3, "SN-9", True),
        ("SN-8", 2, "SN-9", True),
    ],
)
def test_the_serial_number_is_that_of_the_certificate(
    name: str, profile: int, said: str | None, accepted: bool
) -> None:
    made = world(security_profile=profile)
    made.connect(epoch=4, profile=profile, certificate_name=name)
    about = {"model": "M", "vendorName": "V"} | ({"serialNumber": said} if said else {})
    outcome = made.call("BootNotification", {"reason": "PowerUp", "chargingStation": about}, epoch=4)
    assert isinstance(outcome.reply, BootNotificationResponse)
    assert outcome.reply.status == ("Accepted" if accepted else "Rejected")
    assert [call.kind for call in outcome.calls] == ([] if accepted else ["close"])


@pytest.mark.requirement("B01.FR.12")
def test_another_serial_number_closes_the_connection() -> None:
    made = world(security_profile=3)
    made.connect(epoch=4, profile=3, certificate_name="SN-1")
    outcome = made.call("BootNotification", BOOT, epoch=4)
    (close,) = outcome.calls
    assert (close.kind, close.station, close.slot, close.epoch) == ("close", "cs-1", 0, 4)
    assert close.frame == b"the serial number is not that of the certificate"
    event = outcome.events[0]
    assert isinstance(event, StationBooted)
    assert (event.status, event.cause) == ("Rejected", "serialNumber")


@pytest.mark.requirement("B01.FR.12")
def test_a_boot_that_is_read_before_its_connection_is_judged_when_that_is_known() -> None:
    made = world(security_profile=3)
    made.call("BootNotification", BOOT, epoch=4)
    calls = [call for outcome in made.connect(epoch=4, profile=3, certificate_name="SN-1") for call in outcome.calls]
    assert [(call.kind, call.epoch) for call in calls] == [("close", 4)]
    assert not any(o.calls for o in made.connect(epoch=5, profile=3, certificate_name="SN-1")), "not its boot"


def test_an_expired_certificate_is_pending_at_best() -> None:
    for boot, status in (("accepted", "Pending"), ("rejected", "Rejected")):
        made = world(security_profile=3, boot=boot, allow_expired_certificate=True)
        made.connect(epoch=4, profile=3, certificate_name="SN-9", certificate_expired=True)
        outcome = made.call("BootNotification", BOOT, epoch=4)
        assert isinstance(outcome.reply, BootNotificationResponse)
        assert outcome.reply.status == status
        made.connect(epoch=5, profile=3, certificate_name="SN-9")
        again = made.call("BootNotification", BOOT, epoch=5)
        assert isinstance(again.reply, BootNotificationResponse)
        assert again.reply.status == ("Accepted" if boot == "accepted" else "Rejected")
