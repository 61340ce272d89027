"""The events that a replay is measured with are those that the service itself would have decided."""

from collections import Counter

import msgspec

from csms import houses
from csms.bench.events import STATIONS, UPDATES, stream_rows, transaction
from ocppcore import topics
from ocppcore.contracts.transactions import TransactionEnded, TransactionStarted, TransactionUpdated
from ocppcore.engine.batch import decode_event
from ocppcore.settings import Keys

SERVICE = houses.definition("transactions", Keys(b"p" * 32, b"k" * 32))


def test_a_transaction_is_decided_by_the_service() -> None:
    events = transaction(SERVICE)
    kinds = [TransactionStarted, *[TransactionUpdated] * UPDATES, TransactionEnded]
    assert [type(event) for event in events] == kinds
    assert [event.seq_no for event in events] == list(range(len(kinds)))
    assert events[0].token
    assert events[-1].last_register is not None
    assert len({event.digest for event in events}) == len(events)


def test_rows_are_numbered_densely_in_the_cell_of_their_station() -> None:
    rows = list(stream_rows(SERVICE, STATIONS + 100, 4))
    assert len(rows) == STATIONS + 100
    for cell in range(4):
        ours = [row for row in rows if row.partition == cell]
        assert [row.number for row in ours] == list(range(len(ours)))
        assert all(topics.partition_of(row.key, 4) == cell for row in ours)
        assert [row.headers["ce_id"] for row in ours[:2]] == [f"transactions/{cell}/0", f"transactions/{cell}/1"]
    kinds = Counter(type(decode_event(SERVICE, row.headers, row.value)) for row in rows)
    assert kinds == {TransactionStarted: STATIONS, TransactionUpdated: 100}
    assert msgspec.json.decode(rows[0].value)["station"] == rows[0].key
