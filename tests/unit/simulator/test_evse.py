"""Transactions: when they start, what they tell, when they end (E01-E10)."""

from typing import Any

import pytest

from simulator.config import Setting
from simulator.inputs import IdToken, PlugIn, PresentToken, Unplug

from .bench import TOKEN, Bench, booted

OTHER = IdToken("04FFFFFFFFFFFF")


def story(bench: Bench) -> list[tuple[str, str, str]]:
    return [(e["eventType"], e["triggerReason"], e["transactionInfo"]["chargingState"]) for e in bench.events]


def charge(points: str, stop: str | None = None, *, token_first: bool = False) -> Bench:
    bench = booted(tx_start_point=points, tx_stop_point=stop or points)
    steps = [PresentToken(1, TOKEN), PlugIn(1)] if token_first else [PlugIn(1), PresentToken(1, TOKEN)]
    for step in steps:
        bench.do(step)
        bench.run(1)
    return bench.run(70)


def leave(bench: Bench) -> Bench:
    bench.do(PresentToken(1, TOKEN))
    bench.run(5)
    bench.do(Unplug(1))
    return bench.run(5)


def test_power_path_closed_starts_with_cable_and_token_and_ends_with_the_token() -> None:
    assert story(leave(charge("PowerPathClosed"))) == [
        ("Started", "Authorized", "EVConnected"),
        ("Updated", "ChargingStateChanged", "Charging"),
        ("Updated", "MeterValuePeriodic", "Charging"),
        ("Ended", "StopAuthorized", "EVConnected"),
    ]


def test_ev_connected_starts_with_the_cable_and_ends_with_it() -> None:
    assert story(leave(charge("EVConnected"))) == [
        ("Started", "CablePluggedIn", "EVConnected"),
        ("Updated", "Authorized", "EVConnected"),
        ("Updated", "ChargingStateChanged", "Charging"),
        ("Updated", "MeterValuePeriodic", "Charging"),
        ("Updated", "StopAuthorized", "EVConnected"),
        ("Ended", "EVCommunicationLost", "Idle"),
    ]


def test_authorized_starts_with_the_token_and_ends_with_it() -> None:
    assert story(leave(charge("Authorized", token_first=True))) == [
        ("Started", "Authorized", "Idle"),
        ("Updated", "CablePluggedIn", "EVConnected"),
        ("Updated", "ChargingStateChanged", "Charging"),
        ("Updated", "MeterValuePeriodic", "Charging"),
        ("Ended", "StopAuthorized", "EVConnected"),
    ]


def test_energy_transfer_starts_when_energy_flows() -> None:
    assert story(charge("EnergyTransfer"))[0] == ("Started", "ChargingStateChanged", "Charging")


@pytest.mark.parametrize("points", ["EVConnected", "Authorized", "PowerPathClosed", "EVConnected,Authorized"])
@pytest.mark.parametrize("token_first", [True, False])
def test_events_count_from_zero_tell_the_token_once_and_where_as_soon_as_known(points: str, token_first: bool) -> None:
    bench = leave(charge(points, token_first=token_first))
    events = bench.events
    assert [e["seqNo"] for e in events] == list(range(len(events)))
    assert len({e["transactionInfo"]["transactionId"] for e in events}) == 1
    assert [e["eventType"] for e in events if "idToken" in e].count("Ended") <= 1
    assert sum("idToken" in e for e in events if e["triggerReason"] != "StopAuthorized") == 1
    assert [e["evse"] for e in events if e.get("evse", {}).get("connectorId")] == [{"id": 1, "connectorId": 1}]


def energy(event: dict[str, Any]) -> float:
    samples = event["meterValue"][0]["sampledValue"]
    return float(next(s["value"] for s in samples if s["measurand"] == "Energy.Active.Import.Register"))


def test_the_register_only_rises_and_fits_the_power() -> None:
    bench = charge("PowerPathClosed").run(1800)
    leave(bench)
    readings = [energy(e) for e in bench.events]
    assert readings == sorted(readings)
    contexts = [e["meterValue"][0]["sampledValue"][0]["context"] for e in bench.events]
    assert (contexts[0], contexts[1]) == ("Transaction.Begin", "Sample.Periodic")
    assert contexts[-1] == "Transaction.End"
    power = bench.events[2]["meterValue"][0]["sampledValue"][1]["value"]
    assert readings[3] - readings[2] == pytest.approx(power / 60, rel=0.01)


