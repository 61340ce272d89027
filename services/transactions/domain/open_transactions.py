"""What a token or group has open (ConcurrentTx, NoCredit), and what a station still holds (C01.FR.24).

A start that a limit or a credit concerns is counted at the home of the token and of its group, the cell of their keys
in this service. Decisions about tokens are made on the copy of that, so that two starts within its lag may both pass:
the home sees one after the other, and has the later one stopped.
"""

import hashlib
from collections.abc import Iterable
from typing import Any, ClassVar, Final

import msgspec

from ocppcore import topics
from ocppcore.asking import Asker
from ocppcore.authorization import (
    Held,
    HeldState,
    IdTokenInfo,
    OpenState,
    OpenTransaction,
    Spending,
    TokenState,
    is_over,
    limits,
    station_key,
    token_key,
)
from ocppcore.commands import Ask, ask_needs
from ocppcore.contracts.open_transactions import (
    COUNT,
    STOP_EXCESS,
    Count,
    ExcessStopped,
    Holder,
    OpenTransactionsChanged,
    StationOccupied,
    StopExcess,
    TransactionCounted,
)
from ocppcore.contracts.transactions import RemoteStop, TransactionEnded, TransactionEvent
from ocppcore.envelope import state_record
from ocppcore.log import NewRecord
from ocppcore.service import (
    NOTHING,
    Aggregate,
    Context,
    Drop,
    Event,
    Fold,
    Follow,
    Need,
    Outcome,
    Part,
    Put,
    RequestHandler,
    View,
)
from ocppcore.wire import dump_json
from services.transactions.domain import remote
from services.transactions.domain.transaction import Transaction, transaction_key

SOURCE: Final = "/transactions"
COUNTED_MAX: Final = 1000
"""Transactions of one token or group that are counted; what comes beyond them is not."""
QUEUE_MS: Final = 15 * 60_000
"""How long the stop of a transaction that is one too many waits for a station that is away."""
EFFECT_MS: Final = 20 * 60_000
OVER: Final = frozenset({"StopAuthorized", "Deauthorized", "RemoteStop"})
"""Triggers after which nobody is authorized any more, while the cable may still be in."""
AGAIN: Final = frozenset({"Authorized", "RemoteStart"})


class OpenTransactions(Aggregate, frozen=True, kw_only=True):
    """At the home of a token or group; id = the key in `transactions.open`. It stays once a record was settled."""

    KIND: ClassVar[str] = "OpenTransactions"
    open: tuple[OpenTransaction, ...] = ()
    spending: tuple[Spending, ...] = ()
    settled: int = 0


class Counted(Aggregate, frozen=True, kw_only=True):
    """In the station's cell: for whom a transaction counts; id = `transaction_key`."""

    KIND: ClassVar[str] = "CountedTransaction"
    holders: tuple[Holder, ...]


class Occupied(Aggregate, frozen=True, kw_only=True):
    """In the station's cell: what of it is held; id = station."""

    KIND: ClassVar[str] = "OccupiedStation"
    held: tuple[Held, ...] = ()


# In the station's cell


def needs_of(station: str, transaction_id: str) -> tuple[Need, ...]:
    """What `after_event` and `over` look at."""
    return (Counted, transaction_key(station, transaction_id)), (Occupied, station)


def concerns(event_type: str, trigger: str, *, token: bool) -> bool:
    """Whether such an event may change what is counted or held: most need not look."""
    return token or event_type != "Updated" or trigger in OVER or trigger in AGAIN


def after_event(
    event: TransactionEvent, info: IdTokenInfo | None, token: TokenState | None, asker: Asker, view: View
) -> Iterable[Event]:
    """What a new TransactionEvent changes; `info`: the answer about its token, `token`: as it is registered."""
    transaction = view.get(Transaction, transaction_key(event.station, event.transaction_id))
    if isinstance(event, TransactionEnded):
        yield from over(event.station, event.transaction_id, event.at, view)
        return
    if transaction is not None and transaction.ended:
        return  # it came late
    if info is not None and token is not None and info.status == "Accepted" and _starts(event, transaction):
        yield from _began(event, token, asker, view)
    newest = transaction is None or not transaction.seen or event.seq_no > transaction.seen[-1][1]
    if newest:
        yield from _occupied(event, transaction, view)


