"""Asking a station after its transactions with GetTransactionStatus (E14), and concluding what it does not say.

One question at a time per station, asked when its timer passes: at once where events are missing; after a moment where
a boot or an Available connector makes an open transaction doubtful, since its end may be on the way. While messages
wait in the station's queue it is asked again, ever more rarely. Whoever gives no answer is left to the deadline.
"""

import hashlib
from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from ocppcore.command_end import Ended
from ocppcore.commands import Ask, ask_needs, commands
from ocppcore.contracts.inquiries import (
    InquiriesResumed,
    InquiryMoved,
    InquiryOpened,
    Reason,
    StationEvidence,
    TransactionReconciled,
)
from ocppcore.contracts.transactions import TransactionEnded, TransactionEvent, TransactionStarted
from ocppcore.service import NOTHING, Context, Event, Need, Outcome, View
from ocppcore.wire import load_json
from services.transactions.domain import grading, open_transactions
from services.transactions.domain.book import (
    EVIDENCE,
    INQUIRIES_MAX,
    Inquiry,
    StationBook,
    book_of,
)
from services.transactions.domain.periods import PERIODS, Periods
from services.transactions.domain.transaction import Transaction, merged, reconciled, transaction_key

REFERENCE: Final = "inquiry/"
ACTION: Final = "GetTransactionStatus"
FIRST_PAUSE_MS: Final = 30_000
PAUSE_MAX_MS: Final = 3600_000
ATTEMPTS_MAX: Final = 12
"""Questions about one thing: with the pauses between them about five hours of a connected station."""


# Opening


def after_event(event: TransactionEvent, view: View, periods: Periods = PERIODS) -> list[Event]:
    """What a new event gives reason to do: grade a transaction that has ended, ask after events that are missing after
    the end or after an event that was sent late, doubt another transaction that is open at the same EVSE."""
    held = view.get(Transaction, transaction_key(event.station, event.transaction_id))
    book = book_of(view, event.station)
    found: list[Event] = []
    if isinstance(event, TransactionEnded) or event.offline or (held is not None and held.over):
        after = merged(held, event)
        found += grading.waiting(grading.graded(held, after, event.at), periods.bill_wait)
        found += _missing(event, after, book, periods)
    if isinstance(event, TransactionStarted) and held is None and event.evse_id and not event.offline:
        for other in book.open:
            if other.evse == event.evse_id:
                wait = periods.grace
                found += _opened(book, event.station, other.transaction_id, "replaced", event.at, wait, periods)
    return found


def _missing(event: TransactionEvent, after: Transaction, book: StationBook, periods: Periods) -> list[Event]:
    """An inquiry after missing events, unless one is under way or the station has said that no more will come."""
    if not after.missing or after.missing == after.gaps_final:
        return []
    reason: Reason = "gap" if after.over else "offline"
    return _opened(book, event.station, event.transaction_id, reason, event.at, 0, periods)


def _opened(
    book: StationBook,
    station: str,
    transaction_id: str,
    reason: Reason,
    at: int,
    wait_ms: int,
    periods: Periods,
    epoch: int = -1,
) -> list[Event]:
    if book.about(transaction_id) or len(book.inquiries) >= INQUIRIES_MAX:
        return []
    return [
        InquiryOpened(
            at=at,
            station=station,
            transaction_id=transaction_id,
            reason=reason,
            due=at + wait_ms,
            deadline=at + periods.patience,
            epoch=epoch,
        )
    ]


def evidence(body: StationEvidence, view: View, context: Context, periods: Periods = PERIODS) -> Outcome:
    """A boot makes every open transaction doubtful, an Available connector those of its EVSE."""
    book = book_of(view, context.station)
    events: list[Event] = []
    for one in book.open[: INQUIRIES_MAX - len(book.inquiries)]:
        if body.what == "boot" or one.evse == body.evse_id:
            wait = periods.grace
            events += _opened(book, context.station, one.transaction_id, body.what, context.now, wait, periods)
    return Outcome(events)


