"""The CPU clocks of a benchmark: windows between readings, groups that come and go."""

import subprocess
import sys

import psutil  # type: ignore[import-untyped]
import pytest

from csms.bench.usage import MACHINE, Meter, Reading, cpu_s, family, rss_bytes


def meter(*readings: Reading) -> Meter:
    found = Meter(lambda: {})
    found.readings.extend(readings)
    return found


def test_a_window_is_what_lies_between_its_ends() -> None:
    clocks = meter(
        Reading(10.0, {"csms": 1.0, MACHINE: 5.0}),
        Reading(20.0, {"csms": 3.0, MACHINE: 15.0}),
        Reading(30.0, {"csms": 9.0, MACHINE: 35.0}),
    )
    assert clocks.cpu_s(10.0, 30.0) == {"csms": 8.0}
    assert clocks.cpu_s(15.0, 25.0) == {"csms": pytest.approx(4.0)}
    assert clocks.cpu_s(0.0, 100.0) == {"csms": 8.0}


def test_a_group_that_appears_later_began_at_nothing() -> None:
    assert meter(Reading(0.0, {}), Reading(1.0, {"kafka": 0.5})).cpu_s(0.0, 1.0) == {"kafka": 0.5}


def test_what_neither_system_nor_driver_did_was_done_by_others() -> None:
    clocks = meter(Reading(0.0, {"csms": 0.0, MACHINE: 0.0}), Reading(10.0, {"csms": 8.0, MACHINE: 15.0}))
    assert clocks.others_cores(0.0, 10.0, driver_cpu_s=2.0) == pytest.approx(0.5)
    assert clocks.others_cores(0.0, 10.0, driver_cpu_s=20.0) == 0.0


def test_the_cpu_of_a_child_that_ended_is_its_parents() -> None:
    child = "sum(range(20_000_000))"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}]); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            own = psutil.Process(process.pid)
            assert own.cpu_times().children_user > 0.05
            assert cpu_s(own) > own.cpu_times().user + 0.05
            assert [one.pid for one in family(process.pid)] == [process.pid]
            assert rss_bytes(own) > 1_000_000
        finally:
            process.kill()
    assert (cpu_s(own), rss_bytes(own), family(process.pid)) == (0.0, 0, [])
