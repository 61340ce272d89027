"""Energy that is missing between transactions at an EVSE (J02.FR.17): the register at a begin against the last end.

Registers are not based anew at each transaction, so the one at a begin is the one at the end before. Where it is not,
energy flowed that no transaction has, or the meter was replaced (a negative figure). What comes late amends it: figures
are about neighbours in the station's time, whatever the order of arrival, among the last KEPT_MAX transactions.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import ClassVar, Final

import msgspec

from ocppcore.contracts.metering import MeterGapFound, TransactionMetered
from ocppcore.contracts.transactions import Register, TransactionEnded, TransactionEvent, TransactionStarted
from ocppcore.service import Aggregate, Context, Event, Need, Put, View
from ocppcore.store import Delete, Table, Upsert
from ocppcore.topics import normalise
from services.transactions.domain.energy import EXACT
from services.transactions.domain.transaction import Reading, Transaction

KEPT_MAX: Final = 8
EVSES_MAX: Final = 200

GAPS = Table(
    "meter_gaps",
    {
        "station": "text",
        "after_key": "text",
        "evse_id": "bigint",
        "before": "text",
        "after": "text",
        "ended_wh": "numeric",
        "started_wh": "numeric",
        "missing_wh": "numeric",
        "ended_at": "bigint",
        "started_at": "bigint",
        "noticed_at": "bigint",
    },
    ("station", "after_key"),
    indexes=(("noticed_at",),),
)


class Metered(msgspec.Struct, frozen=True, array_like=True):
    """A transaction by its first and last reading."""

    transaction_id: str
    first_at: int
    first: str
    last_at: int
    last: str


class StationMeter(Aggregate, frozen=True, kw_only=True):
    """The last transactions of each EVSE, in the order of their begin; id = station. `noticed`: what is missing before
    a transaction, by its normalised id."""

    KIND: ClassVar[str] = "StationMeter"
    evses: dict[int, tuple[Metered, ...]] = msgspec.field(default_factory=dict)
    noticed: dict[str, str] = msgspec.field(default_factory=dict)


def meter_needs(station: str) -> tuple[Need, ...]:
    return ((StationMeter, station),)


def noticed(
    event: TransactionEvent, held: Transaction | None, evse: int | None, view: View, context: Context
) -> Sequence[Event]:
    """What this event shows of the registers around its transaction, `held` being the transaction before it."""
    ended = isinstance(event, TransactionEnded) or (held is not None and held.ended is not None)
    if evse is None or not (ended or isinstance(event, TransactionStarted)):
        return ()
    if event.first_register is None and not isinstance(event, TransactionEnded):
        return ()
    mine = _metered(event, held)
    if mine is None:
        return ()
    meter = view.get(StationMeter, context.station) or StationMeter()
    found: list[Event] = []
    known = meter.evses.get(evse, ())
    if evse not in meter.evses and len(meter.evses) >= EVSES_MAX:
        return ()
    if ended and mine not in known:
        found.append(
            TransactionMetered(
                at=context.now,
                station=context.station,
                evse_id=evse,
                transaction_id=mine.transaction_id,
                first_at=mine.first_at,
                first_wh=mine.first,
                last_at=mine.last_at,
                last_wh=mine.last,
            )
        )
    in_order = _placed(known, mine)
    for before, after in pairwise(in_order):
        if mine is after or (ended and mine is before):
            found += _gap(before, after, evse, meter, context)
    return found


def _metered(event: TransactionEvent, held: Transaction | None) -> Metered | None:
    """The transaction with this event, by its first and last reading."""
    readings = [
        Reading(of.rank, event.seq_no, of.index, of.at, of.wh)
        for of in (event.first_register, event.last_register)
        if isinstance(of, Register)
    ]
    if held is not None:
        readings += [of for of in (held.first, held.last) if of is not None]
    if not readings:
        return None
    first, last = min(readings), max(readings)
    return Metered(event.transaction_id, first.at, first.wh, last.at, last.wh)


def _placed(known: Iterable[Metered], mine: Metered) -> list[Metered]:
    key = normalise(mine.transaction_id)
    others = [one for one in known if normalise(one.transaction_id) != key]
    return sorted([*others, mine], key=lambda one: (one.first_at, one.transaction_id))


def _gap(before: Metered, after: Metered, evse: int, meter: StationMeter, context: Context) -> Iterable[Event]:
    if before.last_at > after.first_at:
        return  # the station's clock was set back: nobody knows what came first
    if Decimal(before.first) == 0 == Decimal(after.first):
        return  # a register that begins anew with each transaction, against J02.FR.17, tells nothing
    missing = EXACT.subtract(Decimal(after.first), Decimal(before.last))
    if missing == Decimal(meter.noticed.get(normalise(after.transaction_id), "0")):
        return
    yield MeterGapFound(
        at=context.now,
        station=context.station,
        evse_id=evse,
        before=before.transaction_id,
        after=after.transaction_id,
        ended_wh=before.last,
        started_wh=after.first,
        missing_wh=format(missing, "f"),
        ended_at=before.last_at,
        started_at=after.first_at,
    )


def event_needs(event: TransactionMetered | MeterGapFound) -> tuple[Need, ...]:
    return meter_needs(event.station)


def evolve_metered(event: TransactionMetered, view: View) -> Iterable[Put]:
    meter = view.get(StationMeter, event.station) or StationMeter()
    mine = Metered(event.transaction_id, event.first_at, event.first_wh, event.last_at, event.last_wh)
    kept = tuple(_placed(meter.evses.get(event.evse_id, ()), mine)[-KEPT_MAX:])
    yield Put(event.station, msgspec.structs.replace(meter, evses={**meter.evses, event.evse_id: kept}))


def evolve_gap(event: MeterGapFound, view: View) -> Iterable[Put]:
    meter = view.get(StationMeter, event.station) or StationMeter()
    key = normalise(event.after)
    told = {**{of: wh for of, wh in meter.noticed.items() if of != key}, key: event.missing_wh}
    newest = dict(list(told.items())[-KEPT_MAX * max(1, len(meter.evses)) :])
    yield Put(event.station, msgspec.structs.replace(meter, noticed=newest))


def project_gap(event: MeterGapFound, view: View) -> Iterable[Upsert | Delete]:
    key = normalise(event.after)
    if Decimal(event.missing_wh) == 0:
        yield Delete(GAPS, (event.station, key))
        return
    row = (
        event.station,
        key,
        event.evse_id,
        event.before,
        event.after,
        event.ended_wh,
        event.started_wh,
        event.missing_wh,
        event.ended_at,
        event.started_at,
        event.at,
    )
    yield Upsert(GAPS, row)
