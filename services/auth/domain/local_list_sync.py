"""Keeping a station's Local Authorization List what the rules give it (D01, D02), whatever gets lost on the way.

A pass goes through the list in the order of pseudonyms and sends what differs from what the station is known to have,
message by message, each with the next version. The station's version is asked for (D02) before anything is sent to a
station of which nothing is known, after a boot, when somebody asks for it, and after a message without an answer. What
the station refuses is repaired by a full list, in smaller messages (D01.FR.03). A message is built by a worker
(`local_list_worker.py`): it needs tokens, which are homed in other cells, and their drivers' keys.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from ocppcore.command_end import Ended
from ocppcore.commands import ASK, Ask, ask_needs, commands
from ocppcore.contracts.auth import AuthStationEvent
from ocppcore.contracts.local_lists import (
    Cause,
    FollowLocalList,
    LocalListBuilding,
    LocalListChecked,
    LocalListChecking,
    LocalListDoubted,
    LocalListInstalled,
    LocalListPaused,
    LocalListSending,
    LocalListStep,
    LocalListSynced,
    LocalListSyncExpired,
    LocalListTriggered,
    SyncLocalList,
)
from ocppcore.log import NewRecord
from ocppcore.service import NOTHING, Context, Follow, Need, Outcome, Result, View, problem
from ocppcore.wire import load_json
from services.auth.domain.local_list_state import BUSY, VERSION_MAX, StationList, evolved, list_needs

REFERENCE: Final = "local-list/"
"""Begins the reference of its commands."""
OPERATIONS_MAX: Final = 20
"""Waiting for one station's list."""
REFUSALS_MAX: Final = 6
"""Messages refused before a list is given up for a while."""
GIVEN_UP_MS: Final = 6 * 3600_000
"""So long, unless something changes before."""
RETRY_MS: Final = 30_000
RETRY_MS_MAX: Final = 3600_000
UNSUPPORTED: Final = frozenset({"NotSupported", "NotImplemented"})
UNSENT: Final = frozenset({"not_connected", "expired", "refused"})
"""Ends of a command that never reached the station."""

NOBODY: Final = "nobody waits for it, and automatic.localList is off"

Events = list[AuthStationEvent]


class _Pass:
    """The decision of one record: the list as it is after each event decided."""

    def __init__(self, known: StationList | None, context: Context, identity: str = "") -> None:
        self.lst = known or StationList(identity=identity or context.identity)
        self.context = context
        self.events: Events = []

    @property
    def about(self) -> dict[str, object]:
        return {"at": self.context.now, "station": self.lst.identity}

    def say(self, event: AuthStationEvent) -> None:
        self.events.append(event)
        self.lst = evolved(self.lst, event)

    def trigger(self, cause: Cause, **more: object) -> None:
        self.say(LocalListTriggered(**self.about, cause=cause, **more))  # type: ignore[arg-type]

    def go(self) -> None:
        """Begin a pass, if nothing is under way."""
        lst, connection = self.lst, self.context.connection
        if lst.phase in BUSY:
            return
        if not lst.automatic and not lst.operations:
            self.pause("off", NOBODY)
        elif connection is None or not connection.connected:
            self.pause("waiting", "the station is not connected", unanswered=lst.message is not None)
        elif lst.installed is None or lst.verify:
            text = f"{self.context.station}/{lst.step}/{self.context.source}/{len(self.events)}"
            command_id = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
            self.say(LocalListChecking(**self.about, command_id=command_id))  # type: ignore[arg-type]
        else:
            self.build("")

    def build(self, cursor: str) -> None:
        """The next message, behind `cursor`; a full list begins with the first one."""
        lst = self.lst
        full = lst.installed is None
        version = lst.version + 1 if lst.version < VERSION_MAX else 1
        if version <= (lst.installed or 0):
            full = True  # the numbers begin again, which only a full list may do
        self.say(
            LocalListBuilding(
                at=self.context.now,
                station=lst.identity,
                step=lst.step + 1,
                version=version,
                full=full,
                generation=lst.generation,
                cursor="" if full else cursor,
                taken=lst.taken if cursor and not full else 0,
                shrink=lst.shrink,
                unasked=not lst.operations,
            )
        )

    def pause(self, state: str, reason: str, *, retry: bool = False, **more: bool) -> None:
        pause_ms = min(RETRY_MS << min(self.lst.unanswered + self.lst.refused, 10), RETRY_MS_MAX)
        if state == "failed":
            pause_ms, retry = GIVEN_UP_MS, self.lst.automatic
        retry_at = self.context.now + pause_ms if retry else 0
        self.say(LocalListPaused(**self.about, state=state, reason=reason, retry_at=retry_at, **more))  # type: ignore[arg-type]

    def refused(self, reason: str, *, unanswered: bool = False) -> None:
        """The station does not want a message: another try later, or none."""
        if self.lst.refused + 1 >= REFUSALS_MAX:
            self.pause("failed", reason, refused=True)
        else:
            self.pause("waiting", reason, retry=True, refused=True, unanswered=unanswered)

    def finish(self, entries: int, fingerprint: str, next_change: int) -> None:
        """The pass has come to its end; another one where something came up meanwhile."""
        lst = self.lst
        self.say(
            LocalListSynced(
                at=self.context.now,
                station=lst.identity,
                version=lst.installed or 0,
                entries=entries,
                fingerprint=fingerprint,
                next_change=next_change,
            )
        )
        if lst.again:
            self.go()

    def installed(self) -> None:
        """The station has the message."""
        message = self.lst.message
        assert message is not None, f"{self.context.station}: no message is under way"
        self.say(
            LocalListInstalled(
                at=self.context.now,
                station=self.lst.identity,
                version=message.version,
                full=message.full,
                generation=self.lst.generation + message.full,
                entries=message.entries,
            )
        )

    @property
    def outcome(self) -> Outcome:
        return Outcome(self.events)


