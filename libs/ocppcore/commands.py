"""Commands: CALLs from the CSMS to a station, as events, the same in every service that owns such actions.

A command is asked (over HTTP, or by another service), queued to the station's connection, reported `sending` by the
gateway before it is written, and ends exactly once: answered, error, timeout, not_connected, refused, expired or
unknown. It is never repeated silently: one with a `sending` receipt and no answer ends as unknown, unless its action
is idempotent or its requester allowed a repeat.

The frame is kept in `OpenFrames` (outside events) until the command ends; events carry the payload with idTokens
replaced by pseudonyms and secrets hidden (`command_payload.py` does that before any record is written).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal

import msgspec
from pydantic import ValidationError

from ocppcore import actions, results, rpc
from ocppcore.command_end import ENDED, Ended, Status
from ocppcore.envelope import Frame, OutFrame, Receipt
from ocppcore.log import NewRecord
from ocppcore.rpc import CallError, CallResult, Malformed
from ocppcore.service import (
    NOTHING,
    Aggregate,
    AnswerHandler,
    Connection,
    ConnectionHandler,
    Context,
    Drop,
    Event,
    Fold,
    Follow,
    Link,
    Need,
    Outcome,
    Part,
    Put,
    RequestHandler,
    Result,
    Timer,
    TimerHandler,
    View,
)
from ocppcore.store import Table, Upsert
from ocppcore.wire import decode

ASK = "csms.command.v1"
LOST = "csms.connection_lost.v1"
EXPIRY = "command-expiry"
OPEN_MAX = 100
"""Open commands of one service per station; one more is refused."""
UNREADABLE_BYTES_MAX = 1000
"""Kept of an answer that is no RPC message; the log has all of it."""

State = Literal["waiting", "queued", "sending"]


class Ask(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The request body. `payload`: as events may show it; `sealed`: the whole frame encrypted, where they differ.

    `identity`: the station's id as it was registered; `warnings`: see `command_warnings.py`.
    """

    command_id: str
    action: str
    payload: msgspec.Raw
    sealed: bytes = b""
    queue_for_ms: int = 0
    timeout_ms: int = 0
    repeat: bool = False
    reply_service: str = ""
    reference: str = ""
    identity: str = ""
    warnings: tuple[str, ...] = ()


