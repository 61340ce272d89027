"""The registry of stations: register, replace, patch, remove, and the state records that follow."""

from typing import Any

import pytest
from msgspec import UNSET

from ocppcore import topics
from ocppcore.contracts.device import (
    EvseSpec,
    PatchStation,
    PutStation,
    RemoveStation,
    StationChanged,
    StationFields,
    StationRegistered,
    StationRemoved,
    StationState,
)
from ocppcore.service import Outcome
from services.device.domain.station import Station
from services.device.projections import CONNECTORS, HISTORY, STATIONS
from services.device.service import PARTS
from tests.support.given import World


def world(**fields: object) -> World:
    """A world with station CS-1 registered."""
    made = World("device", PARTS)
    made.ask(
        PutStation.NAME,
        PutStation(identity="CS-1", fields=StationFields(**fields), spare="spare-1"),  # type: ignore[arg-type]
        key="cs-1",
    )
    return made


def test_a_new_station_gets_the_spare_password_and_the_defaults() -> None:
    made = World("device", PARTS)
    outcome = made.ask(
        PutStation.NAME, PutStation(identity="CS-1", fields=StationFields(), spare="spare"), key="cs-1", actor="me"
    )
    assert outcome.result is not None
    assert outcome.result.status == 201
    assert outcome.result.body == {
        "id": "CS-1",
        "securityProfile": 1,
        "registration": "Accepted",
        "disabled": False,
        "allowUnauthenticated": False,
        "boot": "accepted",
        "bootInterval": None,
        "serialNumber": None,
        "evses": [],
        "limits": {},
        "automatic": {"provisioning": False, "localList": False, "desiredState": False, "certificates": False},
        "supports": {},
        "zone": "",
        "nextSecurityProfile": None,
        "allowExpiredCertificate": False,
        "controller": "",
        "factoryCredentials": False,
        "site": "",
        "groups": [],
        "passwordSet": True,
        "passwordChanging": False,
        "passwordMade": True,
    }
    assert [type(event) for event in made.events] == [StationRegistered]
    assert made.events[0].actor == "me"  # type: ignore[attr-defined]
    assert made.published(topics.STATIONS) == [
        {"id": "CS-1", "securityProfile": 1, "credential": "spare", "registration": "Accepted"}
    ]


def test_a_chosen_password_is_taken_instead_of_the_spare_one() -> None:
    made = world(credential="chosen")
    assert made.published(topics.STATIONS)[-1]["credential"] == "chosen"


def test_security_profile_3_needs_no_password() -> None:
    made = world(security_profile=3)
    assert made.published(topics.STATIONS)[-1]["credential"] is None


def test_creating_a_station_that_exists_is_refused_whatever_its_case() -> None:
    made = world()
    outcome = made.ask(
        PutStation.NAME, PutStation(identity="cs-1", fields=StationFields(), spare="s", create=True), key="cs-1"
    )
    assert outcome.result is not None
    assert outcome.result.status == 409
    assert outcome.events == ()


def test_replacing_keeps_the_password_and_forgets_what_is_not_said_again() -> None:
    made = world(serial_number="SN", boot="pending")
    outcome = made.ask(
        PutStation.NAME,
        PutStation(identity="CS-1", fields=StationFields(zone="Europe/Berlin"), spare="spare-2"),
        key="cs-1",
    )
    assert outcome.result is not None
    assert outcome.result.status == 200
    assert made.published(topics.STATIONS)[-1] == {
        "id": "CS-1",
        "securityProfile": 1,
        "credential": "spare-1",
        "registration": "Accepted",
        "zone": "Europe/Berlin",
    }


def test_replacing_by_the_same_is_no_event() -> None:
    made = world(serial_number="SN")
    outcome = made.ask(
        PutStation.NAME, PutStation(identity="CS-1", fields=StationFields(serial_number="SN"), spare="x"), key="cs-1"
    )
    assert outcome.events == ()


def test_a_patch_sets_what_it_names_and_says_so() -> None:
    made = world(serial_number="SN", evses=(EvseSpec(id=1),))
    outcome = made.ask(
        PatchStation.NAME, PatchStation(fields=StationFields(serial_number=None, credential="new")), key="cs-1"
    )
    (event,) = outcome.events
    assert isinstance(event, StationChanged)
    assert event.changed == ("credential", "serialNumber")
    assert event.state.evses == (EvseSpec(id=1),)
    assert made.published(topics.STATIONS)[-1]["credential"] == "new"
    assert StationFields().credential is UNSET


def test_an_unknown_station_cannot_be_patched_or_removed() -> None:
    made = World("device", PARTS)
    for name, body in (
        (PatchStation.NAME, PatchStation(fields=StationFields(boot="pending"))),
        (RemoveStation.NAME, RemoveStation()),
    ):
        outcome = made.ask(name, body, key="nobody")
        assert outcome.result is not None
        assert outcome.result.status == 404
        assert outcome.events == ()


def test_the_registry_decides_the_registration_until_the_first_boot() -> None:
    made = world(boot="pending")
    assert made.published(topics.STATIONS)[-1]["registration"] == "Pending"
    made.ask(PatchStation.NAME, PatchStation(fields=StationFields(boot="rejected")), key="cs-1")
    assert made.published(topics.STATIONS)[-1]["registration"] == "Rejected"


