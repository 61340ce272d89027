"""Reservations as whole operations (block H): asked, answered by the station, then used, cancelled, expired or removed.

A station has a reservation from the moment it is told until `expires_at`: there are no reservations for later, so two
that are open at one EVSE are in conflict. What conflicts, and what the CSMS knows to be impossible, is refused before
anything is sent; the station has the last word.

ReserveNow may be repeated: the same id replaces (H01.FR.02). So a station that comes back and may have forgotten is
told again, where the registry allows to send unasked (`automatic.desiredState`); the frames for that were made when
the reservation was, and are kept sealed, outside of events, until it ends.
"""

from collections.abc import Iterable
from typing import ClassVar, Final

import msgspec

from ocppcore import topics
from ocppcore.authorization import IdTokenInfo
from ocppcore.command_end import Ended
from ocppcore.commands import Ask, ask_needs, commands, spelled
from ocppcore.contracts.device import StationState
from ocppcore.contracts.reservations import (
    OPEN,
    CancelReservation,
    RepeatReservation,
    ReservationAsked,
    ReservationMoved,
    ReservationRepeatDue,
    ReservationState,
    Reserve,
)
from ocppcore.contracts.transactions import TransactionEvent
from ocppcore.log import NewRecord
from ocppcore.service import (
    NOTHING,
    Aggregate,
    Context,
    Drop,
    Follow,
    Need,
    Outcome,
    Put,
    Result,
    Timer,
    View,
    problem,
)
from ocppcore.store import Table, Upsert
from ocppcore.topics import normalise
from ocppcore.wire import load_json

EXPIRY: Final = "reservation-expiry"
GRACE_MS: Final = 10_000
"""The station's own word on the expiry comes first, if its clock is no worse than this."""
HELD_MAX: Final = 100
"""Open reservations of one station."""
REFERENCE: Final = "reservation:"
"""Begins the reference of our commands: no station id holds a colon."""

RESERVATIONS = Table(
    "reservations",
    {
        "station": "text",
        "reservation_id": "bigint",
        "identity": "text",
        "state": "text",
        "evse_id": "bigint",
        "connector_type": "text",
        "token": "text",
        "token_type": "text",
        "group_id": "text",
        "expires_at": "bigint",
        "reason": "text",
        "transaction_id": "text",
        "command_id": "text",
        "asked_at": "bigint",
        "changed_at": "bigint",
        "actor": "text",
    },
    ("station", "reservation_id"),
    indexes=(("asked_at",), ("state", "asked_at"), ("station", "asked_at")),
)


class Held(msgspec.Struct, frozen=True, array_like=True):
    """An open reservation. `epoch`: of the connection on which the station was told last (-1: none); `repeats`: the
    commands by which it may be told again."""

    id: int
    state: ReservationState
    evse_id: int | None
    connector_type: str
    token: str
    group: str
    expires_at: int
    epoch: int
    repeats: tuple[str, ...] = ()


class Reservations(Aggregate, frozen=True, kw_only=True):
    """The open ones of a station; id = station."""

    KIND: ClassVar[str] = "Reservations"
    held: tuple[Held, ...] = ()

    def find(self, reservation_id: int) -> Held | None:
        return next((one for one in self.held if one.id == reservation_id), None)


class Reservation(Aggregate, frozen=True, kw_only=True, omit_defaults=True):
    """One reservation; id = `reservation_key`. It stays when the reservation has ended: ids are not given twice.

    `before`: what this one replaces, until the station has accepted it, and the state that had.
    """

    KIND: ClassVar[str] = "Reservation"
    asked: ReservationAsked
    state: ReservationState = "asked"
    before: ReservationAsked | None = None


class UnsentReservation(Aggregate, frozen=True, kw_only=True):
    """Frames to tell the station of a reservation again; id = `reservation_key`. Gone when the reservation ends."""

    KIND: ClassVar[str] = "UnsentReservation"
    REBUILT: ClassVar[bool] = False
    asks: tuple[Ask, ...]


