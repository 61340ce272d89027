"""Energy that is missing between transactions (J02.FR.17), whatever comes first."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocppcore import commands
from ocppcore.contracts.metering import MeterGapFound, TransactionMetered
from ocppcore.pseudonym import Pseudonyms
from services.transactions.domain.meter_gaps import GAPS, KEPT_MAX, StationMeter
from services.transactions.service import parts
from tests.support.given import World
from tests.support.transaction_frames import event


@pytest.fixture
def world() -> World:
    return World("transactions", [*parts(Pseudonyms(b"k")), commands.part(commands.commands("transactions"))])


def started(name: str, wh: float, minute: int, evse: int = 1) -> dict[str, Any]:
    at = f"2026-01-01T10:{minute:02}:00Z"
    return event("Started", 0, transaction=name, wh=wh, context="Transaction.Begin", at=at, evse={"id": evse})


def ended(name: str, wh: float, minute: int) -> dict[str, Any]:
    at = f"2026-01-01T10:{minute:02}:00Z"
    return event("Ended", 1, transaction=name, wh=wh, context="Transaction.End", at=at)


def heard(world: World, *payloads: dict[str, Any]) -> None:
    for payload in payloads:
        world.call("TransactionEvent", payload)


def gaps(world: World) -> list[tuple[str, str, str]]:
    return [(str(row["before"]), str(row["after"]), str(row["missing_wh"])) for row in world.rows(GAPS)]


@pytest.mark.requirement("J02.FR.17")
def test_energy_between_two_transactions_is_noticed_at_the_next_begin(world: World) -> None:
    heard(world, started("T1", 1000, 0), ended("T1", 1500, 5), started("T2", 1620, 10))
    assert gaps(world) == [("T1", "T2", "120")]
    (found,) = [one for one in world.events if isinstance(one, MeterGapFound)]
    assert (found.evse_id, found.ended_wh, found.started_wh) == (1, "1500", "1620")


@pytest.mark.requirement("J02.FR.17")
def test_a_register_that_goes_on_where_it_stood_is_no_news(world: World) -> None:
    heard(world, started("T1", 1000, 0), ended("T1", 1500, 5), started("T2", 1500, 10), ended("T2", 1500, 11))
    assert gaps(world) == []
    assert [one.transaction_id for one in world.events if isinstance(one, TransactionMetered)] == ["T1", "T2"]


@pytest.mark.requirement("J02.FR.17", "J02.FR.16")
def test_a_meter_that_was_replaced_between_shows(world: World) -> None:
    heard(world, started("T1", 1000, 0), ended("T1", 1500, 5), started("T2", 3, 10))
    assert gaps(world) == [("T1", "T2", "-1497")]


@pytest.mark.requirement("J02.FR.17")
def test_a_register_that_is_based_anew_each_time_tells_nothing(world: World) -> None:
    heard(world, started("T1", 0, 0), ended("T1", 500, 5), started("T2", 0, 10), ended("T2", 70, 12))
    assert gaps(world) == []


@pytest.mark.requirement("J02.FR.17")
def test_evses_have_meters_of_their_own(world: World) -> None:
    heard(world, started("T1", 1000, 0), ended("T1", 1500, 5), started("T2", 9000, 10, evse=2))
    assert gaps(world) == []


@pytest.mark.requirement("J02.FR.17")
@given(st.permutations(range(6)))
def test_the_order_of_arrival_does_not_matter(order: list[int]) -> None:
    frames = [
        started("T1", 1000, 0), ended("T1", 1500, 5), started("T2", 1500, 10), ended("T2", 1700, 15),
        started("T3", 1710, 20), ended("T3", 1800, 25),
    ]  # fmt: skip
    made = World("transactions", [*parts(Pseudonyms(b"k")), commands.part(commands.commands("transactions"))])
    heard(made, *(frames[place] for place in order))
    assert gaps(made) == [("T2", "T3", "10")]


@pytest.mark.requirement("J02.FR.17")
def test_what_comes_late_takes_a_gap_back(world: World) -> None:
    heard(world, started("T1", 1000, 0), ended("T1", 1500, 5), started("T3", 1700, 20), ended("T3", 1800, 25))
    assert gaps(world) == [("T1", "T3", "200")]
    heard(world, started("T2", 1500, 10), ended("T2", 1700, 15))
    assert gaps(world) == []
    last = [one for one in world.events if isinstance(one, MeterGapFound)][-1]
    assert (last.after, Decimal(last.missing_wh)) == ("T3", Decimal(0))


def test_a_transaction_without_registers_shows_nothing(world: World) -> None:
    heard(world, event("Started", 0, evse={"id": 1}), event("Ended", 1))
    assert world.state(StationMeter, "cs-1") is None


def test_what_is_remembered_is_bounded(world: World) -> None:
    for n in range(20):
        heard(world, started(f"T{n}", 1000 + 20 * n, 2 * n), ended(f"T{n}", 1010 + 20 * n, 2 * n + 1))
    meter = world.state(StationMeter, "cs-1")
    assert meter is not None
    assert (len(meter.evses[1]), len(meter.noticed)) == (KEPT_MAX, KEPT_MAX)
    assert len(gaps(world)) == 19
