"""Reservations: asked, answered, used, cancelled, expired, removed; and what is refused before anything is sent."""

from typing import Any

import msgspec
import pytest

from ocppcore import commands, topics
from ocppcore.authorization import Group, Rules, TokenState
from ocppcore.command_end import ENDED, Ended
from ocppcore.commands import Ask
from ocppcore.contracts.device import (
    Automatic,
    ConnectorSpec,
    ConnectorState,
    EvseSpec,
    StationState,
    connector_key,
)
from ocppcore.contracts.reservations import CancelReservation, RepeatReservation, Reserve
from ocppcore.pseudonym import Pseudonyms
from ocppcore.service import Outcome
from services.transactions.domain.reservation import (
    EXPIRY,
    RESERVATIONS,
    Reservation,
    Reservations,
    UnsentReservation,
    reference_of,
)
from services.transactions.domain.reservation_conflicts import AHEAD_MAX_MS
from services.transactions.service import parts
from tests.support.given import NOW, World
from tests.support.transaction_frames import event

PSEUDONYMS = Pseudonyms(b"k")
TOKEN = PSEUDONYMS.of("ISO14443", "ABC")
OTHER = PSEUDONYMS.of("ISO14443", "DEF")
HOUR = 3_600_000
EVSES = (
    EvseSpec(id=1, connectors=(ConnectorSpec(id=1, type="cCCS2"),)),
    EvseSpec(id=2, connectors=(ConnectorSpec(id=1, type="sType2"), ConnectorSpec(id=2, type="cType1"))),
)


def registered(world: World, *, evses: tuple[EvseSpec, ...] = EVSES, **more: Any) -> None:
    state = StationState(id="CS-1", security_profile=1, credential=None, registration="Accepted", evses=evses, **more)
    world.given_copy(topics.STATIONS, "cs-1", state, 7)


def token(world: World, key: str = TOKEN, **more: Any) -> None:
    state = TokenState(type="ISO14443", **({"status": "Accepted"} | more))
    world.given_copy(topics.TOKENS, key, state, 5)


def shows(world: World, evse: int, connector: int, status: Any) -> None:
    world.given_copy(topics.CONNECTORS, connector_key("cs-1", evse, connector), ConnectorState(status=status, at=NOW))


@pytest.fixture
def world() -> World:
    made = World(
        "transactions",
        [*parts(PSEUDONYMS, Rules(master_pass_group="masters")), commands.part(commands.commands("transactions"))],
    )
    made.connect()
    registered(made)
    token(made)
    token(made, OTHER)
    return made


def ask(command_id: str, action: str = "ReserveNow", what: str = "reserve", id_: int = 5) -> Ask:
    return Ask(
        command_id=command_id,
        action=action,
        payload=msgspec.Raw(b"{}"),
        reply_service="transactions",
        reference=reference_of("cs-1", id_, what),
        identity="CS-1",
    )


def reserve(world: World, id_: int = 5, *, again: int = 0, evses: tuple[EvseSpec, ...] = EVSES, **more: Any) -> Outcome:
    chosen: dict[str, Any] = {"token": TOKEN, "expires_at": world.now + HOUR} | more
    wanted = Reserve(
        reservation_id=id_,
        ask=ask(f"c{id_}-{len(world.events)}", id_=id_),
        again=tuple(ask(f"again-{id_}-{n}", what="repeat", id_=id_) for n in range(again)),
        token_type="ISO14443",
        evses=tuple((evse.id, tuple(one.id for one in evse.connectors)) for evse in evses),
        **chosen,
    )
    return world.ask(Reserve.NAME, wanted, key="cs-1")


def answered(
    world: World, said: str = "Accepted", *, what: str = "reserve", id_: int = 5, epoch: int = 1, **more: Any
) -> None:
    """The newest command of the reservation ends."""
    held = world.state(Reservation, f"cs-1/{id_}")
    assert held is not None
    body = Ended(
        command_id=held.asked.command_id,
        action="x",
        status=more.get("status", "answered"),
        reference=reference_of("cs-1", id_, what),
        response=msgspec.Raw(msgspec.json.encode({"status": said})),
        epoch=epoch,
    )
    world.ask(ENDED, body, key="cs-1")


def active(world: World, id_: int = 5, **more: Any) -> None:
    outcome = reserve(world, id_, **more)
    assert outcome.result is not None
    assert outcome.result.status == 202, outcome.result
    answered(world, id_=id_)


def cancel(world: World, id_: int = 5) -> Outcome:
    body = CancelReservation(reservation_id=id_, ask=ask(f"cancel-{id_}", "CancelReservation", "cancel", id_))
    return world.ask(CancelReservation.NAME, body, key="cs-1")


