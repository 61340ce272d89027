"""Any order, repetition and delay of a transaction's events gives the same end state."""

import json
import random
from collections import Counter
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocppcore import topics
from ocppcore.clock import to_rfc3339
from ocppcore.pseudonym import Pseudonyms
from ocppcore.tariff import Assignments, TariffState
from services.transactions.domain.transaction import CONFLICTS_KNOWN_MAX, RANGES_MAX, TRANSACTIONS
from services.transactions.service import parts
from tests.support.given import NOW, World
from tests.support.tariffs import tariff
from tests.support.transaction_frames import event

ARRIVAL = ("heard_at", "changed_at", "clock_offset_ms")
"""The only columns that say when something came, or what that shows of the station's clock."""


PSEUDONYMS = Pseudonyms(b"k")
ELEMENTS = ({"ENERGY": ("0.30", 100, "19"), "PARKING_TIME": "6.00", "FLAT": "1.00"},)
LATER = ({"ENERGY": "0.10", "when": {"startTime": "10:30"}}, {"ENERGY": "0.50", "TIME": ("2.00", 60, None)})
TARIFFS = (
    (tariff(*ELEMENTS, id="everybody"), Assignments(default=True)),
    (tariff(*LATER, id="a"), Assignments(groups=("a",))),
    (tariff(*ELEMENTS, *LATER, id="b"), Assignments(tokens=(PSEUDONYMS.of("ISO14443", "B"),))),
)


def fold(payloads: list[dict[str, Any]]) -> dict[str, Any]:
    world = World("transactions", parts(PSEUDONYMS))
    for position, (made, whose) in enumerate(TARIFFS):
        state = TariffState(id=made.id, versions=(made,), assignments=whose)
        world.given_copy(topics.TARIFFS, made.id, state, position)
    for card in ("A", "B"):
        group = {"idToken": card, "type": "Central"}
        token = {"type": "ISO14443", "status": "Accepted", "group": group}
        world.given_copy(topics.TOKENS, PSEUDONYMS.of("ISO14443", card), token)
    for payload in payloads:
        world.wait(1000)
        world.call("TransactionEvent", payload)
    (row,) = world.rows(TRANSACTIONS)
    return {column: value for column, value in row.items() if column not in ARRIVAL}


@st.composite
def transactions(draw: st.DrawFn) -> list[dict[str, Any]]:
    first, count = draw(st.integers(0, 100)), draw(st.integers(1, 12))
    numbers = draw(st.lists(st.integers(first, first + 2 * count), min_size=1, max_size=count, unique=True))
    made = []
    for number in sorted(numbers):
        kind = draw(st.sampled_from(["Started", "Updated", "Updated", "Updated", "Ended"]))
        state = draw(st.sampled_from(["Charging", "SuspendedEV", "Idle", None]))
        info: dict[str, Any] = {"chargingState": state} if state else {}
        if kind == "Ended":
            info["stoppedReason"] = draw(st.sampled_from(["Local", "PowerLoss", "EVDisconnected"]))
        more: dict[str, Any] = {}
        if draw(st.booleans()):
            more["evse"] = {"id": draw(st.integers(1, 3)), "connectorId": 1}
        if draw(st.integers(0, 3)) == 0:
            more["token"] = draw(st.sampled_from(["A", "B", "unknown"]))
            more["trigger"] = draw(st.sampled_from(["Authorized", "StopAuthorized"]))
        if draw(st.booleans()):
            more["at"] = f"2026-01-01T10:{draw(st.integers(0, 59)):02}:00Z"
        if draw(st.booleans()):
            more["wh"] = draw(st.integers(0, 10**6)) / 10
            more["context"] = draw(st.sampled_from(["Transaction.Begin", "Sample.Periodic", "Transaction.End"]))
        made.append(event(kind, number, info=info, **more))
    return made


@settings(max_examples=300, deadline=None)
@given(transactions(), st.randoms(use_true_random=False))
def test_order_repeats_and_delay_do_not_matter(payloads: list[dict[str, Any]], chance: Any) -> None:
    expected = fold(payloads)
    shuffled = [*payloads, *chance.choices(payloads, k=len(payloads))]
    chance.shuffle(shuffled)
    assert fold(shuffled) == expected
    assert json.loads(expected["seen"])


@settings(max_examples=200, deadline=None)
@given(transactions(), st.integers(1, 10), st.randoms(use_true_random=False))
def test_repeats_of_conflicts_count_once(payloads: list[dict[str, Any]], others: int, chance: Any) -> None:
    """What comes first under a seqNo counts, so the order of contents is kept here; each content may come again."""
    twins = [chance.choice(payloads) | {"cableMaxCurrent": number} for number in range(others)]
    once = [*payloads, *twins]
    expected = fold(once)
    assert expected["conflicts"] == others
    repeated = list(once)
    for place in range(len(once), 0, -1):
        repeated[place:place] = chance.choices(once[:place], k=chance.randrange(3))
    found = fold(repeated)
    if max(Counter(twin["seqNo"] for twin in twins).values()) > CONFLICTS_KNOWN_MAX:
        assert found.pop("conflicts") >= expected.pop("conflicts")
    assert found == expected


