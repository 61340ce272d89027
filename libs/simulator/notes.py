"""What a station tells its surroundings besides frames: for the journal, the figures and the promise
check."""

from typing import NamedTuple


class CallAnswered(NamedTuple):
    """A CALL of the station got its CALLRESULT."""

    action: str
    message_id: str
    latency_ms: int


class CallFailed(NamedTuple):
    """A CALL got a CALLERROR, or no answer while the connection held (`code` = "Timeout"). `explained`: the
    standard expects it, or the station will send the message again."""

    action: str
    message_id: str
    code: str
    description: str
    explained: bool


class CallLost(NamedTuple):
    """The connection broke before the answer came: nobody's fault, and nothing is known."""

    action: str
    message_id: str


class TransactionBegan(NamedTuple):
    transaction_id: str
    evse_id: int


class EventAcknowledged(NamedTuple):
    """The CSMS answered a TransactionEvent with a CALLRESULT. `digest`: BLAKE2b (8 bytes, hex) of the
    payload's bytes as they were sent. `repeat`: it had been acknowledged before."""

    transaction_id: str
    seq_no: int
    event_type: str
    digest: str
    message_id: str
    register_wh: float | None
    offline: bool
    repeat: bool


class EventDropped(NamedTuple):
    """A TransactionEvent that the CSMS will never get. `allowed`: thinned out of a full offline queue
    (E04.FR.07), else discarded after the last attempt (E13.FR.04)."""

    transaction_id: str
    seq_no: int
    event_type: str
    allowed: bool
    reason: str


class CommandAnswered(NamedTuple):
    """A CALL of the CSMS was answered; `outcome` is the answer's status, "" if it has none, or an error
    code."""

    action: str
    message_id: str
    outcome: str


class PromiseBroken(NamedTuple):
    """The CSMS did what the standard forbids."""

    what: str


class FaultInjected(NamedTuple):
    kind: str


class Refused(NamedTuple):
    """There is no connection: refused with an HTTP status, or no answer at all (None)."""

    status: int | None


Note = (
    CallAnswered
    | CallFailed
    | CallLost
    | TransactionBegan
    | EventAcknowledged
    | EventDropped
    | CommandAnswered
    | PromiseBroken
    | FaultInjected
    | Refused
)
