"""Events of many transactions, as the transactions service decides them, produced faster than it would decide them.

One transaction's TransactionEvents go through the service's own decisions; what came of it is written again and again
for other stations and transactions.
"""

from collections.abc import Iterator

import msgspec

from ocppcore import topics
from ocppcore.contracts.transactions import TransactionEvent
from ocppcore.engine import step
from ocppcore.engine.batch import Batch, Cell, WholeCopy, event_headers, event_id
from ocppcore.envelope import Frame, frame_record
from ocppcore.log import Record, StreamRecord
from ocppcore.service import WHOLE, Event, Need, Service
from ocppcore.store import StateKey
from simulator.inputs import IdToken
from simulator.load.script import UPDATED, Step, token_steps

STATIONS = 5000
UPDATES = 8
FIRST_AT = 1_760_000_000_000
SPACED_MS = 30_000
STAMP = b"2026-01-01T00:00:00.000Z"
_encode = msgspec.json.Encoder(decimal_format="string").encode


def transaction(service: Service) -> list[TransactionEvent]:
    """The events of one transaction: Started, some Updated with meter values, Ended; decided by the service."""
    _, started, ended = token_steps(IdToken.parse("ISO14443:04A1B2C3D4E5F6"))
    events: list[TransactionEvent] = []
    batch = Batch(service, {}, {}, 1)
    for seq_no, played in enumerate((started, *[UPDATED] * UPDATES, ended)):
        outcome = _decided(service, batch, _record(played, seq_no))
        events += (event for event in outcome if isinstance(event, TransactionEvent))
    return events


def _record(played: Step, seq_no: int) -> Record:
    values = (b"m%d" % seq_no, STAMP, seq_no, b"T", STAMP, 1000 + 1533 * seq_no, 5, 11_000)
    frame = Frame(
        "s", "S", 0, 1, seq_no, "ocpp2.0.1", FIRST_AT + seq_no * SPACED_MS, "call", f"m{seq_no}", "TransactionEvent",
        "", played.template % values, "",
    )  # fmt: skip
    new = frame_record(frame, "transactions", 1)
    return Record(new.topic, new.partition, seq_no, new.key, new.value, new.headers, frame.received_at)


def _decided(service: Service, batch: Batch, record: Record) -> list[Event]:
    work = step.prepare(service, record)
    needs: list[Need] = list(work.needs)
    for kind, id_ in needs:
        batch.cache.setdefault(StateKey(kind.KIND, id_), None)
    batch.found = {wanted: WholeCopy.of(()) if wanted[1] == WHOLE else None for wanted in work.lookups}
    batch.cell = Cell(0, 1, {}, {}, record.appended_at, {}, {})
    events: list[Event] = []
    for outcome in step.decide(service, work, batch, record.appended_at):
        batch.apply(outcome, "", "")
        events += outcome.events
    return events


def stream_rows(service: Service, count: int, partitions: int) -> Iterator[StreamRecord]:
    """`count` numbered events of `transactions.events`, transactions of all stations side by side as they would be."""
    shapes = transaction(service)
    topic, numbers = topics.events(service.name), [0] * partitions
    made = turn = 0
    while made < count:
        for shape_no, shape in enumerate(shapes):
            for n in range(STATIONS):
                if made == count:
                    return
                station = f"bench-{n:05d}"
                cell = topics.partition_of(station, partitions)
                later = turn * len(shapes) * SPACED_MS
                event = msgspec.structs.replace(
                    shape,
                    at=shape.at + later,
                    timestamp=shape.timestamp + later,
                    station=station,
                    identity=station.upper(),
                    transaction_id=f"T{turn}-{n}",
                )
                number, numbers[cell] = numbers[cell], numbers[cell] + 1
                id_ = event_id(topic, cell, number)
                cause = f"{station}/1/{turn * len(shapes) + shape_no}"
                headers = event_headers(service.name, event, id_, cause, "")
                yield StreamRecord(topic, cell, number, station, _encode(event), headers)
                made += 1
        turn += 1
