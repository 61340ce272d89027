"""Figures over samples: exact, and the same however the time is cut."""

from collections.abc import Sequence
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from services.transactions.domain.figures import SeriesKey, coarser, linked, over
from services.transactions.domain.measurands import Sample

REGISTER = "Energy.Active.Import.Register"
HOUR = 3_600_000
WH = SeriesKey("sampled", REGISTER, "", "Outlet", "Wh")


def sample(at: int, value: str | int, measurand: str = REGISTER, unit: str = "Wh", **more: str) -> Sample:
    return Sample(at, Decimal(value), measurand, more.get("phase", ""), "Outlet", unit, "Sample.Periodic")


def test_a_power_has_least_most_and_average() -> None:
    found = over([sample(at, value, "Power.Active.Import", "W") for at, value in ((0, 5), (10, -1), (20, 5))], HOUR)
    (figures,) = found[SeriesKey("sampled", "Power.Active.Import", "", "Outlet", "W")].values()
    assert [figures.count, figures.min, figures.max, figures.average] == [3, -1, 5, 3]
    assert [figures.energy, figures.drops] == [0, 0]


def test_a_meter_that_was_replaced_starts_again() -> None:
    readings = [(0, 1000), (10, 1500), (20, 20), (30, 120)]
    figures = over([sample(at, value) for at, value in readings], HOUR)[WH][0]
    assert [figures.energy, figures.drops] == [600, 1]


def test_phases_and_kinds_are_never_mixed() -> None:
    samples = [sample(0, 1, phase="L1"), sample(0, 2, phase="L2"), sample(0, 3)._replace(context="Sample.Clock")]
    assert len(over(samples, HOUR)) == 3


def test_a_reading_that_came_twice_counts_once() -> None:
    assert over([sample(0, 5), sample(10, 7), sample(0, 5)], HOUR)[WH][0].count == 2


def test_what_is_faulty_counts_in_nothing() -> None:
    assert over([sample(0, -5)._replace(fault="absurd")], HOUR) == {}


def test_a_step_has_what_flowed_since_the_reading_before_it() -> None:
    spans = over([sample(0, 100), sample(HOUR, 150), sample(3 * HOUR, 250)], HOUR)[WH]
    assert [spans[at].energy for at in sorted(spans)] == [0, 0, 0]
    found = linked(WH, spans)
    assert [found[at].energy for at in sorted(found)] == [0, 50, 100]


readings = st.lists(
    st.tuples(st.integers(0, 40 * HOUR), st.decimals(0, 10_000, places=2)), min_size=1, unique_by=lambda pair: pair[0]
)


@given(readings, st.randoms())
def test_days_made_of_hours_are_days(found: Sequence[tuple[int, Decimal]], random: object) -> None:
    samples = [sample(at, str(value)) for at, value in found]
    shuffled = list(samples)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    by_hour = over(shuffled, HOUR)[WH]
    assert coarser(WH, by_hour, 24 * HOUR) == over(samples, 24 * HOUR)[WH]


@given(readings)
def test_no_energy_is_lost_between_steps(found: Sequence[tuple[int, Decimal]]) -> None:
    samples = [sample(at, str(value)) for at, value in found]
    whole = over(samples, 1000 * HOUR)[WH][0]
    spans = linked(WH, over(samples, HOUR)[WH])
    assert sum(span.energy for span in spans.values()) == whole.energy
    assert sum(span.drops for span in spans.values()) == whole.drops
