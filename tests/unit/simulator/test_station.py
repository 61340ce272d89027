"""Offline work, faults, and long runs in which every frame is judged by OCA's schemas (the bench does that)."""

from collections import defaultdict
from typing import Any

import pytest

from simulator.config import Drivers, Faults, Setting
from simulator.inputs import Finish, IdToken, PlugIn, PresentToken, Received, Unplug
from simulator.notes import (
    CallFailed,
    CallLost,
    EventAcknowledged,
    EventDropped,
    FaultInjected,
    PromiseBroken,
    TransactionBegan,
)
from simulator.rng import Rng

from .bench import TOKEN, Bench, booted
from .commands.samples import REQUESTS

TOKENS = (TOKEN, IdToken("04B0B0B0B0B0B0"), IdToken("TAG-7", "Central"))
COMBINATIONS = (
    ("EVConnected", "EVConnected"),
    ("Authorized", "Authorized"),
    ("PowerPathClosed", "PowerPathClosed"),
    ("EVConnected,Authorized", "PowerPathClosed"),
    ("EnergyTransfer", "EVConnected"),
)


def charging(**config: Any) -> Bench:
    bench = booted(**config)
    bench.do(PlugIn(1))
    bench.do(PresentToken(1, TOKEN))
    return bench.run(10)


def test_offline_it_queues_and_delivers_in_order_afterwards() -> None:
    bench = charging()
    bench.reachable = False
    bench.drop()
    bench.run(200)
    bench.do(PresentToken(1, TOKEN))
    bench.do(Unplug(1))
    online_events = len(bench.events)
    bench.run(10)
    assert len(bench.events) == online_events
    bench.reachable = True
    bench.run(60)
    offline = bench.events[online_events:]
    assert [e["seqNo"] for e in bench.events] == list(range(len(bench.events)))
    assert all(e["offline"] for e in offline)
    assert offline[-1]["eventType"] == "Ended"
    assert not any("offline" in e for e in bench.events[:online_events])
    assert bench.station.settled


def test_a_transaction_can_begin_offline_with_a_known_token_only() -> None:
    bench = charging()
    bench.do(PresentToken(1, TOKEN))
    bench.do(Unplug(1))
    bench.run(5)
    before = len(bench.events)
    bench.reachable = False
    bench.drop()
    bench.do(PlugIn(1))
    bench.do(PresentToken(1, IdToken("04STRANGER")))
    bench.run(10)
    assert not bench.station.evse(1).authorized
    bench.do(PresentToken(1, TOKEN))
    bench.run(10)
    bench.reachable = True
    bench.run(30)
    started = bench.events[before]
    assert (started["eventType"], started["offline"]) == ("Started", True)


def test_an_unknown_token_may_start_offline_if_so_configured() -> None:
    bench = booted(variables=(Setting("AuthCtrlr", "OfflineTxForUnknownIdEnabled", "true"),))
    bench.drop()
    bench.do(PlugIn(1))
    bench.do(PresentToken(1, TOKEN))
    bench.run(30)
    assert bench.events[0]["offline"] is True


def test_an_event_without_an_answer_is_sent_again_after_the_connection_is_back() -> None:
    bench = charging()
    bench.csms.override = lambda action, payload: None
    bench.run(60)
    unanswered = bench.events[-1]
    bench.drop()
    bench.csms.override = lambda action, payload: {}
    bench.run(20)
    assert bench.told(CallLost)[0].action == "TransactionEvent"
    again = [e for e in bench.events if e["seqNo"] == unanswered["seqNo"]]
    assert again == [unanswered, {**unanswered, "offline": True}]
    assert len(set(bench.ids)) == len(bench.ids)


def test_an_event_that_is_refused_is_tried_again_and_given_up_at_last() -> None:
    bench = charging(variables=(Setting("OCPPCommCtrlr", "MessageAttempts", "3", "TransactionEvent"),))
    bench.csms.override = lambda action, payload: "InternalError" if payload.get("seqNo") == 2 else {}
    bench.run(200)
    attempts = [e for e in bench.events if e["seqNo"] == 2]
    assert len(attempts) == 3
    assert [(d.seq_no, d.allowed) for d in bench.told(EventDropped)] == [(2, False)]
    assert 3 in [e["seqNo"] for e in bench.events]


def test_a_call_times_out_and_its_late_answer_breaks_no_promise() -> None:
    bench = charging(message_timeout_ms=2_000)
    bench.csms.override = lambda action, payload: None
    bench.run(70)
    late = bench.ids[-1]
    assert bench.told(CallFailed)[0].code == "Timeout"
    bench.do(Received(b'[3,"%b",{}]' % late.encode()))
    assert not bench.told(PromiseBroken)


