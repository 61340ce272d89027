"""Another security profile for a station (A05): written into a free slot, made the first, then the station boots.

From the start both profiles are admitted. The first connection with the new one ends that: the old one is refused for
good (A05.FR.07). A station that cannot connect with the new profile comes back with the old one, which is still second
in its list.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from ocppcore.command_end import Ended
from ocppcore.commands import ASK, Ask, ask_needs, commands
from ocppcore.contracts.device import (
    ProfileUpgradeMoved,
    ProfileUpgradeStarted,
    UpgradeProfile,
    UpgradeState,
)
from ocppcore.log import NewRecord
from ocppcore.service import NOTHING, Context, Event, Follow, Need, Outcome, Put, Result, Timer, View, problem
from ocppcore.store import Upsert
from ocppcore.wire import load_json
from services.device.domain.changes import UPGRADE_ASKING, Upgrade, begun, command_id, upgrade_row
from services.device.domain.station import Station, changes, station_of, unknown

REFERENCE: Final = "profile/"
DUE: Final = "profile-upgrade"
SLOTS_TRIED_MAX: Final = 4
SLOTS_MAX: Final = 100
COMMANDS_MAX: Final = 12
"""Commands that one operation may take: a step whose answer did not come is asked again."""
SURELY_NOT_SENT: Final = ("not_connected", "refused", "expired")

_PRIORITY = {"component": {"name": "OCPPCommCtrlr"}, "variable": {"name": "NetworkConfigurationPriority"}}
_ACTIVE = {"component": {"name": "OCPPCommCtrlr"}, "variable": {"name": "ActiveNetworkProfile"}}


# Deciding


def upgrade(body: UpgradeProfile, view: View, context: Context) -> Outcome:
    """Admit the next profile beside the one in force and begin. 404; 409 for what must not be or cannot be."""
    station = station_of(view, context.station)
    refused = _refused(body, station, context)
    if refused is not None or station.state is None:
        return Outcome(result=refused)
    state = station.state
    events: list[Event] = []
    if station.upgrade is not None:
        events.append(_moved(station, station.upgrade, context, "replaced", reason="another change was asked for"))
    started = ProfileUpgradeStarted(
        at=context.now,
        station=state.id,
        operation_id=body.operation_id,
        from_profile=state.security_profile,
        to_profile=body.security_profile,
        url=body.url,
        interface=body.interface,
        message_timeout_s=body.message_timeout_s,
        prepared=body.prepared,
        assured=body.assured,
        reset=body.reset,
        due=context.now + body.wait_ms,
        slot=body.slot,
        actor=context.actor,
    )
    both = msgspec.structs.replace(state, next_security_profile=body.security_profile)
    events += [started, *changes(state, both, context)]
    first = Upgrade(started=started, slot=body.slot)
    if state.security_profile == 1 and not body.assured:
        # auth owns GetInstalledCertificateIds: `derive_moved` asks it.
        events.append(_moved(station, first, context, "checking", asked=1))
        return Outcome(events, result=begun(body.operation_id))
    read = _read(station, first, view, context)
    return Outcome((*events, *read.events), calls=read.calls, puts=read.puts, result=begun(body.operation_id))


def _refused(body: UpgradeProfile, station: Station, context: Context) -> Result | None:
    state, wanted = station.state, body.security_profile
    if state is None:
        return unknown(context)
    if station.rotation or (station.upgrade and station.upgrade.busy):
        return problem(409, "Already changing", "a change of this station's credentials is under way")
    if wanted == state.security_profile:
        return problem(409, "In force", f"security profile {wanted} is in force")
    if wanted < state.security_profile and not (body.downgrade and (state.security_profile, wanted) == (3, 2)):
        detail = "a security profile is not lowered over OCPP (A00.FR.005); from 3 to 2 only where a setting allows it"
        return problem(409, "Downgrade", detail)
    if wanted == 2 and state.credential is None:
        return problem(409, "No password", "with security profile 2 a station has a password, and none is set")
    return None


def ask_needs_of(
    operation_id: str, station: str, numbers: Iterable[int] = range(1, COMMANDS_MAX + 1)
) -> Sequence[Need]:
    """What asking for the operation's commands looks at."""
    asks = (Ask(command_id=command_id(operation_id, n), action="", payload=msgspec.Raw(b"")) for n in numbers)
    return ((Station, station), *dict.fromkeys(need for ask in asks for need in ask_needs(ask, station)))


