"""Charge detail records: made when a transaction is whole, or when the wait for what is missing is over.

A record never changes. What comes to be known later makes a credit of the last record and a new one. The content is a
function of what the station said, so it is the same however and whenever that arrived.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import ClassVar, Final

import msgspec

from ocppcore import topics
from ocppcore.contracts.charge_details import (
    ChargeDetail,
    ChargeDetailDue,
    ChargeDetailMade,
    MakeChargeDetail,
    ReRate,
    Why,
)
from ocppcore.contracts.device import StationState
from ocppcore.contracts.inquiries import TransactionGraded
from ocppcore.log import NewRecord
from ocppcore.service import (
    NOTHING,
    Aggregate,
    Context,
    Event,
    Follow,
    Lookup,
    Need,
    Outcome,
    Put,
    Result,
    Timer,
    View,
    problem,
)
from ocppcore.store import Table, Upsert
from ocppcore.tariff import Tariff
from services.transactions.domain import credit
from services.transactions.domain.cost import Agreement
from services.transactions.domain.course import Course, course
from services.transactions.domain.rating import Bill, rate, rate_along
from services.transactions.domain.transaction import Transaction, transaction_key

WAIT: Final = "charge-detail"
ZONE: Final = "UTC"

CHARGE_DETAILS = Table(
    "charge_details",
    {
        "id": "text",
        "station": "text",
        "key": "text",
        "identity": "text",
        "transaction_id": "text",
        "version": "bigint",
        "kind": "text",
        "why": "text",
        "credits": "text",
        "grade": "text",
        "token": "text",
        "started_at": "bigint",
        "ended_at": "bigint",
        "energy_wh": "numeric",
        "currency": "text",
        "excl_vat": "numeric",
        "incl_vat": "numeric",
        "made_at": "bigint",
        "content": "jsonb",
    },
    ("id",),
    indexes=(
        ("made_at", "id"),
        ("station", "made_at", "id"),
        ("token", "made_at", "id"),
        ("station", "key", "version"),
    ),
)
"""Every record ever made. `content`: the whole of it; `made_at`: our clock, the only column that is not in it."""


class Charged(Aggregate, frozen=True, kw_only=True):
    """What was billed of a transaction last; id = `transaction_key`. `rerated`: rates it instead of its own tariffs.
    `account`: whose balance it changed."""

    KIND: ClassVar[str] = "Charged"
    id: str
    version: int
    digest: str
    summary: ChargeDetail
    rerated: Tariff | None = None
    account: str = ""


def needs(body: MakeChargeDetail | ReRate, station: str) -> tuple[Need, ...]:
    key = transaction_key(station, body.transaction_id)
    return ((Transaction, key), (Charged, key), (Agreement, key))


def lookups(_: MakeChargeDetail | ReRate, station: str) -> tuple[Lookup, ...]:
    return ((topics.STATIONS, station),)


def make(body: MakeChargeDetail, view: View, context: Context) -> Outcome:
    """The record of a transaction as it is known now; nothing where the last one says the same."""
    key = transaction_key(context.station, body.transaction_id)
    held, charged = view.get(Transaction, key), view.get(Charged, key)
    if held is None or not held.over:
        return NOTHING
    agreement = view.get(Agreement, key) or Agreement()
    zone = agreement.zone or _zone(view, context)
    account = credit.account(agreement, held.owner[0] if held.owner else "")
    return Outcome(tuple(_amended(held, charged, agreement.tariffs, zone, "late", context, account)))


def rerate(body: ReRate, view: View, context: Context) -> Outcome:
    """Another record by this tariff: 404 without a record, 409 where it is not the newest any more."""
    key = transaction_key(context.station, body.transaction_id)
    held, charged = view.get(Transaction, key), view.get(Charged, key)
    if held is None or charged is None:
        return Outcome(result=problem(404, "No record", f"transaction {body.transaction_id} has not been billed"))
    if charged.id != body.detail_id:
        return Outcome(result=problem(409, "Another record", f"{charged.id} is the newest of this transaction"))
    override = msgspec.structs.replace(charged, rerated=body.tariff)
    agreement = view.get(Agreement, key)
    zone = (agreement.zone if agreement else "") or _zone(view, context)
    account = credit.account(agreement, held.owner[0] if held.owner else "")
    events = tuple(_amended(held, override, {}, zone, "rerated", context, account))
    made = [event.detail.id for event in events if isinstance(event, ChargeDetailMade)]
    return Outcome(events, result=Result(200, {"made": made}))


def _zone(view: View, context: Context) -> str:
    station = view.copy(topics.STATIONS, StationState, context.station)
    return (station.zone if station else "") or ZONE


def _amended(
    held: Transaction,
    charged: Charged | None,
    tariffs: Mapping[str, Tariff],
    zone: str,
    why: Why,
    context: Context,
    account: str,
) -> Iterable[Event]:
    rerated = charged.rerated if charged else None
    version = charged.version if charged else 0
    made = detail(held, tariffs, zone, version=version + (2 if charged else 1), why=why if charged else "made",
                  rerated=rerated)  # fmt: skip
    digest = digest_of(made)
    if charged is not None:
        if charged.digest == digest:
            return
        back = credit_of(charged.summary, version + 1, why)
        yield _made(back, digest_of(back), context, rerated, charged.account)
    yield _made(made, digest, context, rerated, account)


def _made(made: ChargeDetail, digest: str, context: Context, rerated: Tariff | None, account: str) -> ChargeDetailMade:
    return ChargeDetailMade(
        at=context.now,
        station=made.station,
        detail=made,
        digest=digest,
        rerated=rerated,
        actor=context.actor,
        account=account,
    )


def detail_id(station: str, transaction_id: str, version: int) -> str:
    """The id of a transaction's record of this version: 32 characters, the same wherever it is made."""
    name = f"{transaction_key(station, transaction_id)}/{version}"
    return hashlib.blake2b(name.encode(), digest_size=16).hexdigest()


