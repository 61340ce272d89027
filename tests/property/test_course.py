"""Any order, repetition and delay of a transaction's events gives the same course and cost, and cost told event by
event is cost told at once."""

import random
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from ocppcore.contracts.transactions import Register, TransactionEnded, TransactionEvent, TransactionUpdated
from services.transactions.domain import energy
from services.transactions.domain.course import KNOTS_MAX, NO_TARIFF, Piece, add, course, stamp, totals
from services.transactions.domain.rating import rate, rate_along, total_along, total_steady
from services.transactions.domain.transaction import add_seq
from tests.support.tariffs import tariff

MINUTE = 60_000
BEGIN = 1_780_000_000_000
TARIFFS = (
    tariff({"ENERGY": ("0.30", 100, "19"), "FLAT": "1.00"}),
    tariff(
        {"ENERGY": "0.10", "when": {"startTime": "22:07", "endTime": "06:00"}},
        {"ENERGY": "0.20", "when": {"maxKwh": "3"}},
        {"ENERGY": "0.45", "TIME": "1.00", "when": {"minPower": "5"}},
        {"ENERGY": "0.40", "PARKING_TIME": ("3.00", 60, "19"), "when": {"minDuration": 1800}},
        {"ENERGY": "0.35", "TIME": "0.50"},
        version=2,
    ),
)
PLAIN = tariff(
    {"ENERGY": "0.30", "PARKING_TIME": ("2.00", 600, "7")},
    {"FLAT": "0.50", "TIME": ("1.00", 300, "19")},
    {"ENERGY": "9", "when": {"minKwh": "1"}},
    minPrice={"exclVat": "1.50"},
    maxPrice={"exclVat": "20"},
)
TIMED = tariff(
    {"ENERGY": "0.10", "when": {"startTime": "20:30", "endTime": "21:00"}},
    {"TIME": "1.00", "FLAT": "1", "when": {"startTime": "20:45"}},
    {"ENERGY": "0.20", "FLAT": "2", "PARKING_TIME": ("3.00", 300, "7")},
)
"""BEGIN is 20:26:40 UTC."""
BY_REF = {made.ref: made for made in TARIFFS}


def told(seq: int, at: int, *, state: str = "", registers: Sequence[Register] = (), tariff: str = "") -> Any:
    first = min(registers, key=lambda r: (r.rank, r.index)) if registers else None
    last = max(registers, key=lambda r: (r.rank, r.index)) if registers else None
    wh, drops = energy.along(sorted(registers, key=lambda r: (r.rank, r.index)))
    return TransactionUpdated(
        at=0,
        station="cs-1",
        transaction_id="T",
        seq_no=seq,
        timestamp=at,
        trigger_reason="MeterValuePeriodic",
        digest="",
        charging_state=state,
        first_register=first,
        last_register=last,
        registered_wh=format(wh, "f") if drops else "",
        register_drops=drops,
        tariff=tariff,
    )


def fold(events: Sequence[TransactionEvent]) -> tuple[Piece, ...]:
    seen: tuple[tuple[int, int], ...] = ()
    pieces: tuple[Piece, ...] = ()
    known = set()
    for event in events:
        if event.seq_no not in known:
            known.add(event.seq_no)
            seen = add_seq(seen, event.seq_no)
            pieces = add(pieces, seen, event)
            pieces = msgspec.json.decode(msgspec.json.encode(pieces), type=tuple[Piece, ...])
    return pieces


@st.composite
def transactions(draw: st.DrawFn) -> list[TransactionEvent]:
    at, register, seq = BEGIN, draw(st.integers(0, 1000)), draw(st.integers(0, 5))
    calm = draw(st.booleans())
    made: list[TransactionEvent] = []
    for _ in range(draw(st.integers(1, 14))):
        readings = []
        for index in range(draw(st.sampled_from([0, 1, 1, 1, 2, 3]))):
            register = draw(st.one_of(st.just(register), st.integers(register, register + 20_000), st.integers(0, 500)))
            at += draw(st.sampled_from([0, 10_000, MINUTE, *([] if calm else [7 * MINUTE])]))
            rank = 0 if not made and index == 0 and draw(st.booleans()) else 1
            readings.append(Register(rank, index, at, f"{register / 10}"))
        at += draw(st.sampled_from([0, 0, 5000] if calm else [0, 0, 5000, 20 * MINUTE, -3 * MINUTE]))
        owner, ref = draw(
            st.sampled_from([(None, "1/t"), (0, "1/t"), (0, "1/t"), (0, "2/t"), (3, "2/t"), (0, NO_TARIFF), (0, "")])
        )
        state = draw(st.sampled_from(["", "Charging", "Charging", "SuspendedEV", "EVConnected"]))
        if calm:
            owner, ref, state = 0, "2/t", "Charging"
        made.append(told(seq, at, state=state, registers=readings, tariff=stamp(ref, owner) if ref else ""))
        seq += draw(st.sampled_from([1, 1, 1, 2]))
    return made


