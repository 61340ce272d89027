"""`csms simulate` against a CSMS on a real WebSocket."""

import io
from pathlib import Path
from typing import Any

import orjson
import pytest
from rich.console import Console

from simulator import command
from simulator.command import BROKEN, KEPT, NOT_STARTED, Outcome
from tests.support.fake_csms import FakeCsms


async def simulate(csms: FakeCsms, **options: Any) -> tuple[Outcome, str]:
    out = io.StringIO()
    settings = {"stations": 5, "duration_s": 1.0, "speed": 600.0, "drain_s": 20.0, "console": Console(file=out)}
    outcome = await command.run(url=csms.url, **{**settings, **options})
    return outcome, out.getvalue()


async def test_a_good_csms_keeps_its_promises_and_the_journal_has_every_event(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    async with FakeCsms() as csms:
        (summary, code), out = await simulate(csms, duration_s=2.0, journal=journal)
        assert code == KEPT, summary.broken
        assert "All promises were kept" in out
        assert summary.transactions > 0
        lines = [orjson.loads(line) for line in journal.read_bytes().splitlines()]
        received = [
            (station, e["transactionInfo"]["transactionId"], e["seqNo"])
            for station, action, e in csms.calls
            if action == "TransactionEvent"
        ]
        assert [(x["station"], x["transactionId"], x["seqNo"]) for x in lines] == received
        assert summary.events_acknowledged == len(received)
        assert {e["eventType"] for e in csms.of("TransactionEvent")} == {"Started", "Updated", "Ended"}


async def test_all_faults_together_lose_nothing() -> None:
    async with FakeCsms() as csms:
        faults = ("offline", "duplicates", "reconnect-storm")
        (summary, code), _ = await simulate(csms, duration_s=4.0, faults=faults)
        assert code == KEPT, summary.broken
        assert set(summary.faults) == {"offline", "duplicate", "reconnect"}
        assert max(csms.opened.values()) > 1
        seen: dict[str, set[int]] = {}
        for event in csms.of("TransactionEvent"):
            seen.setdefault(event["transactionInfo"]["transactionId"], set()).add(event["seqNo"])
        assert all(seq_nos == set(range(len(seq_nos))) for seq_nos in seen.values())


async def test_a_csms_that_does_not_judge_the_token_breaks_a_promise() -> None:
    async with FakeCsms() as csms:
        csms.answers["TransactionEvent"] = {}
        (summary, code), out = await simulate(csms, duration_s=1.0, drain_s=0.5)
        assert code == BROKEN
        assert any("idTokenInfo" in line for line in summary.broken)
        assert "broken:" in out


async def test_a_csms_that_is_not_there_or_refuses_is_no_start() -> None:
    async with FakeCsms() as csms:
        csms.refuse = 404
        (summary, code), _ = await simulate(csms, drain_s=0.1)
        assert code == NOT_STARTED
        assert summary.failures["HTTP 404"] >= 5
    assert (await simulate(csms, drain_s=0.1))[0].exit_code == NOT_STARTED


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"faults": ["flood"]}, "unknown faults"),
        ({"stations": 0}, "positive"),
        ({"speed": 0.0}, "positive"),
        ({"api": "http://x"}, "key"),
        ({"key": "k"}, "key"),
    ],
)
async def test_impossible_arguments_are_refused(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        await command.run(**options)
