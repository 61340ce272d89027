"""Hours of meter values: where samples are found, and when their figures are made."""

import msgspec
import pytest

from ocppcore import commands
from ocppcore.clock import to_rfc3339
from ocppcore.contracts.metering import MeterHourBegun, MeterHourDue, RolledSeries, RollUp
from ocppcore.contracts.transactions import MeterValuesReceived
from ocppcore.pseudonym import Pseudonyms
from services.transactions.domain.meter_hours import AGE_MAX_MS, ARRIVALS, HOUR_MS, HOURS, ROLL_UP, hour_of
from services.transactions.service import parts
from tests.support.given import NOW, World
from tests.support.transaction_frames import event

HOUR = hour_of(NOW)


@pytest.fixture
def world() -> World:
    return World("transactions", [*parts(Pseudonyms(b"k")), commands.part(commands.commands("transactions"))])


def meter_values(*times: int, evse: int = 1) -> dict[str, object]:
    samples = [{"value": 5}]
    return {"evseId": evse, "meterValue": [{"timestamp": to_rfc3339(at), "sampledValue": samples} for at in times]}


def begun(world: World) -> list[tuple[int, int]]:
    return [(one.hour, one.arrived) for one in world.events if isinstance(one, MeterHourBegun)]


def test_the_first_sample_of_an_hour_begins_it(world: World) -> None:
    world.call("MeterValues", meter_values(NOW))
    world.call("MeterValues", meter_values(NOW + 1000, evse=2))
    world.call("TransactionEvent", event("Started", 0, wh=5, at=to_rfc3339(NOW)))
    assert begun(world) == [(HOUR, HOUR)]
    world.wait(HOUR_MS)
    world.call("MeterValues", meter_values(world.now))
    assert begun(world) == [(HOUR, HOUR), (HOUR + HOUR_MS, HOUR + HOUR_MS)]
    assert [row["hour"] for row in world.rows(ARRIVALS)] == [HOUR, HOUR + HOUR_MS]


def test_samples_that_come_late_begin_their_hours_again(world: World) -> None:
    world.call("MeterValues", meter_values(NOW))
    world.wait(2 * HOUR_MS)
    world.call("MeterValues", meter_values(NOW, NOW + HOUR_MS, world.now))
    late = HOUR + 2 * HOUR_MS
    assert begun(world) == [(HOUR, HOUR), (HOUR, late), (HOUR + HOUR_MS, late), (late, late)]


def test_a_clock_that_is_far_off_begins_nothing(world: World) -> None:
    world.call("MeterValues", meter_values(0, NOW - AGE_MAX_MS - 1, NOW + 48 * HOUR_MS))
    assert begun(world) == []
    assert isinstance(world.events[0], MeterValuesReceived)


def test_figures_are_wanted_when_the_hour_is_over(world: World) -> None:
    world.call("MeterValues", meter_values(NOW))
    due = world.timers[ROLL_UP, f"cs-1/{HOUR}"]
    assert HOUR + HOUR_MS < due < HOUR + 2 * HOUR_MS
    world.now = due
    outcome = world.tick(ROLL_UP, f"cs-1/{HOUR}")
    assert outcome.events == (MeterHourDue(at=due, station="cs-1", hour=HOUR),)
    assert world.timers == {}


def test_what_comes_once_figures_were_wanted_begins_the_hour_again(world: World) -> None:
    world.call("MeterValues", meter_values(NOW - HOUR_MS))
    world.wait(20 * 60_000)
    world.tick(ROLL_UP, f"cs-1/{HOUR - HOUR_MS}")
    world.call("MeterValues", meter_values(NOW - HOUR_MS + 1))
    assert begun(world) == [(HOUR - HOUR_MS, HOUR)] * 2
    assert (ROLL_UP, f"cs-1/{HOUR - HOUR_MS}") in world.timers


def test_figures_that_come_again_replace_those_before(world: World) -> None:
    series = RolledSeries(
        evse_id=1, kind="sampled", measurand="Voltage", unit="V", count=2, min="229", max="231", sum="460",
        first_at=NOW, first="229", last_at=NOW + 1, last="231",
    )  # fmt: skip
    world.ask(RollUp.NAME, RollUp(hour=HOUR, series=(series,)), key="cs-1")
    more = msgspec.structs.replace(series, count=3, sum="690")
    world.ask(RollUp.NAME, RollUp(hour=HOUR, series=(more,)), key="cs-1")
    (row,) = world.rows(HOURS)
    assert (row["hour"], row["evse_id"], row["count"], row["sum"]) == (HOUR, 1, 3, "690")


def test_figures_of_a_part_of_the_samples_replace_nothing(world: World) -> None:
    outcome = world.ask(RollUp.NAME, RollUp(hour=HOUR, partial=True), key="cs-1")
    assert outcome.events == ()


def test_samples_are_kept_with_the_evse_of_their_transaction(world: World) -> None:
    world.call("TransactionEvent", event("Started", 0, evse={"id": 2, "connectorId": 1}))
    world.call("TransactionEvent", event("Updated", 1, wh=5))
    (kept,) = [one for one in world.events if isinstance(one, MeterValuesReceived)]
    assert kept.evse_id == 2
