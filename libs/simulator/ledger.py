"""What the stations saw acknowledged, transaction by transaction: the journal, and what the promise check reads."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

import orjson

from .frames import rfc3339
from .notes import EventAcknowledged, EventDropped, Note, TransactionBegan

TRANSACTIONS_MAX = 200_000


@dataclass(slots=True)
class TransactionRecord:
    """One transaction as its station knows it. Sets of seqNos are bits of an integer."""

    station_id: str
    transaction_id: str
    acknowledged: int = 0
    thinned: int = 0
    lost: int = 0
    last: int | None = None
    begin_wh: float | None = None
    end_wh: float | None = None

    @property
    def ended(self) -> bool:
        """The end was acknowledged: nothing more will come."""
        return self.last is not None

    @property
    def seq_nos(self) -> list[int]:
        return [n for n in range(self.acknowledged.bit_length()) if self.acknowledged >> n & 1]

    @property
    def gaps(self) -> list[int]:
        """The seqNos that the CSMS has to miss: they were never delivered, though later ones were."""
        return [n for n in range(self.acknowledged.bit_length()) if not self.acknowledged >> n & 1]

    @property
    def energy_wh(self) -> float | None:
        """From the first to the last register, if both were acknowledged."""
        if self.begin_wh is None or self.end_wh is None:
            return None
        return round(self.end_wh - self.begin_wh, 1)


class Ledger:
    """All transactions of a run; the oldest leave when there are too many (`forgotten`)."""

    def __init__(self, journal: IO[bytes] | None = None) -> None:
        self._journal = journal
        self._records: dict[tuple[str, str], TransactionRecord] = {}
        self.forgotten = 0
        self.events = 0
        self.repeats = 0

    def __iter__(self) -> Iterator[TransactionRecord]:
        return iter(self._records.values())

    def __len__(self) -> int:
        return len(self._records)

    def take(self, station_id: str, note: Note, at_ms: int) -> None:
        """Reads one note of a station."""
        match note:
            case TransactionBegan(transaction_id):
                self._record(station_id, transaction_id)
            case EventAcknowledged():
                self._acknowledged(station_id, note, at_ms)
            case EventDropped(transaction_id, seq_no, _, allowed):
                record = self._record(station_id, transaction_id)
                if allowed:
                    record.thinned |= 1 << seq_no
                else:
                    record.lost |= 1 << seq_no

    def _record(self, station_id: str, transaction_id: str) -> TransactionRecord:
        key = (station_id, transaction_id)
        found = self._records.get(key)
        if found is None:
            found = self._records[key] = TransactionRecord(station_id, transaction_id)
            if len(self._records) > TRANSACTIONS_MAX:
                del self._records[next(iter(self._records))]
                self.forgotten += 1
        return found

    def _acknowledged(self, station_id: str, note: EventAcknowledged, at_ms: int) -> None:
        self._write(station_id, note, at_ms)
        if note.repeat:
            self.repeats += 1
            return
        self.events += 1
        record = self._record(station_id, note.transaction_id)
        record.acknowledged |= 1 << note.seq_no
        if note.register_wh is not None:
            record.end_wh = note.register_wh
            if note.event_type == "Started":
                record.begin_wh = note.register_wh
        if note.event_type == "Ended":
            record.last = note.seq_no

    def _write(self, station_id: str, note: EventAcknowledged, at_ms: int) -> None:
        if self._journal is None:
            return
        line = {
            "station": station_id,
            "transactionId": note.transaction_id,
            "seqNo": note.seq_no,
            "eventType": note.event_type,
            "digest": note.digest,
            "messageId": note.message_id,
            "offline": note.offline,
            "repeat": note.repeat,
            "acknowledgedAt": rfc3339(at_ms),
        }
        self._journal.write(orjson.dumps(line) + b"\n")

    def flush(self) -> None:
        if self._journal is not None:
            self._journal.flush()
