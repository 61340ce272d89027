"""What a transaction contributes to its cost: when it charged and when it did not, and the energy along the way.

Like `energy.py` it follows the order of seqNos, whatever the order of arrival: knots are kept in one piece for each
range of seqNos without a gap, and pieces join when the gap closes. It knows no tariff, so a transaction can be rated
again by any.

It stays small however long a transaction is. Of neighbouring knots that say the same (the same quarter of an hour, or
any time while nothing is charged; the same state and tariff) only the first and the last are kept, with the
energy between them; energy is taken to flow evenly between two knots. Which ones are kept is a property of each knot
alone, so it does not depend on the order of arrival. A week of samples each minute is 1,344 knots at most, some 40 kB;
a parked car is two.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from functools import reduce
from typing import Final, NamedTuple

import msgspec

from ocppcore.contracts.charge_details import ChargePeriod
from ocppcore.contracts.transactions import Register, TransactionEvent
from services.transactions.domain.energy import BEGIN, EXACT, ZERO, step

QUARTER_MS: Final = 15 * 60 * 1000
PERIOD_MAX_MS: Final = 31 * 24 * 3600 * 1000
"""No station is silent for longer within a transaction: what a wrong clock adds beyond is not rated."""
DAY_MS: Final = 24 * 3600 * 1000
KNOTS_MAX: Final = 2000
"""Of one transaction. Beyond it, with a state that changes each minute for days, the older half keeps two a day."""

CHARGING: Final = "C"
WAITING: Final = "W"
"""Not charging, for whatever reason: what OCPI calls parking time."""


NO_TARIFF: Final = "0/"
"""The reference of no tariff at all: what comes while none applies is not priced."""
UNOWNED: Final = "-"


def stamp(ref: str, owner: int | None) -> str:
    """What an event says of the tariff that applies from it on: `owner:version/id`.

    `owner`: the seqNo of the event whose token the transaction was known to be of; None: of none so far. An event that
    came before that one knows less than it would have in order. So of all stamps of a transaction only those of its
    true owner count, and the order of arrival does not matter.
    """
    return f"{UNOWNED if owner is None else owner}:{ref}"


class Knot(msgspec.Struct, frozen=True, array_like=True):
    """A moment (the station's clock, ms) and what is known from then on: `state` and `tariff` (`stamp`), "" as before.

    `wh`: since the knot before it, None without a reading. `current`: in A over all phases, until then; "" unknown.
    """

    at: int
    wh: Decimal | None
    state: str
    tariff: str
    current: str = ""

    @property
    def same(self) -> tuple[int, str, str]:
        """Knots that are equal in this say the same."""
        return self.at // QUARTER_MS if self.state != WAITING else -1, self.state, self.tariff


class Head(msgspec.Struct, frozen=True, array_like=True):
    """The first readings of a piece: nothing came before them yet that they could go on from.

    `knot`: the place of the first one; `two`: the last reading of that event is the knot behind it.
    """

    knot: int
    two: bool
    rank: int
    first_at: int
    first: Decimal
    last: Decimal
    energy: Decimal


class Piece(msgspec.Struct, frozen=True, array_like=True):
    """The knots of the events `low` to `high` (seqNos); `last` and `last_at`: the newest reading."""

    low: int
    high: int
    knots: tuple[Knot, ...]
    head: Head | None = None
    last_at: int = 0
    last: Decimal = ZERO


def piece(event: TransactionEvent, owner: int | None = None) -> Piece:
    """What one event says; `owner`: as in `add`."""
    seq, first, last = event.seq_no, event.first_register, event.last_register
    state = "" if not event.charging_state else CHARGING if event.charging_state == "Charging" else WAITING
    tariff = _owned(event.tariff, owner)
    said = Knot(event.timestamp, None, state, tariff)
    if first is None or last is None:
        return Piece(seq, seq, (said,))
    head, readings = _readings(event, first, last)
    if last.at == event.timestamp:
        readings[-1] = Knot(last.at, readings[-1].wh, state, tariff, event.current_a)
    else:
        readings.append(said)
    return Piece(seq, seq, tuple(readings), head, last.at, Decimal(last.wh))


def _readings(event: TransactionEvent, first: Register, last: Register) -> tuple[Head, list[Knot]]:
    from_, to = Decimal(first.wh), Decimal(last.wh)
    if first == last:
        return Head(0, False, first.rank, first.at, from_, to, ZERO), [Knot(last.at, ZERO, "", "", event.current_a)]
    energy = Decimal(event.registered_wh) if event.register_drops else step(from_, to)[0]
    head = Head(0, True, first.rank, first.at, from_, to, energy)
    return head, [Knot(first.at, ZERO, "", ""), Knot(last.at, energy, "", "", event.current_a)]


def add(
    pieces: Sequence[Piece], seen: Sequence[tuple[int, int]], event: TransactionEvent, owner: int | None = None
) -> tuple[Piece, ...]:
    """One more event; `seen`: the ranges of seqNos, this one among them. The pieces of its range become one.

    `owner`: the seqNo of the event whose token the transaction is of, once that is known: no other stamp is kept.
    """
    seq = event.seq_no
    if pieces and pieces[-1].high + 1 == seq:
        last = pieces[-1]
        return (*pieces[:-1], _within(_appended(last, event, owner) or join(last, piece(event, owner))))
    said = piece(event, owner)
    low, high = next(ends for ends in reversed(seen) if ends[0] <= seq <= ends[1])
    before = [held for held in pieces if held.low < low]
    inside = sorted([said, *(held for held in pieces if low <= held.low <= high)], key=lambda held: held.low)
    return (*before, _within(reduce(join, inside)), *(held for held in pieces if held.low > high))


def _appended(one: Piece, event: TransactionEvent, owner: int | None) -> Piece | None:
    """What `join` gives for the usual next event, with one reading of its own time or with none, in a third of the
    time; None for any other."""
    first, last = event.first_register, event.last_register
    before, head = one.knots[-1], one.head
    state = before.state if not event.charging_state else CHARGING if event.charging_state == "Charging" else WAITING
    tariff = _owned(event.tariff, owner) or before.tariff
    if last is None:
        wh, reading, read_at = None, one.last, one.last_at
    elif head is not None and first == last and last.at == event.timestamp:
        reading, read_at = Decimal(last.wh), last.at
        wh = step(one.last, reading)[0]
    else:
        return None
    at, knots = event.timestamp, one.knots
    if len(knots) >= 2 and before.state == state and before.tariff == tariff:
        place, other = len(knots) - 1, knots[-2]
        free = head is None or not (place == head.knot or (head.two and place == head.knot + 1))
        quarter = state == WAITING or other.at // QUARTER_MS == before.at // QUARTER_MS == at // QUARTER_MS
        if free and quarter and other.state == state and other.tariff == tariff:
            if before.wh is not None:
                wh = before.wh if wh is None else EXACT.add(wh, before.wh)
            at, knots = max(at, before.at), knots[:-1]
    knot = Knot(at, wh, state, tariff, event.current_a if last is not None else "")
    return Piece(one.low, event.seq_no, (*knots, knot), head, read_at, reading)


def _owned(tariff: str, owner: int | None) -> str:
    return tariff if owner is None or tariff.partition(":")[0] == str(owner) else ""


def owned(pieces: Sequence[Piece], owner: int) -> tuple[Piece, ...]:
    """Without the stamps of others: of events that came before it was known whose transaction it is."""
    return tuple(_stripped(held, owner) for held in pieces)


def _stripped(held: Piece, owner: int) -> Piece:
    bare = [msgspec.structs.replace(knot, tariff=_owned(knot.tariff, owner)) for knot in held.knots]
    knots, head = _merged([bare[0], *_resolved(bare[0], bare[1:])], 0, held.head)
    return msgspec.structs.replace(held, knots=tuple(knots), head=head)


def forget(pieces: Sequence[Piece], event: TransactionEvent) -> tuple[Piece, ...]:
    """One more event of a transaction with more gaps than are told apart: what comes late counts as if it were last."""
    return (_within(reduce(join, sorted((*pieces, piece(event)), key=lambda held: held.low))),)


def join(one: Piece, other: Piece) -> Piece:
    """Two pieces as one, in the order of their seqNos."""
    knots, shift = list(other.knots), len(one.knots)
    head = one.head
    if other.head is not None:
        if one.head is None:
            head = msgspec.structs.replace(other.head, knot=other.head.knot + shift)
        else:
            _follow(one, other.head, knots)
    last = (other.last_at, other.last) if other.head is not None else (one.last_at, one.last)
    whole, head = _merged([*one.knots, *_resolved(one.knots[-1], knots)], max(0, shift - 2), head)
    return Piece(one.low, other.high, tuple(whole), head, *last)


def _follow(before: Piece, head: Head, knots: list[Knot]) -> None:
    """From the reading before a piece to the piece's first: as `energy.py` has it.

    An event that begins with readings which came before goes on with its last one only (E06.FR.11).
    """
    place = head.knot
    if head.rank != BEGIN and head.first_at >= before.last_at:
        knots[place] = _more(knots[place], step(before.last, head.first)[0])
    elif head.two:
        energy = EXACT.subtract(step(before.last, head.last)[0], head.energy)
        knots[place + 1] = _more(knots[place + 1], energy)
        del knots[place]
    else:
        knots[place] = _more(knots[place], step(before.last, head.last)[0])


def _more(knot: Knot, wh: Decimal) -> Knot:
    return msgspec.structs.replace(knot, wh=EXACT.add(knot.wh or ZERO, wh))


def _resolved(before: Knot, knots: Iterable[Knot]) -> Iterable[Knot]:
    """State and tariff of the knots that said none are those of the one before."""
    state, tariff = before.state, before.tariff
    for knot in knots:
        if (not knot.state and state) or (not knot.tariff and tariff):
            knot = msgspec.structs.replace(knot, state=knot.state or state, tariff=knot.tariff or tariff)
        state, tariff = knot.state, knot.tariff
        yield knot


def _merged(knots: list[Knot], begin: int, head: Head | None) -> tuple[list[Knot], Head | None]:
    """Without the knots between others that say the same, from `begin` on; those of the head stay."""
    kept = knots[:begin]
    kept_from = len(kept)
    places = () if head is None else (head.knot, head.knot + 1) if head.two else (head.knot,)
    protected = [place in places for place in range(begin)]
    for place in range(begin, len(knots)):
        knot = knots[place]
        if len(kept) >= kept_from + 2 and not protected[-1] and kept[-2].same == kept[-1].same == knot.same:
            dropped = kept.pop()
            protected.pop()
            if dropped.wh is not None:
                knot = _more(knot, dropped.wh)
            if dropped.at > knot.at:
                knot = msgspec.structs.replace(knot, at=dropped.at)
        if head is not None and place == head.knot:
            head = msgspec.structs.replace(head, knot=len(kept))
        kept.append(knot)
        protected.append(place in places)
    return kept, head


def _within(held: Piece) -> Piece:
    if len(held.knots) <= KNOTS_MAX:
        return held
    begin, end = (held.head.knot + 2 if held.head else 0), len(held.knots) // 2
    kept: list[Knot] = []
    for knot in held.knots[begin:end]:
        if len(kept) >= 2 and kept[-2].at // DAY_MS == kept[-1].at // DAY_MS == knot.at // DAY_MS:
            dropped = kept.pop()
            knot = knot if dropped.wh is None else _more(knot, dropped.wh)
        kept.append(knot)
    return msgspec.structs.replace(held, knots=(*held.knots[:begin], *kept, *held.knots[end:]))


class Course(NamedTuple):
    """A transaction as rating sees it. The periods follow each other without a gap; `start` is their beginning (ms)."""

    start: int
    periods: tuple[ChargePeriod, ...]

    @property
    def end(self) -> int:
        return self.periods[-1].end if self.periods else self.start

    @property
    def energy_wh(self) -> Decimal:
        return reduce(EXACT.add, (period.wh for period in self.periods), ZERO)


def course(pieces: Sequence[Piece], energy_wh: Decimal | None = None) -> Course | None:
    """The course along all events that have come, None before the first.

    `energy_wh`: the transaction's energy. What the readings along the way do not show of it (Begin came with the End
    only) flowed before the first of them, and counts with the first period.
    """
    if not pieces:
        return None
    whole = _whole(pieces)
    first, *rest = whole.knots
    owner = _owner(whole.knots)
    periods: list[ChargePeriod] = []
    waiting: list[int] = []  # periods whose energy the next reading tells
    state, tariff, start, at = first.state or CHARGING, _ref(first.tariff, owner, ""), first.at, first.at
    for knot in rest:
        end = min(max(at, knot.at), at + PERIOD_MAX_MS)
        current = Decimal(knot.current) if knot.current else None
        periods.append(ChargePeriod(at, end, state == CHARGING, knot.wh or ZERO, tariff, current))
        if knot.wh is None:
            waiting.append(len(periods) - 1)
        elif waiting:
            _spread(periods, [*waiting, len(periods) - 1], knot.wh)
            waiting.clear()
        state, tariff, at = knot.state or state, _ref(knot.tariff, owner, tariff), end
    # What the last event says holds from its moment on.
    if not periods or (periods[-1].tariff, periods[-1].charging) != (tariff, state == CHARGING):
        periods.append(ChargePeriod(at, at, state == CHARGING, ZERO, tariff))
    found = Course(start, tuple(periods))
    missing = EXACT.subtract(energy_wh, found.energy_wh) if energy_wh is not None else ZERO
    if missing <= 0:
        return found
    return Course(start, (msgspec.structs.replace(periods[0], wh=EXACT.add(periods[0].wh, missing)), *periods[1:]))


def until(found: Course, now: int) -> Course:
    """The same going on as it ended, without energy, until that moment (ms)."""
    last = found.periods[-1]
    end = min(now, last.end + PERIOD_MAX_MS)
    if end <= last.end:
        return found
    return Course(found.start, (*found.periods, msgspec.structs.replace(last, start=last.end, end=end, wh=ZERO)))


class Totals(NamedTuple):
    """A whole course in sums, for tariffs that do not ask when. `tariff`: the one that holds all along, else ""."""

    tariff: str
    energy_wh: Decimal
    charging_ms: int
    parking_ms: int
    start: int
    end: int


def totals(pieces: Sequence[Piece], energy_wh: Decimal | None) -> Totals | None:
    """The sums over `course(pieces, energy_wh)`, in a part of the time; None before the first event."""
    if not pieces:
        return None
    knots = _whole(pieces).knots
    first = knots[0]
    named = {knot.tariff for knot in knots} - {""}
    state, at, energy, charging, parking = first.state or CHARGING, first.at, ZERO, 0, 0
    for knot in knots[1:]:
        if knot.wh:
            energy = EXACT.add(energy, knot.wh)
        if knot.at > at:
            lasted = min(knot.at - at, PERIOD_MAX_MS)
            at += lasted
            if state == CHARGING:
                charging += lasted
            else:
                parking += lasted
        state = knot.state or state
    if energy_wh is not None and energy_wh > energy:
        energy = energy_wh
    return Totals(named.pop().partition(":")[2] if len(named) == 1 else "", energy, charging, parking, first.at, at)


def _whole(pieces: Sequence[Piece]) -> Piece:
    """All pieces joined across the gaps, neighbours first: there may be hundreds."""
    left = list(pieces)
    while len(left) > 1:
        pairs = [join(one, other) for one, other in zip(left[::2], left[1::2], strict=False)]
        left = [*pairs, left[-1]] if len(left) % 2 else pairs
    return left[0]


def _owner(knots: Sequence[Knot]) -> str:
    """Whose stamps count: the token's that was accepted first, those without an owner where there is no other."""
    owners = {knot.tariff.partition(":")[0] for knot in knots if knot.tariff} - {UNOWNED}
    return min(owners, key=int) if owners else UNOWNED