def costs(pieces: Sequence[Piece]) -> Any:
    found = course(pieces)
    assert found is not None
    bill, total = rate_along(BY_REF, found), total_along(BY_REF, found)
    assert (bill is None and total is None) or (
        bill is not None and total == (bill.currency, bill.excl_vat, bill.incl_vat)
    )
    sums = totals(pieces, None)
    assert sums is not None
    for made in (TARIFFS[0], PLAIN, TIMED):
        whole, steady = rate(made, found), total_steady(made, sums)
        assert steady == (whole.currency, whole.excl_vat, whole.incl_vat) or (made is TIMED and steady is None)
    if sums.tariff == "1/t" and bill is not None:
        assert bill == rate(TARIFFS[0], found)
    return bill, [rate(made, found) for made in TARIFFS]


@settings(max_examples=400, deadline=None)
@given(transactions(), st.randoms(use_true_random=False))
def test_order_repeats_and_delay_do_not_matter(events: list[TransactionEvent], chance: Any) -> None:
    expected = fold(events)
    shuffled = [*events, *chance.choices(events, k=len(events))]
    chance.shuffle(shuffled)
    assert fold(shuffled) == expected
    assert costs(fold(shuffled)) == costs(expected)


@settings(max_examples=200, deadline=None)
@given(transactions())
def test_event_by_event_is_at_once(events: list[TransactionEvent]) -> None:
    """The course that grew with each event gives the cost of one that was built from the whole, at each moment."""
    seen: tuple[tuple[int, int], ...] = ()
    grown: tuple[Piece, ...] = ()
    for number, event in enumerate(events, 1):
        seen = add_seq(seen, event.seq_no)
        grown = add(grown, seen, event)
        assert costs(grown) == costs(fold(list(reversed(events[:number]))))


@settings(max_examples=300, deadline=None)
@given(transactions())
def test_all_energy_and_time_is_rated_and_none_twice(events: list[TransactionEvent]) -> None:
    pieces = fold(events)
    found = course(pieces)
    assert found is not None
    old: tuple[energy.Piece, ...] = ()
    seen: tuple[tuple[int, int], ...] = ()
    for event in events:
        seen = add_seq(seen, event.seq_no)
        old = energy.add(old, seen, event.seq_no, energy.span(event))
    assert found.energy_wh == energy.total(old)[0]
    assert all(period.wh >= 0 and period.end >= period.start for period in found.periods)
    for made in TARIFFS:
        bill = rate(made, found)
        assert bill.energy_wh == found.energy_wh
        assert bill.charging_ms + bill.parking_ms == found.end - found.start
        priced = sum((line.volume for line in bill.lines if line.dimension == "ENERGY"), Decimal(0))
        assert priced * 1000 == found.energy_wh


def test_a_week_of_samples_each_minute_stays_small() -> None:
    chance = random.Random(7)
    register, pieces = 0, ()
    seen: tuple[tuple[int, int], ...] = ()
    for minute in range(7 * 24 * 60):
        register += chance.randrange(50, 200)
        reading = Register(1, 0, BEGIN + minute * MINUTE, str(register))
        event = told(minute, reading.at, state="Charging", registers=[reading], tariff=stamp("1/t", 0))
        seen = add_seq(seen, minute)
        pieces = add(pieces, seen, event)  # type: ignore[assignment]
    (held,) = pieces
    assert len(held.knots) <= 2 * 7 * 24 * 4 + 2
    assert len(msgspec.json.encode(pieces)) < 100_000
    found = course(pieces)
    assert found is not None and found.end - found.start == (7 * 24 * 60 - 1) * MINUTE
    parked = told(minute + 1, BEGIN + (minute + 1) * MINUTE, state="SuspendedEV")
    pieces = add(pieces, ((0, minute + 1),), parked)  # type: ignore[assignment]
    for later in range(minute + 2, minute + 2000):
        event = told(later, BEGIN + later * MINUTE, state="SuspendedEV")
        pieces = add(pieces, ((0, later),), event)  # type: ignore[assignment]
    assert len(pieces[0].knots) <= len(held.knots) + 2


def test_a_state_that_changes_each_minute_for_days_stays_bounded() -> None:
    pieces: tuple[Piece, ...] = ()
    for minute in range(3 * KNOTS_MAX):
        reading = Register(1, 0, BEGIN + minute * MINUTE, str(minute * 10))
        state = ("Charging", "SuspendedEV")[minute % 2]
        pieces = add(pieces, ((0, minute),), told(minute, reading.at, state=state, registers=[reading]))
    assert len(pieces[0].knots) <= KNOTS_MAX
    found = course(pieces)
    assert found is not None and found.energy_wh == (3 * KNOTS_MAX - 1) * 10


def test_a_wrong_clock_is_not_rated_for_years() -> None:
    events = [told(0, 0, state="Charging"), told(1, BEGIN, state="Charging")]
    found = course(fold(events))
    assert found is not None and found.end == 31 * 24 * 3600 * 1000


def test_energy_flows_while_there_is_charging() -> None:
    first, last = Register(1, 0, BEGIN, "0"), Register(1, 0, BEGIN + 20 * MINUTE, "1000")
    events = [
        told(0, BEGIN, state="Charging", registers=[first]),
        told(1, BEGIN + 10 * MINUTE, state="SuspendedEV"),
        TransactionEnded(**{**msgspec.structs.asdict(told(2, last.at, registers=[last]))}),
    ]
    found = course(fold(events))
    assert found is not None
    assert [(period.charging, period.wh) for period in found.periods] == [(True, 1000), (False, 0)]
    whole = course(fold(events), Decimal(1500))
    assert whole is not None and (whole.periods[0].wh, whole.energy_wh) == (1500, 1500)
