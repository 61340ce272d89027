"""Another Basic-auth password for a station (A01), in two phases.

First both passwords are admitted, then the station is told: so it is never without one that opens, whatever dies in
between. What it answers decides which one stays; without an answer the next connection shows it.

A station that takes the new one at its next boot is made to boot when it puts that off (`press`). If it never does, or
never comes, both are not admitted for ever: what it goes on with stays, and for one that is away the one with which it
can be got back (`end`). The operator is told of every end that nothing has shown.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any, ClassVar, Final

import msgspec

from ocppcore.clock import to_rfc3339
from ocppcore.command_end import Ended
from ocppcore.commands import ASK, Ask, ask_needs, commands
from ocppcore.contracts.device import (
    FactoryPasswordDue,
    PasswordRotationMoved,
    PasswordRotationStarted,
    ReportReceived,
    RotatePassword,
    RotationState,
    SendPassword,
)
from ocppcore.envelope import Registration
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
from ocppcore.store import Upsert
from ocppcore.wire import load_json
from services.device.domain.changes import Rotation, begun, command_id, rotation_row
from services.device.domain.security_event import unconfirmed
from services.device.domain.station import Station, changes, close, station_of, unknown

REFERENCE: Final = "password/"
EVIDENCE: Final = "password-evidence"
END: Final = "password-end"
CLOSINGS_MAX: Final = 3
"""How often a connection is closed to see which password its station comes back with."""
RESETS_MAX: Final = 3
"""How often a station that takes the password at its next boot is sent Reset."""
CHARACTERS_MIN: Final = 16
CHARACTERS_MAX: Final = 40
"""A00.FR.205; a station may say that it takes more (errata 2025-09)."""
LIMIT_MAX: Final = 64
PASSWORD_CHARACTERS: Final = 32
"""Of one that the CSMS makes, unless the station takes fewer."""
SHOWN: Final[dict[RotationState, str]] = {
    "changed": "it connected with the new password",
    "kept": "it connected with the old password",
}
SURELY_NOT_TOLD: Final = ("not_connected", "refused", "expired")


class UntoldPassword(Aggregate, frozen=True, kw_only=True):
    """The command that will tell the station, its frame sealed; id = station. Gone as soon as it is asked."""

    KIND: ClassVar[str] = "UntoldPassword"
    REBUILT: ClassVar[bool] = False
    ask: Ask


# Deciding


def rotate(body: RotatePassword, view: View, context: Context) -> Outcome:
    """Admit the next password beside the one in force. 404, 409 while another change is under way, 422."""
    station = station_of(view, context.station)
    refused = _refused(body, station, context)
    if refused is not None or station.state is None:
        return Outcome(result=refused)
    started = PasswordRotationStarted(
        at=context.now,
        station=station.state.id,
        operation_id=body.operation_id,
        command_id=body.ask.command_id,
        limit=body.limit,
        evidence_ms=body.evidence_ms,
        reboot_ms=body.reboot_ms,
        end_ms=body.end_ms,
        actor=context.actor,
    )
    both = msgspec.structs.replace(station.state, next_credential=body.credential)
    return Outcome(
        (started, *changes(station.state, both, context)),
        puts=(Put(context.station, UntoldPassword(ask=body.ask)),),
        result=begun(body.operation_id),
    )


def _refused(body: RotatePassword, station: Station, context: Context) -> Result | None:
    if station.state is None:
        return unknown(context)
    if body.factory and not station.state.factory_credentials:
        return problem(409, "Replaced", "this station no longer has the password of its factory")
    if station.rotation or (station.upgrade and station.upgrade.busy):
        return problem(409, "Already changing", "a change of this station's credentials is under way")
    if station.state.security_profile == 3:
        return problem(409, "No password", "with security profile 3 a station has a certificate instead of a password")
    most = station.password_max or CHARACTERS_MAX
    if not CHARACTERS_MIN <= body.length <= most:
        return problem(422, "Length", f"this station's passwords have {CHARACTERS_MIN} to {most} characters")
    return None


def send_needs(body: SendPassword, station: str) -> tuple[Need, ...]:
    ask = Ask(command_id=body.command_id, action="SetVariables", payload=msgspec.Raw(b"{}"))
    return ((Station, station), (UntoldPassword, station), *ask_needs(ask, station))


def send(body: SendPassword, view: View, context: Context) -> Outcome:
    """Tell the station. This record was appended after the one that made gateways admit both passwords, and its
    command is appended after that one is in the log: whoever hears the new password is let in with it."""
    station, untold = station_of(view, context.station), view.get(UntoldPassword, context.station)
    rotation = _of(station, body.operation_id)
    if rotation is None or rotation.state != "started":
        stale = untold is not None and untold.ask.command_id == body.command_id
        return Outcome(puts=(Drop(UntoldPassword, context.station),)) if stale else NOTHING
    if untold is None or untold.ask.command_id != body.command_id:
        return _over(station, rotation, context, "kept", "the password was lost before the station was told")
    asked = commands("device").ask(untold.ask, view, context._replace(actor=rotation.started.actor))
    epoch = context.connection.epoch if context.connection else -1
    moved = _moved(station, rotation, context, "asked", epoch=epoch)
    return Outcome((moved, *asked.events), calls=asked.calls, puts=(*asked.puts, Drop(UntoldPassword, context.station)))


def ended(body: Ended, view: View, context: Context) -> Outcome:
    """The station answered, or did not (A01.FR.03, A01.FR.04)."""
    station = station_of(view, context.station)
    rotation = _of(station, body.reference.removeprefix(REFERENCE))
    if rotation is None or rotation.state != "asked":
        return NOTHING
    if body.status in SURELY_NOT_TOLD:
        return _over(station, rotation, context, "kept", body.status)
    error = load_json(body.error)
    if body.status == "error" and load_json(body.response) is None:
        said = f"{error['code']} {error.get('description', '')}".strip() if isinstance(error, dict) else ""
        return _over(station, rotation, context, "kept", f"the station answered an error: {said}", refused=True)
    if body.status != "answered":
        return _unanswered(body, station, rotation, context)
    result: dict[str, Any] = load_json(body.response)["setVariableResult"][0]
    match result["attributeStatus"]:
        case "Accepted":
            return _over(station, rotation, context, "changed")
        case "RebootRequired":
            reason = "the station takes it at its next boot"
            moved = _moved(station, rotation, context, "unsure", reason=reason, epoch=body.epoch, reboot=True)
            return Outcome((moved,))
        case status:
            more = result.get("attributeStatusInfo", {}).get("reasonCode", "")
            return _over(station, rotation, context, "kept", f"{status} {more}".strip(), refused=True)


def connected(view: View, context: Context) -> Outcome:
    """The password that opened the station's connection shows which one it has."""
    station = station_of(view, context.station)
    rotation = station.rotation
    shown = _shown(rotation, context) if rotation else None
    if rotation is None or shown is None:
        return NOTHING
    if shown == rotation.state:
        if not rotation.overdue or not _is_here(context):
            return NOTHING
        return (
            _unmoved(station, rotation, context)
            if rotation.resets >= RESETS_MAX
            else _reset(station, rotation, context)
        )
    return _over(station, rotation, context, shown, SHOWN[shown])