# What sets it going


def sync(body: SyncLocalList, view: View, context: Context) -> Outcome:
    """Somebody asks: 202; 429 where too many wait already."""
    known = view.get(StationList, context.station)
    if known is not None and len(known.operations) >= OPERATIONS_MAX:
        detail = f"{OPERATIONS_MAX} operations wait for this station's list"
        return Outcome(result=problem(429, "Too many operations", detail))
    made = _Pass(known, context, body.identity)
    made.trigger(
        "asked", full=body.full, operation_id=body.operation_id, due=context.now + body.wait_ms, actor=context.actor
    )
    made.go()
    return Outcome(made.events, result=Result(202, {"operationId": body.operation_id}))


def follow(body: FollowLocalList, view: View, context: Context) -> Outcome:
    """Tokens, rules or the station's registration changed, or nothing may be sent unasked any more."""
    known = view.get(StationList, context.station)
    if not body.automatic:
        if known is None or not known.automatic:
            return NOTHING
        made = _Pass(known, context, body.identity)
        made.trigger("off", automatic=False)
        return made.outcome
    if known is not None and known.automatic and known.phase == "unsupported":
        return NOTHING  # until it boots, or somebody asks
    current = known is not None and known.automatic and known.fingerprint == body.fingerprint
    if current and known is not None and known.installed is not None and known.phase == "idle":
        return NOTHING
    made = _Pass(known, context, body.identity)
    made.trigger("change", automatic=True)
    made.go()
    return made.outcome


def booted(view: View, context: Context) -> Outcome:
    """An accepted station may have lost its list: its version tells."""
    known = view.get(StationList, context.station)
    if known is None or not (known.automatic or known.operations):
        return NOTHING
    made = _Pass(known, context)
    made.trigger("boot")
    made.go()
    return made.outcome


def connected(view: View, context: Context) -> Outcome:
    """What waits goes on."""
    known, connection = view.get(StationList, context.station), context.connection
    if known is None or known.phase != "waiting" or connection is None or not connection.connected:
        return NOTHING
    made = _Pass(known, context)
    made.go()
    return made.outcome


def passed(station: str, view: View, context: Context) -> Outcome:
    """The time has come: to try (again), to look why nothing happens, or to change the list."""
    known = view.get(StationList, station)
    if known is None:
        return NOTHING
    made = _Pass(known, context)
    if known.phase in BUSY:
        made.pause("waiting", f"nothing was heard while {known.phase}", unanswered=True)
    elif known.phase != "waiting":
        made.trigger("time")
    made.go()
    return made.outcome


def expire(subject: str, view: View, context: Context) -> Outcome:
    """Who asked has waited long enough."""
    station, _, operation_id = subject.partition("/")
    known = view.get(StationList, station)
    if known is None or all(one.operation_id != operation_id for one in known.operations):
        return NOTHING
    event = LocalListSyncExpired(at=context.now, station=known.identity, operation_id=operation_id)
    return Outcome((event,))


def expire_needs(subject: str) -> Sequence[Need]:
    return list_needs(subject.partition("/")[0])


# What comes back


def step_needs(body: LocalListStep, station: str) -> Sequence[Need]:
    asked = ask_needs(body.ask, station) if body.ask else ()
    return (*list_needs(station), *asked)