def digest_of(made: ChargeDetail) -> str:
    """What makes two records say the same: all of it but which record it is."""
    bare = msgspec.structs.replace(made, id="", version=0, why="made", credits="")
    return hashlib.blake2b(msgspec.json.encode(bare, order="deterministic"), digest_size=16).hexdigest()


def course_of(held: Transaction) -> Course | None:
    """What is rated: the transaction's course, its times corrected where the station's clock was wrong."""
    found, offset = course(held.course, held.energy_wh), held.clock_offset_ms
    if found is None or not offset:
        return found
    shifted = tuple(
        msgspec.structs.replace(one, start=one.start + offset, end=one.end + offset) for one in found.periods
    )
    return Course(found.start + offset, shifted)


def detail(
    held: Transaction,
    tariffs: Mapping[str, Tariff],
    zone: str,
    *,
    version: int,
    why: Why,
    rerated: Tariff | None = None,
) -> ChargeDetail:
    """The record of a transaction; `tariffs` by `Tariff.ref`; `rerated`: rates it all by this one instead."""
    found = course_of(held)
    bill: Bill | None = None
    if found is not None:
        bill = rate(rerated, found, zone) if rerated else rate_along(tariffs, found, zone)
    periods = found.periods if found else ()
    energy_wh, offset = held.energy_wh, held.clock_offset_ms
    made = ChargeDetail(
        id=detail_id(held.station, held.transaction_id, version),
        version=version,
        kind="charge",
        why=why,
        station=held.station,
        identity=held.identity or held.station,
        transaction_id=held.transaction_id,
        grade=held.grade,
        evse_id=held.evse[1] if held.evse else None,
        connector_id=held.connector[1] if held.connector else None,
        token=held.owner[0] if held.owner else "",
        token_type=held.owner[1] if held.owner else "",
        started_at=held.started[1] + offset if held.started else None,
        ended_at=held.ended_at + offset if held.ended_at is not None else None,
        clock_offset_ms=offset,
        stopped_reason=held.stopped_reason,
        remote_start_id=held.remote_start_id[1] if held.remote_start_id else None,
        meter_start_wh=held.first.wh if held.first else None,
        meter_stop_wh=held.last.wh if held.last else None,
        meter_drops=held.meter_drops,
        energy_wh=energy_wh if energy_wh is not None else Decimal(0),
        charging_ms=sum(one.end - one.start for one in periods if one.charging),
        parking_ms=sum(one.end - one.start for one in periods if not one.charging),
        missing=held.missing,
        conflicts=held.conflicts,
        zone=zone,
        periods=periods,
    )
    return priced(made, bill) if bill else made


