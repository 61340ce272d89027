"""One Charging Station's connection as a state machine without IO.

In: a frame from the socket, a record of `ocpp.outbound`, the log's acknowledgement, the time, the end of the socket.
Out: effects, in the order in which they are to be carried out, and two facts to look at after each step: whether to
go on reading the socket (`reading`) and when to call `tick` at the latest (`wake_at`). Times are ms since 1970.

Rules held here (Part 4, section 4; the numbers are GEN.FR and B0x.FR of Part 2):

- Every frame is appended first. What the gateway refuses itself is appended marked with the RPC error code and
  answered once the log has it; everything else is answered by the service that owns the action.
- One CALL at a time per direction, and the two cross freely (GEN.FR.01). A station's next CALL is appended after the
  one before was answered, refused or forgotten: frames of one station are in order across all topics. Extra ones wait;
  too many stop the reading of the socket, and an allowance that never recovers closes it.
- A message id counts as repeated only while its CALL is unanswered.
- A command is written to the socket after its `sending` receipt is in the log, and ends with exactly one of: its
  answer's frame, `timeout` (also an answer that nobody can read), `refused`, `gone` (no `sending` receipt, no
  connection any more), `lost` (a `sending` receipt and no answer, whether or not it reached the socket).
- An answer is never answered.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from ocppcore.actions import OWNER
from ocppcore.envelope import Frame, FrameKind, OutFrame, Receipt, ReceiptKind, Registration
from ocppcore.rpc import (
    DEPTH_MAX,
    Call,
    CallError,
    CallResult,
    ErrorCode,
    Malformed,
    build_error,
    judge_action,
    parse,
)
from services.gateway.domain.registration import ASKING, Gate

STRAYS: Final = "device"
"""The service that gets frames which belong to no action: malformed ones, unknown actions, answers nobody awaits."""

ACTION_CHARS_MAX: Final = 50
"""How much of an unknown action's name goes into the record's header; the frame itself is whole."""

POLICY_VIOLATION: Final = 1008
SERVICE_RESTART: Final = 1012


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one connection. `allowance`: frames out of turn or refused; it refills at `allowance_per_s`."""

    frame_bytes_max: int = 1_000_000
    depth_max: int = DEPTH_MAX
    reply_timeout_ms: int = 30_000
    command_timeout_ms: int = 30_000
    commands_max: int = 64
    waiting_max: int = 32
    waiting_bytes_max: int = 64 * 1024
    allowance: int = 1000
    allowance_per_s: int = 10
    trigger_window_ms: int = 120_000


class Origin(NamedTuple):
    """Which connection: part of every record. `station` is the normalised id, `identity` its spelling in the URL."""

    station: str
    identity: str
    slot: int
    epoch: int
    subprotocol: str
    claim: int


class Refusal(NamedTuple):
    """To be acknowledged: then `reply` is sent. `turn`: it stood in the place of the CALL being handled."""

    reply: bytes
    turn: bool


Ack = Refusal | OutFrame
"""What a caller hands back once the record is in the log: a refusal, or the command whose `sending` receipt it was."""


class Append(NamedTuple):
    """Append to the frames topic of `service`; when it is durable and `ack` is set: call `acknowledged(ack)`."""

    service: str
    entry: Frame | Receipt
    ack: Ack | None


class Send(NamedTuple):
    """Write this frame to the socket."""

    frame: bytes


class Close(NamedTuple):
    """Close the WebSocket and call `ended`."""

    code: int
    reason: str


Effect = Append | Send | Close


class CannotOpen(Exception):
    """A sealed frame cannot be decrypted: it was sealed under another key."""


class _Received(NamedTuple):
    """A station's CALL that waits for its turn."""

    call: Call
    frame: bytes
    n: int
    at: int


