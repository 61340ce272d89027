"""The energy of a transaction whose register may fall: a meter that was replaced, or rolled over, restarts the count.

What counts is the sum of the positive differences along the readings, event by event in the order of seqNos. Events
come in any order, so the sum is kept in pieces: one for each range of seqNos without a gap. Nothing can come between
the readings of such a range any more, so what is in a piece is final, and pieces join when the gap between them closes.
There are as many pieces as ranges, and the end state does not depend on the order of arrival.

Each figure here sums over readings in the order they were taken, maybe not over all of them; leaving out readings
never makes such a sum larger. So the largest of them is the energy, and none of them counts anything twice.
"""

from collections.abc import Sequence
from decimal import Context, Decimal
from functools import reduce
from itertools import pairwise
from typing import Final

import msgspec

from ocppcore.contracts.transactions import Register, TransactionEvent

EXACT: Final = Context(prec=150)
"""Enough digits for any sum of the numbers that OCPP's wire takes: rounding would depend on the order of arrival."""
ZERO: Final = Decimal(0)
BEGIN: Final = 0
"""The rank of a reading with the context Transaction.Begin."""


class Span(msgspec.Struct, frozen=True, array_like=True):
    """The readings of one event: its first and last one, the energy between them in Wh, how often the register fell."""

    rank: int
    first_at: int
    first: Decimal
    last_at: int
    last: Decimal
    energy: Decimal
    drops: int


class Piece(msgspec.Struct, frozen=True, array_like=True):
    """The readings of the events `low` to `high` (seqNos): `energy` and `drops` are those after the first event's."""

    low: int
    high: int
    head: Span
    last_at: int
    last: Decimal
    energy: Decimal
    drops: int


Step = tuple[Decimal, int]
"""Energy in Wh and how often the register fell."""


def step(before: Decimal, after: Decimal) -> Step:
    """From one reading to the next."""
    return (EXACT.subtract(after, before), 0) if after >= before else (ZERO, 1)


def along(found: Sequence[Register]) -> Step:
    """Along readings in their order."""
    energy, drops = ZERO, 0
    for before, after in pairwise(found):
        more, fell = step(Decimal(before.wh), Decimal(after.wh))
        energy, drops = EXACT.add(energy, more), drops + fell
    return energy, drops


def span(event: TransactionEvent) -> Span | None:
    """What an event says about the register, None without a reading."""
    first, last = event.first_register, event.last_register
    if first is None or last is None:
        return None
    from_, to = Decimal(first.wh), Decimal(last.wh)
    energy, drops = step(from_, to)
    if event.register_drops:
        energy, drops = Decimal(event.registered_wh), event.register_drops
    return Span(first.rank, first.at, from_, last.at, to, energy, drops)


def add(pieces: Sequence[Piece], seen: Sequence[tuple[int, int]], seq_no: int, said: Span | None) -> tuple[Piece, ...]:
    """One more event; `seen`: the ranges of seqNos, this one among them. The pieces of its range become one."""
    if said is not None and pieces and pieces[-1].high + 1 == seq_no:  # the usual one: what comes next
        return (*pieces[:-1], _join(pieces[-1], _piece(seq_no, said)))
    low, high = next(ends for ends in reversed(seen) if ends[0] <= seq_no <= ends[1])
    before = [piece for piece in pieces if piece.low < low]
    inside = [piece for piece in pieces if low <= piece.low <= high]
    if said is not None:
        inside.append(_piece(seq_no, said))
        inside.sort(key=lambda piece: piece.low)
    joined = [reduce(_join, inside)] if inside else []
    return (*before, *joined, *(piece for piece in pieces if piece.low > high))


def _piece(seq_no: int, said: Span) -> Piece:
    return Piece(seq_no, seq_no, said, said.last_at, said.last, ZERO, 0)


def total(pieces: Sequence[Piece]) -> Step:
    """Along all events that have come, across the gaps."""
    if not pieces:
        return ZERO, 0
    whole = reduce(_join, pieces)
    return EXACT.add(whole.head.energy, whole.energy), whole.head.drops + whole.drops


def _join(one: Piece, other: Piece) -> Piece:
    energy, drops = _follow(one, other.head)
    return Piece(
        one.low,
        other.high,
        one.head,
        other.last_at,
        other.last,
        EXACT.add(EXACT.add(one.energy, energy), other.energy),
        one.drops + drops + other.drops,
    )


def _follow(before: Piece, head: Span) -> Step:
    """From the reading before an event to the event's last.

    An event may begin with readings that earlier ones had already: Ended holds all samples since the beginning where
    the station is configured so (E06.FR.11). Then only its last reading goes on from the one before.
    """
    if head.rank == BEGIN or head.first_at < before.last_at:
        return step(before.last, head.last)
    energy, drops = step(before.last, head.first)
    return EXACT.add(energy, head.energy), drops + head.drops


def largest(one: Decimal, other: Decimal) -> Decimal:
    """The larger one; of equal ones always the same, however many digits they are written with."""
    return EXACT.max(one, other)
