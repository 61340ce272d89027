"""The benchmark's table: medians, what is required, what is missing."""

from dataclasses import replace

import pytest
from rich.console import Console

from csms.bench.figures import (
    Closed,
    Flood,
    Handshakes,
    Held,
    LogFigures,
    Open,
    Query,
    Replay,
    Report,
    RoundTrip,
    middle,
)
from csms.bench.handshakes import KINDS
from csms.bench.table import HANDSHAKES, table

CLOSED = Closed(
    calls_per_s=7500.0,
    cpu_us=200.0,
    cpu_us_by={"csms": 150.0, "postgres": 50.0},
    driver_cpu_us=20.0,
    p50_ms=25.0,
    p99_ms=60.0,
    others_cores=0.1,
    errors=0,
)
OPEN = Open(rate=1000.0, p50_ms=3.0, p99_ms=40.0, cpu_us=400.0, others_cores=0.1, late=0, errors=0)


def shown(report: Report) -> str:
    console = Console(width=200, record=True, force_terminal=False, file=None, quiet=False)
    with console.capture() as captured:
        console.print(table(report))
    return captured.get()


def test_the_median_of_runs_is_shown_with_what_is_required() -> None:
    slow, fast = replace(CLOSED, calls_per_s=6000.0), replace(CLOSED, calls_per_s=9000.0)
    text = shown(Report("m", [LogFigures("embedded", closed=[slow, CLOSED, fast], open=[OPEN])], echo=[CLOSED]))
    assert "7,500 ≥ 7,000" in text
    assert "200 ≤ 250" in text
    assert "3.0 ≤ 8" in text
    assert "WebSocket echo 7,500" in text


def test_what_a_tariff_costs_is_judged_against_the_runs_without() -> None:
    slow, fast = replace(CLOSED, calls_per_s=5_900.0), replace(CLOSED, calls_per_s=6_100.0)
    figures = LogFigures("embedded", closed=[CLOSED], priced=[slow])
    assert "5,900, 79 ≥ 80" in shown(Report("m", [figures, LogFigures("Kafka", closed=[CLOSED])]))
    assert "6,100, 81 ≥ 80" in shown(Report("m", [replace(figures, priced=[fast])]))
    assert "running cost" not in shown(Report("m", [replace(figures, priced=[])]))


def test_half_load_and_long_lists_are_judged() -> None:
    half = replace(OPEN, rate=3_750.0, authorize_p99_ms=61.5)
    fast = Query(what="open", median_ms=4.2, p99_ms=9.0, rows=100)
    slow = Query(what="of a station", median_ms=80.0, p99_ms=99.0, rows=100)
    figures = LogFigures("embedded", closed=[CLOSED], half=[half], transactions=2_000, queries=[fast, slow])
    text = shown(Report("m", [figures]))
    assert "3,750" in text
    assert "61.5 ≤ 50" in text
    assert "2,000 transactions" in text
    assert "4.2 ≤ 50, 9.0" in text
    assert "80.0 ≤ 50, 99.0" in text


def test_a_report_that_was_broken_off_is_shown_as_far_as_it_came() -> None:
    text = shown(Report("m", [LogFigures("embedded", closed=[CLOSED]), LogFigures("Kafka")]))
    assert "7,500" in text
    assert "open loop" not in text


def test_both_logs_connections_replay_and_limits_have_their_place() -> None:
    held = Held(
        connections=10,
        connected=9,
        connect_s=1.0,
        bytes_per_connection=40_960,
        all_bytes_per_connection=51_200,
        heartbeats_per_s=5.0,
        p50_ms=1.0,
        p99_ms=2.0,
        errors=1,
    )
    replay = Replay(events=1000, events_per_s=30_000.0, seconds=1.0, hash_s=0.5, produce_s=1.0, cpu_us=40.0)
    logs = [
        LogFigures(name, [CLOSED], [OPEN], held=[held], replay=[replay])
        for name in ("embedded", "Kafka", "Kafka, a process each")
    ]
    text = shown(Report("m", logs, kafka=[RoundTrip(records_per_s=20_000.0, cpu_us=50.0, p50_ms=2.0, p99_ms=9.0)]))
    assert text.count("9 of 10") == 3
    assert text.count("40.0 ≤ 64") == 3
    assert text.count("30,000 ≥ 25,000") == 3
    assert "Kafka round trip 20,000" in text


def test_handshakes_are_judged_by_what_is_promised_of_their_kind() -> None:
    def figures(name: str, *rates: tuple[str, float]) -> LogFigures:
        runs = [Handshakes(kind=kind, per_s=per_s, cpu_us=1500.0, errors=0) for kind, per_s in rates]
        return LogFigures(name, handshakes=runs)

    text = shown(Report("m", [figures("embedded", *((kind, 250.0) for kind in KINDS)), figures("Kafka")]))
    for kind, promised in HANDSHAKES.items():
        assert f"{kind}" in text
        assert f"250 ≥ {promised:.0f}, 1,500 µs" in text
    assert list(KINDS) == list(HANDSHAKES)
    assert "handshakes" not in shown(Report("m", [figures("embedded")]))


def test_a_report_is_plain_data() -> None:
    report = Report("m", [LogFigures("embedded", closed=[CLOSED])])
    assert report.as_json()["logs"][0]["closed"][0]["cpu_us_by"] == {"csms": 150.0, "postgres": 50.0}


def test_the_median_is_the_middle() -> None:
    assert middle([3.0, 1.0, 2.0]) == 2.0
    assert middle([]) != middle([])


def flooded(kind: str, p99_ms: float, offered_per_s: float = 999.0) -> Flood:
    return Flood(
        kind=kind, calm_p50_ms=4.0, calm_p99_ms=60.0, p50_ms=5.0, p99_ms=p99_ms, offered_per_s=offered_per_s,
        refused_per_s=998.2, refused_cpu_us=321.0, guessing_cores=0.2, other_answers=0, errors=0,
    )  # fmt: skip


def test_a_flood_of_wrong_passwords_may_double_the_slowest_answers() -> None:
    text = shown(Report("m", [LogFigures("embedded", flood=[flooded("at one", 90.0), flooded("at all", 150.0)])]))
    assert "60.0 → 90.0 ms, 1.5 ≤ 2; 999 ≥ 900/s offered by 0.20 cores; 998/s refused, 321 µs each" in text
    assert "60.0 → 150.0 ms, 2.5 ≤ 2" in text
    assert "wrong passwords" not in shown(Report("m", [LogFigures("embedded")]))


@pytest.mark.parametrize(("p99_ms", "offered", "good"), [(90.0, 901.0, 2), (150.0, 901.0, 1), (90.0, 899.0, 0)])
def test_a_flood_that_did_not_happen_slows_nobody_and_is_no_success(p99_ms: float, offered: float, good: int) -> None:
    console = Console(width=300, force_terminal=True, color_system="standard")
    with console.capture() as captured:
        console.print(table(Report("m", [LogFigures("embedded", flood=[flooded("at one", p99_ms, offered)])])))
    (row,) = [line for line in captured.get().splitlines() if "wrong passwords" in line]
    assert (row.count("\x1b[32m"), row.count("\x1b[31m")) == (good, 2 - good)