def booted(station: Station, context: Context) -> Outcome:
    """A station that wanted to boot before it takes the new password has booted, and come with the old one."""
    rotation, connection = station.rotation, context.connection
    if rotation is None or not rotation.reboot or connection is None or connection.epoch != context.epoch:
        return NOTHING
    if connection.credential != "current" or connection.epoch <= rotation.epoch:
        return NOTHING
    return _over(station, rotation, context, "kept", "it booted and connected with the old password")


def factory(station: Station, status: Registration, context: Context) -> tuple[FactoryPasswordDue, ...]:
    """A station that still has the password of its factory was accepted: it is replaced, if that may be done unasked.

    Once a boot, until it took one. With security profile 3 it has a certificate, which is renewed (A02, A00.FR.406).
    """
    state = station.state
    if state is None or status != "Accepted" or not (state.factory_credentials and state.automatic.provisioning):
        return ()
    busy = station.rotation or (station.upgrade and station.upgrade.busy)
    if busy or state.security_profile == 3 or state.credential is None:
        return ()
    length = min(PASSWORD_CHARACTERS, station.password_max or PASSWORD_CHARACTERS)
    return (FactoryPasswordDue(at=context.now, station=state.id, length=length),)


def press(subject: str, view: View, context: Context) -> Outcome:
    """Nobody knows which password the station has, and it stays connected: close, so that it shows. One that takes it
    at its next boot and has not booted is sent Reset, now or when it comes."""
    station, connection = station_of(view, subject), context.connection
    rotation = station.rotation
    if rotation is None or rotation.state != "unsure":
        return NOTHING
    if rotation.reboot:
        if not _is_here(context):
            return _away(station, rotation, context)
        return (
            _unmoved(station, rotation, context)
            if rotation.resets >= RESETS_MAX
            else _reset(station, rotation, context)
        )
    if connection is None or not connection.connected or connection.epoch > rotation.epoch:
        return NOTHING
    moved = _moved(
        station,
        rotation,
        context,
        "unsure",
        reason="its connection is closed to see which password it has",
        epoch=rotation.epoch,
        closings=rotation.closings + 1,
    )
    return Outcome((moved,), calls=(close(context, "connect again: the password is being changed"),))