def state(world: World, id_: int = 5) -> tuple[Any, Any]:
    (row,) = [row for row in world.rows(RESERVATIONS) if row["reservation_id"] == id_]
    return row["state"], row["reason"] or row["transaction_id"]


def refused(world: World, **more: Any) -> tuple[int, str]:
    """Status and title of a refusal; nothing was sent and nothing has changed."""
    before, rows = len(world.events), world.rows(RESERVATIONS)
    outcome = reserve(world, more.pop("id_", 6), **more)
    assert (list(outcome.calls), len(world.events), world.rows(RESERVATIONS)) == ([], before, rows)
    assert outcome.result is not None
    assert isinstance(outcome.result.body, dict)
    return outcome.result.status, outcome.result.body["title"]


# What becomes of one


def test_a_reservation_is_active_when_the_station_accepted_it(world: World) -> None:
    outcome = reserve(world, evse_id=1)
    assert [call.action for call in outcome.calls] == ["ReserveNow"]
    assert state(world) == ("asked", None)
    answered(world)
    assert state(world) == ("active", None)
    (row,) = world.rows(RESERVATIONS)
    assert (row["evse_id"], row["token"], row["identity"]) == (1, TOKEN, "CS-1")


@pytest.mark.parametrize("said", ["Occupied", "Faulted", "Unavailable", "Rejected"])
def test_a_station_may_refuse(world: World, said: str) -> None:
    reserve(world)
    answered(world, said)
    assert state(world) == ("rejected", said)
    assert (world.state(Reservations, "cs-1"), [*world.timers]) == (None, [])


def test_a_station_that_is_away_was_never_told(world: World) -> None:
    world.connect(connected=False)
    reserve(world)
    answered(world, status="not_connected")
    assert state(world) == ("failed", "not_connected")


@pytest.mark.parametrize("status", ["timeout", "unknown"])
def test_a_reservation_without_an_answer_still_holds_the_evse(world: World, status: str) -> None:
    reserve(world, evse_id=1)
    answered(world, status=status)
    assert state(world) == ("unsure", status)
    assert refused(world, evse_id=1, token=OTHER) == (409, "Occupied")
    cancel(world)
    answered(world, "Rejected", what="cancel")
    assert state(world) == ("removed", "the station knows no such reservation")


def test_cancelled(world: World) -> None:
    active(world)
    outcome = cancel(world)
    assert [call.action for call in outcome.calls] == ["CancelReservation"]
    assert state(world)[0] == "cancelling"
    answered(world, what="cancel")
    assert state(world) == ("cancelled", None)
    assert world.timers == {}


def test_a_cancellation_that_did_not_arrive_leaves_it(world: World) -> None:
    active(world)
    cancel(world)
    answered(world, what="cancel", status="not_connected")
    assert state(world) == ("active", "not_connected")


def test_only_an_active_one_of_this_station_is_cancelled(world: World) -> None:
    assert cancel(world).result.status == 404  # type: ignore[union-attr]
    reserve(world)
    assert cancel(world).result.status == 409  # type: ignore[union-attr]
    answered(world, "Rejected")
    assert cancel(world).result.status == 409  # type: ignore[union-attr]


def test_it_expires_by_itself(world: World) -> None:
    active(world)
    world.wait(HOUR + 10_000)
    world.tick(EXPIRY, "cs-1/5")
    assert state(world) == ("expired", None)


@pytest.mark.parametrize(("said", "then"), [("Expired", "expired"), ("Removed", "removed")])
def test_the_station_ends_it(world: World, said: str, then: str) -> None:
    active(world)
    world.call("ReservationStatusUpdate", {"reservationId": 5, "reservationUpdateStatus": said})
    assert state(world) == (then, f"the station said {said}")
    world.call("ReservationStatusUpdate", {"reservationId": 5, "reservationUpdateStatus": "Removed"})
    assert state(world)[0] == then


def test_another_station_cannot_end_it(world: World) -> None:
    active(world)
    said = {"reservationId": 5, "reservationUpdateStatus": "Removed"}
    world.call("ReservationStatusUpdate", said, station="CS-2")
    world.call("TransactionEvent", event("Started", 0, reservationId=5), station="CS-2")
    assert state(world)[0] == "active"


# Use


def test_a_transaction_names_it(world: World) -> None:
    active(world)
    world.call("TransactionEvent", event("Started", 0, token="ABC", trigger="Authorized", reservationId=5))
    assert state(world) == ("used", "T1")
    assert world.timers == {}


def test_a_station_that_forgets_the_id_uses_it_all_the_same(world: World) -> None:
    active(world, evse_id=1)
    started = event("Started", 0, token="ABC", trigger="Authorized", evse={"id": 1})
    world.call("TransactionEvent", started)
    assert state(world) == ("used", "T1")


