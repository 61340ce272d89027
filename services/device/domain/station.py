"""A station: what the registry says of it, its last boot (B01-B03), its connection, the connectors it has shown."""

from collections.abc import Iterable
from typing import ClassVar, Final

import msgspec
from msgspec import UNSET

from ocppcore.contracts.device import (
    Boot,
    PatchStation,
    PutStation,
    RemoveStation,
    StationBooted,
    StationChanged,
    StationConnected,
    StationDisconnected,
    StationFields,
    StationRegistered,
    StationRemoved,
    StationState,
)
from ocppcore.envelope import Registration
from ocppcore.service import Aggregate, Context, Drop, Event, Outcome, Put, Result, View

HEARTBEAT_INTERVAL_S: Final = 300
"""What an accepted station is told unless the registry has a `bootInterval` for it."""
RETRY_INTERVAL_S: Final = 60
"""The same for a pending or rejected station: when to send BootNotification again."""

HIDDEN: Final = ("credential", "next_credential", "deleted")
"""Fields of the registry that nobody is shown."""

ANSWER: Final[dict[Boot, Registration]] = {"accepted": "Accepted", "pending": "Pending", "rejected": "Rejected"}


class LastBoot(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    at: int
    reason: str
    charging_station: msgspec.Raw
    status: Registration
    interval_s: int


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The station's newest connection, `at`: since when it is there, or gone."""

    connected: bool
    slot: int
    epoch: int
    subprotocol: str
    at: int


class Station(Aggregate, frozen=True, kw_only=True, omit_defaults=True):
    """id = normalised station id. `state` None: not registered (any more). `connectors`: (EVSE, connector) seen."""

    KIND: ClassVar[str] = "Station"
    state: StationState | None = None
    boot: LastBoot | None = None
    line: Line | None = None
    connectors: tuple[tuple[int, int], ...] = ()


NOBODY: Final = Station()


def station_of(view: View, id_: str) -> Station:
    """The station, empty where nothing is known of it."""
    return view.get(Station, id_) or NOBODY


# Deciding


def put(wanted: PutStation, view: View, context: Context) -> Outcome:
    """Register a station or replace it: 201 when new, 200 when replaced, 409 when it was to be new and is not.

    `passwordMade` in the answer: the spare password was taken.
    """
    station = station_of(view, context.station)
    old = station.state
    if old is not None and wanted.create:
        return Outcome(result=problem(409, "Station exists", f"station {old.id} is registered already"))
    blank = StationState(
        id=wanted.identity, security_profile=1, credential=old.credential if old else None, registration="Accepted"
    )
    state = _registered(_set(blank, wanted.fields), station)
    made = state.credential is None and state.security_profile != 3
    if made:
        state = msgspec.structs.replace(state, credential=wanted.spare)
    shown = represent(state) | {"passwordMade": made}
    if old is None:
        event = StationRegistered(at=context.now, station=state.id, state=state, actor=context.actor)
        return Outcome((event,), result=Result(201, shown))
    return Outcome(_changes(old, state, context), result=Result(200, shown))


def patch(wanted: PatchStation, view: View, context: Context) -> Outcome:
    """Set some fields: 200, 404 when there is no such station."""
    station = station_of(view, context.station)
    if station.state is None:
        return Outcome(result=_unknown(context))
    state = _registered(_set(station.state, wanted.fields), station)
    return Outcome(_changes(station.state, state, context), result=Result(200, represent(state)))


def remove(_: RemoveStation, view: View, context: Context) -> Outcome:
    """Forget a station: 204, 404 when there is no such station."""
    state = station_of(view, context.station).state
    if state is None:
        return Outcome(result=_unknown(context))
    event = StationRemoved(at=context.now, station=state.id, actor=context.actor)
    return Outcome((event,), result=Result(204))


def boot(reason: str, charging_station: bytes, view: View, context: Context) -> tuple[StationBooted, tuple[Event, ...]]:
    """What the registry answers a BootNotification (B01.FR.02), and all events of it.

    A station that is not registered, or disabled, is rejected. The answer is the registration from then on.
    """
    state = station_of(view, context.station).state
    status, cause = _verdict(state)
    configured = state.boot_interval if state else None
    default = HEARTBEAT_INTERVAL_S if status == "Accepted" else RETRY_INTERVAL_S
    booted = StationBooted(
        at=context.now,
        station=context.identity,
        reason=reason,
        charging_station=msgspec.Raw(charging_station),
        status=status,
        interval_s=default if configured is None else configured,
        cause=cause,
    )
    if state is None or state.registration == status:
        return booted, (booted,)
    changed = _changes(state, msgspec.structs.replace(state, registration=status), context)
    return booted, (booted, *changed)


def connection(view: View, context: Context) -> Outcome:
    """A station's newest connection came or went."""
    now = context.connection
    if now is None:
        return Outcome()
    line = station_of(view, context.station).line
    if line is not None and (line.epoch, line.connected) == (now.epoch, now.connected):
        return Outcome()
    at, who = context.now, now.identity
    if now.connected:
        came = StationConnected(at=at, station=who, slot=now.slot, epoch=now.epoch, subprotocol=now.subprotocol)
        return Outcome((came,))
    return Outcome((StationDisconnected(at=at, station=who, slot=now.slot, epoch=now.epoch),))


def represent(state: StationState) -> dict[str, object]:
    """A station's registry entry as the API shows it: every field, never a credential."""
    names = zip(state.__struct_fields__, state.__struct_encode_fields__, strict=True)
    entry = {name: getattr(state, field) for field, name in names if field not in HIDDEN}
    shown: dict[str, object] = msgspec.json.decode(msgspec.json.encode(entry))
    return shown | {"passwordSet": state.credential is not None}


def problem(status: int, title: str, detail: str) -> Result:
    """Problem details (RFC 9457) as a request's result."""
    return Result(status, {"type": "about:blank", "title": title, "status": status, "detail": detail})


def _unknown(context: Context) -> Result:
    return problem(404, "Unknown station", f"station {context.station} is not registered")


def _verdict(state: StationState | None) -> tuple[Registration, str]:
    if state is None:
        return "Rejected", "unregistered"
    if state.disabled:
        return "Rejected", "disabled"
    return ANSWER[state.boot], "" if state.boot == "accepted" else "boot"


_DEFAULTS: Final = StationState(id="", security_profile=1, credential=None, registration="Accepted")


def _set(state: StationState, fields: StationFields) -> StationState:
    wanted = {name: getattr(fields, name) for name in fields.__struct_fields__}
    return msgspec.structs.replace(
        state,
        **{
            name: getattr(_DEFAULTS, name) if value is None else value
            for name, value in wanted.items()
            if value is not UNSET
        },
    )


def _registered(state: StationState, station: Station) -> StationState:
    """The registration is the last boot answer; before the first boot, what the registry would answer."""
    answer = station.boot.status if station.boot else ANSWER[state.boot]
    return msgspec.structs.replace(state, registration=answer)


def _changes(old: StationState, new: StationState, context: Context) -> tuple[Event, ...]:
    names = zip(new.__struct_fields__, new.__struct_encode_fields__, strict=True)
    changed = tuple(name for field, name in names if getattr(old, field) != getattr(new, field))
    if not changed:
        return ()
    return (StationChanged(at=context.now, station=new.id, state=new, changed=changed, actor=context.actor),)


# Folding


def _with(view: View, id_: str, **changes: object) -> Iterable[Put | Drop]:
    station = msgspec.structs.replace(station_of(view, id_), **changes)
    yield Put(id_, station) if station != NOBODY else Drop(Station, id_)


def evolve_state(event: StationRegistered | StationChanged, view: View) -> Iterable[Put | Drop]:
    return _with(view, event.subject(), state=event.state)


def evolve_removed(event: StationRemoved, view: View) -> Iterable[Put | Drop]:
    """What is left is the connection, until it goes."""
    line = station_of(view, event.subject()).line
    left = line if line is not None and line.connected else None
    return _with(view, event.subject(), state=None, boot=None, connectors=(), line=left)


def evolve_booted(event: StationBooted, view: View) -> Iterable[Put | Drop]:
    if station_of(view, event.subject()).state is None:
        return ()
    last = LastBoot(
        at=event.at,
        reason=event.reason,
        charging_station=event.charging_station,
        status=event.status,
        interval_s=event.interval_s,
    )
    return _with(view, event.subject(), boot=last)


def evolve_connected(event: StationConnected, view: View) -> Iterable[Put | Drop]:
    line = Line(connected=True, slot=event.slot, epoch=event.epoch, subprotocol=event.subprotocol, at=event.at)
    return _with(view, event.subject(), line=line)


def evolve_disconnected(event: StationDisconnected, view: View) -> Iterable[Put | Drop]:
    station = station_of(view, event.subject())
    subprotocol = station.line.subprotocol if station.line else ""
    line = Line(connected=False, slot=event.slot, epoch=event.epoch, subprotocol=subprotocol, at=event.at)
    return _with(view, event.subject(), line=line if station.state else None)
