"""A station: what the registry says of it, its last boot (B01-B03), its connection, the connectors it has shown."""

from collections.abc import Iterable
from typing import ClassVar, Final

import msgspec
from msgspec import UNSET

from ocppcore.contracts.device import (
    Boot,
    PasswordRotationMoved,
    PatchStation,
    ProfileUpgradeMoved,
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
from ocppcore.envelope import OutFrame, Registration
from ocppcore.service import Aggregate, Connection, Context, Drop, Event, Outcome, Put, Result, View, problem
from services.device.domain.changes import Rotation, Upgrade

HEARTBEAT_INTERVAL_S: Final = 300
"""What an accepted station is told unless the registry has a `bootInterval` for it."""
RETRY_INTERVAL_S: Final = 60
"""The same for a pending or rejected station: when to send BootNotification again."""

CREDENTIALS: Final = (
    "credential",
    "next_credential",
    "security_profile",
    "next_security_profile",
    "factory_credentials",
)
"""Fields that say what a station connects with."""

HIDDEN: Final = ("credential", "next_credential", "deleted", "reported")
"""Fields of the registry that nobody is shown."""

ANSWER: Final[dict[Boot, Registration]] = {"accepted": "Accepted", "pending": "Pending", "rejected": "Rejected"}


SERIAL_NUMBER_DIFFERS: Final = "the serial number is not that of the certificate"


class _About(msgspec.Struct, rename="camel"):
    serial_number: str | None = None


class LastBoot(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`epoch`: of the connection that it came on, -1 where that was not noted."""

    at: int
    reason: str
    charging_station: msgspec.Raw
    status: Registration
    interval_s: int
    epoch: int = -1


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The station's newest connection, `at`: since when it is there, or gone."""

    connected: bool
    slot: int
    epoch: int
    subprotocol: str
    at: int


class Station(Aggregate, frozen=True, kw_only=True, omit_defaults=True):
    """id = normalised station id. `state` None: not registered (any more). `connectors`: (EVSE, connector) seen.

    `rotation`, `upgrade`: changes of its password (A01) and security profile (A05) that are under way. `limited`: it
    refused a new password and is answered Pending until it took one (A01.FR.05). `password_max`: how many characters
    it said that a password may have. `profile_before`: of a station that was removed, its security profile.
    """

    KIND: ClassVar[str] = "Station"
    state: StationState | None = None
    boot: LastBoot | None = None
    line: Line | None = None
    connectors: tuple[tuple[int, int], ...] = ()
    rotation: Rotation | None = None
    upgrade: Upgrade | None = None
    limited: bool = False
    password_max: int | None = None
    profile_before: int = 1


NOBODY: Final = Station()


def station_of(view: View, id_: str) -> Station:
    """The station, empty where nothing is known of it."""
    return view.get(Station, id_) or NOBODY


# Deciding


def put(wanted: PutStation, view: View, context: Context) -> Outcome:
    """Register a station or replace it: 201 when new, 200 when replaced, 409 when it was to be new and is not, 403 when
    it would be less secure than before and who asks may not do that.

    `passwordMade` in the answer: the spare password was taken.
    """
    station = station_of(view, context.station)
    old = station.state
    if old is not None and wanted.create:
        return Outcome(result=problem(409, "Station exists", f"station {old.id} is registered already"))
    blank = StationState(id=wanted.identity, security_profile=1, credential=None, registration="Accepted")
    if old is not None:
        # What a station connects with stays unless it is said: a profile is not lowered unawares (A05.FR.07).
        kept = {field: getattr(old, field) for field in (*CREDENTIALS, "reported")}
        blank = msgspec.structs.replace(blank, **kept)
    state = _registered(_set(blank, wanted.fields), station)
    before = old or msgspec.structs.replace(_DEFAULTS, security_profile=station.profile_before)
    if not wanted.lowers and (refused := _lowered(before, state)):
        return Outcome(result=refused)
    made = state.credential is None and state.security_profile != 3
    if made:
        state = msgspec.structs.replace(state, credential=wanted.spare)
    shown = represent(state) | {"passwordMade": made}
    if old is None:
        event = StationRegistered(at=context.now, station=state.id, state=state, actor=context.actor)
        return Outcome((event,), result=Result(201, shown))
    events = (*_overruled(station, wanted.fields, context), *changes(old, state, context))
    return Outcome(events, result=Result(200, shown))


def patch(wanted: PatchStation, view: View, context: Context) -> Outcome:
    """Set some fields: 200, 404 when there is no such station, 403 as in `put`."""
    station = station_of(view, context.station)
    if station.state is None:
        return Outcome(result=unknown(context))
    state = _registered(_set(station.state, wanted.fields), station)
    if not wanted.lowers and (refused := _lowered(station.state, state)):
        return Outcome(result=refused)
    events = (*_overruled(station, wanted.fields, context), *changes(station.state, state, context))
    return Outcome(events, result=Result(200, represent(state)))


def remove(_: RemoveStation, view: View, context: Context) -> Outcome:
    """Forget a station: 204, 404 when there is no such station."""
    station = station_of(view, context.station)
    if station.state is None:
        return Outcome(result=unknown(context))
    everything = StationFields(credential="", security_profile=None)
    event = StationRemoved(at=context.now, station=station.state.id, actor=context.actor, connectors=station.connectors)
    return Outcome((*_overruled(station, everything, context), event), result=Result(204))


def boot(reason: str, charging_station: bytes, view: View, context: Context) -> tuple[StationBooted, tuple[Event, ...]]:
    """What the registry answers a BootNotification (B01.FR.02), and all events of it.

    A station that is not registered, or disabled, is rejected, and one whose serial number is not that of its
    certificate (B01.FR.12: `cause` serialNumber, its connection is to be closed). The answer is the registration from
    then on.
    """
    station = station_of(view, context.station)
    state = station.state
    status, cause = _verdict(station)
    connection = context.connection
    here = connection if connection is not None and connection.epoch == context.epoch else None
    if is_of_another(charging_station, here):
        status, cause = "Rejected", "serialNumber"
    elif status == "Accepted" and here is not None and here.certificate_expired:
        status, cause = "Pending", "certificate"  # A00.FR.429
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
        epoch=context.epoch,
        local_list=status == "Accepted" and state is not None and state.automatic.local_list,
    )
    if state is None or state.registration == status:
        return booted, (booted,)
    changed = changes(state, msgspec.structs.replace(state, registration=status), context)
    return booted, (booted, *changed)


def connection(view: View, context: Context) -> Outcome:
    """A station's newest connection came or went."""
    now = context.connection
    if now is None:
        return Outcome()
    station = station_of(view, context.station)
    line, last = station.line, station.boot
    if line is not None and (line.epoch, line.connected) == (now.epoch, now.connected):
        return Outcome()
    at, who = context.now, now.identity
    if now.connected:
        came = StationConnected(
            at=at,
            station=who,
            slot=now.slot,
            epoch=now.epoch,
            subprotocol=now.subprotocol,
            security_profile=now.security_profile,
            credential=now.credential,
            certificate_name=now.certificate_name,
        )
        # A station may boot before its connection is known here: the two stand in different topics.
        wrong = last is not None and last.epoch == now.epoch and is_of_another(last.charging_station, now)
        return Outcome((came,), calls=(close(context, SERIAL_NUMBER_DIFFERS),) if wrong else ())
    return Outcome((StationDisconnected(at=at, station=who, slot=now.slot, epoch=now.epoch),))


def is_of_another(charging_station: bytes, connection: Connection | None) -> bool:
    """Whether the serial number in a boot message is not the one in the certificate of its connection (B01.FR.11).

    A message without a serial number contradicts nothing.
    """
    if connection is None or connection.security_profile != 3:
        return False
    said = msgspec.json.decode(charging_station, type=_About).serial_number
    if not said or not connection.certificate_name:
        return False
    return said.casefold() != connection.certificate_name.casefold()


def close(context: Context, reason: str) -> OutFrame:
    """Ends the station's connection, with this reason."""
    connection = context.connection
    assert connection is not None, f"{context.station} has no connection to close"
    place = (context.station, connection.slot, connection.epoch)
    return OutFrame(*place, "close", "", "", reason.encode())


def represent(state: StationState) -> dict[str, object]:
    """A station's registry entry as the API shows it: every field, never a credential."""
    names = zip(state.__struct_fields__, state.__struct_encode_fields__, strict=True)
    entry = {name: getattr(state, field) for field, name in names if field not in HIDDEN}
    shown: dict[str, object] = msgspec.json.decode(msgspec.json.encode(entry))
    return shown | {"passwordSet": state.credential is not None, "passwordChanging": state.next_credential is not None}


def unknown(context: Context) -> Result:
    """404."""
    return problem(404, "Unknown station", f"station {context.station} is not registered")


def _verdict(station: Station) -> tuple[Registration, str]:
    state = station.state
    if state is None:
        return "Rejected", "unregistered"
    if state.disabled:
        return "Rejected", "disabled"
    if state.boot == "accepted" and station.limited:
        return "Pending", "password"  # A01.FR.05
    return ANSWER[state.boot], "" if state.boot == "accepted" else "boot"


_DEFAULTS: Final = StationState(id="", security_profile=1, credential=None, registration="Accepted")


def _lowered(old: StationState, new: StationState) -> Result | None:
    """403 where the new entry asks less of who connects than the old one did (A05.FR.07): that is for administrators.

    What is there already may be said again. A station that is new is compared with one as the defaults have it, and
    the profile that it had if it was removed: else to remove it and to register it anew would lower it.
    """
    if new.security_profile < old.security_profile:
        least = f"{old.security_profile} to {new.security_profile}"
        other = f"It was removed with {old.security_profile}: operators register it with that, or a higher one."
        if old.id:
            way = f"POST /device/stations/{new.id}/security-profile:upgrade"
            other = f"Operators change it together with the station, by {way}."
        return problem(
            403, "For administrators", f"securityProfile: lowering it from {least} needs the scope admin. {other}"
        )
    for field, name in (
        ("allow_unauthenticated", "allowUnauthenticated"),
        ("allow_expired_certificate", "allowExpiredCertificate"),
    ):
        if getattr(new, field) and not getattr(old, field):
            return problem(403, "For administrators", f"{name}: switching it on needs the scope admin.")
    return None


def _overruled(station: Station, fields: StationFields, context: Context) -> tuple[Event, ...]:
    """Who sets what a change is about ends the change."""
    state, at, reason = station.state, context.now, "set in the registry"
    if state is None:
        return ()
    events: list[Event] = []
    if fields.credential is not UNSET and (rotation := station.rotation):
        operation = rotation.started.operation_id
        events.append(
            PasswordRotationMoved(at=at, station=state.id, operation_id=operation, state="replaced", reason=reason)
        )
    if fields.security_profile is not UNSET and (upgrade := station.upgrade):
        operation = upgrade.started.operation_id
        events.append(
            ProfileUpgradeMoved(at=at, station=state.id, operation_id=operation, state="replaced", reason=reason)
        )
    return tuple(events)


def _set(state: StationState, fields: StationFields) -> StationState:
    if fields.credential is not UNSET:
        state = msgspec.structs.replace(state, next_credential=None, factory_credentials=False)
    if fields.security_profile is not UNSET:
        state = msgspec.structs.replace(state, next_security_profile=None)
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


def changes(old: StationState, new: StationState, context: Context) -> tuple[Event, ...]:
    """The event that makes the registry entry a new one; none where nothing differs."""
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
    changes: dict[str, object] = {"state": event.state, "profile_before": 1}
    if isinstance(event, StationChanged) and not {"credential", "boot"}.isdisjoint(event.changed):
        changes["limited"] = False
    return _with(view, event.subject(), **changes)


def evolve_removed(event: StationRemoved, view: View) -> Iterable[Put | Drop]:
    """What is left is the connection, until it goes, and the profile, so that it is not lowered by this."""
    before = station_of(view, event.subject())
    line = before.line if before.line is not None and before.line.connected else None
    station = Station(line=line, profile_before=before.state.security_profile if before.state else 1)
    yield Put(event.subject(), station) if station != NOBODY else Drop(Station, event.subject())


def evolve_booted(event: StationBooted, view: View) -> Iterable[Put | Drop]:
    if station_of(view, event.subject()).state is None:
        return ()
    last = LastBoot(
        at=event.at,
        reason=event.reason,
        charging_station=event.charging_station,
        status=event.status,
        interval_s=event.interval_s,
        epoch=event.epoch,
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
