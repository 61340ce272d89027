"""What the CSMS keeps of a station beside its transactions: which are open, what it is to be asked, its clock.

Written when one of these changes, not with every event.
"""

from collections.abc import Iterable
from typing import ClassVar, Final, NamedTuple

import msgspec

from ocppcore.contracts.inquiries import InquiriesResumed, InquiryMoved, InquiryOpened, Reason, TransactionReconciled
from ocppcore.contracts.transactions import TransactionEnded, TransactionEvent, TransactionStarted
from ocppcore.service import Aggregate, Need, Put, Timer, View
from ocppcore.store import Table, Upsert
from ocppcore.topics import normalise
from services.transactions.domain.transaction import CLOCK_TOLERANCE_MS, Transaction, transaction_key

OPEN_MAX: Final = 500
"""Open transactions that are remembered of one station: the newest."""
INQUIRIES_MAX: Final = 32
"""What waits to be asked at one station; a gap beyond it is asked after when another event shows it again."""
SAMPLES: Final = 5
"""Measurements of a station's clock that count: the least of them is the one that was delayed least."""
INQUIRE: Final = "inquiry"
EVIDENCE: Final[tuple[Reason, ...]] = ("boot", "available", "replaced")
"""Reasons that concern an open transaction: its end makes them void."""

STATION_CLOCKS = Table(
    "station_clocks",
    {"station": "text", "offset_ms": "bigint", "measured_at": "bigint"},
    ("station",),
)
"""How far a station's clock is behind ours (ms, negative: ahead), as its transactions showed it last."""


class Open(msgspec.Struct, frozen=True, array_like=True):
    """A transaction without an end; `evse` 0: not said yet."""

    transaction_id: str
    evse: int


