"""The station's CALLs: sent one at a time, answered, failed, tried again (Part 4, section 4.1.1; E13)."""

from typing import TYPE_CHECKING

from .answers import check_answer, register_of
from .frames import Json
from .notes import CallAnswered, CallFailed, CallLost, EventAcknowledged, FaultInjected, PromiseBroken
from .outbox import Kind, OutCall

if TYPE_CHECKING:
    from .station import Station


class Calls:
    """Between the outbox and the wire."""

    __slots__ = ("_station",)

    def __init__(self, station: "Station") -> None:
        self._station = station

    def put(self, call: OutCall) -> None:
        """Queues a CALL."""
        for note in self._station.outbox.put(call):
            self._station.note(note)

    def pump(self) -> None:
        """Sends the next CALL if none is open and one may be sent now."""
        station = self._station
        if not station.link.up:
            return
        if station.outbox.flying is None:
            call = station.outbox.next(station.now, station.registration, station.ids.uuid())
            if call is not None:
                head = (call.message_id.encode(), call.action.encode(), call.body)
                station.write(b'[2,"%b","%b",%b]' % head)
                station.set_timer("call-timeout", 0, station.config.message_timeout_ms)
        retry_at = station.outbox.wake_at(station.registration)
        if retry_at is not None:
            station.set_timer("retry", 0, retry_at - station.now)

    def timed_out(self) -> None:
        """The open CALL has waited for long enough; its answer may still come, late."""
        call = self._station.outbox.flying
        if call is not None:
            self._station.outbox.remember_late(call.message_id)
            self._fail(call, "Timeout", f"no answer within {self._station.config.message_timeout_ms} ms")

    def connection_lost(self) -> None:
        """What is open will not be answered; what is no transaction event will not be sent."""
        self._station.clear_timer("call-timeout", 0)
        for lost in self._station.outbox.went_offline():
            if lost.message_id:
                self._station.note(CallLost(lost.action, lost.message_id))
            self._not_taken(lost)

    def result(self, message_id: str, payload: Json) -> None:
        """A CALLRESULT came."""
        call = self._open(message_id)
        if call is None:
            return
        wrong = check_answer(call.action, call.payload, payload)
        if wrong is not None:
            self._station.note(PromiseBroken(f"{call.action}: {wrong}"))
            self._fail(call, "FormatViolation", wrong)
            return
        self._answered(call, payload)

    def error(self, message_id: str, code: str, description: str) -> None:
        """A CALLERROR came."""
        call = self._open(message_id)
        if call is not None:
            self._fail(call, code, description)

    def _open(self, message_id: str) -> OutCall | None:
        call = self._station.outbox.flying
        if call is not None and call.message_id == message_id:
            return call
        if not self._station.outbox.is_late(message_id):
            self._station.note(PromiseBroken(f"answered a CALL that is not open: {message_id}"))
        return None

    def _answered(self, call: OutCall, payload: Json) -> None:
        station = self._station
        station.clear_timer("call-timeout", 0)
        station.outbox.answered()
        station.note(CallAnswered(call.action, call.message_id, station.now - call.sent_at))
        if call.action == "TransactionEvent":
            station.note(_acknowledgement(call))
        if call.kind is Kind.REPEAT:
            return
        match call.action:
            case "BootNotification":
                station.boot.answered(payload)
            case "Authorize":
                station.desk.answered(call.purpose.evse_id, payload["idTokenInfo"])
            case "TransactionEvent":
                station.desk.event_answered(call, payload.get("idTokenInfo"))
        self._maybe_repeat(call)

    def _fail(self, call: OutCall, code: str, description: str) -> None:
        """The CSMS did not take a CALL (E13)."""
        station = self._station
        not_registered = code == "SecurityError" and call.kind is not Kind.BOOT
        explained = not_registered or call.kind in (Kind.TRANSACTION, Kind.BOOT)
        station.note(CallFailed(call.action, call.message_id, code, description, explained))
        station.clear_timer("call-timeout", 0)
        attempts = station.model.integer("OCPPCommCtrlr", "MessageAttempts", "TransactionEvent")
        interval_s = station.model.integer("OCPPCommCtrlr", "MessageAttemptInterval", "TransactionEvent")
        counts = not not_registered
        for note in station.outbox.failed(station.now, attempts, interval_s * 1000, counts=counts):
            station.note(note)
        if not_registered:
            station.boot.no_longer_accepted()
        if call.kind is Kind.BOOT:
            station.boot.again_after(0)
        self._not_taken(call)
        if call.purpose.name == "authorize":
            station.desk.decide_locally(call.purpose.evse_id)

    def _not_taken(self, call: OutCall) -> None:
        """A StatusNotification got lost: the next occasion reports that connector again."""
        if call.action == "StatusNotification" and call.kind is not Kind.REPEAT:
            evse = self._station.evse(call.payload["evseId"])
            evse.reported.pop(call.payload["connectorId"], None)

    def _maybe_repeat(self, call: OutCall) -> None:
        """A fault: the same bytes again, under the old id or a new one."""
        station = self._station
        chance = station.config.faults.duplicates
        if not chance or station.finishing or call.kind is Kind.BOOT or not station.fault_rng.chance(chance):
            return
        station.note(FaultInjected("duplicate"))
        repeat_id = call.message_id if station.fault_rng.chance(0.5) else ""
        self.put(OutCall(Kind.REPEAT, call.action, call.payload, body=call.body, repeat_id=repeat_id))


def _acknowledgement(call: OutCall) -> EventAcknowledged:
    event = call.payload
    return EventAcknowledged(
        transaction_id=call.transaction_id,
        seq_no=event["seqNo"],
        event_type=event["eventType"],
        digest=call.digest,
        message_id=call.message_id,
        register_wh=register_of(event),
        offline=event.get("offline", False),
        repeat=call.kind is Kind.REPEAT,
    )
