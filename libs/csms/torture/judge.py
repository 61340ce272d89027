"""Were the promises kept? Pure: from what the stations saw and from what is left in log, API and database."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ocppcore.contracts.transactions import TransactionEvent
from ocppcore.log import Record
from ocppcore.service import Event
from ocppcore.topics import normalise
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
