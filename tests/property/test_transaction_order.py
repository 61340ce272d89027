"""Any order, repetition and delay of a transaction's events gives the same end state."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ocppcore.pseudonym import Pseudonyms
from services.transactions.domain.transaction import TRANSACTIONS
from services.transactions.service import parts
from tests.support.given import World
from tests.support.transaction_frames import event

ARRIVAL = ("changed_at",)
"""The only column that says when something came."""


def fold(payloads: list[dict[str, Any]]) -> dict[str, Any]:
    world = World("transactions", parts(Pseudonyms(b"k")))
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
