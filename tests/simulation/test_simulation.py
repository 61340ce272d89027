"""A thousand seeds, and the proof that the simulation can fail: without a check it finds what the check prevents."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from ocppcore import authorization, store
from ocppcore.contracts.charge_details import ChargeDetail
from ocppcore.contracts.open_transactions import Count
from ocppcore.engine import step
from ocppcore.engine.reassert import Reasserter
from ocppcore.memory import MemoryStore
from ocppcore.service import NOTHING, Context, Outcome, View
from services.transactions.actions import transaction_event
from services.transactions.domain import charge_detail, open_transactions
from services.transactions.domain.transaction import Transaction
from tests.simulation import stations, world
from tests.simulation.run import billed, run_seed

SEEDS = int(os.environ.get("CSMS_SIMULATION_SEEDS", "1000"))
BLOCK = 50
TRIES = 120
"""Seeds within which a missing check must show."""


@pytest.mark.requirement("E13.FR.02", "GEN.FR.01")
@pytest.mark.parametrize("first", range(1, SEEDS + 1, BLOCK))
def test_promises_hold_whatever_happens(first: int) -> None:
    bad = {seed: found for seed in range(first, min(first + BLOCK, SEEDS + 1)) if (found := run_seed(seed))}
    lines = [f"python -m tests.simulation {seed}   # {found[0]}" for seed, found in bad.items()]
    assert not bad, "repeat with:\n" + "\n".join(lines)


BILLED = max(2, SEEDS // 20)


def test_what_is_billed_is_the_same_whatever_happens() -> None:
    """The set of charge detail records under faults equals, byte for byte, that of the run without."""
    counted = 0
    for seed in range(1, BILLED + 1):
        calm = billed(seed, faults=False)
        assert billed(seed, faults=True) == calm, f"seed {seed}"
        counted += sum(b'"currency":"EUR"' in made for made in calm.values())
    assert counted > BILLED, "that was no load"


def test_it_finds_a_time_of_receipt_in_what_is_billed(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = charge_detail.detail

    def hasty(held: Transaction, *args: Any, **more: Any) -> ChargeDetail:
        return msgspec.structs.replace(whole(held, *args, **more), stopped_reason=str(held.heard_at))

    monkeypatch.setattr(charge_detail, "detail", hasty)
    assert any(billed(seed, faults=True) != billed(seed, faults=False) for seed in range(1, TRIES + 1))


def _violations() -> Iterator[str]:
    for seed in range(1, TRIES + 1):
        yield from run_seed(seed)


def test_without_the_duplicate_check_it_finds_what_is_counted_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transaction_event, "known_digest", lambda *_: None)
    assert any("counted 2 times" in violation for violation in _violations())


def test_without_the_memory_of_conflicts_it_finds_what_is_raised_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transaction_event, "is_known_conflict", lambda *_: False)
    assert any("times: the conflict" in violation for violation in _violations())


def test_without_the_epoch_check_it_finds_what_is_out_of_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "is_stale", lambda *_: False)
    monkeypatch.setattr(stations, "LOSES", 0.4)  # an old frame comes late where its connection was lost with it
    assert any(" after " in violation for violation in _violations())


def test_without_stopping_it_finds_what_is_one_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authorization, "_concurrent", lambda *_: False)  # as if no copy ever came in time
    monkeypatch.setattr(open_transactions, "stop_excess", lambda *_: NOTHING)
    assert any("one too many and left alone" in violation for violation in _violations())


LATE_SEEDS = max(10, SEEDS // 20)


def test_states_are_the_newest_although_processes_publish_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world, "LATE", 0.02)
    found = [(seed, violation) for seed in range(1, LATE_SEEDS + 1) for violation in run_seed(seed)]
    # Four slots for two gateways that die time and again: now and then all are held.
    assert [one for one in found if "NoFreeSlot" not in one[1]] == []


def test_without_dropping_what_came_late_it_finds_copies_of_an_older_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world, "LATE", 0.02)
    monkeypatch.setattr(store, "is_newer", lambda row, than: row.position >= than.position)
    wanted = ("has other open transactions than their homes", "holds other states than their homes")
    found = set[str]()
    for violation in _violations():
        found |= {text for text in wanted if text in violation}
        if len(found) == len(wanted):
            return
    raise AssertionError(f"only {found}")


def test_without_saying_it_again_it_finds_what_compaction_would_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object) -> None: ...

    monkeypatch.setattr(world, "LATE", 0.02)
    monkeypatch.setattr(Reasserter, "_repair", never)
    assert any("is no more its newest state" in violation for violation in _violations())


def test_without_the_ends_it_finds_what_is_counted_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_transactions, "count", _counts_starts(open_transactions.count))
    assert any("other open transactions at their homes" in violation for violation in _violations())


def _counts_starts(count: Callable[[Count, View, Context], Outcome]) -> Callable[[Count, View, Context], Outcome]:
    return lambda body, view, context: count(body, view, context) if body.since is not None else NOTHING


def test_without_fencing_it_finds_what_a_zombie_did(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = MemoryStore.__init__

    def unfenced(self: MemoryStore, *args: object, **more: object) -> None:
        whole(self, *args, **more)  # type: ignore[arg-type]
        self.fencing = False

    monkeypatch.setattr(MemoryStore, "__init__", unfenced)
    assert any("published twice with different content" in violation for violation in _violations())
