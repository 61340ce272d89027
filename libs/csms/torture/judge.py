"""Were the promises kept? Pure: from what the stations saw and from what is left in log, API and database."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from msgspec import json, structs

from ocppcore.contracts.charge_details import ChargeDetail, ChargeDetailMade
from ocppcore.contracts.transactions import TransactionConflict, TransactionEvent
from ocppcore.log import Record
from ocppcore.service import Event
from ocppcore.topics import normalise
from services.transactions.domain.charge_detail import detail
from services.transactions.domain.transaction import Transaction, merged
from simulator.ledger import TransactionRecord

OPEN = frozenset({"waiting", "queued", "sending"})
NEVER_SENT = frozenset({"not_connected", "expired", "refused"})
Key = tuple[str, str, int]
"""(station, transactionId, seqNo): the business key of a transaction event."""


class Stream(NamedTuple):
    """A partition of a service's events: each number once, in order; how many came again; what is wrong."""

    records: Sequence[Record]
    repeats: int
    faults: Sequence[str]


class Command(NamedTuple):
    """A command as the CSMS shows it, and whether its action may be repeated unasked."""

    id: str
    action: str
    status: str
    repeatable: bool


def stream(name: str, records: Iterable[Record]) -> Stream:
    """Numbers are dense from 0, and a repeated number is the same bytes again."""
    kept: list[Record] = []
    digests: list[bytes] = []
    repeats = 0
    faults: list[str] = []
    for record in records:
        number = int(record.headers["number"])
        digest = _digest(record)
        if number < len(kept):
            repeats += 1
            if digests[number] != digest:
                faults.append(f"{name}: number {number} came again with other content")
        elif number == len(kept):
            kept.append(record)
            digests.append(digest)
        else:
            faults.append(f"{name}: after number {len(kept) - 1} comes {number}")
            break
    return Stream(kept, repeats, faults)


def _digest(record: Record) -> bytes:
    headers = "\n".join(f"{name}={value}" for name, value in sorted(record.headers.items()))
    return hashlib.blake2b(f"{record.key}\n{headers}\n".encode() + record.value, digest_size=16).digest()


def business_keys(events: Iterable[Event]) -> Counter[Key]:
    """How often each transaction event was recorded."""
    return Counter(
        (event.station, normalise(event.transaction_id), event.seq_no)
        for event in events
        if isinstance(event, TransactionEvent)
    )


def recorded_once(keys: Counter[Key], ledger: Iterable[TransactionRecord]) -> list[str]:
    """Promise 2: every event that a station saw acknowledged is among the recorded ones, and none is there twice."""
    faults = [f"{key}: recorded {count} times" for key, count in keys.items() if count != 1]
    for record in ledger:
        place = (normalise(record.station_id), normalise(record.transaction_id))
        faults += [
            f"{(*place, seq_no)}: acknowledged, but never recorded"
            for seq_no in record.seq_nos
            if (*place, seq_no) not in keys
        ]
    return faults


def billed_as_said(events: Sequence[Event]) -> list[str]:
    """Each whole transaction was billed once, and what it was billed is, byte for byte, what its recorded events give
    when they are decided in order, without anything dying. Their arrival decides which of two contents counts, so
    what a station contradicted is left out."""
    said: dict[tuple[str, str], list[TransactionEvent]] = {}
    made: dict[tuple[str, str], list[ChargeDetail]] = {}
    disputed: set[tuple[str, str]] = set()
    for event in events:
        match event:
            case TransactionEvent():
                said.setdefault((event.station, normalise(event.transaction_id)), []).append(event)
            case TransactionConflict():
                disputed.add((event.station, normalise(event.transaction_id)))
            case ChargeDetailMade():
                place = (event.station, normalise(event.detail.transaction_id))
                made.setdefault(place, []).append(event.detail)
    faults = []
    for place in said.keys() - disputed:
        held: Transaction | None = None
        for event in sorted(said[place], key=lambda one: one.seq_no):
            held = merged(held, event)
        assert held is not None
        found = made.get(place, [])
        if held.grade != "complete":
            faults += [f"{place}: billed as {one.grade}, though it is {held.grade}" for one in found]
        elif len(found) != 1:
            faults.append(f"{place}: {len(found)} charge detail records instead of one")
        elif _unpriced(found[0]) != _unpriced(detail(held, {}, found[0].zone, version=1, why="made", rerated=None)):
            faults.append(f"{place}: what was billed is not what the station said: {found[0]}")
    return faults


def comparable(made: ChargeDetail) -> bytes:
    """The record's bytes, less what was measured of the station's clock: the one thing that depends on when its
    messages were received. Its times are shown as the station said them, not corrected by that.

    Nothing else is left out: ids follow from station, transaction and version, tariffs are named by id and version,
    periods, energy and prices follow from the events; when a record was made is not in it.
    """
    offset = made.clock_offset_ms
    periods = tuple(structs.replace(one, start=one.start - offset, end=one.end - offset) for one in made.periods)
    return json.encode(
        structs.replace(
            made,
            clock_offset_ms=0,
            started_at=None if made.started_at is None else made.started_at - offset,
            ended_at=None if made.ended_at is None else made.ended_at - offset,
            periods=periods,
        )
    )


def billed_alike(killed: Iterable[ChargeDetail], undisturbed: Iterable[ChargeDetail]) -> list[str]:
    """The set of records under kills is, byte for byte (`comparable`), that of the run without, and it has prices."""
    left, right = _by_id(killed), _by_id(undisturbed)
    faults = [f"{one.transaction_id} of {one.station} has no price" for one in left.values() if not one.currency]
    for id_ in left.keys() | right.keys():
        if id_ not in right:
            faults.append(f"billed only under kills: {left[id_]}")
        elif id_ not in left:
            faults.append(f"billed only without kills: {right[id_]}")
        elif (one := comparable(left[id_])) != (other := comparable(right[id_])):
            faults.append(f"billed otherwise under kills: {one.decode()} than without: {other.decode()}")
    return faults


def _by_id(records: Iterable[ChargeDetail]) -> dict[str, ChargeDetail]:
    return {one.id: one for one in records}


def _unpriced(made: ChargeDetail) -> bytes:
    """The record's bytes without what its tariff made of it."""
    nothing = Decimal(0)
    bare = structs.replace(
        made, currency="", excl_vat=nothing, incl_vat=nothing, limit="", unlimited_excl_vat=None, lines=()
    )
    return json.encode(bare)


def commands(shown: Iterable[Command], answered: Mapping[str, int]) -> list[str]:
    """No command is open for ever, silently repeated, or denied although its station had it.

    `answered`: how often stations answered a command, by its id.
    """
    faults = []
    for command in shown:
        times = answered.get(command.id, 0)
        name = f"command {command.id} ({command.action}) is {command.status}"
        if command.status in OPEN:
            faults.append(f"{name}, long after it was asked")
        if times > 1 and not command.repeatable:
            faults.append(f"{name}, its station had it {times} times")
        if times and command.status in NEVER_SENT:
            faults.append(f"{name}, but its station had it")
        if not times and command.status in ("answered", "error"):
            faults.append(f"{name}, but no station answered it")
    return faults