def test_a_removed_station_leaves_its_history_and_nothing_else() -> None:
    made = world()
    made.connect()
    made.call(
        "StatusNotification",
        {"timestamp": "2023-11-14T22:00:00Z", "connectorStatus": "Available", "evseId": 1, "connectorId": 1},
    )
    outcome = made.ask(RemoveStation.NAME, RemoveStation(), key="cs-1")
    assert outcome.result is not None
    assert outcome.result.status == 204
    assert isinstance(outcome.events[0], StationRemoved)
    last = made.published(topics.STATIONS)[-1]
    assert (last["deleted"], last["credential"], last["id"]) == (True, None, "CS-1")
    assert made.rows(STATIONS) == []
    assert made.rows(CONNECTORS) == []
    assert len(made.rows(HISTORY)) == 1
    made.connect(connected=False)
    assert made.state(Station, "cs-1") is None


def test_the_row_shows_the_registry_and_never_the_credential() -> None:
    made = world(serial_number="SN")
    (row,) = made.rows(STATIONS)
    assert (row["station"], row["identity"], row["serial_number"], row["connected"]) == ("cs-1", "CS-1", "SN", False)
    assert "spare" not in str(row)


def fields(**said: Any) -> StationFields:
    return StationFields(**said)


def status_of(outcome: Outcome) -> int:
    assert outcome.result is not None
    return outcome.result.status


def state_of(made: World) -> StationState:
    station = made.state(Station, "cs-1")
    assert station is not None and station.state is not None
    return station.state


LOWERING: list[dict[str, Any]] = [
    {"security_profile": 1},
    {"security_profile": None},
    {"allow_unauthenticated": True},
    {"allow_expired_certificate": True},
]
NAMES = ("securityProfile", "securityProfile", "allowUnauthenticated", "allowExpiredCertificate")


@pytest.mark.parametrize(("changed", "name"), [*zip(LOWERING, NAMES, strict=True)])
@pytest.mark.parametrize("how", ["put", "patch"])
def test_a_station_is_made_less_secure_by_administrators_only(changed: dict[str, Any], name: str, how: str) -> None:
    for lowers, status in ((False, 403), (True, 200)):
        made = world(security_profile=2)
        wanted = fields(**changed)
        if how == "put":
            outcome = made.ask(
                PutStation.NAME, PutStation(identity="CS-1", fields=wanted, spare="s", lowers=lowers), key="cs-1"
            )
        else:
            outcome = made.ask(PatchStation.NAME, PatchStation(fields=wanted, lowers=lowers), key="cs-1")
        assert status_of(outcome) == status
        assert bool(outcome.events) is lowers
        if not lowers:
            assert outcome.result is not None and isinstance(outcome.result.body, dict)
            assert outcome.result.body["detail"].startswith(f"{name}: ")


@pytest.mark.parametrize("name", ["allow_unauthenticated", "allow_expired_certificate"])
def test_what_an_administrator_allowed_may_be_said_again_and_taken_back(name: str) -> None:
    made = world(security_profile=2)
    allowed = PatchStation(fields=fields(**{name: True}), lowers=True)
    assert status_of(made.ask(PatchStation.NAME, allowed, key="cs-1")) == 200
    for value in (True, False):
        again = PatchStation(fields=fields(**{name: value}))
        assert status_of(made.ask(PatchStation.NAME, again, key="cs-1")) == 200


@pytest.mark.parametrize("name", ["allow_unauthenticated", "allow_expired_certificate"])
def test_a_new_station_is_not_open_either_unless_an_administrator_says_so(name: str) -> None:
    for lowers, status in ((False, 403), (True, 201)):
        made = World("device", PARTS)
        body = PutStation(identity="CS-1", fields=fields(**{name: True}), spare="s", lowers=lowers)
        assert status_of(made.ask(PutStation.NAME, body, key="cs-1")) == status


@pytest.mark.parametrize("profile", [1, 2, 3])
def test_operators_register_with_any_profile_and_raise_it(profile: int) -> None:
    made = world(security_profile=profile)
    assert state_of(made).security_profile == profile
    for higher in range(profile, 4):
        raised = PatchStation(fields=fields(security_profile=higher))
        assert status_of(made.ask(PatchStation.NAME, raised, key="cs-1")) == 200


def register(made: World, **said: Any) -> Outcome:
    lowers = said.pop("lowers", False)
    body = PutStation(identity="CS-1", fields=fields(**said), spare="s", lowers=lowers)
    return made.ask(PutStation.NAME, body, key="cs-1")


def remove(made: World) -> None:
    assert status_of(made.ask(RemoveStation.NAME, RemoveStation(), key="cs-1")) == 204


@pytest.mark.requirement("A05.FR.07")
@pytest.mark.parametrize("connected", [True, False])
@pytest.mark.parametrize("profile", [2, 3])
def test_to_remove_a_station_and_register_it_anew_lowers_nothing_either(profile: int, connected: bool) -> None:
    made = world(security_profile=profile)
    if connected:
        made.connect()
    remove(made)
    for lower in ({}, {"security_profile": profile - 1}):
        refused = register(made, **lower)
        assert (status_of(refused), refused.events) == (403, ())
        assert refused.result is not None and f"removed with {profile}" in refused.result.body["detail"]  # type: ignore[index]
        if connected:
            made.connect(connected=False)
    assert status_of(register(made, security_profile=profile)) == 201
    assert state_of(made).security_profile == profile


def test_an_administrator_registers_it_with_any_profile_and_that_is_where_it_stands() -> None:
    made = world(security_profile=3)
    remove(made)
    assert status_of(register(made, security_profile=1, lowers=True)) == 201
    remove(made)
    assert made.state(Station, "cs-1") is None
    assert status_of(register(made)) == 201


def test_the_profile_of_a_removed_station_is_remembered_by_a_rebuild_too() -> None:
    made = world(security_profile=2)
    remove(made)
    rebuilt = World("device", PARTS)
    rebuilt.given(*made.events)
    assert rebuilt.state(Station, "cs-1") == made.state(Station, "cs-1")
    assert status_of(register(rebuilt)) == 403