def reservation_key(station: str, reservation_id: int) -> str:
    return f"{station}/{reservation_id}"


def reference_of(station: str, reservation_id: int, what: str = "reserve") -> str:
    """Of the commands `reserve` and `cancel`: comes back with their end."""
    return f"{REFERENCE}{what}:{reservation_key(station, reservation_id)}"


def _held(view: View, station: str) -> Reservations:
    return view.get(Reservations, station) or Reservations()


# Deciding


def reserve_needs(body: Reserve, station: str) -> tuple[Need, ...]:
    key = reservation_key(station, body.reservation_id)
    return ((Reservations, station), (Reservation, key), *ask_needs(body.ask, station))


def reserve(body: Reserve, refused: Result | None, view: View, context: Context) -> Outcome:
    """Have the station reserve, unless `refused` says why not (`reservation_conflicts.py`)."""
    if refused is not None:
        return Outcome(result=refused)
    station = view.copy(topics.STATIONS, StationState, context.station)
    again = body.again if station is not None and station.automatic.desired_state else ()
    asked = ReservationAsked(
        at=context.now,
        station=context.station,
        reservation_id=body.reservation_id,
        command_id=body.ask.command_id,
        token=body.token,
        token_type=body.token_type,
        expires_at=body.expires_at,
        evse_id=body.evse_id,
        connector_type=body.connector_type,
        group=body.group,
        group_type=body.group_type,
        actor=context.actor,
        identity=spelled(body.ask.identity, context),
        token_position=view.copy_position(topics.TOKENS, body.token),
        station_position=view.copy_position(topics.STATIONS, context.station),
        epoch=_epoch(context),
        repeats=tuple(ask.command_id for ask in again),
    )
    queue_for_ms = min(body.ask.queue_for_ms, body.expires_at - context.now)
    ask = msgspec.structs.replace(body.ask, queue_for_ms=queue_for_ms)
    command = commands("transactions").ask(ask, view, context)
    key = reservation_key(context.station, body.reservation_id)
    kept = (Put(key, UnsentReservation(asks=again), body.expires_at),) if again else ()
    return Outcome(
        (asked, *command.events),
        calls=command.calls,
        puts=(*command.puts, *kept),
        result=Result(202, {"reservationId": body.reservation_id}),
    )


def _epoch(context: Context) -> int:
    connection = context.connection
    return connection.epoch if connection is not None and connection.connected else -1


def cancel_needs(body: CancelReservation, station: str) -> tuple[Need, ...]:
    key = reservation_key(station, body.reservation_id)
    return ((Reservations, station), (Reservation, key), *ask_needs(body.ask, station))


def cancel(body: CancelReservation, view: View, context: Context) -> Outcome:
    """Have the station forget it: 404 for an id of no reservation of this station, 409 unless the station has it."""
    held = view.get(Reservation, reservation_key(context.station, body.reservation_id))
    if held is None:
        detail = f"station {context.station} has no reservation {body.reservation_id}"
        return Outcome(result=problem(404, "Unknown reservation", detail))
    if held.state not in ("active", "unsure"):
        detail = f"reservation {body.reservation_id} is {held.state}"
        return Outcome(result=problem(409, "Not active", detail))
    moved = _moved(held, context, "cancelling", command_id=body.ask.command_id, actor=context.actor)
    command = commands("transactions").ask(body.ask, view, context)
    return Outcome(
        (moved, *command.events),
        calls=command.calls,
        puts=command.puts,
        result=Result(202, {"reservationId": body.reservation_id}),
    )


def ended_needs(body: Ended, station: str) -> tuple[Need, ...]:
    key = body.reference.rpartition(":")[2]
    return ((Reservations, station), (Reservation, key), (UnsentReservation, key))


