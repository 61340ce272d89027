"""Which transactions a token or a group has open, and which of a station nobody is authorized for any more (block C).

A transaction lives in its station's cell; what a token may do at several stations is counted at the token's home, the
cell of its key, where its starts arrive one after the other.
"""

from decimal import Decimal
from typing import ClassVar, Literal

import msgspec

from ocppcore.authorization import Held, OpenTransaction, Spending
from ocppcore.service import Event

COUNT = "transactions.count.v1"
STOP_EXCESS = "transactions.stop_excess.v1"

SPEND = "transactions.spend.v1"

Why = Literal["ConcurrentTx", "NoCredit"]
"""Why a transaction that was let in is stopped, as AuthorizationStatusEnumType names it."""


class Holder(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whose transaction it is: a key of `transactions.open`, and how many that one may have (0: any number)."""

    key: str
    limit: int = 0


class Count(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Request to the home of `key`, its own key: a transaction began (`since`, ms) or, without, is over.

    `transaction`: `station/transactionId`, normalised; `transaction_id`, `identity`: as they were spelled.
    """

    transaction: str
    transaction_id: str = ""
    identity: str = ""
    since: int | None = None
    limit: int = 0


class Spend(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Request to the home of a token with a credit: what a transaction costs so far or, with the `version` of a charge
    detail record, what that record adds to what was billed (negative: takes back)."""

    transaction: str
    transaction_id: str
    cost: Decimal
    currency: str
    version: int | None = None
    identity: str = ""


class StopExcess(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Request to a station's cell: stop a transaction that was one too many by the time its start was counted, or whose
    driver has nothing left to spend. `station` "": that of the transaction which was counted last."""

    transaction_id: str
    why: Why
    key: str
    identity: str = ""
    station: str = ""


class TransactionCounted(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A transaction counts for these holders from now on; `began` None: for these it did until now."""

    TYPE: ClassVar[str] = "transactions.TransactionCounted.v1"
    station: str
    transaction_id: str
    holders: tuple[Holder, ...]
    began: int | None = None
    identity: str = ""

    def subject(self) -> str:
        return self.station


class OpenTransactionsChanged(Event, frozen=True, kw_only=True, omit_defaults=True):
    """All that a token or group has open, and what it spends. `excess`: the transaction that just came and was one too
    many, or used up the credit. `settled`: how many records have changed the balance so far."""

    TYPE: ClassVar[str] = "transactions.OpenTransactionsChanged.v1"
    key: str
    open: tuple[OpenTransaction, ...]
    excess: StopExcess | None = None
    spending: tuple[Spending, ...] = ()
    settled: int = 0

    def subject(self) -> str:
        return self.key


class CreditSpent(Event, frozen=True, kw_only=True, omit_defaults=True):
    """What a transaction costs by now, as the home of `token` is told: at its end, and in steps before."""

    TYPE: ClassVar[str] = "transactions.CreditSpent.v1"
    station: str
    transaction_id: str
    token: str
    cost: Decimal
    currency: str
    identity: str = ""

    def subject(self) -> str:
        return self.station


class CreditSettled(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A charge detail record changes the balance of `key`, once: it is the `number`-th that does."""

    TYPE: ClassVar[str] = "transactions.CreditSettled.v1"
    key: str
    transaction: str
    version: int
    number: int
    amount: Decimal
    currency: str

    def subject(self) -> str:
        return self.key


class ExcessStopped(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The station was asked to stop a transaction, and why: `key` had as many as it may have before this one."""

    TYPE: ClassVar[str] = "transactions.ExcessStopped.v1"
    station: str
    transaction_id: str
    why: Why
    key: str
    command_id: str

    def subject(self) -> str:
        return self.station


class StationOccupied(Event, frozen=True, kw_only=True, omit_defaults=True):
    """All open transactions of a station that nobody is authorized for any more (C01.FR.24)."""

    TYPE: ClassVar[str] = "transactions.StationOccupied.v1"
    station: str
    held: tuple[Held, ...]

    def subject(self) -> str:
        return self.station