def _ref(tariff: str, owner: str, before: str) -> str:
    whose, _, ref = tariff.partition(":")
    return ref if ref and whose == owner else before


def _spread(periods: list[ChargePeriod], places: Sequence[int], wh: Decimal) -> None:
    """The energy that a reading shows flowed while there was charging since the reading before, evenly."""
    fitting = [place for place in places if periods[place].charging and periods[place].end > periods[place].start]
    if not wh or not fitting:
        return
    total, left = sum(periods[place].end - periods[place].start for place in fitting), wh
    for place in places:
        periods[place] = msgspec.structs.replace(periods[place], wh=ZERO)
    for place in fitting[:-1]:
        period = periods[place]
        share = part(wh, period.end - period.start, total)
        periods[place], left = msgspec.structs.replace(period, wh=share), EXACT.subtract(left, share)
    periods[fitting[-1]] = msgspec.structs.replace(periods[fitting[-1]], wh=left)


MILLI_WH: Final = Decimal("0.001")


def part(wh: Decimal, of: int, total: int) -> Decimal:
    """The energy in `of` ms out of `total`, to a thousandth of a Wh; what is left goes to the rest."""
    return EXACT.divide(EXACT.multiply(wh, Decimal(of)), Decimal(total)).quantize(MILLI_WH, context=EXACT)