def command_ended(body: Ended, view: View, context: Context) -> Outcome:
    """The station answered one of our commands, or will not."""
    what, _, key = body.reference.removeprefix(REFERENCE).partition(":")
    held = view.get(Reservation, key)
    if held is None:
        return NOTHING
    answer = load_json(body.response) if body.status == "answered" else None
    said = str(answer["status"]) if isinstance(answer, dict) else ""
    more = (answer.get("statusInfo") or {}).get("reasonCode", "") if isinstance(answer, dict) else ""
    reason = f"{said} {more}".strip() if said else _failure(body)
    decide = {"reserve": _reserve_ended, "cancel": _cancel_ended, "repeat": _repeat_ended}[what]
    moved = decide(held, body, said, reason, context)
    return NOTHING if moved is None else _with_frames(moved, view)


def _failure(body: Ended) -> str:
    error = load_json(body.error)
    detail = error.get("description") or error.get("code") if isinstance(error, dict) else ""
    return f"{body.status}: {detail}" if detail else body.status


def _maybe_told(body: Ended) -> bool:
    """Whether a station that gave no answer may have carried the command out."""
    return body.status in ("timeout", "unknown")


def _reserve_ended(held: Reservation, body: Ended, said: str, reason: str, context: Context) -> ReservationMoved | None:
    if body.command_id != held.asked.command_id or held.state != "asked":
        return None
    if said == "Accepted":
        return _moved(held, context, "active", epoch=body.epoch)
    if _maybe_told(body):
        return _moved(held, context, "unsure", reason=reason, epoch=body.epoch)
    if held.before is not None:
        return _moved(held, context, "kept", reason=reason, epoch=body.epoch)
    return _moved(held, context, "rejected" if said else "failed", reason=reason)


def _cancel_ended(held: Reservation, body: Ended, said: str, reason: str, context: Context) -> ReservationMoved | None:
    if held.state != "cancelling":
        return None
    if said == "Accepted":
        return _moved(held, context, "cancelled")
    if said == "Rejected":
        return _moved(held, context, "removed", reason="the station knows no such reservation")  # H02.FR.01
    return _moved(held, context, "unsure" if _maybe_told(body) else "active", reason=reason)


def _repeat_ended(held: Reservation, body: Ended, said: str, reason: str, context: Context) -> ReservationMoved | None:
    """A station that finds its EVSE reserved or in use already keeps what it had; one that cannot has lost it."""
    if held.state not in ("active", "unsure"):
        return None
    if said == "Accepted":
        return _moved(held, context, "active", epoch=body.epoch) if held.state == "unsure" else None
    if said in ("Faulted", "Unavailable"):
        return _moved(held, context, "removed", reason=reason)
    return None


def status_needs(station: str, reservation_id: int) -> tuple[Need, ...]:
    key = reservation_key(station, reservation_id)
    return ((Reservations, station), (Reservation, key), (UnsentReservation, key))


def station_said(reservation_id: int, status: str, view: View, context: Context) -> Outcome:
    """ReservationStatusUpdate (H01.FR.16, H01.FR.17, H04): only of a reservation that is open, of this station."""
    held = view.get(Reservation, reservation_key(context.station, reservation_id))
    if held is None or held.state not in OPEN:
        return NOTHING
    state: ReservationState = "expired" if status == "Expired" else "removed"
    return _with_frames(_moved(held, context, state, reason=f"the station said {status}"), view)


def expire_needs(subject: str) -> tuple[Need, ...]:
    return ((Reservations, subject.rpartition("/")[0]), (Reservation, subject), (UnsentReservation, subject))


def expire(subject: str, view: View, context: Context) -> Outcome:
    """Its time is over, whatever the station says."""
    held = view.get(Reservation, subject)
    if held is None or held.state not in OPEN:
        return NOTHING
    return _with_frames(_moved(held, context, "expired"), view)


def use_needs(station: str) -> tuple[Need, ...]:
    return ((Reservations, station),)