def over(station: str, transaction_id: str, at: int, view: View) -> Iterable[Event]:
    """A transaction ended, or is held to have: it counts for nobody and holds nothing."""
    key = transaction_key(station, transaction_id)
    counted = view.get(Counted, key)
    if counted is not None:
        yield TransactionCounted(at=at, station=station, transaction_id=transaction_id, holders=counted.holders)
    yield from _held_are(station, at, view, [one for one in _held(view, station) if one.transaction != key])


def _starts(event: TransactionEvent, transaction: Transaction | None) -> bool:
    return transaction is None or transaction.starts_with(event.seq_no)


def _began(event: TransactionEvent, token: TokenState, asker: Asker, view: View) -> Iterable[Event]:
    if view.get(Counted, transaction_key(event.station, event.transaction_id)) is not None:
        return
    own, group = limits(token, asker.rules)
    holders = []
    if own or token.credit is not None:
        holders.append(Holder(key=token_key(event.token), limit=own))
    if group and token.group is not None:
        holders.append(Holder(key=asker.group_key(token.group), limit=group))
    if holders:
        yield TransactionCounted(
            at=event.at,
            station=event.station,
            transaction_id=event.transaction_id,
            holders=tuple(holders),
            began=event.at,
            identity=event.identity,
        )


def _held(view: View, station: str) -> tuple[Held, ...]:
    occupied = view.get(Occupied, station)
    return occupied.held if occupied else ()


def _occupied(event: TransactionEvent, transaction: Transaction | None, view: View) -> Iterable[Event]:
    key = transaction_key(event.station, event.transaction_id)
    owner = transaction.owner[0] if transaction and transaction.owner else event.token
    held = [one for one in _held(view, event.station) if one.transaction != key]
    if event.trigger_reason in OVER and owner:
        evse = event.evse_id
        if evse is None and transaction is not None and transaction.evse:
            evse = transaction.evse[1]
        held.append(Held(key, owner, evse))
    elif event.trigger_reason not in AGAIN or event.authorization not in ("", "Accepted"):
        return
    yield from _held_are(event.station, event.at, view, held)


def _held_are(station: str, at: int, view: View, held: list[Held]) -> Iterable[Event]:
    if tuple(held) != _held(view, station):
        yield StationOccupied(at=at, station=station, held=tuple(held))


def stop_needs(body: StopExcess, station: str) -> tuple[Need, ...]:
    """For `stop_excess`."""
    return (
        (remote.Remote, remote.stop_key(station, body.transaction_id)),
        (Transaction, transaction_key(station, body.transaction_id)),
        *ask_needs(_ask(body, station), station),
    )


def stop_excess(body: StopExcess, view: View, context: Context) -> Outcome:
    """Ask the station to stop it, unless it has ended, or is being stopped."""
    ask = _ask(body, context.station)
    wanted = RemoteStop(operation_id=ask.command_id, transaction_id=body.transaction_id, ask=ask, wait_ms=EFFECT_MS)
    held = view.get(Transaction, transaction_key(context.station, body.transaction_id))
    if held is None or held.ended:
        return NOTHING
    asked = remote.stop(wanted, view, context)
    if not asked.events:
        return NOTHING
    why = ExcessStopped(
        at=context.now,
        station=context.station,
        transaction_id=body.transaction_id,
        why=body.why,
        key=body.key,
        command_id=ask.command_id,
    )
    return Outcome((why, *asked.events), calls=asked.calls, puts=asked.puts)


def _ask(body: StopExcess, station: str) -> Ask:
    """One command for a transaction that a holder has too many, however often that is read."""
    what = f"{transaction_key(station, body.transaction_id)}\x00{body.key}"
    return Ask(
        command_id=hashlib.blake2b(what.encode(), digest_size=16).hexdigest(),
        action="RequestStopTransaction",
        payload=msgspec.Raw(dump_json({"transactionId": body.transaction_id})),
        queue_for_ms=QUEUE_MS,
        reply_service="transactions",
        reference=remote.stop_key(station, body.transaction_id),
        identity=body.identity,
    )


