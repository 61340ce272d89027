"""A driver's credit: lowered by what transactions cost while they run, and once by each charge detail record.

The home of the token, which counts its transactions, is told the cost in steps, not with every event. It publishes what
is not billed yet for those who decide, and has a transaction stopped when nothing is left. When a record is made, its
amount leaves the running cost and is taken from the balance, which auth keeps. A record that comes again changes
nothing: records of a transaction are numbered, and so are the changes of a balance.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import ClassVar, Final

import msgspec

from ocppcore import topics
from ocppcore.authorization import OpenState, Spending, TokenState, left, token_key
from ocppcore.contracts.auth import ChargeCredit
from ocppcore.contracts.charge_details import ChargeDetailMade
from ocppcore.contracts.open_transactions import SPEND, CreditSettled, CreditSpent, Spend, StopExcess
from ocppcore.contracts.transactions import Cost, Driver, RunningCostDue, TransactionEnded, TransactionEvent
from ocppcore.log import NewRecord
from ocppcore.service import (
    NOTHING,
    Aggregate,
    Context,
    Event,
    Fold,
    Follow,
    Lookup,
    Need,
    Outcome,
    Part,
    Put,
    RequestHandler,
    View,
)
from services.transactions.domain.cost import TIMER_SUFFIX, Agreement
from services.transactions.domain.open_transactions import COUNTED_MAX, OpenTransactions, changed
from services.transactions.domain.transaction import Transaction, transaction_key

PART: Final = "credit"
_TOKEN: Final = token_key("")


class Settled(Aggregate, frozen=True, kw_only=True):
    """At the home of a token: the newest record of one transaction that changed the balance; id = `_settled_id`."""

    KIND: ClassVar[str] = "SettledTransaction"
    version: int


def is_due(driver: Driver, cost: Cost, told: Decimal | None, step: Decimal, *, ended: bool) -> bool:
    """Whether the home is to hear of this cost: at the end, after another step, and when it uses up what there was."""
    if driver.left is None or driver.currency != cost.currency or cost.incl_vat == (told or 0):
        return False
    before = told or Decimal(0)
    return ended or cost.incl_vat - before >= step or before < driver.left <= cost.incl_vat


def account(agreement: Agreement | None, token: str) -> str:
    """Whose balance the records of a transaction change, "": nobody's."""
    if agreement is None or agreement.driver is None or agreement.driver[1].left is None or not token:
        return ""
    return token_key(token)


# In the station's cell


def spent(event: TransactionEvent, held: Transaction | None, view: View, step: Decimal) -> CreditSpent | None:
    """What the driver's account is to hear of a priced event; `held`: the transaction before it."""
    agreement = view.get(Agreement, transaction_key(event.station, event.transaction_id))
    known = agreement.driver[1] if agreement and agreement.driver else None
    driver = event.driver or known
    if driver is None or driver.left is None or event.cost is None:
        return None
    ended = isinstance(event, TransactionEnded) or (held is not None and held.ended is not None)
    if not is_due(driver, event.cost, agreement.spent if agreement else None, step, ended=ended):
        return None
    token = held.accepted[1] if held is not None and held.accepted else event.token
    return _spent(event.station, event.transaction_id, event.identity, token, event.cost, event.at)


def also_spent(outcome: Outcome, subject: str, view: View, step: Decimal) -> Outcome:
    """With what the account is to hear of the cost that a silent station was sent."""
    key = subject.removesuffix(TIMER_SUFFIX)
    held, agreement = view.get(Transaction, key), view.get(Agreement, key)
    if held is None or held.accepted is None or agreement is None or agreement.driver is None:
        return outcome
    events = list(outcome.events)
    for due in outcome.events:
        cost = due.cost if isinstance(due, RunningCostDue) else None
        if cost is not None and is_due(agreement.driver[1], cost, agreement.spent, step, ended=False):
            events.append(_spent(held.station, held.transaction_id, held.identity, held.accepted[1], cost, due.at))
    return msgspec.structs.replace(outcome, events=tuple(events))


def _spent(station: str, transaction_id: str, identity: str, token: str, cost: Cost, at: int) -> CreditSpent:
    return CreditSpent(
        at=at,
        station=station,
        transaction_id=transaction_id,
        token=token,
        cost=cost.incl_vat,
        currency=cost.currency,
        identity=identity,
    )