def upgrade_needs(body: UpgradeProfile, station: str) -> Sequence[Need]:
    return ask_needs_of(body.operation_id, station, (1,))


def ended_needs(body: Ended, station: str) -> Sequence[Need]:
    return ask_needs_of(body.reference.removeprefix(REFERENCE), station, (_number(body) + 1,))


def _number(body: Ended) -> int:
    number = body.command_id.rpartition("-")[2]
    return int(number) if number.isdecimal() else 0


def ended(body: Ended, view: View, context: Context) -> Outcome:
    """A command of the operation has ended: the next one, or the operation's end."""
    station = station_of(view, context.station)
    found = _of(station, body.reference.removeprefix(REFERENCE))
    if found is None or found.state not in UPGRADE_ASKING or _number(body) != found.asked:
        return NOTHING
    answer: Mapping[str, Any] = load_json(body.response) if body.status == "answered" else {}
    failure = "" if answer else f"{body.action}: {_failure(body)}"
    match found.state:
        case "checking":
            return _checked(station, found, view, context, body, answer)
        case "reading":
            if failure:
                return _over(station, found, context, failure)
            return _slots_read(station, found, view, context, answer)
        case "writing":
            if answer.get("status") == "Accepted":
                return _choose(station, found, view, context)
            if answer and found.spare:
                next_one = msgspec.structs.replace(found, slot=found.spare[0], spare=found.spare[1:])
                return _write(station, next_one, view, context)
            return _over(station, found, context, failure or _said("SetNetworkProfile", answer))
        case "choosing":
            return _chosen(station, found, view, context, body, answer, failure)
        case _:
            return _wait(station, found, context, failure or _reset_said(answer))


def _checked(
    station: Station, found: Upgrade, view: View, context: Context, body: Ended, answer: Mapping[str, Any]
) -> Outcome:
    """A05.FR.02: a station without the certificate of the CSMS's root refuses, so do not even ask. One that cannot
    say what it has is asked."""
    if body.status in SURELY_NOT_SENT:
        return _over(station, found, context, f"{body.action}: {body.status}")
    if answer and not answer.get("certificateHashDataChain"):
        return _over(station, found, context, "the station has no CSMSRootCertificate installed (A05.FR.02)")
    return _read(station, found, view, context)


def _read(station: Station, found: Upgrade, view: View, context: Context) -> Outcome:
    payload = {"getVariableData": [_PRIORITY, _ACTIVE]}
    return _ask(station, found, view, context, "reading", "GetVariables", payload)


def _slots_read(station: Station, found: Upgrade, view: View, context: Context, answer: Mapping[str, Any]) -> Outcome:
    values = {
        one["variable"]["name"].casefold(): one.get("attributeValue", "")
        for one in answer["getVariableResult"]
        if one["attributeStatus"] == "Accepted"
    }
    slots = _numbers(values.get("networkconfigurationpriority", ""))
    if not slots:
        return _over(station, found, context, "the station does not say its NetworkConfigurationPriority")
    active = next(iter(_numbers(values.get("activenetworkprofile", ""))), slots[0])
    priority = (active, *(slot for slot in slots if slot != active))
    known = msgspec.structs.replace(found, priority=priority)
    if found.started.prepared:
        return _choose(station, known, view, context)
    if found.started.slot is None:
        slot, *spare = free_slots(slots, active)
        known = msgspec.structs.replace(known, slot=slot, spare=tuple(spare))
    return _write(station, known, view, context)


def free_slots(priority: Sequence[int], active: int) -> list[int]:
    """Slots to try, those without a profile first: a station does not tell their numbers in an answer to GetVariables,
    and refuses those that it does not have (B09.FR.05). Last, the slots that are not in use now."""
    top = max(priority)
    free = [top + 1, *(slot for slot in range(top) if slot not in priority), top + 2]
    used = [slot for slot in reversed(priority) if slot != active]
    return [*free[: SLOTS_TRIED_MAX - len(used[:1])], *used[:1]]