def test_another_token_or_evse_does_not_use_it(world: World) -> None:
    active(world, evse_id=1)
    world.call("TransactionEvent", event("Started", 0, token="DEF", trigger="Authorized", evse={"id": 1}))
    elsewhere = event("Started", 0, transaction="T2", token="ABC", trigger="Authorized", evse={"id": 2})
    world.call("TransactionEvent", elsewhere)
    assert state(world) == ("active", None)


def test_a_connector_type_is_used_where_there_is_one(world: World) -> None:
    active(world, connector_type="cCCS2")
    elsewhere = event("Started", 0, token="ABC", trigger="Authorized", evse={"id": 2})
    world.call("TransactionEvent", elsewhere)
    assert state(world) == ("active", None)
    there = event("Started", 0, transaction="T2", token="ABC", trigger="Authorized", evse={"id": 1})
    world.call("TransactionEvent", there)
    assert state(world) == ("used", "T2")


def test_a_member_of_the_group_uses_it(world: World) -> None:
    group = Group(id_token="FLEET", type="Central")
    token(world, group=group)
    token(world, OTHER, group=Group(id_token="fleet", type="Central"))
    active(world, group="fleet", group_type="Central")
    world.call("TransactionEvent", event("Started", 0, token="DEF", trigger="Authorized"))
    assert state(world) == ("used", "T1")


def test_a_blocked_token_uses_nothing(world: World) -> None:
    active(world)
    token(world, status="Blocked")
    world.call("TransactionEvent", event("Started", 0, token="ABC", trigger="Authorized"))
    assert state(world) == ("active", None)


# Replacing


@pytest.mark.requirement("H01.FR.02")
def test_the_same_id_replaces(world: World) -> None:
    active(world, evse_id=1)
    outcome = reserve(world, evse_id=2, token=OTHER, replace=True)
    assert [call.action for call in outcome.calls] == ["ReserveNow"]
    answered(world)
    (row,) = world.rows(RESERVATIONS)
    assert (row["state"], row["evse_id"], row["token"]) == ("active", 2, OTHER)
    assert len(world.state(Reservations, "cs-1").held) == 1  # type: ignore[union-attr]


@pytest.mark.requirement("H01.FR.02")
def test_a_replacement_that_is_refused_leaves_what_was(world: World) -> None:
    active(world, evse_id=1)
    due = world.timers[EXPIRY, "cs-1/5"]
    reserve(world, evse_id=2, token=OTHER, replace=True, expires_at=world.now + 2 * HOUR)
    answered(world, "Occupied")
    (row,) = world.rows(RESERVATIONS)
    assert (row["state"], row["reason"], row["evse_id"], row["token"]) == ("active", "Occupied", 1, TOKEN)
    assert world.timers[EXPIRY, "cs-1/5"] == due


@pytest.mark.requirement("H01.FR.02")
def test_an_id_is_not_given_twice(world: World) -> None:
    active(world)
    assert refused(world, id_=5) == (409, "Id in use")
    cancel(world)
    answered(world, what="cancel")
    assert refused(world, id_=5) == (409, "Id in use")
    assert refused(world, id_=5, replace=True) == (409, "Not active")
    assert refused(world, id_=9, replace=True) == (404, "Unknown reservation")


# A station that comes back


def test_a_station_that_comes_back_is_told_again(world: World) -> None:
    registered(world, automatic=Automatic(desired_state=True))
    active(world, again=2)
    world.connect(epoch=2)
    (due,) = world.published("transactions.requests")
    repeat = msgspec.convert(due, RepeatReservation)
    outcome = world.ask(RepeatReservation.NAME, repeat, key="cs-1")
    assert [call.action for call in outcome.calls] == ["ReserveNow"]
    answered(world, what="repeat", epoch=2)
    assert state(world) == ("active", None)
    world.connect(epoch=2)
    assert len(world.published("transactions.requests")) == 1
    world.connect(epoch=3)
    world.connect(epoch=4)
    assert [one["command_id"] for one in world.published("transactions.requests")] == ["again-5-0", "again-5-1"]


def test_a_crash_between_the_call_and_its_answer_is_cleared_up_by_asking_again(world: World) -> None:
    registered(world, automatic=Automatic(desired_state=True))
    reserve(world, evse_id=1, again=1)
    answered(world, status="unknown")
    assert refused(world, evse_id=1, token=OTHER) == (409, "Occupied")
    world.connect(epoch=2)
    (due,) = world.published("transactions.requests")
    world.ask(RepeatReservation.NAME, msgspec.convert(due, RepeatReservation), key="cs-1")
    answered(world, what="repeat", epoch=2)
    assert state(world) == ("active", None)