def test_the_register_goes_on_in_the_next_transaction() -> None:
    bench = leave(charge("PowerPathClosed"))
    last = energy(bench.events[-1])
    for step in (PlugIn(1), PresentToken(1, TOKEN)):
        bench.do(step)
    bench.run(2)
    started = bench.events[-1] if bench.events[-1]["eventType"] == "Started" else bench.events[-2]
    assert energy(started) == last
    assert len({e["transactionInfo"]["transactionId"] for e in bench.events}) == 2


def test_a_full_battery_suspends() -> None:
    bench = charge("PowerPathClosed").run(40_000)
    assert ("Updated", "ChargingStateChanged", "SuspendedEV") in story(bench)
    assert bench.events[-1]["meterValue"][0]["sampledValue"][1]["value"] == 0


def test_a_cable_torn_out_ends_the_transaction() -> None:
    bench = charge("PowerPathClosed")
    bench.do(Unplug(1))
    bench.run(1)
    assert story(bench)[-1] == ("Ended", "EVCommunicationLost", "Idle")
    assert bench.events[-1]["transactionInfo"]["stoppedReason"] == "EVDisconnected"


def test_nobody_plugs_in() -> None:
    bench = booted(tx_start_point="Authorized", tx_stop_point="Authorized")
    bench.do(PresentToken(1, TOKEN))
    bench.run(100)
    assert story(bench)[-1] == ("Ended", "EVConnectTimeout", "Idle")
    assert bench.events[-1]["transactionInfo"]["stoppedReason"] == "Timeout"


def test_another_token_does_not_stop_it() -> None:
    bench = charge("PowerPathClosed")
    before = len(bench.events)
    bench.do(PresentToken(1, OTHER))
    bench.run(2)
    assert len(bench.events) == before


def test_a_refused_token_starts_nothing() -> None:
    bench = booted()
    bench.csms.tokens[TOKEN.id_token] = "Blocked"
    bench.do(PlugIn(1))
    bench.do(PresentToken(1, TOKEN))
    bench.run(100)
    assert bench.events == []
    assert len(bench.sent("Authorize")) == 1


def blocked_in_events(action: str, event: dict[str, Any]) -> dict[str, Any]:
    """The idToken passes Authorize and is refused in the transaction event."""
    refused = action == "TransactionEvent" and "idToken" in event
    return {"idTokenInfo": {"status": "Blocked"}} if refused else {}


@pytest.mark.parametrize(
    ("points", "end"),
    [("PowerPathClosed", ("Ended", "Deauthorized")), ("EVConnected", ("Updated", "Deauthorized"))],
)
def test_a_token_that_turns_out_bad_stops_the_energy(points: str, end: tuple[str, str]) -> None:
    bench = booted(tx_start_point=points, tx_stop_point=points)
    bench.csms.override = blocked_in_events
    bench.do(PlugIn(1))
    bench.do(PresentToken(1, TOKEN))
    bench.run(10)
    assert story(bench)[-1][:2] == end
    assert not bench.station.charging


def test_a_token_that_turns_out_bad_may_only_suspend() -> None:
    bench = booted(variables=(Setting("TxCtrlr", "StopTxOnInvalidId", "false"),))
    bench.csms.override = blocked_in_events
    bench.do(PlugIn(1))
    bench.do(PresentToken(1, TOKEN))
    bench.run(200)
    assert story(bench)[-1][2] == "SuspendedEVSE"
    assert energy(bench.events[-1]) == energy(bench.events[0])


def test_speed_makes_the_world_run_faster_but_not_the_wire() -> None:
    slow, fast = charge("PowerPathClosed").run(530), booted(speed=10)
    fast.do(PlugIn(1))
    fast.do(PresentToken(1, TOKEN))
    fast.run(60)
    slow_events, fast_events = len(slow.events), len(fast.events)
    assert abs(slow_events - fast_events) <= 2
    taken = [energy(b.events[-1]) - energy(b.events[0]) for b in (slow, fast)]
    assert taken[0] == pytest.approx(taken[1], rel=0.15)
    assert len(fast.sent("Heartbeat")) == 0