class Lost(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway went without a word: everything on (slot, claim, epoch) is over."""

    slot: int
    claim: int
    epoch: int


VARIABLES = "variables"
"""The reference of a GetVariables that an operator asked for: its answer says what the station is, as a report does."""


class OpenCommand(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`sent`: on some connection, maybe an earlier one; then nobody may say that it was never carried out."""

    command_id: str
    action: str
    state: State
    queue_until: int
    timeout_ms: int
    repeat: bool
    sent: bool = False
    slot: int = -1
    epoch: int = -1
    claim: int = 0
    reply_service: str = ""
    reference: str = ""


class CommandQueue(Aggregate, frozen=True, kw_only=True):
    """A station's open commands, oldest first; id = station."""

    KIND: ClassVar[str] = "CommandQueue"
    open: tuple[OpenCommand, ...] = ()

    def find(self, command_id: str) -> OpenCommand | None:
        return next((command for command in self.open if command.command_id == command_id), None)


class OpenFrame(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    frame: bytes
    sealed: bool = False


class OpenFrames(Aggregate, frozen=True, kw_only=True):
    """The frames of a station's open commands, by command id: gone when the command ends."""

    KIND: ClassVar[str] = "OpenFrames"
    REBUILT: ClassVar[bool] = False
    frames: dict[str, OpenFrame]


class CommandAsked(Event, frozen=True, kw_only=True):
    """`identity`: the station's id as it is spelled, where that differs; `warnings`: doubts about the payload."""

    TYPE: ClassVar[str] = "CommandAsked"
    station: str
    command_id: str
    action: str
    payload: msgspec.Raw
    queue_until: int = 0
    timeout_ms: int = 0
    repeat: bool = False
    actor: str = ""
    reply_service: str = ""
    reference: str = ""
    identity: str = ""
    warnings: tuple[str, ...] = ()

    def subject(self) -> str:
        return self.station


class CommandQueued(Event, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "CommandQueued"
    station: str
    command_id: str
    slot: int
    epoch: int
    claim: int

    def subject(self) -> str:
        return self.station


class CommandWaiting(Event, frozen=True, kw_only=True):
    """Its connection went before it was sent; it waits for the next one."""

    TYPE: ClassVar[str] = "CommandWaiting"
    station: str
    command_id: str

    def subject(self) -> str:
        return self.station


class CommandSending(Event, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "CommandSending"
    station: str
    command_id: str

    def subject(self) -> str:
        return self.station


class CommandEnded(Event, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "CommandEnded"
    station: str
    command_id: str
    action: str
    status: Status
    reply_service: str = ""
    reference: str = ""
    response: msgspec.Raw = msgspec.Raw(b"null")
    error: msgspec.Raw = msgspec.Raw(b"null")
    epoch: int = -1

    def subject(self) -> str:
        return self.station


TABLE = Table(
    "commands",
    {
        "command_id": "text",
        "station": "text",
        "identity": "text",
        "action": "text",
        "status": "text",
        "asked_at": "bigint",
        "ended_at": "bigint",
        "actor": "text",
        "payload": "jsonb",
        "warnings": "jsonb",
        "response": "jsonb",
        "error": "jsonb",
    },
    ("command_id",),
    indexes=(("station", "asked_at"),),
)


class CommandRow(Aggregate, frozen=True, kw_only=True):
    """What the row of a command needs from its first event; id = command id. Once the command has ended it is empty,
    and stays: a request that is read again, also after a database was restored, asks for nothing twice."""

    KIND: ClassVar[str] = "CommandRow"
    station: str = ""
    identity: str = ""
    action: str = ""
    warnings: tuple[str, ...] = ()
    asked_at: int = 0
    actor: str = ""
    payload: msgspec.Raw = msgspec.Raw(b"null")


def spelled(identity: str, context: Context) -> str:
    """A station's id as it was registered, or as it connected; "" where that is the normalised one, or not known."""
    known = identity or (context.connection.identity if context.connection else "")
    return "" if known == context.station else known


def _needs(station: str) -> tuple[Need, ...]:
    return ((CommandQueue, station), (OpenFrames, station))


def ask_needs(ask: Ask, station: str) -> tuple[Need, ...]:
    """What asking for a command looks at."""
    return (*_needs(station), (CommandRow, ask.command_id))


def _queue(view: View, station: str) -> CommandQueue:
    return view.get(CommandQueue, station) or CommandQueue()


@dataclass(frozen=True)
class Commands:
    """The decisions about commands of one service; `events` are that service's own event classes."""

    service: str
    asked: type[CommandAsked]
    queued: type[CommandQueued]
    waiting: type[CommandWaiting]
    sending: type[CommandSending]
    ended: type[CommandEnded]

    def ask(self, ask: Ask, view: View, context: Context) -> Outcome:
        """Queue it on the station's connection, keep it waiting, or end it at once."""
        station, queue = context.station, _queue(view, context.station)
        accepted = Result(202, {"commandId": ask.command_id})
        if view.get(CommandRow, ask.command_id):
            return Outcome(result=accepted)
        asked = self.asked(
            at=context.now,
            station=station,
            command_id=ask.command_id,
            action=ask.action,
            payload=ask.payload,
            queue_until=context.now + ask.queue_for_ms if ask.queue_for_ms else 0,
            timeout_ms=ask.timeout_ms,
            repeat=ask.repeat,
            actor=context.actor,
            reply_service=ask.reply_service,
            reference=ask.reference,
            identity=spelled(ask.identity, context),
            warnings=ask.warnings,
        )
        opened = _opened(asked)
        if len(queue.open) >= OPEN_MAX:
            problem = {"code": "QueueFull", "description": f"{OPEN_MAX} commands are open for this station"}
            return Outcome((asked, self._end(opened, context, "refused", error=problem)), result=accepted)
        connection = context.connection
        connected = connection is not None and connection.connected
        if not connected and not ask.queue_for_ms:
            return Outcome((asked, self._end(opened, context, "not_connected")), result=accepted)
        if ask.sealed:
            frame = OpenFrame(frame=ask.sealed, sealed=True)
        else:
            frame = OpenFrame(frame=rpc.build_call(ask.command_id, ask.action, bytes(ask.payload)))
        frames = view.get(OpenFrames, station) or OpenFrames(frames={})
        kept = Put(station, OpenFrames(frames={**frames.frames, ask.command_id: frame}))
        if not connected or connection is None:
            return Outcome((asked,), result=accepted, puts=(kept,))
        queued = self._queue(opened, context, connection)
        call = _out(opened, frame, station, connection)
        return Outcome((asked, queued), calls=(call,), result=accepted, puts=(kept,))

    def answer(self, frame: Frame, parsed: CallResult | CallError | Malformed, view: View, context: Context) -> Outcome:
        """The station answered: the end, whatever it said. What nobody can read is kept as text for `response`."""
        id_ = frame.message_id if isinstance(parsed, Malformed) else parsed.message_id
        command = _queue(view, context.station).find(id_)
        if command is None:
            return NOTHING
        problem: dict[str, object]
        if isinstance(parsed, Malformed):
            problem = {"code": "FormatViolation", "description": f"the answer is malformed: {parsed.reason}"}
            said = frame.frame[:UNREADABLE_BYTES_MAX].decode(errors="replace").replace("\0", "\ufffd")
            return self._over(command, view, context, "error", response=msgspec.json.encode(said), error=problem)
        if isinstance(parsed, CallError):
            problem = {"code": parsed.code, "description": parsed.description, "details": msgspec.Raw(parsed.details)}
            return self._over(command, view, context, "error", error=problem)
        try:
            decode(actions.response_type(command.action), parsed.payload)
        except ValidationError as error:
            fields = [".".join(map(str, one["loc"])) + ": " + one["msg"] for one in error.errors(include_input=False)]
            problem = {
                "code": "FormatViolation",
                "description": "the station's answer is not valid",
                "fields": fields[:10],
            }
            return self._over(command, view, context, "error", response=parsed.payload, error=problem)
        return self._over(command, view, context, "answered", response=parsed.payload)

    def receipt(self, receipt: Receipt, view: View, context: Context) -> Outcome:
        """A gateway reports what it did with a command on one connection."""
        command = _queue(view, context.station).find(receipt.command_id)
        if command is None or command.state == "waiting" or command.epoch != receipt.epoch:
            return NOTHING
        match receipt.what:
            case "sending":
                if command.state == "sending":
                    return NOTHING
                return Outcome((self.sending(at=context.now, station=context.station, command_id=command.command_id),))
            case "timeout":
                return self._over(command, view, context, "timeout")
            case "refused":
                problem = {"code": "Refused", "description": receipt.reason}
                return self._over(command, view, context, "refused", error=problem)
            case "gone":
                return self._again(command, view, context) if command.state == "queued" else NOTHING
            case "lost":
                return self._broken(command, view, context)

    def connection(self, view: View, context: Context) -> Outcome:
        """A connection came: what waits is queued on it."""
        connection = context.connection
        queue = view.get(CommandQueue, context.station)
        if queue is None or connection is None or not connection.connected:
            return NOTHING
        frames = view.get(OpenFrames, context.station) or OpenFrames(frames={})
        events, calls = [], []
        for command in queue.open:
            if command.state == "waiting" and command.command_id in frames.frames:
                events.append(self._queue(command, context, connection))
                calls.append(_out(command, frames.frames[command.command_id], context.station, connection))
        return Outcome(events, calls=calls)

    def lost(self, lost: Lost, view: View, context: Context) -> Outcome:
        """The gateway that held these commands is gone: they were sent (a receipt says so) or they were not."""
        events: list[Event] = []
        calls: list[OutFrame] = []
        puts: list[Put | Drop] = []
        gone = [c for c in _queue(view, context.station).open if (c.slot, c.claim) == (lost.slot, lost.claim)]
        frames = view.get(OpenFrames, context.station) or OpenFrames(frames={})
        for command in gone:
            if command.state == "waiting":
                continue
            broken = command.state == "sending"
            outcome = (self._broken if broken else self._again)(command, view, context)
            events += outcome.events
            calls += outcome.calls
            if outcome.puts:
                frames = _without(frames, command.command_id)
                puts = [_kept(context.station, frames)]
        return Outcome(events, calls=calls, puts=puts)

    def expire(self, subject: str, view: View, context: Context) -> Outcome:
        """A waiting command's time is up."""
        command = _queue(view, context.station).find(subject.rpartition("/")[2])
        if command is None or command.state != "waiting":
            return NOTHING
        return self._over(command, view, context, "unknown" if command.sent else "expired")

    def _broken(self, command: OpenCommand, view: View, context: Context) -> Outcome:
        if command.repeat or actions.ACTIONS[command.action].idempotent:
            return self._again(command, view, context)
        return self._over(command, view, context, "unknown")

    def _again(self, command: OpenCommand, view: View, context: Context) -> Outcome:
        connection = context.connection
        frames = view.get(OpenFrames, context.station)
        frame = frames.frames.get(command.command_id) if frames else None
        if frame and connection and connection.connected and connection.epoch > command.epoch:
            queued = self._queue(command, context, connection)
            return Outcome((queued,), calls=(_out(command, frame, context.station, connection),))
        if frame and command.queue_until > context.now:
            waiting = self.waiting(at=context.now, station=context.station, command_id=command.command_id)
            return Outcome((waiting,))
        return self._over(command, view, context, "unknown" if command.sent else "not_connected")

    def _over(
        self,
        command: OpenCommand,
        view: View,
        context: Context,
        status: Status,
        *,
        response: bytes = b"null",
        error: object = None,
    ) -> Outcome:
        event = self._end(command, context, status, response=response, error=error)
        frames = view.get(OpenFrames, context.station)
        puts = [_kept(context.station, _without(frames, command.command_id))] if frames else []
        return Outcome((event,), puts=puts)

    def _queue(self, command: OpenCommand, context: Context, connection: Connection) -> CommandQueued:
        return self.queued(
            at=context.now,
            station=context.station,
            command_id=command.command_id,
            slot=connection.slot,
            epoch=connection.epoch,
            claim=connection.claim,
        )

    def _end(
        self,
        command: OpenCommand,
        context: Context,
        status: Status,
        *,
        response: bytes = b"null",
        error: object = None,
    ) -> CommandEnded:
        return self.ended(
            at=context.now,
            station=context.station,
            command_id=command.command_id,
            action=command.action,
            status=status,
            reply_service=command.reply_service,
            reference=command.reference,
            response=msgspec.Raw(response),
            error=msgspec.Raw(msgspec.json.encode(error)),
            epoch=command.epoch,
        )

    def derive(self, event: CommandEnded, follow: Follow) -> Iterable[NewRecord]:
        """Tell the requester, where it is a service."""
        if not event.reply_service:
            return
        body = Ended(
            command_id=event.command_id,
            action=event.action,
            status=event.status,
            reference=event.reference,
            response=event.response,
            error=event.error,
            epoch=event.epoch,
        )
        yield follow.request(event.reply_service, ENDED, event.station, body, event.at)


def _out(command: OpenCommand, frame: OpenFrame, station: str, connection: Connection) -> OutFrame:
    return OutFrame(
        station,
        connection.slot,
        connection.epoch,
        "command",
        command.command_id,
        command.action,
        frame.frame,
        timeout_ms=command.timeout_ms,
        sealed=frame.sealed,
    )


def _without(frames: OpenFrames, command_id: str) -> OpenFrames:
    return OpenFrames(frames={id_: frame for id_, frame in frames.frames.items() if id_ != command_id})


def _kept(station: str, frames: OpenFrames) -> Put | Drop:
    return Put(station, frames) if frames.frames else Drop(OpenFrames, station)


def _opened(asked: CommandAsked) -> OpenCommand:
    return OpenCommand(
        command_id=asked.command_id,
        action=asked.action,
        state="waiting",
        queue_until=asked.queue_until,
        timeout_ms=asked.timeout_ms,
        repeat=asked.repeat,
        reply_service=asked.reply_service,
        reference=asked.reference,
    )


# Folding: what each event makes of the queue, the timers and the row.


def _evolve_asked(event: CommandAsked, view: View) -> Iterable[Put | Drop | Timer]:
    queue = _queue(view, event.station)
    yield Put(event.station, CommandQueue(open=(*queue.open, _opened(event))))
    yield Put(
        event.command_id,
        CommandRow(
            station=event.station,
            identity=event.identity,
            action=event.action,
            warnings=event.warnings,
            asked_at=event.at,
            actor=event.actor,
            payload=event.payload,
        ),
    )
    if event.queue_until:
        yield Timer(EXPIRY, f"{event.station}/{event.command_id}", event.queue_until)


def _replace(view: View, station: str, command_id: str, **changes: object) -> Iterable[Put]:
    queue = _queue(view, station)
    changed = tuple(msgspec.structs.replace(c, **changes) if c.command_id == command_id else c for c in queue.open)
    yield Put(station, CommandQueue(open=changed))


def _evolve_queued(event: CommandQueued, view: View) -> Iterable[Put | Drop | Timer]:
    place = {"slot": event.slot, "epoch": event.epoch, "claim": event.claim}
    return _replace(view, event.station, event.command_id, state="queued", **place)


def _evolve_waiting(event: CommandWaiting, view: View) -> Iterable[Put | Drop | Timer]:
    return _replace(view, event.station, event.command_id, state="waiting", slot=-1, epoch=-1, claim=0)


def _evolve_sending(event: CommandSending, view: View) -> Iterable[Put | Drop | Timer]:
    return _replace(view, event.station, event.command_id, state="sending", sent=True)


def _evolve_ended(event: CommandEnded, view: View) -> Iterable[Put | Drop | Timer]:
    queue = _queue(view, event.station)
    ended = queue.find(event.command_id)
    if awaited := _awaited(event, view):
        yield from results.remember(view, event.station, awaited)
    left = tuple(command for command in queue.open if command.command_id != event.command_id)
    yield Put(event.station, CommandQueue(open=left)) if left else Drop(CommandQueue, event.station)
    yield Put(event.command_id, CommandRow())
    if ended is not None and ended.queue_until:
        yield Timer(EXPIRY, f"{event.station}/{event.command_id}", None)


def _awaited(event: CommandEnded, view: View) -> results.AwaitedResult | None:
    """What the station will send later, now that it has accepted; looks at what was there before the event."""
    first = view.get(CommandRow, event.command_id)
    if first is None or event.status != "answered" or event.action not in results.RESULTS:
        return None
    return results.accepted(event.action, event.command_id, bytes(first.payload), bytes(event.response))


def _row(view: View, command_id: str, status: str, **over: str | int | None) -> Upsert:
    first = view.get(CommandRow, command_id)
    assert first is not None, f"command {command_id} has no first event"
    return Upsert(
        TABLE,
        (
            command_id,
            first.station,
            first.identity or first.station,
            first.action,
            status,
            first.asked_at,
            over.get("ended_at"),
            first.actor,
            bytes(first.payload).decode(),
            msgspec.json.encode(first.warnings).decode(),
            over.get("response"),
            over.get("error"),
        ),
    )


def _project_asked(event: CommandAsked, view: View) -> Iterable[Upsert]:
    yield _row(view, event.command_id, "waiting")


def _project_queued(event: CommandQueued, view: View) -> Iterable[Upsert]:
    yield _row(view, event.command_id, "queued")


def _project_waiting(event: CommandWaiting, view: View) -> Iterable[Upsert]:
    yield _row(view, event.command_id, "waiting")


def _project_sending(event: CommandSending, view: View) -> Iterable[Upsert]:
    yield _row(view, event.command_id, "sending")


def _project_ended(event: CommandEnded, view: View) -> Iterable[Upsert]:
    response, error = bytes(event.response).decode(), bytes(event.error).decode()
    yield _row(
        view,
        event.command_id,
        event.status,
        ended_at=event.at,
        response=None if response == "null" else response,
        error=None if error == "null" else error,
    )
    if awaited := _awaited(event, view):
        yield results.row(event.station, awaited, event.at)


def _fold_needs(
    event: CommandAsked | CommandQueued | CommandWaiting | CommandSending | CommandEnded,
) -> tuple[Need, ...]:
    return ((CommandQueue, event.station), (CommandRow, event.command_id))


def _ended_needs(event: CommandEnded) -> tuple[Need, ...]:
    more = results.needs(event, event.station) if event.action in results.RESULTS else ()
    return (*_fold_needs(event), *more)


def _resume(station: str, aggregate: OpenFrames, view: View) -> Sequence[OutFrame]:
    """Frames without a `sending` receipt, for a new owner to send again: gateways drop ids they have handled."""
    frames = []
    for command in _queue(view, station).open:
        frame = aggregate.frames.get(command.command_id)
        if command.state == "queued" and frame is not None:
            there = Connection(
                identity="",
                slot=command.slot,
                epoch=command.epoch,
                claim=command.claim,
                connected=True,
                subprotocol="",
                at=0,
            )
            frames.append(_out(command, frame, station, there))
    return frames


def _links(queue: CommandQueue) -> Iterable[Link]:
    return (Link(c.slot, c.claim, c.epoch) for c in queue.open if c.state != "waiting")


@lru_cache
def commands(service: str) -> Commands:
    """The decisions and the event types of one service: `transactions.CommandAsked.v1` and so on."""

    class Asked(CommandAsked, frozen=True, kw_only=True):
        TYPE: ClassVar[str] = f"{service}.CommandAsked.v1"

    class Queued(CommandQueued, frozen=True, kw_only=True):
        TYPE: ClassVar[str] = f"{service}.CommandQueued.v1"

    class Waiting(CommandWaiting, frozen=True, kw_only=True):
        TYPE: ClassVar[str] = f"{service}.CommandWaiting.v1"

    class Sending(CommandSending, frozen=True, kw_only=True):
        TYPE: ClassVar[str] = f"{service}.CommandSending.v1"

    class EndedHere(CommandEnded, frozen=True, kw_only=True):
        TYPE: ClassVar[str] = f"{service}.CommandEnded.v1"

    return Commands(service, Asked, Queued, Waiting, Sending, EndedHere)


def part(made: Commands) -> Part:
    """The part every service is assembled with. One that sends commands with later results declares those itself."""
    return Part(
        requests=(
            RequestHandler(ASK, Ask, made.ask, needs=ask_needs),
            RequestHandler(LOST, Lost, made.lost, needs=lambda _, station: _needs(station)),
        ),
        timers=(TimerHandler(EXPIRY, made.expire, needs=lambda subject: _needs(subject.rpartition("/")[0])),),
        connections=(ConnectionHandler(made.connection, needs=_needs),),
        answers=AnswerHandler(made.answer, made.receipt, needs=_needs),
        folds=(
            Fold(made.asked, _fold_needs, _evolve_asked, _project_asked),
            Fold(made.queued, _fold_needs, _evolve_queued, _project_queued),
            Fold(made.waiting, _fold_needs, _evolve_waiting, _project_waiting),
            Fold(made.sending, _fold_needs, _evolve_sending, _project_sending),
            Fold(made.ended, _ended_needs, _evolve_ended, _project_ended, made.derive, project_first=True),
        ),
        aggregates=(CommandQueue, OpenFrames, CommandRow),
        tables=(TABLE,),
        resumes={OpenFrames: (_resume, _needs)},
        links={CommandQueue: _links},
    )
