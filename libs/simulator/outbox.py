"""The CALLs of a station: one open at a time (Part 4, section 4.1.1), transaction events kept in order until
they are acknowledged or given up (E04, E08, E11, E12, E13), everything else sent when its turn comes and lost
when it cannot be.

No IO and no clock: the station says what time it is and writes the frame that `next` returns.
"""

from dataclasses import dataclass
from enum import Enum
from hashlib import blake2b
from typing import NamedTuple

import orjson

from .frames import Json
from .notes import EventDropped, Note

OTHERS_MAX = 200  # CALLs that are no transaction events and wait; a device model report is about 10
LATE_IDS = 8


class Kind(Enum):
    BOOT = "boot"
    TRIGGERED = "triggered"  # the CSMS asked for it: allowed while Pending (B02.FR.02)
    NORMAL = "normal"
    TRANSACTION = "transaction"
    REPEAT = "repeat"  # a fault: bytes that were acknowledged before


class Registration(Enum):
    NONE = "none"
    ACCEPTED = "accepted"
    PENDING = "pending"
    REJECTED = "rejected"


class Purpose(NamedTuple):
    """What the station wants to do with the answer."""

    name: str = ""
    evse_id: int = 0
    text: str = ""


NOTHING = Purpose()


@dataclass(slots=True, eq=False)
class OutCall:
    """One message to the CSMS. `attempts` counts the transmissions that ended in a failure (E13)."""

    kind: Kind
    action: str
    payload: Json
    purpose: Purpose = NOTHING
    order: int = 0
    attempts: int = 0
    message_id: str = ""
    sent_at: int = 0
    body: bytes = b""
    repeat_id: str = ""

    @property
    def transaction_id(self) -> str:
        info: Json = self.payload.get("transactionInfo", {})
        return str(info.get("transactionId", ""))

    @property
    def digest(self) -> str:
        return blake2b(self.body, digest_size=8).hexdigest()


class Outbox:
    """Waiting CALLs and the one that is open. Bounded: `limit` transaction events, OTHERS_MAX others."""

    __slots__ = ("_counter", "_late", "_limit", "_others", "_retry_at", "_transactions", "flying")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._others: list[OutCall] = []
        self._transactions: list[OutCall] = []
        self._retry_at = 0
        self._counter = 0
        self._late: list[str] = []
        self.flying: OutCall | None = None

    def put(self, call: OutCall) -> list[Note]:
        """Queues a CALL. Returns what was dropped to make room."""
        self._counter += 1
        call.order = self._counter
        if call.kind is not Kind.TRANSACTION:
            if len(self._others) < OTHERS_MAX:
                self._others.append(call)
            return []
        self._transactions.append(call)
        return self._thin() if len(self._transactions) > self._limit else []

    def _thin(self) -> list[Note]:
        """Drops every other waiting Updated event: the 1st, the 3rd, ... (E04.FR.08)."""
        waiting = [c for c in self._transactions if c is not self.flying]
        updated = [c for c in waiting if c.payload["eventType"] == "Updated"]
        gone = {id(c) for c in updated[::2]}
        self._transactions = [c for c in self._transactions if id(c) not in gone]
        return [_dropped(c, True, "offline queue full") for c in updated[::2]]

    @property
    def full(self) -> bool:
        """No room even after thinning: the station starts no further transaction."""
        return len(self._transactions) >= self._limit

    @property
    def queued_events(self) -> int:
        return len(self._transactions)

    @property
    def empty(self) -> bool:
        return self.flying is None and not self._transactions and not self._others

    def concerns(self, transaction_id: str | None) -> bool:
        """Does an undelivered event belong to this transaction (to any, if None)? (E14)"""
        return any(transaction_id in (None, c.transaction_id) for c in self._transactions)

    def has(self, kind: Kind) -> bool:
        """Is a CALL of this kind open or waiting?"""
        return any(c.kind is kind for c in self._others) or (self.flying is not None and self.flying.kind is kind)

    def went_offline(self) -> list[OutCall]:
        """Every waiting event becomes an offline event (E11.FR.07) and stays; returned is what nobody will
        answer now: the open CALL (the one with a message id; if an event, it also stays first in the queue)
        and the waiting others."""
        for call in self._transactions:
            call.payload["offline"] = True
        lost = ([self.flying] if self.flying is not None else []) + self._others
        self._others, self.flying = [], None
        self._retry_at = 0
        return lost

    def next(self, now_ms: int, registration: Registration, message_id: str) -> OutCall | None:
        """The CALL to send now, marked as open, or None."""
        if self.flying is not None:
            return None
        call = self._pick(now_ms, registration)
        if call is None:
            return None
        if call.kind is not Kind.TRANSACTION:
            self._others.remove(call)
        if call.kind is not Kind.REPEAT:
            call.body = orjson.dumps(call.payload)
        call.message_id = call.repeat_id or message_id
        call.sent_at = now_ms
        self.flying = call
        return call

    def _pick(self, now_ms: int, registration: Registration) -> OutCall | None:
        allowed = _ALLOWED[registration]
        other = next((c for c in self._others if c.kind in allowed), None)
        if Kind.TRANSACTION not in allowed or not self._transactions or now_ms < self._retry_at:
            return other
        event = self._transactions[0]
        if other is None:
            return event
        return other if other.order < event.order or "offline" in event.payload else event

    def wake_at(self, registration: Registration) -> int | None:
        """When a failed transaction event may be tried again."""
        if self._transactions and self.flying is None and Kind.TRANSACTION in _ALLOWED[registration]:
            return self._retry_at or None
        return None

    def answered(self) -> OutCall | None:
        """The open CALL was answered with a CALLRESULT: it is done with."""
        call, self.flying = self.flying, None
        if call is not None and call.kind is Kind.TRANSACTION:
            self._transactions.remove(call)
            self._retry_at = 0
        return call

    def failed(self, now_ms: int, attempts_max: int, interval_ms: int, *, counts: bool = True) -> list[Note]:
        """The open CALL got a CALLERROR or no answer in time. A transaction event waits interval x
        transmissions and is tried again until `attempts_max`, then discarded (E13.FR.02-04). `counts`: False
        where the event was not to blame."""
        call, self.flying = self.flying, None
        if call is None or call.kind is not Kind.TRANSACTION:
            return []
        call.attempts += counts
        if call.attempts >= attempts_max:
            self._transactions.remove(call)
            self._retry_at = 0
            return [_dropped(call, False, f"{call.attempts} attempts failed")]
        self._retry_at = now_ms + interval_ms * max(1, call.attempts)
        return []

    def remember_late(self, message_id: str) -> None:
        """An answer to this id may still come: it is late, not wrong."""
        self._late = [*self._late[1 - LATE_IDS :], message_id]

    def is_late(self, message_id: str) -> bool:
        return message_id in self._late


_ALLOWED: dict[Registration, frozenset[Kind]] = {
    Registration.NONE: frozenset({Kind.BOOT}),
    Registration.REJECTED: frozenset({Kind.BOOT}),
    Registration.PENDING: frozenset({Kind.BOOT, Kind.TRIGGERED}),
    Registration.ACCEPTED: frozenset(Kind),
}


def _dropped(call: OutCall, allowed: bool, reason: str) -> EventDropped:
    payload = call.payload
    return EventDropped(call.transaction_id, payload["seqNo"], payload["eventType"], allowed, reason)