def end(subject: str, view: View, context: Context) -> Outcome:
    """Both passwords were admitted for as long as they may be, and nothing has shown which one the station has.

    One that is connected goes on with what opened its connection. One that is away and was to take the new one at its
    next boot has the new one alone: whoever boots it has it back, while nobody could if it took the new one and the old
    one stayed. Any other stays with the old one: it never said that it would take the new one.
    """
    station, rotation = station_of(view, subject), station_of(view, subject).rotation
    if rotation is None:
        return NOTHING
    if _is_here(context):
        return _unmoved(station, rotation, context)
    if rotation.reboot:
        reason = "it is away and takes the new password when it boots: the old one is refused from now on"
        return _over(station, rotation, context, "changed", reason, alarm=True)
    reason = "it did not come to show which password it has: the new one is refused from now on"
    return _over(station, rotation, context, "kept", reason, alarm=True)


def _unmoved(station: Station, rotation: Rotation, context: Context) -> Outcome:
    """It was asked to show the new password as often as it is asked, and goes on with the old one."""
    reason = "it goes on with the old password: the new one is refused from now on"
    if rotation.reboot:
        reason = (
            f"it did not boot after {rotation.resets} Resets and goes on with the old password: the new one is refused "
            "from now on, rotate again before it boots"
        )
    return _over(station, rotation, context, "kept", reason, alarm=True)


def _away(station: Station, rotation: Rotation, context: Context) -> Outcome:
    """Its boot is due: who may have to look after it is told."""
    assert station.state is not None, f"{context.station} changes its password and is not registered"
    next_ = "it is sent Reset" if rotation.resets < RESETS_MAX else "the old password stays if it has that"
    reason = f"it is away; {next_} when it comes"
    moved = _waiting(station, rotation, context, reason, rotation.resets, overdue=True)
    last = to_rfc3339(rotation.started.at + rotation.started.end_ms) if rotation.started.end_ms else "it comes"
    info = f"{reason}. Both of its passwords are admitted until then, at most until {last}"
    return Outcome((moved, unconfirmed(station.state.id, context, info)))


def _is_here(context: Context) -> bool:
    return context.connection is not None and context.connection.connected


def _reset(station: Station, rotation: Rotation, context: Context) -> Outcome:
    """`derive_moved` asks for it. What the station answers is not waited for, its boot is."""
    reason = "the station takes it at its next boot: it is sent Reset"
    return Outcome((_waiting(station, rotation, context, reason, rotation.resets + 1),))


def _waiting(
    station: Station, rotation: Rotation, context: Context, reason: str, resets: int, *, overdue: bool = False
) -> PasswordRotationMoved:
    return _moved(
        station, rotation, context, "unsure", reason=reason, epoch=rotation.epoch, reboot=True, resets=resets,
        overdue=overdue,
    )  # fmt: skip


def _of(station: Station, operation_id: str) -> Rotation | None:
    rotation = station.rotation
    return rotation if rotation and rotation.started.operation_id == operation_id else None


def _unanswered(body: Ended, station: Station, rotation: Rotation, context: Context) -> Outcome:
    """Nobody knows, unless the station has come back already: a connection after the one that it was told on shows."""
    epoch = body.epoch
    if epoch < 0:  # an end that an earlier release noted
        epoch = context.connection.epoch if context.connection else rotation.epoch
    told = msgspec.structs.replace(rotation, state="unsure", epoch=epoch)
    shown = _shown(told, context)
    if shown != "unsure":
        return _over(station, rotation, context, shown, f"{body.status}; {SHOWN[shown]}")
    reason = f"no answer that can be read: {body.status}"
    return Outcome((_moved(station, rotation, context, "unsure", reason=reason, epoch=epoch),))


def _shown(rotation: Rotation, context: Context) -> RotationState:
    """What the present connection shows: changed, kept, or that it says nothing (the state as it is)."""
    connection = context.connection
    if connection is None or not connection.connected or connection.at < rotation.started.at:
        return rotation.state  # of an earlier connection "next" was another password
    if connection.credential == "next" and rotation.state != "started":
        return "changed"
    later = rotation.state == "unsure" and not rotation.reboot and connection.epoch > rotation.epoch
    return "kept" if connection.credential == "current" and later else rotation.state


def _over(
    station: Station, rotation: Rotation, context: Context, state: RotationState, reason: str = "", *,
    refused: bool = False, alarm: bool = False,
) -> Outcome:  # fmt: skip
    before = station.state
    assert before is not None, f"{context.station} changes its password and is not registered"
    credential, factory = before.credential, before.factory_credentials
    if state == "changed":
        credential, factory = before.next_credential, False
    after = msgspec.structs.replace(before, credential=credential, next_credential=None, factory_credentials=factory)
    moved = _moved(station, rotation, context, state, reason=reason, refused=refused)
    told = (unconfirmed(before.id, context, reason),) if alarm else ()
    return Outcome((moved, *changes(before, after, context), *told))