def test_what_is_kept_to_ask_again_goes_with_the_reservation(world: World) -> None:
    registered(world, automatic=Automatic(desired_state=True))
    active(world, again=2)
    assert world.state(UnsentReservation, "cs-1/5") is not None
    world.call("TransactionEvent", event("Started", 0, token="ABC", trigger="Authorized", reservationId=5))
    assert world.state(UnsentReservation, "cs-1/5") is None


@pytest.mark.parametrize(("said", "then"), [("Occupied", "active"), ("Rejected", "active"), ("Faulted", "removed")])
def test_what_it_says_to_that(world: World, said: str, then: str) -> None:
    registered(world, automatic=Automatic(desired_state=True))
    active(world, again=1)
    world.connect(epoch=2)
    answered(world, said, what="repeat", epoch=2)
    assert state(world)[0] == then


def test_nothing_is_sent_unasked_unless_the_registry_says_so(world: World) -> None:
    active(world, again=2)
    world.connect(epoch=2)
    assert world.published("transactions.requests") == []


# Refused before anything is sent


def test_the_past_and_the_far_future_are_refused(world: World) -> None:
    assert refused(world, expires_at=world.now) == (422, "In the past")
    assert refused(world, expires_at=world.now + AHEAD_MAX_MS + 1) == (422, "Too long")


def test_a_station_that_is_not_registered_is_refused(world: World) -> None:
    world.given_copy(topics.STATIONS, "cs-1", None)
    assert refused(world) == (404, "Unknown station")


def test_a_station_without_reservations_is_refused(world: World) -> None:
    registered(world, supports={"reservation": False})
    assert refused(world) == (409, "No reservations")


def test_evses_and_connector_types_that_are_not_there_are_refused(world: World) -> None:
    assert refused(world, evse_id=3) == (422, "Unknown EVSE")
    assert refused(world, connector_type="cTesla") == (422, "Unknown connector type")
    assert refused(world, connector_type="cCCS2", evse_id=2) == (422, "Unknown connector type")
    registered(world, evses=())
    shows(world, 1, 1, "Available")
    assert refused(world, evse_id=3, evses=()) == (422, "Unknown EVSE")


@pytest.mark.parametrize("status", ["Blocked", "Expired", "Invalid", "NoCredit"])
def test_a_token_that_may_not_charge_is_refused(world: World, status: str) -> None:
    token(world, status=status)
    assert refused(world) == (409, "Token refused")


def test_tokens_that_start_nothing_there_are_refused(world: World) -> None:
    assert refused(world, token="nobody") == (409, "Token refused")
    token(world, stations=("cs-2",))
    assert refused(world) == (409, "Token refused")
    token(world, evses=(2,))
    assert refused(world, evse_id=1) == (409, "Token refused")
    token(world, group=Group(id_token="Masters", type="Central"))
    assert refused(world) == (409, "Token refused")


def test_a_group_that_the_token_is_not_in_is_refused(world: World) -> None:
    assert refused(world, group="fleet") == (409, "Not in the group")


def test_an_evse_that_is_reserved_is_refused(world: World) -> None:
    active(world, evse_id=1)
    assert refused(world, evse_id=1, token=OTHER) == (409, "Occupied")
    active(world, 7, evse_id=2, token=OTHER)
    assert refused(world, token=OTHER) == (409, "Occupied")


def test_the_last_evse_of_a_type_is_refused_twice(world: World) -> None:
    active(world, connector_type="cCCS2")
    assert refused(world, connector_type="cCCS2", token=OTHER) == (409, "Occupied")
    active(world, 7, connector_type="sType2", token=OTHER)


@pytest.mark.parametrize("status", ["Occupied", "Faulted", "Unavailable"])
def test_an_evse_that_is_known_to_be_of_no_use_is_refused(world: World, status: str) -> None:
    shows(world, 1, 1, status)
    assert refused(world, evse_id=1) == (409, status)
    shows(world, 2, 0, status)
    assert refused(world) == (409, status)
    assert refused(world, connector_type="cCCS2") == (409, status)


def test_one_broken_connector_does_not_take_an_evse(world: World) -> None:
    shows(world, 2, 1, "Faulted")
    shows(world, 2, 2, "Available")
    active(world, evse_id=2)


def test_a_station_that_is_out_of_order_is_refused(world: World) -> None:
    shows(world, 0, 0, "Unavailable")
    assert refused(world) == (409, "Unavailable")


def test_what_others_reserved_there_by_hand_is_the_stations_to_judge(world: World) -> None:
    shows(world, 1, 1, "Reserved")
    active(world, evse_id=1)