def evidence_needs(_: StationEvidence, station: str) -> tuple[Need, ...]:
    return connection_needs(station)


def connection_needs(station: str) -> tuple[Need, ...]:
    return ((StationBook, station),)


def connected(view: View, context: Context, periods: Periods = PERIODS) -> Outcome:
    """A station that comes back with open transactions is asked for its queue; what waited for it is due."""
    book, connection = book_of(view, context.station), context.connection
    if connection is None or not connection.connected or connection.epoch <= book.epoch:
        return NOTHING
    events: list[Event] = []
    if any(not one.command_id for one in book.inquiries):
        events.append(InquiriesResumed(at=context.now, station=context.station))
    if book.open:
        events += _opened(book, context.station, "", "reconnect", context.now, 0, periods, connection.epoch)
    return Outcome(events)


# Asking


def command_id_of(station: str, number: int) -> str:
    """The id of the station's question of this number: the same however often it is decided."""
    return hashlib.blake2b(f"inquiry/{station}/{number}".encode(), digest_size=16).hexdigest()


def _parts(subject: str) -> tuple[str, int, str]:
    station, number, transaction_id = subject.split("/", 2)
    return station, int(number), transaction_id


def due_needs(subject: str) -> tuple[Need, ...]:
    station, number, transaction_id = _parts(subject)
    return (
        (StationBook, station),
        (Transaction, transaction_key(station, transaction_id)),
        *open_transactions.needs_of(station, transaction_id),
        *ask_needs(_ask(station, number, transaction_id), station),
    )


def _ask(station: str, number: int, transaction_id: str) -> Ask:
    payload = msgspec.json.encode({"transactionId": transaction_id} if transaction_id else {})
    return Ask(
        command_id=command_id_of(station, number),
        action=ACTION,
        payload=msgspec.Raw(payload),
        reply_service="transactions",
        reference=REFERENCE + transaction_id,
    )


def due(subject: str, view: View, context: Context) -> Outcome:
    """The moment has come: ask, wait for the station to come back, or conclude without it."""
    station, number, transaction_id = _parts(subject)
    book = book_of(view, station)
    inquiry = book.about(transaction_id)
    if inquiry is None or inquiry.command_id or book.asks != number:
        return NOTHING
    held = view.get(Transaction, transaction_key(station, transaction_id)) if transaction_id else None
    if _is_void(inquiry, held):
        return Outcome((_moved(station, inquiry, context, "done", outcome="answered by events"),))
    if context.now >= inquiry.deadline:
        return Outcome(tuple(_conclude(station, inquiry, held, view, context)))
    if context.connection is None or not context.connection.connected:
        away = _moved(station, inquiry, context, "waiting", due=inquiry.deadline, outcome="not_connected")
        return Outcome((away,))
    ask = _ask(station, number, held.transaction_id if held else transaction_id)
    asked = commands("transactions").ask(ask, view, context)
    moved = _moved(station, inquiry, context, "asked", command_id=ask.command_id)
    return Outcome((moved, *asked.events), calls=asked.calls, puts=asked.puts)


def _is_void(inquiry: Inquiry, held: Transaction | None) -> bool:
    """Doubt about a transaction that has ended since, or was heard of since by what was sent at once; a gap that has
    closed."""
    if held is None:
        return False
    if inquiry.reason in EVIDENCE:
        return held.over or held.live_at > inquiry.since
    return not held.missing


# Hearing


def ended_needs(body: Ended, station: str) -> tuple[Need, ...]:
    transaction_id = body.reference.removeprefix(REFERENCE)
    key = transaction_key(station, transaction_id)
    return ((StationBook, station), (Transaction, key), *open_transactions.needs_of(station, transaction_id))