def step(body: LocalListStep, view: View, context: Context) -> Outcome:
    """The worker has built the next message."""
    known = view.get(StationList, context.station)
    if known is None or known.phase != "building" or known.step != body.step:
        return NOTHING
    made = _Pass(known, context)
    if body.refusal:
        made.pause("off" if body.refusal == "off" else "failed", body.refusal)
    elif not known.automatic and not known.operations:
        made.pause("off", NOBODY)
    elif body.full_needed:
        reason = "an entry is to go whose token is erased"
        made.say(LocalListDoubted(at=context.now, station=known.identity, reason=reason))
        made.build("")
    elif body.ask is None:
        sooner = _sooner(known.next_change, body.next_change)
        made.finish(body.taken, body.fingerprint or known.fingerprint, sooner)
    else:
        return _send(made, body, body.ask, view)
    return made.outcome


def _send(made: _Pass, body: LocalListStep, ask: Ask, view: View) -> Outcome:
    context = made.context
    asked = commands("auth").ask(ask, view, context)
    payload = load_json(ask.payload)
    made.say(
        LocalListSending(
            at=context.now,
            station=made.lst.identity,
            command_id=ask.command_id,
            version=payload["versionNumber"],
            full=payload["updateType"] == "Full",
            entries=body.entries,
            cursor=body.cursor,
            done=body.done,
            taken=body.taken,
            next_change=_sooner(made.lst.next_change, body.next_change),
            fingerprint=body.fingerprint,
        )
    )
    return Outcome((*made.events, *asked.events), calls=asked.calls, puts=asked.puts)


def ended(body: Ended, view: View, context: Context) -> Outcome:
    """One of its commands ended."""
    known = view.get(StationList, context.station)
    if known is None or known.command_id != body.command_id or known.phase not in ("checking", "sending"):
        return NOTHING
    made = _Pass(known, context)
    if body.status != "answered":
        _unanswered(made, body)
    elif known.phase == "checking":
        _checked(made, int(load_json(body.response)["versionNumber"]))
    else:
        _answered(made, load_json(body.response))
    return made.outcome


def _unanswered(made: _Pass, body: Ended) -> None:
    sending = made.lst.phase == "sending"
    if body.status == "error":
        error = load_json(body.error)
        code = str(error.get("code", "")) if isinstance(error, dict) else ""
        if code in UNSUPPORTED:
            made.pause("unsupported", f"{body.action}: {code}")
        else:
            made.refused(f"{body.action}: {code}", unanswered=sending)
    elif body.status in UNSENT:
        made.pause("waiting", f"{body.action}: {body.status}", retry=True, unanswered=not sending)
    else:
        made.pause("waiting", f"{body.action}: {body.status}", retry=True, unanswered=True)


def _checked(made: _Pass, version: int) -> None:
    """The station's version (D02): what we know it to have, the message without an answer, or something else."""
    lst = made.lst
    message = lst.message
    if message is not None and version == message.version:
        made.installed()
        kept = True
    else:
        kept = lst.installed is not None and version == lst.installed
    # A station with a number above OCPP's integers is taken as one of which nothing is known.
    version = version if 0 <= version <= VERSION_MAX else 0
    made.say(LocalListChecked(at=made.context.now, station=lst.identity, version=version, kept=kept))
    made.build("")


def _answered(made: _Pass, answer: dict[str, object]) -> None:
    message = made.lst.message
    assert message is not None, "a SendLocalList was sent"
    status = str(answer.get("status"))
    if status == "Accepted":
        made.installed()
        if message.done:
            made.finish(message.taken, made.lst.fingerprint, message.next_change)
        else:
            made.build(message.cursor)
        return
    reason = f"SendLocalList: {status}"
    info = answer.get("statusInfo")
    if isinstance(info, dict) and info.get("reasonCode"):
        reason += f" {info['reasonCode']}"
    if status == "VersionMismatch" and made.lst.refused + 1 < REFUSALS_MAX:
        # Maybe it has it already: a command that is sent again after a break is refused so.
        at, station = made.context.now, made.lst.identity
        made.say(LocalListDoubted(at=at, station=station, reason=reason, refused=True, unanswered=True))
        made.go()
    elif not message.full and made.lst.refused + 1 < REFUSALS_MAX:
        made.say(LocalListDoubted(at=made.context.now, station=made.lst.identity, reason=reason, refused=True))
        made.build("")
    else:
        made.refused(reason)


def _sooner(one: int, other: int) -> int:
    return min((at for at in (one, other) if at), default=0)


# Folding


def derive_checking(event: LocalListChecking, follow: Follow) -> Iterable[NewRecord]:
    """GetLocalListVersion is asked for."""
    wanted = Ask(
        command_id=event.command_id,
        action="GetLocalListVersion",
        payload=msgspec.Raw(b"{}"),
        reply_service="auth",
        reference=REFERENCE,
        identity=event.station,
    )
    yield follow.request("auth", ASK, event.subject(), wanted, event.at)
