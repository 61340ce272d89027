"""Did the CSMS keep its promises? Pure: from what the stations saw, and from what the CSMS says it has."""

from decimal import Decimal, InvalidOperation
from typing import Any

from .ledger import Ledger, TransactionRecord

Json = dict[str, Any]


def undelivered(ledger: Ledger) -> list[str]:
    """Transaction events that no answer was ever had for."""
    return [
        f"{r.station_id} transaction {r.transaction_id}: no acknowledgement for seqNo {_seq_nos(r.lost)}"
        for r in ledger
        if r.lost
    ]


def compare(record: TransactionRecord, projection: Json | None) -> list[str]:
    """What `GET /transactions/transactions/{stationId}/{transactionId}` gets wrong about an acknowledged transaction.
    `projection` is its body, None for 404."""
    name = f"{record.station_id} transaction {record.transaction_id}"
    if projection is None:
        return [f"{name}: acknowledged, but the CSMS does not know it"]
    wrong = []
    has = sorted(projection["seqNos"])
    missing = sorted(set(record.seq_nos) - set(has))
    if missing:
        wrong.append(f"{name}: acknowledged, but missing: seqNo {missing}")
    if len(set(has)) != len(has):
        wrong.append(f"{name}: counted twice: seqNo {sorted(n for n in set(has) if has.count(n) > 1)}")
    if projection.get("conflicts"):
        wrong.append(f"{name}: the CSMS sees {projection['conflicts']} conflicts, though every repeat was equal")
    if record.last is not None:
        invented = [n for n in has if n > record.last]
        if invented:
            wrong.append(f"{name}: seqNo {invented} were never sent")
        wrong += _compare_ended(name, record, projection, set(has))
    return wrong


def _compare_ended(name: str, record: TransactionRecord, projection: Json, has: set[int]) -> list[str]:
    wrong = []
    expected = [n for n in record.gaps if n not in has]
    gaps = _gaps(projection.get("gaps", []))
    if gaps != expected:
        wrong.append(f"{name}: gaps are {expected}, the CSMS says {gaps}")
    energy = _decimal(projection.get("energyWh"))
    if record.energy_wh is not None and energy != _decimal(record.energy_wh):
        wrong.append(f"{name}: energy is {record.energy_wh} Wh, the CSMS says {projection.get('energyWh')}")
    return wrong


def _gaps(gaps: list[Any]) -> list[int]:
    """Gaps as single seqNos, given as numbers, as pairs [first, last] or as {"first", "last"}."""
    found: list[int] = []
    for gap in gaps:
        match gap:
            case int():
                found.append(gap)
            case [int(first), int(last)] | {"first": int(first), "last": int(last)}:
                found += range(first, last + 1)
    return sorted(found)


def _decimal(value: Any) -> Decimal | None:
    try:
        return None if value is None else Decimal(str(value)).normalize()
    except InvalidOperation:
        return None


def _seq_nos(bits: int) -> str:
    return ", ".join(str(n) for n in range(bits.bit_length()) if bits >> n & 1)