class Connection:
    """See the module. `open_sealed` gives the frame of a sealed command; `new_trace` a traceparent ("" for none).

    `never_accepted`: the station is Pending at best, as its certificate has expired (A00.FR.429).
    """

    __slots__ = (
        "_allowance",
        "_allowance_at",
        "_announced",
        "_call_deadline",
        "_call_id",
        "_call_open",
        "_command",
        "_command_deadline",
        "_commands",
        "_draining",
        "_ended",
        "_limits",
        "_n",
        "_new_trace",
        "_open_sealed",
        "_waiting",
        "_waiting_bytes",
        "dropped_replies",
        "forgotten_calls",
        "gate",
        "origin",
        "reading",
    )

    def __init__(
        self,
        origin: Origin,
        registration: Registration,
        limits: Limits,
        now: int,
        open_sealed: Callable[[OutFrame], bytes],
        new_trace: Callable[[], str],
        *,
        never_accepted: bool = False,
    ) -> None:
        self.origin = origin
        self.gate = Gate(registration, never_accepted=never_accepted)
        self.reading = True
        self.dropped_replies = 0
        self.forgotten_calls = 0
        self._limits = limits
        self._open_sealed = open_sealed
        self._new_trace = new_trace
        self._n = 0
        # The station's CALL in its turn: `_call_open` while a service is to answer it, not while we refuse it.
        self._call_id: str | None = None
        self._call_open = False
        self._call_deadline = 0
        self._waiting: deque[_Received] | None = None
        self._waiting_bytes = 0
        # Our CALL: queued, then announced (its `sending` receipt is on its way to the log), then sent.
        self._commands: deque[OutFrame] | None = None
        self._announced: OutFrame | None = None
        self._command: OutFrame | None = None
        self._command_deadline = 0
        self._allowance = float(limits.allowance)
        self._allowance_at = now
        self._draining = False
        self._ended = False

    @property
    def wake_at(self) -> int | None:
        """When `tick` has something to do (ms), None when nothing runs out."""
        if self._call_open:
            return min(self._call_deadline, self._command_deadline) if self._command else self._call_deadline
        return self._command_deadline if self._command else None

    @property
    def calling(self) -> bool:
        """Whether a CALL of the station is in its turn."""
        return self._call_id is not None

    @property
    def busy(self) -> bool:
        """Whether a CALL is on its way in either direction."""
        return self._call_id is not None or self._announced is not None or self._command is not None

    @property
    def waiting(self) -> int:
        """How many of the station's CALLs wait for their turn."""
        return len(self._waiting) if self._waiting else 0

    @property
    def queued_commands(self) -> int:
        """How many commands wait to be sent."""
        return len(self._commands) if self._commands else 0

    # -- what the station sends ------------------------------------------------------------------------------------

    def receive(self, frame: bytes, now: int) -> list[Effect]:
        """A whole message from the socket."""
        if self._ended:
            return []
        n = self._n
        self._n = n + 1
        effects: list[Effect] = []
        parsed = parse(frame, bytes_max=self._limits.frame_bytes_max, depth_max=self._limits.depth_max)
        if type(parsed) is Call:
            if self._call_id is None and not self._draining:
                self._begin(_Received(parsed, frame, n, now), now, effects)
            else:
                self._wait(_Received(parsed, frame, n, now), now, effects)
        elif type(parsed) is Malformed:
            self._malformed(parsed, frame, n, now, effects)
        elif isinstance(parsed, (CallResult, CallError)):
            self._answer(parsed, frame, n, now, effects)
        return effects

    def _begin(self, received: _Received, now: int, effects: list[Effect]) -> None:
        """It is this CALL's turn. Judged only now: what came before it may have changed the registration."""
        call = received.call
        self._call_id = call.message_id
        error = judge_action(call)
        if error is None:
            reason = self.gate.refuses_call(call.action, call.payload, now)
            if reason is None:
                self._call_open = True
                self._call_deadline = now + self._limits.reply_timeout_ms
                effects.append(
                    Append(
                        OWNER[call.action],
                        self._frame("call", call.message_id, call.action, "", received.frame, received.n, received.at),
                        None,
                    )
                )
                return
            error = CallError(call.message_id, ErrorCode.SECURITY_ERROR, reason)
        self._refuse(received, error, True, effects)
        self._charge(now, effects)

    def _wait(self, received: _Received, now: int, effects: list[Effect]) -> None:
        message_id = received.call.message_id
        waiting = self._waiting
        if waiting is None:
            waiting = self._waiting = deque()
        if message_id == self._call_id or any(message_id == other.call.message_id for other in waiting):
            text = "a CALL with this message id is being handled already"
            self._refuse(received, CallError(message_id, ErrorCode.RPC_FRAMEWORK_ERROR, text), False, effects)
        else:
            waiting.append(received)
            self._waiting_bytes += len(received.frame)
            limits = self._limits
            if len(waiting) >= limits.waiting_max or self._waiting_bytes >= limits.waiting_bytes_max:
                self.reading = False
        self._charge(now, effects)

    def _refuse(self, received: _Received, error: CallError, turn: bool, effects: list[Effect]) -> None:
        call = received.call
        action = call.action[:ACTION_CHARS_MAX]
        entry = self._frame("call", call.message_id, action, str(error.code), received.frame, received.n, received.at)
        effects.append(Append(OWNER.get(action, STRAYS), entry, Refusal(build_error(error), turn)))

    def _malformed(self, parsed: Malformed, frame: bytes, n: int, now: int, effects: list[Effect]) -> None:
        command = self._command
        if parsed.reply is not None:
            entry = self._frame("malformed", parsed.message_id or "", "", str(parsed.reply.code), frame, n, now)
            effects.append(Append(STRAYS, entry, Refusal(build_error(parsed.reply), False)))
        elif command is not None and parsed.message_id == command.message_id:
            # An answer that nobody can read is still the end of the CALL that waits for it: its owner reads it so.
            self._command = None
            entry = self._frame("malformed", command.message_id, command.action, "", frame, n, now, command.traceparent)
            effects.append(Append(OWNER[command.action], entry, None))
            self._next_command(effects, now)
        else:
            effects.append(
                Append(STRAYS, self._frame("malformed", parsed.message_id or "", "", "", frame, n, now), None)
            )
        self._charge(now, effects)

    def _answer(self, answer: CallResult | CallError, frame: bytes, n: int, now: int, effects: list[Effect]) -> None:
        command = self._command
        kind: FrameKind = "result" if isinstance(answer, CallResult) else "error"
        if command is None or answer.message_id != command.message_id:
            # Late, or never asked for: kept without an action, which marks it as the answer to nothing.
            effects.append(Append(STRAYS, self._frame(kind, answer.message_id, "", "", frame, n, now), None))
            self._charge(now, effects)
            return
        self._command = None
        entry = self._frame(kind, command.message_id, command.action, "", frame, n, now, command.traceparent)
        effects.append(Append(OWNER[command.action], entry, None))
        if isinstance(answer, CallResult) and command.action in ASKING and self.gate.registration == "Pending":
            asked = parse(command.frame)
            if isinstance(asked, Call):
                self.gate.answered(command.action, asked.payload, answer.payload, now, self._limits.trigger_window_ms)
        self._next_command(effects, now)

    # -- what the services send ------------------------------------------------------------------------------------

    def outbound(self, out: OutFrame, now: int) -> list[Effect]:
        """A frame for this connection: the reply to the CALL in its turn (others are dropped), or a command."""
        effects: list[Effect] = []
        if out.kind == "reply":
            self._reply(out, now, effects)
        elif self._ended or self._draining:
            effects.append(self._receipt(out, "gone", "connection is being closed", now))
        elif self.queued_commands >= self._limits.commands_max:
            effects.append(self._receipt(out, "refused", "queue full", now))
        else:
            if self._commands is None:
                self._commands = deque()
            self._commands.append(out)
            self._next_command(effects, now)
        return effects

    def _reply(self, out: OutFrame, now: int, effects: list[Effect]) -> None:
        if self._ended or not self._call_open or out.message_id != self._call_id:
            self.dropped_replies += 1
            return
        self._call_id = None
        self._call_open = False
        if out.registration is not None:
            self.gate.change(out.registration)
        effects.append(Send(out.frame))
        if self._waiting or self._draining:
            self._next_call(effects, now)

    def _next_call(self, effects: list[Effect], now: int) -> None:
        """The CALL in its turn is done with: the next one that waits."""
        if self._draining:
            self._close_when_idle(effects)
            return
        waiting = self._waiting
        if not waiting:
            return
        received = waiting.popleft()
        self._waiting_bytes -= len(received.frame)
        limits = self._limits
        if len(waiting) <= limits.waiting_max // 2 and self._waiting_bytes <= limits.waiting_bytes_max // 2:
            self.reading = True
        self._begin(received, now, effects)

    def _next_command(self, effects: list[Effect], now: int) -> None:
        if self._draining:
            self._close_when_idle(effects)
            return
        while self._commands and self._announced is None and self._command is None:
            out = self._commands.popleft()
            reason = self.gate.refuses_command(out.action)
            if reason is None:
                self._announced = out
                effects.append(self._receipt(out, "sending", "", now, out))
            else:
                effects.append(self._receipt(out, "refused", reason, now))

    # -- the log, the time, the end --------------------------------------------------------------------------------

    def acknowledged(self, ack: Ack, now: int) -> list[Effect]:
        """A record appended with `ack` is durable. To be called after `ended` too: an announced command is `lost`."""
        effects: list[Effect] = []
        if isinstance(ack, OutFrame):
            self._announced = None
            self._write(ack, now, effects)
        elif not self._ended:
            effects.append(Send(ack.reply))
            if ack.turn:
                self._call_id = None
                self._next_call(effects, now)
        return effects

    def _write(self, out: OutFrame, now: int, effects: list[Effect]) -> None:
        if self._ended:
            effects.append(self._receipt(out, "lost", "connection ended while it was announced", now))
            return
        reason = self.gate.refuses_command(out.action)
        if reason is None:
            try:
                frame = self._open_sealed(out) if out.sealed else out.frame
            except CannotOpen:
                reason = "sealed under another key"
            else:
                self._command = out
                self._command_deadline = now + (out.timeout_ms or self._limits.command_timeout_ms)
                effects.append(Send(frame))
                return
        effects.append(self._receipt(out, "refused", reason, now))
        self._next_command(effects, now)

    def tick(self, now: int) -> list[Effect]:
        """Time has passed. A CALL that no service answers is forgotten, so that the station may go on."""
        effects: list[Effect] = []
        command = self._command
        if command is not None and now >= self._command_deadline:
            self._command = None
            effects.append(self._receipt(command, "timeout", "", now))
            self._next_command(effects, now)
        if self._call_open and now >= self._call_deadline:
            self._call_id = None
            self._call_open = False
            self.forgotten_calls += 1
            self._next_call(effects, now)
        return effects

    def drain(self, now: int) -> list[Effect]:
        """Begin nothing new; close with 1012 once what is on its way is done."""
        self._draining = True
        queued = self._commands or ()
        effects: list[Effect] = [self._receipt(out, "gone", "gateway is stopping", now) for out in queued]
        self._commands = None
        self._close_when_idle(effects)
        return effects

    def ended(self, now: int) -> list[Effect]:
        """The socket is no more, or is given up. Idempotent; nothing but `acknowledged` has an effect afterwards."""
        if self._ended:
            return []
        self._ended = True
        self.reading = False
        effects: list[Effect] = []
        if self._command is not None:
            effects.append(self._receipt(self._command, "lost", "connection ended without an answer", now))
        queued = self._commands or ()
        effects.extend(self._receipt(out, "gone", "connection ended before it was sent", now) for out in queued)
        self._command = self._commands = self._waiting = None
        self._call_id = None
        self._call_open = False
        return effects

    def _close_when_idle(self, effects: list[Effect]) -> None:
        if not self.busy:
            effects.append(Close(SERVICE_RESTART, "gateway is stopping"))

    def _charge(self, now: int, effects: list[Effect]) -> None:
        """A frame out of turn, refused or answering nothing costs one of the allowance."""
        limits = self._limits
        refilled = self._allowance + (now - self._allowance_at) * limits.allowance_per_s / 1000
        self._allowance = min(float(limits.allowance), refilled) - 1
        self._allowance_at = now
        if self._allowance < 0:
            effects.append(Close(POLICY_VIOLATION, "too many frames out of turn or refused"))

    def _frame(
        self,
        kind: FrameKind,
        message_id: str,
        action: str,
        refused: str,
        frame: bytes,
        n: int,
        at: int,
        traceparent: str | None = None,
    ) -> Frame:
        station, identity, slot, epoch, subprotocol, claim = self.origin
        trace = self._new_trace() if traceparent is None else traceparent
        return Frame(
            station, identity, slot, epoch, n, subprotocol, at, kind, message_id, action, refused, frame, trace, claim
        )

    def _receipt(self, out: OutFrame, what: ReceiptKind, reason: str, now: int, ack: Ack | None = None) -> Append:
        return gateway_receipt(self.origin.slot, out, what, reason, now, ack)


def gateway_receipt(
    slot: int, out: OutFrame, what: ReceiptKind, reason: str, now: int, ack: Ack | None = None
) -> Append:
    """What was done with a command, for the service that owns its action."""
    receipt = Receipt(out.station, slot, out.epoch, now, out.message_id, out.action, what, reason, out.traceparent)
    return Append(OWNER.get(out.action, STRAYS), receipt, ack)
