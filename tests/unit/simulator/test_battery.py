import pytest

from simulator.battery import Battery


def test_charges_at_what_is_offered_below_the_knee() -> None:
    battery = Battery(capacity_wh=50_000, peak_w=11_000, soc=0.2, target=1.0)
    assert battery.charge(1800, offered_w=7_000) == pytest.approx(3_500)
    assert battery.soc == pytest.approx(0.27)


def test_tapers_above_the_knee_and_stops_at_the_target() -> None:
    battery = Battery(capacity_wh=50_000, peak_w=50_000, soc=0.8, target=0.95)
    powers = []
    while not battery.full and len(powers) < 10_000:
        powers.append(battery.power_w(50_000))
        battery.charge(10, 50_000)
    assert powers == sorted(powers, reverse=True)
    assert powers[0] == 50_000
    assert battery.power_w(50_000) == 0
    assert battery.soc == 0.95


@pytest.mark.parametrize("offered_w", [4_000, 11_000, 50_000])
def test_many_small_steps_give_the_energy_of_one_big_one(offered_w: float) -> None:
    one, many = Battery(60_000, 40_000, 0.5, 0.97), Battery(60_000, 40_000, 0.5, 0.97)
    whole = one.charge(7200, offered_w)
    assert sum(many.charge(7.2, offered_w) for _ in range(1000)) == pytest.approx(whole, rel=1e-6)
    assert many.soc == pytest.approx(one.soc)


@pytest.mark.parametrize("offered_w", [4_000, 22_000, 60_000])
def test_is_full_when_it_said_it_would_be(offered_w: float) -> None:
    battery = Battery(60_000, 40_000, 0.3, 0.97)
    left_s = battery.seconds_to_full(offered_w)
    assert left_s is not None
    battery.charge(left_s * 0.99, offered_w)
    assert not battery.full
    battery.charge(left_s * 0.02, offered_w)
    assert battery.full


def test_never_fills_without_power() -> None:
    assert Battery(60_000, 40_000, 0.3, 1.0).seconds_to_full(0) is None