FOLLOWS_GAPS = ("seen", "gaps", "missing", "gaps_exact", "cost_excl_vat", "cost_incl_vat")
"""The columns that may depend on the order of arrival once there were too many gaps at once."""


@pytest.mark.parametrize("more", [1, 2, 20])
def test_too_many_gaps_change_nothing_but_what_is_said_of_gaps(more: int) -> None:
    chance = random.Random(more)
    numbers = list(range(0, 2 * (RANGES_MAX + more), 2))
    payloads = [event("Updated", number, wh=number / 2) for number in numbers]
    expected = fold(payloads)
    assert (expected["gaps_exact"], len(json.loads(expected["seen"]))) == (False, RANGES_MAX)
    assert Decimal(expected["energy_wh"]) == numbers[-1] // 2
    assert expected["meter_drops"] == 0
    chance.shuffle(payloads)
    found = fold(payloads)
    assert len(json.loads(found["seen"])) <= RANGES_MAX
    assert {c: v for c, v in found.items() if c not in FOLLOWS_GAPS} == {
        c: v for c, v in expected.items() if c not in FOLLOWS_GAPS
    }
    late = [event("Updated", number, wh=number / 2) for number in range(1, numbers[-1], 2)]
    chance.shuffle(late)
    whole = fold([*payloads, *late])
    assert (Decimal(whole["energy_wh"]), whole["meter_drops"]) == (numbers[-1] // 2, 0)
    assert (json.loads(whole["seen"]), whole["missing"]) == ([[0, numbers[-1]]], 0)


def readings(first: int, values: list[int], *, last: str = "") -> list[dict[str, Any]]:
    """A meterValue list of registers in tenths of a Wh, taken one minute after the other from minute `first` on."""
    found = []
    for number, value in enumerate(values, first):
        context = last if last and number == first + len(values) - 1 else "Sample.Periodic"
        context = "Transaction.Begin" if number == 0 else context
        sample = {"value": value / 10, "context": context}
        found.append({"timestamp": to_rfc3339(NOW + number * 60_000), "sampledValue": [sample]})
    return found


def counted(values: list[int]) -> tuple[Decimal, int]:
    """Energy and drops along registers in tenths of a Wh."""
    steps = [after - before for before, after in pairwise(values)]
    return Decimal(sum(max(0, step) for step in steps)) / 10, sum(step < 0 for step in steps)


@st.composite
def courses(draw: st.DrawFn) -> tuple[list[int], list[dict[str, Any]]]:
    """A register's course, which may fall, and the transaction that reports it in up to 12 events."""
    batches = draw(st.lists(st.lists(st.integers(0, 10**6), max_size=4), min_size=1, max_size=12))
    values: list[int] = []
    payloads: list[dict[str, Any]] = []
    number = draw(st.integers(0, 70))
    for place, batch in enumerate(batches):
        kind = "Started" if place == 0 else "Ended" if place == len(batches) - 1 else "Updated"
        more: dict[str, Any] = {"meterValue": readings(len(values), batch)} if batch else {}
        payloads.append(event(kind, number, **more))
        values += batch
        number += draw(st.integers(1, 3))
    return values, payloads


@pytest.mark.requirement("J02.FR.16")
@settings(max_examples=300, deadline=None)
@given(courses(), st.randoms(use_true_random=False))
def test_a_register_that_falls_restarts_the_count_in_whatever_order_events_come(
    course: tuple[list[int], list[dict[str, Any]]], chance: Any
) -> None:
    values, payloads = course
    expected = fold(payloads)
    assert (Decimal(expected["energy_wh"] or 0), expected["meter_drops"]) == counted(values)
    shuffled = [*payloads, *chance.choices(payloads, k=len(payloads))]
    chance.shuffle(shuffled)
    assert fold(shuffled) == expected


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 10**6), min_size=3, max_size=12), st.integers(0, 10), st.booleans(), st.booleans())
def test_readings_that_come_again_with_the_end_count_once(
    values: list[int], known: int, grows: bool, together: bool
) -> None:
    """Stations may send all samples with Ended (E06.FR.11); some or none of them came before."""
    values = sorted(values) if grows else values
    updates = [
        event("Updated", n + 1, meterValue=readings(n, [value])) for n, value in enumerate(values[: min(known, 9)])
    ]
    ended = event("Ended", 20, meterValue=readings(0, values, last="Transaction.End"))
    if together:
        for sample in ended["meterValue"]:
            sample["timestamp"] = to_rfc3339(NOW + 3_600_000)
    row = fold([event("Started", 0), *updates, ended])
    energy, drops = Decimal(row["energy_wh"]), row["meter_drops"]
    assert (energy, bool(drops)) == (counted(values)[0], bool(counted(values)[1]))