def evolve_counted(event: TransactionCounted, _: View) -> Iterable[Put | Drop]:
    key = transaction_key(event.station, event.transaction_id)
    yield Drop(Counted, key) if event.began is None else Put(key, Counted(holders=event.holders))


def derive_counted(event: TransactionCounted, follow: Follow) -> Iterable[NewRecord]:
    """To each home."""
    for holder in event.holders:
        body = Count(
            transaction=transaction_key(event.station, event.transaction_id),
            transaction_id=event.transaction_id,
            identity=event.identity,
            since=event.began,
            limit=holder.limit,
        )
        yield follow.request("transactions", COUNT, holder.key, body, event.at, part=holder.key)


def evolve_occupied(event: StationOccupied, _: View) -> Iterable[Put | Drop]:
    yield Put(event.station, Occupied(held=event.held)) if event.held else Drop(Occupied, event.station)


def derive_occupied(event: StationOccupied, follow: Follow) -> Iterable[NewRecord]:
    state = HeldState(held=event.held, deleted=not event.held)
    yield _state(station_key(event.station), state, event.at, follow)


# At the home of the token or group


def count(body: Count, view: View, context: Context) -> Outcome:
    """One more is open, or one less. One more than may be is counted all the same, until it is stopped."""
    key = context.station
    known = view.get(OpenTransactions, key) or OpenTransactions()
    before = known.open
    others = tuple(one for one in before if one.transaction != body.transaction)
    if body.since is None:
        if len(others) == len(before):
            return NOTHING
        return Outcome((changed(known, key, context, open=others),))
    if len(others) < len(before) or len(before) >= COUNTED_MAX:
        return NOTHING
    now = (*before, OpenTransaction(body.transaction, body.since))
    excess = None
    if is_over(body.limit, OpenState(open=now), body.transaction, context.now):
        excess = StopExcess(transaction_id=body.transaction_id, identity=body.identity, why="ConcurrentTx", key=key)
    return Outcome((changed(known, key, context, open=now, excess=excess),))


def changed(known: OpenTransactions, key: str, context: Context, **more: Any) -> OpenTransactionsChanged:
    """What is known, with a change."""
    fields = {"open": known.open, "spending": known.spending, "settled": known.settled, **more}
    return OpenTransactionsChanged(at=context.now, key=key, **fields)


def evolve_open(event: OpenTransactionsChanged, _: View) -> Iterable[Put | Drop]:
    if event.open or event.spending or event.settled:
        yield Put(event.key, OpenTransactions(open=event.open, spending=event.spending, settled=event.settled))
    else:
        yield Drop(OpenTransactions, event.key)


def derive_open(event: OpenTransactionsChanged, follow: Follow) -> Iterable[NewRecord]:
    """The state for those who decide, and the stop of what is one too many."""
    empty = not event.open and not event.spending
    yield _state(event.key, OpenState(open=event.open, spending=event.spending, deleted=empty), event.at, follow)
    if event.excess is not None:
        station = event.excess.station or event.open[-1].station
        yield follow.request("transactions", STOP_EXCESS, station, event.excess, event.at, part="excess")


def _state(key: str, state: OpenState | HeldState, at: int, follow: Follow) -> NewRecord:
    value = msgspec.to_builtins(state)
    return state_record(topics.OPEN, key, value, SOURCE, follow.id, at, follow.partitions)


def part() -> Part:
    """Counting, and stopping what is one too many."""
    return Part(
        requests=(
            RequestHandler(COUNT, Count, count, needs=lambda _, key: ((OpenTransactions, key),)),
            RequestHandler(STOP_EXCESS, StopExcess, stop_excess, needs=stop_needs),
        ),
        folds=(
            Fold(TransactionCounted, evolve=evolve_counted, derive=derive_counted),
            Fold(OpenTransactionsChanged, evolve=evolve_open, derive=derive_open),
            Fold(ExcessStopped),
            Fold(StationOccupied, evolve=evolve_occupied, derive=derive_occupied),
        ),
        aggregates=(OpenTransactions, Counted, Occupied),
        copies=(topics.OPEN,),
    )