def priced(made: ChargeDetail, bill: Bill) -> ChargeDetail:
    """The record with what its transaction costs."""
    return msgspec.structs.replace(
        made,
        currency=bill.currency,
        excl_vat=bill.excl_vat,
        incl_vat=bill.incl_vat,
        limit=bill.limit,
        unlimited_excl_vat=bill.unlimited_excl_vat,
        lines=bill.lines,
    )


def credit_of(charge: ChargeDetail, version: int, why: Why) -> ChargeDetail:
    """The record that takes back another one."""
    return msgspec.structs.replace(
        charge,
        id=detail_id(charge.station, charge.transaction_id, version),
        version=version,
        kind="credit",
        why=why,
        credits=charge.id,
        energy_wh=-charge.energy_wh,
        charging_ms=-charge.charging_ms,
        parking_ms=-charge.parking_ms,
        excl_vat=-charge.excl_vat,
        incl_vat=-charge.incl_vat,
        unlimited_excl_vat=None,
        limit="",
        periods=(),
        lines=(),
    )


# When


def at_once(events: Sequence[Event]) -> tuple[Sequence[Event], Callable[[View, Context], Outcome] | None]:
    """The events of a step that may make a transaction whole, and what is decided once they are folded: its record. So
    it needs no request of its own."""
    for place, event in enumerate(events):
        if isinstance(event, TransactionGraded) and event.grade == "complete":
            billed = msgspec.structs.replace(event, billed=True)
            return [*events[:place], billed, *events[place + 1 :]], partial(make, _of(event))
    return events, None


def _of(event: TransactionGraded | ChargeDetailDue) -> MakeChargeDetail:
    return MakeChargeDetail(transaction_id=event.transaction_id)


def evolve_graded(event: TransactionGraded, view: View) -> Iterable[Timer]:
    """A whole transaction is billed at once (`derive_graded`), another one once nothing was heard for the wait."""
    key = transaction_key(event.station, event.transaction_id)
    yield Timer(WAIT, key, None if event.grade == "complete" else event.at + event.bill_wait_ms)


def derive_graded(event: TransactionGraded, follow: Follow) -> Iterable[NewRecord]:
    if event.grade == "complete" and not event.billed:
        yield _asked(event, follow)


def derive_due(event: ChargeDetailDue, follow: Follow) -> Iterable[NewRecord]:
    yield _asked(event, follow)


def _asked(event: TransactionGraded | ChargeDetailDue, follow: Follow) -> NewRecord:
    return follow.request("transactions", MakeChargeDetail.NAME, event.station, _of(event), event.at)


def due_needs(subject: str) -> tuple[Need, ...]:
    return ((Transaction, subject),)


def due(subject: str, view: View, context: Context) -> Outcome:
    """Nothing more was heard."""
    held = view.get(Transaction, subject)
    if held is None or not held.over:
        return NOTHING
    return Outcome((ChargeDetailDue(at=context.now, station=held.station, transaction_id=held.transaction_id),))


# Folding


def charged_needs(station: str, transaction_id: str) -> tuple[Need, ...]:
    """What was billed of a transaction."""
    return ((Charged, transaction_key(station, transaction_id)),)


def made_needs(event: ChargeDetailMade) -> tuple[Need, ...]:
    return charged_needs(event.station, event.detail.transaction_id)


def evolve_made(event: ChargeDetailMade, _: View) -> Iterable[Put]:
    made = event.detail
    if made.kind == "credit":
        return
    bare = msgspec.structs.replace(made, periods=(), lines=())
    charged = Charged(
        id=made.id,
        version=made.version,
        digest=event.digest,
        summary=bare,
        rerated=event.rerated,
        account=event.account,
    )
    yield Put(transaction_key(event.station, made.transaction_id), charged)


def project_made(event: ChargeDetailMade, _: View) -> Iterable[Upsert]:
    made = event.detail
    row = (
        made.id,
        made.station,
        topics.normalise(made.transaction_id),
        made.identity,
        made.transaction_id,
        made.version,
        made.kind,
        made.why,
        made.credits or None,
        made.grade,
        made.token or None,
        made.started_at,
        made.ended_at,
        format(made.energy_wh, "f"),
        made.currency or None,
        format(made.excl_vat, "f"),
        format(made.incl_vat, "f"),
        event.at,
        msgspec.json.encode(made).decode(),
    )
    yield Upsert(CHARGE_DETAILS, row)
