"""What an ended transaction comes to, for whoever bills it: one event at its end, another whenever that changes."""

from collections.abc import Iterable

import msgspec

from ocppcore.contracts.inquiries import TransactionGraded
from ocppcore.contracts.transactions import TransactionConflict
from ocppcore.service import Event, View
from services.transactions.domain.periods import PERIODS
from services.transactions.domain.transaction import Transaction, transaction_key


def figures(held: Transaction, at: int) -> TransactionGraded:
    """The transaction as it is known; times corrected where its station's clock was wrong."""
    offset, energy_wh = held.clock_offset_ms, held.energy_wh
    return TransactionGraded(
        at=at,
        station=held.station,
        transaction_id=held.transaction_id,
        grade=held.grade,
        identity=held.identity if held.identity != held.station else "",
        started_at=held.started[1] + offset if held.started else None,
        ended_at=held.ended_at + offset if held.ended_at is not None else None,
        energy_wh=format(energy_wh, "f") if energy_wh is not None else None,
        evse_id=held.evse[1] if held.evse else None,
        connector_id=held.connector[1] if held.connector else None,
        token=held.owner[0] if held.owner else "",
        token_type=held.owner[1] if held.owner else "",
        stopped_reason=held.stopped_reason,
        missing=held.missing,
        conflicts=held.conflicts,
        clock_offset_ms=offset,
    )


def graded(before: Transaction | None, after: Transaction, at: int) -> list[TransactionGraded]:
    """The event, where an ended transaction is not what it was before."""
    if not after.over:
        return []
    found = figures(after, at)
    if before is not None and before.over and figures(before, at) == found:
        return []
    return [found]


def waiting(events: Iterable[Event], wait_ms: int) -> list[Event]:
    """The events, with how long what is not whole waits until it is billed."""
    if wait_ms == PERIODS.bill_wait:
        return list(events)
    return [
        msgspec.structs.replace(one, bill_wait_ms=wait_ms) if isinstance(one, TransactionGraded) else one
        for one in events
    ]


def disputed(event: TransactionConflict, view: View) -> list[TransactionGraded]:
    """What a conflict makes of the transaction."""
    held = view.get(Transaction, transaction_key(event.station, event.transaction_id))
    assert held is not None, f"conflict in an unknown transaction {event.transaction_id} of {event.station}"
    return graded(held, msgspec.structs.replace(held, conflicts=held.conflicts + 1), event.at)