def _write(station: Station, found: Upgrade, view: View, context: Context) -> Outcome:
    started = found.started
    payload = {
        "configurationSlot": found.slot,
        "connectionData": {
            "ocppVersion": "OCPP20",
            "ocppTransport": "JSON",
            "ocppCsmsUrl": started.url,
            "messageTimeout": started.message_timeout_s,
            "securityProfile": started.to_profile,
            "ocppInterface": started.interface,
        },
    }
    return _ask(
        station, found, view, context, "writing", "SetNetworkProfile", payload, queue_for_ms=_left(found, context)
    )


def _choose(station: Station, found: Upgrade, view: View, context: Context) -> Outcome:
    """The new profile first, the present one second (A05, scenario)."""
    others = (str(slot) for slot in found.priority if slot != found.slot)
    value = ",".join((str(found.slot), *others))
    payload = {"setVariableData": [{**_PRIORITY, "attributeValue": value}]}
    return _ask(station, found, view, context, "choosing", "SetVariables", payload, queue_for_ms=_left(found, context))


def _left(found: Upgrade, context: Context) -> int:
    """The station has begun: one that is gone for a moment, or whose gateway died, is asked when it comes back."""
    return max(1, found.started.due - context.now)


def _chosen(
    station: Station, found: Upgrade, view: View, context: Context, body: Ended, answer: Mapping[str, Any], failure: str
) -> Outcome:
    if answer:
        result = answer["setVariableResult"][0]
        if result["attributeStatus"] in ("Accepted", "RebootRequired"):
            return _ask(station, found, view, context, "resetting", "Reset", {"type": found.started.reset})
        more = result.get("attributeStatusInfo", {}).get("reasonCode", "")
        reason = f"SetVariables: {result['attributeStatus']} {more}".strip()
        return _over(station, found, context, reason)
    unread = body.status == "error" and load_json(body.response) is not None
    if body.status in SURELY_NOT_SENT or (body.status == "error" and not unread):
        return _over(station, found, context, failure)
    if body.status == "timeout" and found.asked < COMMANDS_MAX:
        return _choose(station, found, view, context)
    return _wait(station, found, context, failure)


def _wait(station: Station, found: Upgrade, context: Context, reason: str) -> Outcome:
    """Nothing more is asked: the station comes with the new profile once it connects anew, or it does not."""
    return Outcome((_moved(station, found, context, "waiting", reason=reason),))


def connected(view: View, context: Context) -> Outcome:
    """The first connection with the new profile: from now on the old one is refused (A05.FR.07)."""
    station, connection = station_of(view, context.station), context.connection
    state = station.state
    if state is None or state.next_security_profile is None or connection is None or not connection.connected:
        return NOTHING
    if connection.security_profile != state.next_security_profile:
        return NOTHING
    after = msgspec.structs.replace(state, security_profile=state.next_security_profile, next_security_profile=None)
    moved = (_moved(station, station.upgrade, context, "upgraded"),) if station.upgrade else ()
    return Outcome((*moved, *changes(state, after, context)))


def expire(subject: str, view: View, context: Context) -> Outcome:
    """No connection with the new profile in time. A higher one is admitted if it comes yet, for the station was told to
    use it; a lower one is not."""
    station = station_of(view, subject)
    found = station.upgrade
    if found is None or not found.busy:
        return NOTHING
    if found.started.to_profile < found.started.from_profile or found.state in ("checking", "reading", "writing"):
        return _over(station, found, context, "the station did not connect with the new profile in time")
    reason = "the station did not connect with the new profile in time"
    return Outcome((_moved(station, found, context, "no_effect", reason=reason),))


def _ask(
    station: Station, found: Upgrade, view: View, context: Context, state: UpgradeState, action: str,
    payload: object, *, queue_for_ms: int = 0,
) -> Outcome:  # fmt: skip
    operation_id, number = found.started.operation_id, found.asked + 1
    if number > COMMANDS_MAX:
        return _over(station, found, context, f"{COMMANDS_MAX} commands did not suffice")
    ask = Ask(
        command_id=command_id(operation_id, number),
        action=action,
        payload=msgspec.Raw(msgspec.json.encode(payload)),
        queue_for_ms=queue_for_ms,
        identity=found.started.station,
        reply_service="device",
        reference=REFERENCE + operation_id,
    )
    asked = commands("device").ask(ask, view, context._replace(actor=found.started.actor))
    moved = _moved(station, found, context, state, asked=number)
    return Outcome((moved, *asked.events), calls=asked.calls, puts=asked.puts)


