"""What drivers do, over many seeds: the orders in which cable and idToken come, and how they leave."""

from collections import Counter

import pytest

from simulator.config import Drivers
from simulator.inputs import Finish

from .bench import TOKEN, Bench


def played(seed: int, hours: float = 6, **config: object) -> Bench:
    people = Drivers(tokens=(TOKEN,), gap_s=300, stay_min_s=600, stay_max_s=1800)
    points = {"tx_start_point": "EVConnected,Authorized", "tx_stop_point": "EVConnected"}
    bench = Bench(seed=seed, drivers=people, variables=(), **{**points, **config})
    return bench.run(hours * 3600)


@pytest.fixture(scope="module")
def stories() -> Counter[str]:
    """How transactions began and ended, over 12 seeds."""
    found: Counter[str] = Counter()
    for seed in range(12):
        events = played(seed).events
        found.update(f"{e['eventType']} {e['triggerReason']}" for e in events)
        found.update(e["transactionInfo"].get("stoppedReason", "") for e in events)
    return found


def test_more_plug_in_first_than_present_the_token_first(stories: Counter[str]) -> None:
    assert stories["Started CablePluggedIn"] > stories["Started Authorized"] > 12
    presented = stories["Updated Authorized"] / stories["Started CablePluggedIn"]
    assert 0.85 < presented < 1


def test_most_leave_with_their_token_and_some_pull(stories: Counter[str]) -> None:
    assert stories["Local"] > 3 * stories["EVDisconnected"] > 0
    assert stories["Ended EVConnectTimeout"] > 0


def test_a_refused_driver_leaves() -> None:
    bench = Bench(drivers=Drivers(tokens=(TOKEN,), gap_s=60))
    bench.csms.tokens[TOKEN.id_token] = "Invalid"
    bench.run(7200)
    assert bench.events == []
    assert len(bench.sent("Authorize")) > 10
    assert not bench.station.charging


def test_when_the_run_ends_everybody_goes_and_nobody_comes() -> None:
    bench = played(1, hours=1)
    bench.do(Finish())
    bench.run(60)
    assert bench.station.settled
    before = len(bench.events)
    assert len(bench.run(36_000).events) == before
