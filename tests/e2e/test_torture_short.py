"""The short form of `make torture`, which CI runs: every kind of process is killed under load, nothing is lost."""

import pytest
from rich.console import Console

from csms.harness import temporary_directory
from csms.torture.run import Report, Wanted, torture

KILLS = 10
SEED = 2001
"""A fixed order of kills; when in its work each process is hit differs from run to run."""


@pytest.mark.requirement("E13.FR.02", "E04.FR.03", "E08.FR.07", "E01.FR.08")
@pytest.mark.timeout(420)
async def test_nothing_is_lost_or_doubled_whatever_dies() -> None:
    wanted = Wanted(seed=SEED, kills=KILLS, stations=30, speed=300, gap_s=1.0)
    with temporary_directory() as place:
        report: Report = await torture(wanted, place, Console(quiet=True))
    assert report.faults == [], report
    assert sum(report.kills.values()) == KILLS
    assert {"gateway", "gateway-2", "transactions", "device", "auth", "broker", "postgres"} <= set(report.kills)
    assert report.acknowledged > 100, "that was no load"
    assert report.commands, "no command was taken"
    assert report.events > report.acknowledged
    assert report.charge_details > 10, "that was not worth comparing"
