from itertools import pairwise

from simulator.inputs import PlugIn, PresentToken
from simulator.notes import CallFailed, EventDropped

from .bench import TOKEN, Bench, booted


def test_boots_then_reports_every_connector_then_beats() -> None:
    bench = Bench(evses=2, connectors=2)
    bench.csms.interval = 100
    bench.run(1000)
    assert [a for a, _ in bench.calls][:5] == ["BootNotification"] + ["StatusNotification"] * 4
    assert bench.sent("BootNotification")[0]["reason"] == "PowerUp"
    beats = bench.sent("Heartbeat")
    assert 9 <= len(beats) <= 10


def test_stations_that_booted_together_do_not_beat_together() -> None:
    first = set()
    for number in range(10):
        bench = booted(station_id=f"CS-{number}")
        while not bench.sent("Heartbeat"):
            bench.run(1)
        first.add(bench.at)
    assert len(first) > 5


def test_a_mere_reconnect_sends_no_boot_and_reports_only_what_changed() -> None:
    bench = booted(evses=2)
    bench.drop()
    bench.do(PlugIn(2))
    bench.run(20)
    assert len(bench.sent("BootNotification")) == 1
    assert [(s["evseId"], s["connectorStatus"]) for s in bench.sent("StatusNotification")[2:]] == [(2, "Occupied")]


def test_a_long_absence_reports_every_connector() -> None:
    bench = booted(evses=2)
    bench.reachable = False
    bench.drop()
    bench.run(300)
    bench.reachable = True
    bench.run(300)
    assert len(bench.sent("StatusNotification")) == 4


def test_rejected_it_asks_again_after_the_interval_and_says_nothing_else() -> None:
    bench = Bench()
    bench.csms.boot, bench.csms.interval = "Rejected", 20
    times = []
    for _ in range(100):
        before = len(bench.calls)
        bench.run(1)
        times += [bench.at] * (len(bench.calls) - before)
    assert {a for a, _ in bench.calls} == {"BootNotification"}
    assert all(abs(b - a - 20_000) <= 1000 for a, b in pairwise(times))
    assert bench.ask("Reset", {"type": "Immediate"}) == {"error": "SecurityError"}


def test_pending_it_answers_and_sends_what_is_asked_for_only() -> None:
    bench = Bench()
    bench.csms.boot, bench.csms.interval = "Pending", 600
    bench.run(5)
    assert bench.ask("GetBaseReport", {"requestId": 7, "reportBase": "FullInventory"})["status"] == "Accepted"
    bench.run(5)
    assert bench.sent("NotifyReport")[0]["requestId"] == 7
    start = {"remoteStartId": 1, "idToken": TOKEN.wire()}
    assert bench.ask("RequestStartTransaction", start)["status"] == "Rejected"
    bench.do(PlugIn(1))
    bench.do(PresentToken(1, TOKEN))
    bench.run(100)
    assert {a for a, _ in bench.calls} == {"BootNotification", "NotifyReport"}
    bench.csms.boot = "Accepted"
    assert bench.ask("TriggerMessage", {"requestedMessage": "BootNotification"})["status"] == "Accepted"
    bench.run(5)
    assert bench.sent("BootNotification")[-1]["reason"] == "Triggered"
    assert bench.sent("StatusNotification")[0]["connectorStatus"] == "Occupied"


def test_without_an_answer_the_boot_is_sent_again() -> None:
    bench = Bench()
    bench.csms.override = lambda action, payload: None
    bench.run(40)
    bench.csms.override = lambda action, payload: {}
    bench.run(60)
    assert len(bench.sent("BootNotification")) == 2
    assert bench.station.online


def test_a_security_error_makes_it_boot_again_and_costs_no_event() -> None:
    bench = booted(evses=1)
    bench.do(PlugIn(1))
    bench.csms.override = lambda action, payload: "SecurityError" if action == "TransactionEvent" else {}
    bench.do(PresentToken(1, TOKEN))
    bench.run(4)
    assert bench.told(CallFailed)[0].explained
    bench.csms.override = lambda action, payload: {}
    bench.run(60)
    assert [b["reason"] for b in bench.sent("BootNotification")] == ["PowerUp", "Unknown"]
    assert [e["seqNo"] for e in bench.events][:3] == [0, 0, 1]
    assert not bench.told(EventDropped)


def test_after_a_remote_reset_it_boots_with_that_reason() -> None:
    bench = booted()
    assert bench.ask("Reset", {"type": "Immediate"})["status"] == "Accepted"
    bench.run(60)
    assert [b["reason"] for b in bench.sent("BootNotification")] == ["PowerUp", "RemoteReset"]