@pytest.mark.parametrize(
    "frame", [b'[3,"nobody-asked",{}]', b"[]", b"not json", b'[3,"x"]', b"\xff\xfe", b"[9]", b'[2,"a",3,{}]']
)
def test_nonsense_from_the_csms_is_a_broken_promise(frame: bytes) -> None:
    bench = booted()
    bench.do(Received(frame))
    assert len(bench.told(PromiseBroken)) == 1


def test_an_answer_that_lacks_what_it_owes_is_a_broken_promise() -> None:
    bench = booted()
    bench.csms.override = lambda action, payload: {"totalCost": 1} if action == "TransactionEvent" else {}
    bench.do(PlugIn(1))
    bench.do(PresentToken(1, TOKEN))
    bench.run(5)
    assert "idTokenInfo" in bench.told(PromiseBroken)[0].what


def test_duplicates_send_answered_bytes_again_under_the_old_id_or_a_new_one() -> None:
    bench = charging(faults=Faults(duplicates=1.0)).run(600)
    acknowledged = bench.told(EventAcknowledged)
    repeats = [a for a in acknowledged if a.repeat]
    firsts = {(a.seq_no): a for a in acknowledged if not a.repeat}
    assert len(repeats) >= 5
    assert all(r.digest == firsts[r.seq_no].digest for r in repeats)
    same_id = [r.message_id == firsts[r.seq_no].message_id for r in repeats]
    assert True in same_id
    assert False in same_id


def test_offline_faults_strike_in_the_middle_of_a_transaction() -> None:
    bench = charging(faults=Faults(offline=1.0, offline_max_s=60)).run(600)
    assert [f.kind for f in bench.told(FaultInjected)] == ["offline"]
    assert any(e.get("offline") for e in bench.events)
    assert [e["seqNo"] for e in bench.events] == sorted(e["seqNo"] for e in bench.events)


def long_run(seed: int, hours: float = 12) -> Bench:
    """Half a day of drivers, faults, a moody CSMS and commands of all kinds; then everybody leaves."""
    start, stop = COMBINATIONS[seed % len(COMBINATIONS)]
    bench = Bench(
        seed=seed,
        evses=2,
        connectors=2,
        max_power_w=150_000 if seed % 2 else 22_000,
        tx_start_point=start,
        tx_stop_point=stop,
        queue_limit=40,
        drivers=Drivers(tokens=TOKENS, gap_s=600),
        faults=Faults(offline=0.5, duplicates=0.2),
        variables=(Setting("SampledDataCtrlr", "TxUpdatedInterval", "300"),),
    )
    rng = Rng("test", seed)
    bench.csms.override = lambda action, payload: (
        "InternalError" if action == "TransactionEvent" and rng.chance(0.03) else {}
    )
    for _ in range(int(hours * 12)):
        bench.run(300)
        action, payload = rng.choice(REQUESTS)
        if bench.connected and action != "Reset":
            bench.ask(action, payload)
    bench.csms.override = lambda action, payload: {}
    bench.do(Finish())
    return bench.run(3600)


@pytest.mark.parametrize("seed", range(6))
def test_in_a_long_run_every_event_is_delivered_in_order_and_every_frame_is_valid(seed: int) -> None:
    bench = long_run(seed)
    seen: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in bench.events:
        seen[event["transactionInfo"]["transactionId"]].append(event)
    began = [note.transaction_id for note in bench.told(TransactionBegan)]
    assert len(began) > 5
    assert set(seen) == set(began)
    assert not bench.told(PromiseBroken)
    acknowledged = defaultdict(set)
    for note in bench.told(EventAcknowledged):
        acknowledged[note.transaction_id].add(note.seq_no)
    dropped = {(d.transaction_id, d.seq_no) for d in bench.told(EventDropped)}
    for transaction_id, events in seen.items():
        assert events[0]["eventType"] == "Started"
        assert sum(e["eventType"] == "Ended" for e in {e["seqNo"]: e for e in events}.values()) == 1
        last = max(e["seqNo"] for e in events)
        missing = {(transaction_id, n) for n in range(last + 1)} - {
            (transaction_id, n) for n in acknowledged[transaction_id]
        }
        assert missing <= dropped
    assert bench.station.settled


def test_the_same_seed_gives_the_same_frames() -> None:
    one, two, other = long_run(3, hours=2), long_run(3, hours=2), long_run(4, hours=2)
    assert one.calls == two.calls
    assert one.ids == two.ids
    assert one.calls != other.calls


def test_another_run_with_the_same_seed_has_other_ids() -> None:
    one, two = charging(run="monday"), charging(run="tuesday")
    assert not set(one.ids) & set(two.ids)
    ids = {b.events[0]["transactionInfo"]["transactionId"] for b in (one, two)}
    assert len(ids) == 2
