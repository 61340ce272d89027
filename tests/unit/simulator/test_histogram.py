import pytest

from simulator.histogram import Histogram
from simulator.rng import Rng


def test_percentiles_are_within_two_percent() -> None:
    rng, histogram = Rng("histogram"), Histogram()
    values = sorted(int(1.5 ** rng.between(0, 40)) + rng.between(0, 50) for _ in range(5000))
    for value in values:
        histogram.add(value)
    for percent in (1, 50, 90, 99, 99.9):
        exact = values[max(0, int(len(values) * percent / 100) - 1)]
        assert histogram.percentile(percent) == pytest.approx(exact, rel=0.02, abs=1)
    assert histogram.percentile(100) == pytest.approx(values[-1], rel=0.02)
    assert histogram.mean == pytest.approx(sum(values) / len(values))


def test_small_values_are_exact_and_nothing_is_zero() -> None:
    histogram = Histogram()
    assert histogram.percentile(99) == 0
    for value in range(64):
        histogram.add(value)
    assert [histogram.percentile(p) for p in (25, 50, 75, 100)] == [15, 31, 47, 63]


@pytest.mark.parametrize("value", [0, 31, 32, 63, 64, 65, 1023, 1024, 10**9, 2**62])
def test_every_value_lands_in_its_bucket(value: int) -> None:
    histogram = Histogram()
    histogram.add(value)
    assert histogram.percentile(50) == pytest.approx(value, rel=0.016)