def _moved(
    station: Station, rotation: Rotation, context: Context, state: RotationState, **more: Any
) -> PasswordRotationMoved:
    assert station.state is not None, f"{context.station} changes its password and is not registered"
    operation_id = rotation.started.operation_id
    return PasswordRotationMoved(
        at=context.now, station=station.state.id, operation_id=operation_id, state=state, **more
    )


# Folding


def evolve_started(event: PasswordRotationStarted, view: View) -> Iterable[Put | Timer]:
    station = station_of(view, event.subject())
    yield Put(event.subject(), msgspec.structs.replace(station, rotation=Rotation(started=event)))
    if event.end_ms:
        yield Timer(END, event.subject(), event.at + event.end_ms)


def evolve_moved(event: PasswordRotationMoved, view: View) -> Iterable[Put | Timer]:
    station = station_of(view, event.subject())
    rotation = _of(station, event.operation_id)
    assert rotation is not None, f"no change of the password {event.operation_id}"
    if event.state not in ("asked", "unsure"):
        limited = station.limited or (event.refused and rotation.started.limit)
        yield Put(event.subject(), msgspec.structs.replace(station, rotation=None, limited=limited))
        yield Timer(EVIDENCE, event.subject(), None)
        yield Timer(END, event.subject(), None)
        return
    moved = msgspec.structs.replace(
        rotation, state=event.state, epoch=event.epoch, reboot=event.reboot, closings=event.closings,
        resets=event.resets, overdue=event.overdue,
    )  # fmt: skip
    yield Put(event.subject(), msgspec.structs.replace(station, rotation=moved))
    if event.reboot:
        waits = rotation.started.reboot_ms and not event.overdue
        yield Timer(EVIDENCE, event.subject(), event.at + rotation.started.reboot_ms if waits else None)
    elif event.state == "unsure" and event.closings < CLOSINGS_MAX:
        yield Timer(EVIDENCE, event.subject(), event.at + rotation.started.evidence_ms)


def project_started(event: PasswordRotationStarted, _: View) -> Iterable[Upsert]:
    yield rotation_row(event, event, "started")


def project_moved(event: PasswordRotationMoved, view: View) -> Iterable[Upsert]:
    """Looks at what was there before the event."""
    rotation = _of(station_of(view, event.subject()), event.operation_id)
    assert rotation is not None, f"no change of the password {event.operation_id}"
    yield rotation_row(rotation.started, event, event.state)


def derive_started(event: PasswordRotationStarted, follow: Follow) -> Iterable[NewRecord]:
    """What goes on once the gateways' record is in the log: decided in a batch after this one."""
    body = SendPassword(operation_id=event.operation_id, command_id=event.command_id)
    yield follow.request("device", SendPassword.NAME, event.subject(), body, event.at)


def derive_moved(event: PasswordRotationMoved, follow: Follow) -> Iterable[NewRecord]:
    """Reset for a station that puts off its boot; OnIdle, so that nobody's charging ends for it."""
    if event.state != "unsure" or event.overdue or not 0 < event.resets <= RESETS_MAX:
        return
    ask = Ask(
        command_id=command_id(event.operation_id, event.resets),
        action="Reset",
        payload=msgspec.Raw(b'{"type":"OnIdle"}'),
        identity=event.station,
    )
    yield follow.request("device", ASK, event.subject(), ask, event.at)


def mentions_password(report: msgspec.Raw) -> bool:
    """Whether a report may say something of the variable BasicAuthPassword."""
    return b"basicauthpassword" in bytes(report).lower()


def evolve_report(event: ReportReceived, view: View) -> Iterable[Put]:
    """How long a password may be, as the station reports it (maxLimit of BasicAuthPassword)."""
    if not mentions_password(event.payload):
        return
    station = station_of(view, event.subject())
    most = _max_limit(load_json(event.payload))
    if most is not None and station.state is not None and most != station.password_max:
        yield Put(event.subject(), msgspec.structs.replace(station, password_max=most))


def _max_limit(report: dict[str, Any]) -> int | None:
    for data in report.get("reportData", ()):
        names = (data["component"]["name"].casefold(), data["variable"]["name"].casefold())
        limit = data.get("variableCharacteristics", {}).get("maxLimit")
        if names == ("securityctrlr", "basicauthpassword") and isinstance(limit, int | Decimal):
            return int(min(limit, LIMIT_MAX)) if limit >= CHARACTERS_MIN else None
    return None