def used(event: TransactionEvent, evse: int | None, info: IdTokenInfo | None, view: View, context: Context) -> Outcome:
    """A transaction that names a reservation of this station, or begins with the token or group of one (H01.FR.15,
    H03); `evse`: where. A station that names none has ended the reservation all the same."""
    held = _held(view, context.station)
    found = held.find(event.reservation_id) if event.reservation_id is not None else None
    if found is None and info is not None and info.status == "Accepted" and event.reservation_id is None:
        group = normalise(info.group.id_token) if info.group else ""
        mine = (one for one in held.held if _fits(one, event.token, group, evse))
        found = next((one for one in mine if _has_type(one, evse, view, context)), None)
    if found is None:
        return NOTHING
    moved = ReservationMoved(
        at=context.now,
        station=context.station,
        reservation_id=found.id,
        state="used",
        transaction_id=event.transaction_id,
    )
    key = reservation_key(context.station, found.id)
    return Outcome((moved,), puts=(Drop(UnsentReservation, key),) if found.repeats else ())


def _fits(one: Held, token: str, group: str, evse: int | None) -> bool:
    mine = one.token == token or (one.group != "" and one.group == group)
    return one.state != "asked" and mine and (one.evse_id is None or evse is None or one.evse_id == evse)


def _has_type(one: Held, evse: int | None, view: View, context: Context) -> bool:
    """Whether the EVSE has a connector of the reserved type, where the registry knows its types (H03.FR.02)."""
    if not one.connector_type or evse is None:
        return True
    station = view.copy(topics.STATIONS, StationState, context.station)
    types = station.evse_types.get(evse) if station is not None else None
    return not types or one.connector_type in types


def connected_needs(station: str) -> tuple[Need, ...]:
    return ((Reservations, station),)


def connected(view: View, context: Context) -> Outcome:
    """A station that is on a later connection than the one it was told on may have forgotten."""
    epoch = _epoch(context)
    late = [
        one
        for one in _held(view, context.station).held
        if one.repeats and one.state in ("active", "unsure") and epoch > one.epoch and one.expires_at > context.now
    ]
    due = [
        ReservationRepeatDue(
            at=context.now,
            station=context.station,
            reservation_id=one.id,
            command_id=one.repeats[0],
            epoch=epoch,
        )
        for one in late
    ]
    return Outcome(tuple(due))


def repeat_needs(body: RepeatReservation, station: str) -> tuple[Need, ...]:
    key = reservation_key(station, body.reservation_id)
    blank = Ask(command_id=body.command_id, action="ReserveNow", payload=msgspec.Raw(b"{}"))
    return ((Reservation, key), (UnsentReservation, key), *ask_needs(blank, station))


def repeat(body: RepeatReservation, view: View, context: Context) -> Outcome:
    """Send the frame that was kept for this."""
    key = reservation_key(context.station, body.reservation_id)
    held, unsent = view.get(Reservation, key), view.get(UnsentReservation, key)
    if held is None or unsent is None or held.state not in ("active", "unsure"):
        return NOTHING
    ask = next((ask for ask in unsent.asks if ask.command_id == body.command_id), None)
    if ask is None:
        return NOTHING
    left = tuple(one for one in unsent.asks if one is not ask)
    command = commands("transactions").ask(ask, view, context._replace(actor=held.asked.actor))
    rest = Put(key, UnsentReservation(asks=left), held.asked.expires_at) if left else Drop(UnsentReservation, key)
    return Outcome(command.events, calls=command.calls, puts=(*command.puts, rest))


def _moved(
    held: Reservation, context: Context, state: ReservationState, *, reason: str = "", command_id: str = "",
    actor: str = "", epoch: int = -1,
) -> ReservationMoved:  # fmt: skip
    return ReservationMoved(
        at=context.now,
        station=held.asked.station,
        reservation_id=held.asked.reservation_id,
        state=state,
        reason=reason,
        command_id=command_id,
        actor=actor,
        epoch=epoch,
    )


def _with_frames(moved: ReservationMoved, view: View) -> Outcome:
    """What was kept to tell the station again goes with the reservation."""
    key = reservation_key(moved.station, moved.reservation_id)
    over = moved.state not in (*OPEN, "kept") and view.get(UnsentReservation, key) is not None
    return Outcome((moved,), puts=(Drop(UnsentReservation, key),) if over else ())


