"""The load generator against a CSMS on a real WebSocket; every frame is judged by OCA's schemas."""

import time
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest

from simulator.load import LoadConfig, LoadError, LoadResult, drive, drive_apart, read_config
from tests.support.fake_csms import FakeCsms

from ..bench import judge


async def load(csms: FakeCsms, **options: Any) -> LoadResult:
    settings = {"stations": 4, "duration_s": 1.0, "warmup_s": 0.1, "updates": 3, "seed": 1, **options}
    return await drive(LoadConfig(url=csms.url, **settings))


def transactions(csms: FakeCsms) -> dict[tuple[str, str], list[dict[str, Any]]]:
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for station, action, payload in csms.calls:
        if action == "TransactionEvent":
            found.setdefault((station, payload["transactionInfo"]["transactionId"]), []).append(payload)
    return found


async def test_a_closed_loop_plays_whole_transactions_with_valid_frames() -> None:
    async with FakeCsms() as csms:
        result = await load(csms, tokens=("ISO14443:04AA", "Central:100%"))
    for _, action, payload in csms.calls[:300]:
        judge(f"{action}Request", payload)
    assert len(set(csms.ids)) == len(csms.ids)
    assert max(map(len, csms.ids)) <= 36
    assert (result.ready, result.connected, result.errors) == (4, 4, {})
    assert result.calls == result.latency.count > 100
    assert result.calls_per_s == result.calls
    assert 0 < result.latency.p50 <= result.latency.p99 <= result.latency.largest
    whole = [t for t in transactions(csms).values() if t[-1]["eventType"] == "Ended"]
    assert len(whole) > 10
    for events in whole:
        assert [e["seqNo"] for e in events] == list(range(len(events)))
        assert events[0]["eventType"] == "Started"
        registers = [e["meterValue"][0]["sampledValue"][0]["value"] for e in events]
        assert registers == sorted(registers)
        assert len(events[0]["meterValue"][0]["sampledValue"]) == 4
    assert {p["idToken"]["idToken"] for p in csms.of("Authorize")} == {"04AA", "100%"}
    assert set(Counter(len(t) for t in whole)) <= {2, 3, 4, 5}


async def test_an_open_loop_keeps_to_its_schedule_and_measures_from_it() -> None:
    async with FakeCsms() as csms:
        result = await load(csms, mode="open", rate=200, warmup_s=0.5)
    assert result.latency.count == pytest.approx(200, abs=3)
    assert (result.unsent, result.unanswered) == (0, 0)


async def test_an_open_loop_counts_what_a_slow_csms_makes_wait() -> None:
    """Four stations at 0.1 s a CALL take 40 a second; 100 are due: the queue's wait is in the figures, whether the
    CALLs are sent in the end or not."""
    async with FakeCsms() as csms:
        csms.delay_s = 0.1
        cut_off = await load(csms, mode="open", rate=100, warmup_s=0.0, drain_s=0.0)
        complete = await load(csms, mode="open", rate=100, warmup_s=0.0, drain_s=10.0)
    assert cut_off.unsent > 20
    assert complete.unsent == complete.unanswered == 0
    for result in (cut_off, complete):
        assert result.latency.count == pytest.approx(100, abs=2)
        assert result.latency.p90 > 300


async def test_idle_stations_beat() -> None:
    async with FakeCsms() as csms:
        result = await load(csms, mode="idle", heartbeat_s=0.1, stations=10)
    beats = Counter(station for station, action, _ in csms.calls if action == "Heartbeat")
    assert len(beats) == 10
    assert set(result.by_step) == {"BootNotification", "Heartbeat", "StatusNotification(setup)"}
    assert result.latency.count == pytest.approx(100, abs=3)


async def test_compressed_frames_are_understood_both_ways() -> None:
    async with FakeCsms() as csms:
        result = await load(csms, compression=True)
    assert (result.ready, result.errors) == (4, {})
    assert result.calls > 50


async def test_a_lost_connection_is_dialled_again_and_the_open_call_sent_again(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    async with FakeCsms() as csms:
        csms.drop_after = 40
        result = await load(csms, journal=str(journal), duration_s=2.0)
    assert result.disconnects >= 4
    assert result.reconnects >= 4
    assert result.resent >= 4
    acknowledged = [orjson.loads(line) for line in journal.read_bytes().splitlines()]
    keys = [(a["station"], a["transactionId"], a["seqNo"]) for a in acknowledged]
    assert len(set(keys)) == len(keys)
    received = {(s, t, e["seqNo"]) for (s, t), events in transactions(csms).items() for e in events}
    assert set(keys) <= received


async def test_refusals_and_errors_are_counted_with_samples() -> None:
    async with FakeCsms() as csms:
        csms.token_status = "Blocked"
        result = await load(csms)
    assert result.errors["not accepted"] > 5
    assert "Authorize" in result.samples[0]


async def test_answers_that_do_not_tell_the_cost_are_errors_where_it_is_to_be_told() -> None:
    async with FakeCsms() as csms:
        untold = await load(csms, priced=True)
        csms.answers["TransactionEvent"] = {"totalCost": 0.5, "idTokenInfo": {"status": "Accepted"}}
        told = await load(csms, priced=True)
    assert untold.errors["no totalCost"] > 20
    assert told.errors == {}


async def test_a_csms_that_asks_gets_an_answer() -> None:
    async with FakeCsms() as csms:
        csms.greeting = ("Reset", {"type": "OnIdle"})
        result = await load(csms)
    assert result.csms_calls == 4
    assert csms.malformed == 0


async def test_nobody_ready_is_an_error() -> None:
    async with FakeCsms() as csms:
        csms.refuse = 401
        with pytest.raises(ValueError, match="HTTP 401"):
            await load(csms, connect_timeout_s=0.5)


async def test_runs_in_a_process_of_its_own() -> None:
    async with FakeCsms() as csms:
        result = await drive_apart(LoadConfig(url=csms.url, stations=2, duration_s=0.5, warmup_s=0.1))
        assert result.calls > 0
        assert result.driver_rss_bytes > 0
        with pytest.raises(LoadError, match="ws://"):
            await drive_apart(LoadConfig(url="http://nowhere", stations=2))


def test_a_wrong_setting_is_named() -> None:
    with pytest.raises(ValueError, match="stations"):
        read_config(b'{"url":"ws://h/ocpp","stations":"many"}')


async def test_stations_may_have_passwords_of_their_own() -> None:
    async with FakeCsms() as csms:
        await load(csms, passwords=("a" * 20, "b" * 20, "c" * 20, "d" * 20), duration_s=0.2)
    assert [csms.authorization[f"LOAD-0000{n}"] for n in (1, 4)] == [
        "LOAD-00001:" + "a" * 20,
        "LOAD-00004:" + "d" * 20,
    ]


async def test_passwords_for_other_than_all_stations_are_refused() -> None:
    with pytest.raises(ValueError, match="1 passwords for 4 stations"):
        await drive(LoadConfig(url="ws://127.0.0.1:1/ocpp", stations=4, passwords=("a" * 20,)))


async def test_the_window_is_told_by_the_machines_clock() -> None:
    before = time.monotonic()
    async with FakeCsms() as csms:
        result = await load(csms, duration_s=0.5)
    begin, end = result.window
    assert before < begin < end < time.monotonic()
    assert end - begin == result.seconds == 0.5
