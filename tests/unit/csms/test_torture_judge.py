"""The judge of the torture finds what is lost, doubled or left over."""

from collections import Counter
from typing import Any

import pytest

from csms.torture import judge
from csms.torture.judge import Command
from csms.torture.plan import plan
from ocppcore.contracts.transactions import TransactionStarted
from ocppcore.log import Record
from simulator.ledger import TransactionRecord

TARGETS = ("gateway", "device", "broker")


def record(number: int, value: bytes = b"{}", position: int = 0) -> Record:
    return Record("transactions.events", 0, position, "cs1", value, {"number": str(number)}, 0)


def event(seq_no: int, transaction_id: str = "T1", station: str = "cs1") -> TransactionStarted:
    return TransactionStarted(
        at=0, station=station, transaction_id=transaction_id, seq_no=seq_no, timestamp=0, trigger_reason="", digest=""
    )


def acknowledged(*seq_nos: int) -> TransactionRecord:
    return TransactionRecord("CS1", "t1", acknowledged=sum(1 << number for number in seq_nos))


def test_numbers_that_come_again_count_once() -> None:
    read = judge.stream("p", [record(0), record(1), record(0), record(1), record(2)])
    assert [int(one.headers["number"]) for one in read.records] == [0, 1, 2]
    assert (read.repeats, read.faults) == (2, [])


@pytest.mark.parametrize(
    ("records", "fault"),
    [
        ([record(0), record(2)], "p: after number 0 comes 2"),
        ([record(1)], "p: after number -1 comes 1"),
        ([record(0), record(0, b'{"x":1}')], "p: number 0 came again with other content"),
    ],
)
def test_gap_and_changed_number_are_found(records: list[Record], fault: str) -> None:
    assert judge.stream("p", records).faults == [fault]


def test_events_are_recorded_once_by_business_key() -> None:
    keys = judge.business_keys([event(0), event(1), event(0, "T2"), event(0, station="cs2")])
    assert judge.recorded_once(keys, [acknowledged(0, 1)]) == []


def test_lost_and_doubled_events_are_found() -> None:
    keys = judge.business_keys([event(0), event(0, "t1"), event(2)])
    assert judge.recorded_once(keys, [acknowledged(0, 1, 2)]) == [
        "('cs1', 't1', 0): recorded 2 times",
        "('cs1', 't1', 1): acknowledged, but never recorded",
    ]


GOOD = Command("c", "Reset", "answered", repeatable=False)


@pytest.mark.parametrize(
    ("changes", "times", "fault"),
    [
        ({}, 1, None),
        ({"status": "unknown"}, 1, None),
        ({"status": "timeout"}, 0, None),
        ({"repeatable": True}, 2, None),
        ({}, 2, "its station had it 2 times"),
        ({}, 0, "but no station answered it"),
        ({"status": "not_connected"}, 1, "but its station had it"),
        ({"status": "queued"}, 0, "long after it was asked"),
    ],
)
def test_commands(changes: dict[str, Any], times: int, fault: str | None) -> None:
    faults = judge.commands([GOOD._replace(**changes)], Counter({"c": times}))
    assert [one.partition(", ")[2] for one in faults] == ([fault] if fault else [])


def test_seed_repeats_the_plan_and_every_target_is_killed_in_turn() -> None:
    first = plan(7, 9, TARGETS, 1.0)
    assert first == plan(7, 9, TARGETS, 1.0)
    assert first != plan(8, 9, TARGETS, 1.0)
    rounds = [{kill.target for kill in first[start : start + 3]} for start in (0, 3, 6)]
    assert rounds == [set(TARGETS)] * 3
    assert all(0 <= kill.pause_s <= 2 for kill in first)
