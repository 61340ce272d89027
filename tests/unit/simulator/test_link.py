from itertools import pairwise

from simulator.config import Setting
from simulator.inputs import Connected
from simulator.notes import Refused

from .bench import START, Bench, booted

BACK_OFF = (
    Setting("OCPPCommCtrlr", "RetryBackOffWaitMinimum", "10"),
    Setting("OCPPCommCtrlr", "RetryBackOffRandomRange", "5"),
    Setting("OCPPCommCtrlr", "RetryBackOffRepeatTimes", "3"),
)


def test_dials_at_once_after_power_up() -> None:
    assert Bench().run(1).dialled_at == [START]


def test_back_off_doubles_with_a_random_part_and_then_stays() -> None:
    bench = booted(variables=BACK_OFF)
    bench.reachable = False
    bench.drop()
    lost_at = bench.at
    bench.run(2000)
    waits = [(b - a) / 1000 for a, b in pairwise([lost_at, *bench.dialled_at[1:]])]
    assert 10 <= waits[0] <= 15
    for before, after in pairwise(waits[:4]):
        assert 2 * before <= after <= 2 * before + 5
    assert len(waits) > 6
    assert set(waits[3:]) == {waits[3]}


def test_the_first_wait_is_random_so_that_stations_do_not_come_back_together() -> None:
    waits = set()
    for number in range(20):
        bench = booted(station_id=f"CS-{number}", variables=BACK_OFF)
        bench.drop()
        lost_at = bench.at
        waits.add(bench.run(20).dialled_at[1] - lost_at)
    assert len(waits) > 15


def test_a_refused_connection_is_noted_and_tried_again() -> None:
    bench = Bench()
    bench.reachable, bench.refuse_with = False, 401
    bench.run(60)
    assert len(bench.dialled_at) > 2
    assert bench.told(Refused)[0].status == 401


def test_a_connection_that_the_station_no_longer_wants_is_closed() -> None:
    bench = booted()
    bench.drop()
    assert bench.do(Connected()).disconnect