def answered(body: Ended, view: View, context: Context) -> Outcome:
    """The station's answer, or that there is none."""
    station, transaction_id = context.station, body.reference.removeprefix(REFERENCE)
    inquiry = book_of(view, station).about(transaction_id)
    if inquiry is None or inquiry.command_id != body.command_id:
        return NOTHING
    held = view.get(Transaction, transaction_key(station, transaction_id)) if transaction_id else None
    if body.status in ("not_connected", "expired"):
        return Outcome((_moved(station, inquiry, context, "waiting", due=inquiry.deadline, outcome=body.status),))
    if body.status != "answered":
        return Outcome(tuple(_again(station, inquiry, held, view, context, body.status)))
    said = load_json(body.response)
    if said.get("messagesInQueue"):
        return Outcome(tuple(_again(station, inquiry, held, view, context, "messagesInQueue")))
    return Outcome(tuple(_told(station, inquiry, held, view, context, said.get("ongoingIndicator"))))


def _again(
    station: str, inquiry: Inquiry, held: Transaction | None, view: View, context: Context, outcome: str
) -> Iterable[Event]:
    attempts = inquiry.attempts + 1
    if attempts >= ATTEMPTS_MAX or context.now >= inquiry.deadline:
        yield from _conclude(station, inquiry, held, view, context)
        return
    pause = min(FIRST_PAUSE_MS << inquiry.attempts, PAUSE_MAX_MS)
    yield _moved(station, inquiry, context, "waiting", due=context.now + pause, attempts=attempts, outcome=outcome)


def _told(
    station: str, inquiry: Inquiry, held: Transaction | None, view: View, context: Context, ongoing: bool | None
) -> Iterable[Event]:
    """Nothing waits in the station's queue. A station that does not say whether it goes on leaves that to the evidence
    (E14.FR.01 to E14.FR.05)."""
    if held is not None and not held.over and (ongoing is False or (ongoing is None and inquiry.reason in EVIDENCE)):
        yield from _reconcile(
            held, inquiry, view, context, "closed", "no_messages" if ongoing is None else "not_ongoing"
        )
    elif held is not None and held.missing:
        yield from _reconcile(held, inquiry, view, context, "gaps_final", "no_messages")
    yield _moved(station, inquiry, context, "done", outcome="ongoing" if ongoing else "nothing in the queue")


def _conclude(
    station: str, inquiry: Inquiry, held: Transaction | None, view: View, context: Context
) -> Iterable[Event]:
    """Without the station's word."""
    if held is not None and not held.over and inquiry.reason in EVIDENCE:
        yield from _reconcile(held, inquiry, view, context, "closed", "unanswered")
    elif held is not None and held.over and held.missing:
        yield from _reconcile(held, inquiry, view, context, "gaps_final", "unanswered")
    yield _moved(station, inquiry, context, "done", outcome="no answer in time")


def _reconcile(
    held: Transaction,
    inquiry: Inquiry,
    view: View,
    context: Context,
    what: Literal["closed", "gaps_final"],
    said: Literal["not_ongoing", "no_messages", "unanswered"],
) -> Iterable[Event]:
    concluded = TransactionReconciled(
        at=context.now,
        station=held.station,
        transaction_id=held.transaction_id,
        what=what,
        cause=inquiry.reason,
        said=said,
        missing=held.missing,
    )
    yield concluded
    yield from grading.graded(held, reconciled(held, concluded), context.now)
    if what == "closed":
        yield from open_transactions.over(held.station, held.transaction_id, context.now, view)


def _moved(
    station: str, inquiry: Inquiry, context: Context, state: Literal["asked", "waiting", "done"], *, due: int = 0,
    attempts: int | None = None, command_id: str = "", outcome: str = "",
) -> InquiryMoved:  # fmt: skip
    return InquiryMoved(
        at=context.now,
        station=station,
        transaction_id=inquiry.transaction_id,
        state=state,
        due=due,
        attempts=inquiry.attempts if attempts is None else attempts,
        command_id=command_id,
        outcome=outcome,
    )