class Inquiry(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the station is to be asked; `command_id`: it is being asked. `since`: our clock when it came up."""

    transaction_id: str
    reason: Reason
    since: int
    due: int
    deadline: int
    attempts: int = 0
    command_id: str = ""


class StationBook(Aggregate, frozen=True, kw_only=True):
    """id = station. `asks`: how often it was asked, ever: the number of the next one. `epoch`: of the connection after
    which it was last asked for its queue. `clock`: how long after their timestamps events came that were sent at once
    (ms), the newest last."""

    KIND: ClassVar[str] = "StationBook"
    open: tuple[Open, ...] = ()
    inquiries: tuple[Inquiry, ...] = ()
    asks: int = 0
    epoch: int = -1
    clock: tuple[int, ...] = ()

    def about(self, transaction_id: str) -> Inquiry | None:
        """The inquiry about this transaction ("": about the queue)."""
        wanted = normalise(transaction_id)
        return next((one for one in self.inquiries if normalise(one.transaction_id) == wanted), None)

    def is_open(self, transaction_id: str) -> bool:
        wanted = normalise(transaction_id)
        return any(normalise(one.transaction_id) == wanted for one in self.open)

    @property
    def clock_offset_ms(self) -> int | None:
        """How far the station's clock is behind ours; None where it is right, or not known."""
        if len(self.clock) < SAMPLES // 2 or abs(min(self.clock)) < CLOCK_TOLERANCE_MS:
            return None
        return min(self.clock)


NOTHING_KNOWN: Final = StationBook()


class Schedule(NamedTuple):
    """When which inquiry is due: the timer's subject."""

    subject: str
    due: int


def book_of(view: View, station: str) -> StationBook:
    return view.get(StationBook, station) or NOTHING_KNOWN


def schedule(station: str, book: StationBook) -> Schedule | None:
    """The next question: none while one is being asked."""
    if not book.inquiries or any(one.command_id for one in book.inquiries):
        return None
    first = min(book.inquiries, key=lambda one: one.due)
    return Schedule(subject_of(station, book.asks, first.transaction_id), first.due)


def subject_of(station: str, number: int, transaction_id: str) -> str:
    return f"{station}/{number}/{transaction_id}"


def _changed(station: str, before: StationBook, after: StationBook) -> Iterable[Put | Timer]:
    if after is before or after == before:
        return
    yield Put(station, after)
    was, now = schedule(station, before), schedule(station, after)
    if was is not None and (now is None or now.subject != was.subject):
        yield Timer(INQUIRE, was.subject, None)
    if now is not None:
        yield Timer(INQUIRE, now.subject, now.due)


def event_needs(event: TransactionEvent) -> tuple[Need, ...]:
    return (
        (StationBook, event.station),
        (Transaction, transaction_key(event.station, event.transaction_id)),
    )


def evolve_event(event: TransactionEvent, view: View) -> Iterable[Put | Timer]:
    """A transaction opens with the first that is heard of it, and its end closes it."""
    book = book_of(view, event.station)
    held = view.get(Transaction, transaction_key(event.station, event.transaction_id))
    after = book
    if isinstance(event, TransactionEnded):
        after = _without(book, event.transaction_id)
    elif held is None:
        opened = Open(event.transaction_id, event.evse_id or 0)
        after = msgspec.structs.replace(book, open=(*book.open, opened)[-OPEN_MAX:])
    elif event.evse_id and (held.evse is None or held.evse[0] > event.seq_no):
        named = normalise(event.transaction_id)
        after = msgspec.structs.replace(
            book,
            open=tuple(
                Open(one.transaction_id, event.evse_id) if normalise(one.transaction_id) == named else one
                for one in book.open
            ),
        )
    yield from _changed(event.station, book, _clocked(after, event))


def _clocked(book: StationBook, event: TransactionEvent) -> StationBook:
    """With one more measurement: at the ends of transactions, or wherever one shows a clock that is wrong."""
    if event.offline:
        return book
    late = event.at - event.timestamp
    telling = abs(late) >= CLOCK_TOLERANCE_MS or book.clock_offset_ms is not None
    if not telling and not isinstance(event, TransactionStarted | TransactionEnded):
        return book
    return msgspec.structs.replace(book, clock=(*book.clock, late)[-SAMPLES:])


def _without(book: StationBook, transaction_id: str) -> StationBook:
    """It has ended: questions whether it goes on are void, unless the station is being asked."""
    named = normalise(transaction_id)
    left = tuple(one for one in book.open if normalise(one.transaction_id) != named)
    asked = tuple(
        one
        for one in book.inquiries
        if normalise(one.transaction_id) != named or one.reason not in EVIDENCE or one.command_id
    )
    return msgspec.structs.replace(book, open=left, inquiries=asked)


def project_clock(event: TransactionEvent, view: View) -> Iterable[Upsert]:
    """Sees the book after the event."""
    if event.offline or not isinstance(event, TransactionStarted | TransactionEnded):
        return
    clock = book_of(view, event.station).clock
    if clock:
        yield Upsert(STATION_CLOCKS, (event.station, min(clock), event.at))


def book_needs(event: InquiryOpened | InquiryMoved | InquiriesResumed | TransactionReconciled) -> tuple[Need, ...]:
    return ((StationBook, event.station),)


def evolve_opened(event: InquiryOpened, view: View) -> Iterable[Put | Timer]:
    book = book_of(view, event.station)
    opened = Inquiry(event.transaction_id, event.reason, event.at, event.due, event.deadline)
    others = tuple(one for one in book.inquiries if normalise(one.transaction_id) != normalise(event.transaction_id))
    epoch = event.epoch if event.epoch >= 0 else book.epoch
    after = msgspec.structs.replace(book, inquiries=(*others, opened), epoch=epoch)
    yield from _changed(event.station, book, after)


def evolve_moved(event: InquiryMoved, view: View) -> Iterable[Put | Timer]:
    book, named = book_of(view, event.station), normalise(event.transaction_id)
    moved = []
    for one in book.inquiries:
        if normalise(one.transaction_id) != named:
            moved.append(one)
        elif event.state != "done":
            due = event.due or one.due
            moved.append(msgspec.structs.replace(one, due=due, attempts=event.attempts, command_id=event.command_id))
    asks = book.asks + (event.state == "asked")
    yield from _changed(event.station, book, msgspec.structs.replace(book, inquiries=tuple(moved), asks=asks))


def evolve_resumed(event: InquiriesResumed, view: View) -> Iterable[Put | Timer]:
    book = book_of(view, event.station)
    due = tuple(
        one if one.command_id else msgspec.structs.replace(one, due=min(one.due, event.at)) for one in book.inquiries
    )
    yield from _changed(event.station, book, msgspec.structs.replace(book, inquiries=due))


def evolve_reconciled(event: TransactionReconciled, view: View) -> Iterable[Put | Timer]:
    if event.what != "closed":
        return
    book = book_of(view, event.station)
    named = normalise(event.transaction_id)
    left = tuple(one for one in book.open if normalise(one.transaction_id) != named)
    yield from _changed(event.station, book, msgspec.structs.replace(book, open=left))