def _of(station: Station, operation_id: str) -> Upgrade | None:
    found = station.upgrade
    return found if found and found.started.operation_id == operation_id else None


def _over(station: Station, found: Upgrade, context: Context, reason: str) -> Outcome:
    """The old profile stays, alone."""
    assert station.state is not None, f"{context.station} changes its profile and is not registered"
    after = msgspec.structs.replace(station.state, next_security_profile=None)
    return Outcome((_moved(station, found, context, "kept", reason=reason), *changes(station.state, after, context)))


def _moved(
    station: Station, found: Upgrade, context: Context, state: UpgradeState, *, reason: str = "", asked: int = 0
) -> ProfileUpgradeMoved:
    assert station.state is not None, f"{context.station} changes its profile and is not registered"
    return ProfileUpgradeMoved(
        at=context.now,
        station=station.state.id,
        operation_id=found.started.operation_id,
        state=state,
        reason=reason,
        asked=asked or found.asked,
        slot=found.slot,
        spare=found.spare,
        priority=found.priority,
    )


def _numbers(text: str) -> tuple[int, ...]:
    found = re.findall(r"(?:^|,)\s*(\d{1,9})\s*(?=,|$)", text, re.ASCII)
    return tuple(dict.fromkeys(map(int, found)))[:SLOTS_MAX]


def _said(action: str, answer: Mapping[str, Any]) -> str:
    more = answer.get("statusInfo", {}).get("reasonCode", "")
    return f"{action}: {answer.get('status', '')} {more}".strip()


def _reset_said(answer: Mapping[str, Any]) -> str:
    if answer.get("status") in ("Accepted", "Scheduled"):
        return ""
    return f"{_said('Reset', answer)}; the profile is used from the next boot on"


def _failure(body: Ended) -> str:
    error = load_json(body.error)
    code = error.get("code", "") if isinstance(error, dict) else ""
    return f"{body.status} {code}".strip()


# Folding


def evolve_started(event: ProfileUpgradeStarted, view: View) -> Iterable[Put | Timer]:
    station = station_of(view, event.subject())
    first = Upgrade(started=event, slot=event.slot)
    yield Put(event.subject(), msgspec.structs.replace(station, upgrade=first))
    yield Timer(DUE, event.subject(), event.due)


def evolve_moved(event: ProfileUpgradeMoved, view: View) -> Iterable[Put | Timer]:
    station = station_of(view, event.subject())
    found = _of(station, event.operation_id)
    assert found is not None, f"no change of the profile {event.operation_id}"
    moved: Upgrade | None = msgspec.structs.replace(
        found, state=event.state, asked=event.asked, slot=event.slot, spare=event.spare, priority=event.priority
    )
    if event.state in ("upgraded", "kept", "replaced"):
        moved = None
    yield Put(event.subject(), msgspec.structs.replace(station, upgrade=moved))
    if moved is None or event.state == "no_effect":
        yield Timer(DUE, event.subject(), None)


def project_started(event: ProfileUpgradeStarted, _: View) -> Iterable[Upsert]:
    yield upgrade_row(event, event, "reading", 0)


def project_moved(event: ProfileUpgradeMoved, view: View) -> Iterable[Upsert]:
    """Looks at what was there before the event."""
    found = _of(station_of(view, event.subject()), event.operation_id)
    assert found is not None, f"no change of the profile {event.operation_id}"
    yield upgrade_row(found.started, event, event.state, event.asked)


def derive_moved(event: ProfileUpgradeMoved, follow: Follow) -> Iterable[NewRecord]:
    """auth sends GetInstalledCertificateIds and tells what the station answered."""
    if event.state != "checking":
        return
    ask = Ask(
        command_id=command_id(event.operation_id, event.asked),
        action="GetInstalledCertificateIds",
        payload=msgspec.Raw(msgspec.json.encode({"certificateType": ["CSMSRootCertificate"]})),
        identity=event.station,
        reply_service="device",
        reference=REFERENCE + event.operation_id,
    )
    yield follow.request("auth", ASK, event.subject(), ask, event.at)