# Folding


def event_needs(event: ReservationAsked | ReservationMoved | ReservationRepeatDue) -> tuple[Need, ...]:
    key = reservation_key(event.station, event.reservation_id)
    return ((Reservations, event.station), (Reservation, key))


def evolve_asked(event: ReservationAsked, view: View) -> Iterable[Put | Drop | Timer]:
    key = reservation_key(event.station, event.reservation_id)
    known = view.get(Reservation, key)
    before = known.asked if known is not None and known.state in OPEN else None
    yield Put(key, Reservation(asked=event, before=before))
    yield _listed(view, event.station, event.reservation_id, _as_held(event, "asked", event.epoch, event.repeats))
    yield Timer(EXPIRY, key, event.expires_at + GRACE_MS)


def _as_held(asked: ReservationAsked, state: ReservationState, epoch: int, repeats: tuple[str, ...]) -> Held:
    return Held(
        asked.reservation_id,
        state,
        asked.evse_id,
        asked.connector_type,
        asked.token,
        asked.group,
        asked.expires_at,
        epoch,
        repeats,
    )


def _listed(view: View, station: str, reservation_id: int, now: Held | None) -> Put | Drop:
    others = tuple(one for one in _held(view, station).held if one.id != reservation_id)
    held = (*others, now) if now is not None else others
    return Put(station, Reservations(held=held)) if held else Drop(Reservations, station)


def evolve_moved(event: ReservationMoved, view: View) -> Iterable[Put | Drop | Timer]:
    key = reservation_key(event.station, event.reservation_id)
    known, held = view.get(Reservation, key), _held(view, event.station).find(event.reservation_id)
    assert known is not None, f"no reservation {key}"
    asked, state, before = known.asked, event.state, known.before
    if state == "kept" and before is not None:
        asked, state = before, "active"
    if state == "active":
        before = None
    yield Put(key, Reservation(asked=asked, state=state, before=before))
    if state not in OPEN:
        yield _listed(view, event.station, event.reservation_id, None)
        yield Timer(EXPIRY, key, None)
        return
    epoch = max(event.epoch, held.epoch if held else -1)
    repeats = held.repeats if held else ()
    yield _listed(view, event.station, event.reservation_id, _as_held(asked, state, epoch, repeats))
    if asked is not known.asked:
        yield Timer(EXPIRY, key, asked.expires_at + GRACE_MS)


def evolve_repeat_due(event: ReservationRepeatDue, view: View) -> Iterable[Put | Drop]:
    held = _held(view, event.station).find(event.reservation_id)
    assert held is not None, f"no open reservation {event.station}/{event.reservation_id}"
    left = tuple(command for command in held.repeats if command != event.command_id)
    now = msgspec.structs.replace(held, epoch=event.epoch, repeats=left)
    yield _listed(view, event.station, held.id, now)


def derive_repeat_due(event: ReservationRepeatDue, follow: Follow) -> Iterable[NewRecord]:
    body = RepeatReservation(reservation_id=event.reservation_id, command_id=event.command_id)
    yield follow.request("transactions", RepeatReservation.NAME, event.station, body, event.at)


def project(event: ReservationAsked | ReservationMoved, view: View) -> Iterable[Upsert]:
    """The reservation's row as the API shows it."""
    held = view.get(Reservation, reservation_key(event.station, event.reservation_id))
    assert held is not None, f"no reservation {event.reservation_id} of {event.station}"
    asked = held.asked
    moved = event if isinstance(event, ReservationMoved) else None
    row = (
        asked.station,
        asked.reservation_id,
        asked.identity or asked.station,
        held.state,
        asked.evse_id,
        asked.connector_type or None,
        asked.token,
        asked.token_type,
        asked.group or None,
        asked.expires_at,
        (moved.reason or None) if moved else None,
        (moved.transaction_id or None) if moved else None,
        (moved.command_id if moved else "") or asked.command_id,
        asked.at,
        event.at,
        asked.actor,
    )
    yield Upsert(RESERVATIONS, row)
