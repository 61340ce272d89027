"""Events and requests of the transactions service (blocks E, F01-F04, J). Energy in Wh as decimal text, times in ms."""

from decimal import Decimal
from typing import ClassVar, Literal

import msgspec

from ocppcore.commands import Ask
from ocppcore.service import Event
from ocppcore.tariff import Tariff

REMOTE_START = "transactions.remote_start.v1"
REMOTE_STOP = "transactions.remote_stop.v1"

RemoteState = Literal["asked", "accepted", "seen", "rejected", "failed", "no_effect"]


class Register(msgspec.Struct, frozen=True, array_like=True):
    """An energy register in a TransactionEvent. `rank`: 0 Transaction.Begin, 1 between, 2 Transaction.End."""

    rank: int
    index: int
    at: int
    wh: str


class Cost(msgspec.Struct, frozen=True, array_like=True):
    """What a transaction costs, in the currency's minor unit."""

    currency: str
    excl_vat: Decimal
    incl_vat: Decimal


class Agreed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A tariff that a transaction is rated by from now on, and what goes with it: the station's zone (IANA), and
    whether it shows costs."""

    tariff: Tariff
    zone: str
    shows: bool = True


class Driver(msgspec.Struct, frozen=True, array_like=True):
    """Of the token that a transaction is started with: what its tariff is chosen and told by. "": none. `left`: what it
    could spend then, were there no other transactions, in `currency`; None: it has no credit, but pays later."""

    group: str
    language1: str
    language2: str
    left: Decimal | None = None
    currency: str = ""


class TransactionEvent(Event, frozen=True, kw_only=True):
    """What one TransactionEvent said; `timestamp` is the station's clock, `at` is ours. The base of three events.

    `token` is the idToken's pseudonym, `authorization` the status that was answered, `token_position` the position of
    the token's record in `auth.tokens` that it rested on, `station_position` that of the station's in `device.stations`
    (-1: there was none), `open_position` and `group_open_position` those of `transactions.open` where these told of
    open transactions. `digest` tells a repeat from a conflict.
    `identity`: the station's id as it spells it, where that differs. `register_drops`: how often the register fell
    among this event's own readings, and `registered_wh` the energy along them, both only where that is more than the
    first and the last register show. `current_a`: what its newest sample of Current.Import shows, over all phases.
    `clock_offset_ms`: of an offline event, what the station's clock was behind ours when it was last seen to be wrong.

    What it costs (I02, I03): `tariff` names the tariff that applies from this event on, as the transaction's course
    has it ("": nobody looked), `agreed` holds it where the transaction had not named it before. `cost`: of the
    transaction with this event; `cost_told`: the answer said it, `tariff_told`: it held the tariff's text (I06).
    `cost_due`: when the station is sent the cost, if it does not ask before (ms).
    """

    TYPE: ClassVar[str] = "TransactionEvent"
    station: str
    transaction_id: str
    seq_no: int
    timestamp: int
    trigger_reason: str
    digest: str
    identity: str = ""
    offline: bool = False
    evse_id: int | None = None
    connector_id: int | None = None
    charging_state: str = ""
    stopped_reason: str = ""
    remote_start_id: int | None = None
    reservation_id: int | None = None
    time_spent_charging_s: int | None = None
    phases_used: int | None = None
    cable_max_current_a: int | None = None
    token: str = ""
    token_type: str = ""
    authorization: str = ""
    token_position: int = -1
    station_position: int = -1
    open_position: int = -1
    group_open_position: int = -1
    first_register: Register | None = None
    last_register: Register | None = None
    registered_wh: str = ""
    register_drops: int = 0
    current_a: str = ""
    tariff: str = ""
    clock_offset_ms: int | None = None
    agreed: Agreed | None = None
    driver: Driver | None = None
    cost: Cost | None = None
    cost_told: bool = False
    cost_due: int | None = None
    tariff_told: bool = False

    def subject(self) -> str:
        return self.station


class TransactionStarted(TransactionEvent, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "transactions.TransactionStarted.v1"


class TransactionUpdated(TransactionEvent, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "transactions.TransactionUpdated.v1"


class TransactionEnded(TransactionEvent, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "transactions.TransactionEnded.v1"


class TransactionConflict(Event, frozen=True, kw_only=True):
    """The same seqNo came with other content: the first is kept, this one is here. `payload` holds no idToken."""

    TYPE: ClassVar[str] = "transactions.TransactionConflict.v1"
    station: str
    transaction_id: str
    seq_no: int
    event_type: str
    digest: str
    kept_digest: str
    payload: msgspec.Raw

    def subject(self) -> str:
        return self.station


class RunningCostDue(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The time has come to tell a station what its transaction costs by now (I02). `cost` None: no more than it knows.

    `cost_due`: when the next time is, None: never.
    """

    TYPE: ClassVar[str] = "transactions.RunningCostDue.v1"
    station: str
    transaction_id: str
    cost: Cost | None = None
    cost_due: int | None = None
    identity: str = ""

    def subject(self) -> str:
        return self.station


class FallbackMessagesAsked(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A station is to show this where it cannot ask (I04, I05). `identity`: its id as it was registered."""

    TYPE: ClassVar[str] = "transactions.FallbackMessagesAsked.v1"
    station: str
    text: str
    currency: str
    identity: str

    def subject(self) -> str:
        return self.station


class MeterValuesReceived(Event, frozen=True, kw_only=True):
    """Meter values exactly as the station sent them, in a transaction (E) or outside of one (J01)."""

    TYPE: ClassVar[str] = "transactions.MeterValuesReceived.v1"
    STREAM: ClassVar[str] = "meter"
    station: str
    meter_values: msgspec.Raw
    evse_id: int | None = None
    transaction_id: str = ""
    seq_no: int | None = None

    def subject(self) -> str:
        return self.station


class ReservationStatusReported(Event, frozen=True, kw_only=True):
    """A station said what became of a reservation (H04)."""

    TYPE: ClassVar[str] = "transactions.ReservationStatusReported.v1"
    station: str
    reservation_id: int
    status: str

    def subject(self) -> str:
        return self.station


class RemoteStart(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Request: start a transaction from here (F01, F02). `ask`: the whole command; `wait_ms`: for the effect."""

    operation_id: str
    remote_start_id: int
    ask: Ask
    token: str
    token_type: str
    wait_ms: int
    evse_id: int | None = None


class RemoteStop(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Request: stop a transaction from here (F03)."""

    operation_id: str
    transaction_id: str
    ask: Ask
    wait_ms: int


class RemoteAsked(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A remote start (`remote_start_id` set) or stop was asked for. `identity`: as in TransactionEvent.

    `wait_ms`: for the effect, once the station has accepted; `due` holds before. `warnings`: doubts about it.
    """

    TYPE: ClassVar[str] = "transactions.RemoteAsked.v1"
    station: str
    operation_id: str
    command_id: str
    due: int
    remote_start_id: int | None = None
    transaction_id: str = ""
    token: str = ""
    token_type: str = ""
    evse_id: int | None = None
    actor: str = ""
    identity: str = ""
    wait_ms: int = 0
    warnings: tuple[str, ...] = ()

    def subject(self) -> str:
        return self.station


class RemoteMoved(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The operation moved on: the station answered, its effect was seen, or it will not come."""

    TYPE: ClassVar[str] = "transactions.RemoteMoved.v1"
    station: str
    operation_id: str
    key: str
    state: RemoteState
    transaction_id: str = ""
    reason: str = ""

    def subject(self) -> str:
        return self.station