def spent_needs(event: CreditSpent) -> tuple[Need, ...]:
    return ((Agreement, transaction_key(event.station, event.transaction_id)),)


def evolve_spent(event: CreditSpent, view: View) -> Iterable[Put]:
    key = transaction_key(event.station, event.transaction_id)
    before = view.get(Agreement, key) or Agreement()
    yield Put(key, msgspec.structs.replace(before, spent=event.cost))


def derive_spent(event: CreditSpent, follow: Follow) -> Iterable[NewRecord]:
    body = Spend(
        transaction=transaction_key(event.station, event.transaction_id),
        transaction_id=event.transaction_id,
        cost=event.cost,
        currency=event.currency,
        identity=event.identity,
    )
    yield follow.request("transactions", SPEND, token_key(event.token), body, event.at, part=PART)


def derive_made(event: ChargeDetailMade, follow: Follow) -> Iterable[NewRecord]:
    """What a record adds to what was billed; a credit's totals are negative."""
    if not event.account:
        return
    made = event.detail
    body = Spend(
        transaction=transaction_key(event.station, made.transaction_id),
        transaction_id=made.transaction_id,
        cost=made.incl_vat,
        currency=made.currency,
        version=made.version,
    )
    yield follow.request("transactions", SPEND, event.account, body, event.at, part=PART)


# At the home of the token


def needs(body: Spend, key: str) -> Sequence[Need]:
    return (OpenTransactions, key), (Settled, _settled_id(key, body.transaction))


def lookups(_: Spend, key: str) -> Sequence[Lookup]:
    return ((topics.TOKENS, key.removeprefix(_TOKEN)),)


def spend(body: Spend, view: View, context: Context) -> Outcome:
    """Note a cost, or settle a record. What was settled before changes nothing."""
    key = context.station
    known = view.get(OpenTransactions, key) or OpenTransactions()
    settled = view.get(Settled, _settled_id(key, body.transaction))
    others = tuple(one for one in known.spending if one.transaction != body.transaction)
    if body.version is None:
        return NOTHING if settled is not None else _noted(body, known, others, view, context)
    if settled is not None and body.version <= settled.version:
        return NOTHING
    number = known.settled + 1
    events: tuple[Event, ...] = (
        CreditSettled(
            at=context.now, key=key, transaction=body.transaction, version=body.version, number=number,
            amount=body.cost, currency=body.currency,
        ),
        changed(known, key, context, spending=others, settled=number),
    )  # fmt: skip
    return Outcome(events)


def _noted(body: Spend, known: OpenTransactions, others: tuple[Spending, ...], view: View, context: Context) -> Outcome:
    now = Spending(body.transaction, body.cost, body.currency)
    if now in known.spending or len(others) >= COUNTED_MAX:
        return NOTHING
    spending, excess = (*others, now), None
    token = view.copy(topics.TOKENS, TokenState, context.station.removeprefix(_TOKEN))
    if token is not None and token.credit is not None and left(token.credit, OpenState(spending=spending)) <= 0:
        excess = StopExcess(
            transaction_id=body.transaction_id,
            why="NoCredit",
            key=context.station,
            identity=body.identity,
            station=body.transaction.partition("/")[0],
        )
    return Outcome((changed(known, context.station, context, spending=spending, excess=excess),))


def evolve_settled(event: CreditSettled, _: View) -> Iterable[Put]:
    yield Put(_settled_id(event.key, event.transaction), Settled(version=event.version))


def derive_settled(event: CreditSettled, follow: Follow) -> Iterable[NewRecord]:
    if event.amount:
        body = ChargeCredit(number=event.number, amount=event.amount, currency=event.currency)
        yield follow.request("auth", ChargeCredit.NAME, event.key.removeprefix(_TOKEN), body, event.at, part=PART)


def _settled_id(key: str, transaction: str) -> str:
    return f"{key}/{transaction}"


def part() -> Part:
    """What is spent, and what is settled."""
    return Part(
        requests=(RequestHandler(SPEND, Spend, spend, needs, lookups),),
        folds=(
            Fold(CreditSpent, spent_needs, evolve_spent, derive=derive_spent),
            Fold(CreditSettled, evolve=evolve_settled, derive=derive_settled),
        ),
        aggregates=(Settled,),
    )
