"""What the simulator calls a broken promise."""

import io
from typing import Any

import orjson
import pytest

from simulator.ledger import Ledger, TransactionRecord
from simulator.notes import EventAcknowledged, EventDropped, TransactionBegan
from simulator.promises import compare, undelivered


def acknowledged(seq_no: int, event_type: str = "Updated", register_wh: float | None = None, **more: Any) -> Any:
    known = {"digest": "d", "message_id": "m", "offline": False, "repeat": False, **more}
    return EventAcknowledged("t1", seq_no, event_type, register_wh=register_wh, **known)


def ledger(*notes: Any) -> Ledger:
    book = Ledger()
    for note in (TransactionBegan("t1", 1), *notes):
        book.take("CS-1", note, 0)
    return book


WHOLE = (acknowledged(0, "Started", 100.0), acknowledged(1, register_wh=150.3), acknowledged(2, "Ended", 300.5))
GOOD = {"seqNos": [0, 1, 2], "gaps": [], "energyWh": "200.5"}


def record(*notes: Any) -> TransactionRecord:
    return next(iter(ledger(*notes)))


def test_a_faithful_projection_breaks_nothing() -> None:
    assert compare(record(*WHOLE), GOOD) == []
    assert compare(record(*WHOLE), {**GOOD, "energyWh": 200.50}) == []


@pytest.mark.parametrize(
    ("projection", "complaint"),
    [
        (None, "does not know it"),
        ({**GOOD, "seqNos": [0, 2], "gaps": [1]}, "missing: seqNo [1]"),
        ({**GOOD, "seqNos": [0, 1, 1, 2]}, "counted twice: seqNo [1]"),
        ({**GOOD, "seqNos": [0, 1, 2, 3]}, "seqNo [3] were never sent"),
        ({**GOOD, "energyWh": "401"}, "energy is 200.5 Wh"),
        ({**GOOD, "energyWh": None}, "energy is 200.5 Wh"),
        ({**GOOD, "gaps": [1]}, "gaps are []"),
        ({**GOOD, "conflicts": 1}, "1 conflicts"),
    ],
)
def test_an_unfaithful_projection_is_told_apart(projection: dict[str, Any] | None, complaint: str) -> None:
    assert complaint in " ".join(compare(record(*WHOLE), projection))


@pytest.mark.parametrize("gaps", [[1], [[1, 1]], [{"first": 1, "last": 1}]])
def test_what_was_thinned_is_a_gap_and_no_broken_promise(gaps: list[Any]) -> None:
    thinned = (WHOLE[0], EventDropped("t1", 1, "Updated", True, "full"), WHOLE[2])
    book = ledger(*thinned)
    assert undelivered(book) == []
    assert compare(next(iter(book)), {**GOOD, "seqNos": [0, 2], "gaps": gaps}) == []


def test_a_transaction_under_way_may_have_more_than_was_acknowledged() -> None:
    assert compare(record(*WHOLE[:2]), {"seqNos": [0, 1, 2], "gaps": [], "energyWh": "50.3"}) == []


def test_an_event_that_was_given_up_is_a_broken_promise() -> None:
    book = ledger(WHOLE[0], EventDropped("t1", 1, "Updated", False, "5 attempts failed"))
    assert undelivered(book) == ["CS-1 transaction t1: no acknowledgement for seqNo 1"]


def test_repeats_count_once_and_are_in_the_journal() -> None:
    file = io.BytesIO()
    book = Ledger(file)
    for note in (TransactionBegan("t1", 1), *WHOLE, acknowledged(1, repeat=True, message_id="m2")):
        book.take("CS-1", note, 1_760_000_000_000)
    assert (book.events, book.repeats) == (3, 1)
    lines = [orjson.loads(line) for line in file.getvalue().splitlines()]
    assert [(line["seqNo"], line["repeat"]) for line in lines] == [(0, False), (1, False), (2, False), (1, True)]
    assert lines[3] == {
        "station": "CS-1",
        "transactionId": "t1",
        "seqNo": 1,
        "eventType": "Updated",
        "digest": "d",
        "messageId": "m2",
        "offline": False,
        "repeat": True,
        "acknowledgedAt": "2025-10-09T08:53:20.000Z",
    }
