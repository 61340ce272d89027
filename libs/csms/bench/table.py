"""The report as one table for people."""

import operator
from collections.abc import Callable, Sequence
from typing import TypeVar

from rich.table import Table

from csms.bench.figures import Closed, Flood, Handshakes, LogFigures, Open, Report, middle

T = TypeVar("T")

REQUIRED = {
    "embedded": {"calls": 7000.0, "cpu": 250.0, "p50": 8.0, "p99": 100.0, "memory": 65536.0, "replay": 25_000.0},
    "Kafka": {"calls": 5000.0, "cpu": 250.0, "p50": 20.0, "p99": 100.0, "memory": 65536.0, "replay": 25_000.0},
}
"""What the system promises on a machine with two cores: least calls and events a second, most of the rest."""

HANDSHAKES = {"password": 300.0, "TLS, password": 100.0, "TLS, certificate": 100.0}
"""The same for stations that connect in a second."""

AUTHORIZE_MS = 50.0
"""The longest that Authorize may take, at p99, while transactions run at half of what the system carries."""
QUERY_MS = 50.0
"""The longest that a page of the list of transactions may take."""
PRICED = 0.8
"""The least share of its calls a second that the system keeps when every transaction has a tariff and running cost."""
FLOODED = 2.0
"""How much slower the slowest of a hundred answers may be under a flood of wrong passwords."""
OFFERED = 900.0
"""Wrong passwords a second without which there was no flood."""


def table(report: Report) -> Table:
    """One row a figure, one column a log, and the machine's limits beside them."""
    shown = Table(title=f"csms bench · {report.machine}", caption="Medians. " + " ".join(report.notes))
    shown.add_column("")
    for log in report.logs:
        shown.add_column(log.log, justify="right")
    shown.add_column("this machine, bare", justify="right")
    _closed(shown, report)
    _priced(shown, report.logs)
    _open(shown, report)
    _half(shown, report.logs)
    _held(shown, report.logs)
    _handshakes(shown, report.logs)
    _flood(shown, report.logs)
    _replay(shown, report.logs)
    _queries(shown, report.logs)
    return shown


def _closed(shown: Table, report: Report) -> None:
    echo = report.echo
    round_trip = f"Kafka round trip {middle([k.records_per_s for k in report.kafka]):,.0f}" if report.kafka else ""
    shown.add_section()
    shown.add_row(
        "[bold]closed loop[/bold]: calls/s",
        *(_at_least(log, "calls", [run.calls_per_s for run in log.closed]) for log in report.logs),
        _lines(f"WebSocket echo {middle([run.calls_per_s for run in echo]):,.0f}" if echo else "", round_trip),
    )
    cpu_of_kafka = f"Kafka round trip {middle([k.cpu_us for k in report.kafka]):.0f}" if report.kafka else ""
    shown.add_row(
        "CPU per call, all processes (µs)",
        *(_at_most(log, "cpu", [run.cpu_us for run in log.closed]) for log in report.logs),
        _lines(f"WebSocket echo {middle([run.cpu_us for run in echo]):.0f}" if echo else "", cpu_of_kafka),
    )
    for name in dict.fromkeys(name for log in report.logs for run in log.closed for name in run.cpu_us_by):
        cells = [
            f"{middle([run.cpu_us_by.get(name, 0.0) for run in log.closed]):.0f}"
            if any(name in run.cpu_us_by for run in log.closed)
            else ""
            for log in report.logs
        ]
        shown.add_row(f"    {name}", *cells, "", style="dim")
    _row(shown, report, "    driver (not counted)", lambda run: run.driver_cpu_us, "{:.0f}", style="dim")
    _row(shown, report, "latency p50 at saturation (ms)", lambda run: run.p50_ms, "{:.1f}")
    _row(shown, report, "latency p99 at saturation (ms)", lambda run: run.p99_ms, "{:.1f}")
    _row(shown, report, "errors", lambda run: run.errors, "{:.0f}")
    _row(shown, report, "cores busy with anything else", lambda run: run.others_cores, "{:.1f}", style="dim")


def _priced(shown: Table, logs: Sequence[LogFigures]) -> None:
    """Against the runs without a tariff, between which these were made."""
    if not any(log.priced for log in logs):
        return
    shown.add_section()
    shown.add_row(
        "[bold]with tariff and running cost[/bold]: calls/s, of plain (%)",
        *(_share_of_plain(log) if log.priced else "" for log in logs),
        "",
    )
    shown.add_row(
        "CPU per call, all processes (µs)",
        *_each(logs, lambda log: log.priced, lambda runs: f"{middle([run.cpu_us for run in runs]):.0f}"),
        "",
    )
    shown.add_row(
        "errors", *_each(logs, lambda log: log.priced, lambda runs: f"{middle([run.errors for run in runs]):.0f}"), ""
    )


def _share_of_plain(log: LogFigures) -> str:
    calls, plain = (middle([run.calls_per_s for run in runs]) for runs in (log.priced, log.closed))
    return f"{calls:,.0f}, {_judged([100 * calls / plain], 100 * PRICED, operator.ge, '≥', 0, 1)}"


def _row(shown: Table, report: Report, name: str, value: Callable[[Closed], float], form: str, style: str = "") -> None:
    def cell(runs: Sequence[Closed]) -> str:
        return form.format(middle([value(run) for run in runs])) if runs else ""

    shown.add_row(name, *(cell(log.closed) for log in report.logs), cell(report.echo), style=style)


def _open(shown: Table, report: Report) -> None:
    rates = [run.rate for log in report.logs for run in log.open]
    if not rates:
        return
    shown.add_section()
    kafka = report.kafka
    shown.add_row(
        f"[bold]open loop[/bold], {rates[0]:,.0f} calls/s: p50 (ms)",
        *(_at_most(log, "p50", [run.p50_ms for run in log.open], 1) for log in report.logs),
        f"Kafka round trip {middle([k.p50_ms for k in kafka]):.1f}" if kafka else "",
    )
    shown.add_row(
        "p99 (ms)",
        *(_at_most(log, "p99", [run.p99_ms for run in log.open], 1) for log in report.logs),
        f"Kafka round trip {middle([k.p99_ms for k in kafka]):.1f}" if kafka else "",
    )
    _rest(shown, report, "CPU per call (µs)", lambda run: run.cpu_us)
    _rest(shown, report, "late or unanswered", lambda run: run.late)
    _rest(shown, report, "errors", lambda run: run.errors)
    _rest(shown, report, "cores busy with anything else", lambda run: run.others_cores, 1)


def _rest(shown: Table, report: Report, name: str, value: Callable[[Open], float], digits: int = 0) -> None:
    shown.add_row(name, *(f"{middle([value(run) for run in log.open]):.{digits}f}" for log in report.logs), "")


def _half(shown: Table, logs: Sequence[LogFigures]) -> None:
    if not any(log.half for log in logs):
        return
    shown.add_section()
    shown.add_row(
        "[bold]half load[/bold], open loop: calls/s",
        *_each(logs, lambda log: log.half, lambda runs: f"{middle([run.rate for run in runs]):,.0f}"),
        "",
    )
    shown.add_row(
        "Authorize p99 (ms)",
        *(_at_most_of([run.authorize_p99_ms for run in log.half], AUTHORIZE_MS) for log in logs),
        "",
    )
    shown.add_row(
        "all p50 / p99 (ms)",
        *_each(
            logs,
            lambda log: log.half,
            lambda runs: f"{middle([run.p50_ms for run in runs]):.1f} / {middle([run.p99_ms for run in runs]):.1f}",
        ),
        "",
    )


def _held(shown: Table, logs: Sequence[LogFigures]) -> None:
    if not any(log.held for log in logs):
        return
    shown.add_section()
    shown.add_row("[bold]connections[/bold] held, with compression", *_each(logs, lambda log: log.held, _held_of), "")
    shown.add_row(
        "gateway's memory per connection (KiB)",
        *(_at_most(log, "memory", [h.bytes_per_connection for h in log.held], 1, 1024) for log in logs),
        "",
    )
    shown.add_row(
        "all our processes' (KiB)",
        *_each(logs, lambda log: log.held, lambda h: f"{middle([x.all_bytes_per_connection for x in h]) / 1024:.1f}"),
        "",
    )
    shown.add_row(
        "connected within (s)",
        *_each(logs, lambda log: log.held, lambda h: f"{middle([x.connect_s for x in h]):.0f}"),
        "",
    )
    shown.add_row(
        "heartbeats/s, p50 / p99 (ms)",
        *_each(
            logs,
            lambda log: log.held,
            lambda h: (
                f"{middle([x.heartbeats_per_s for x in h]):.0f}, "
                f"{middle([x.p50_ms for x in h]):.1f} / {middle([x.p99_ms for x in h]):.1f}"
            ),
        ),
        "",
    )


def _held_of(held: Sequence[object]) -> str:
    return "  ".join(f"{run.connected:,} of {run.connections:,}" for run in held)  # type: ignore[attr-defined]


def _handshakes(shown: Table, logs: Sequence[LogFigures]) -> None:
    kinds = dict.fromkeys(run.kind for log in logs for run in log.handshakes)
    if kinds:
        shown.add_section()
    for kind in kinds:

        def of(log: LogFigures, kind: str = kind) -> list[Handshakes]:
            return [run for run in log.handshakes if run.kind == kind]

        cells = [
            f"{_judged([run.per_s for run in of(log)], HANDSHAKES[kind], operator.ge, '≥', 0, 1)}, "
            f"{middle([run.cpu_us for run in of(log)]):,.0f} µs"
            if of(log)
            else ""
            for log in logs
        ]
        shown.add_row(f"[bold]handshakes/s[/bold], CPU each: {kind}", *cells, "")


def _flood(shown: Table, logs: Sequence[LogFigures]) -> None:
    kinds = dict.fromkeys(run.kind for log in logs for run in log.flood)
    for kind in kinds:
        runs = [[run for run in log.flood if run.kind == kind] for log in logs]
        cells = [_worse(some) if some else "-" for some in runs]
        shown.add_row(f"[bold]wrong passwords[/bold] {kind}: real stations' p99", *cells, "")


def _worse(runs: Sequence[Flood]) -> str:
    """Against the same load in the same run without a flood."""
    ratio = [run.p99_ms / run.calm_p99_ms for run in runs]
    offered = [run.offered_per_s for run in runs]
    judged = _judged(ratio, FLOODED, lambda value, limit: value <= limit and middle(offered) >= OFFERED, "≤", 1, 1)
    calm, flooded = (middle([getattr(run, name) for run in runs]) for name in ("calm_p99_ms", "p99_ms"))
    refused, cost = (middle([getattr(run, name) for run in runs]) for name in ("refused_per_s", "refused_cpu_us"))
    return (
        f"{calm:.1f} → {flooded:.1f} ms, {judged}; {_judged(offered, OFFERED, operator.ge, '≥', 0, 1)}/s offered by "
        f"{middle([run.guessing_cores for run in runs]):.2f} cores; {refused:,.0f}/s refused, {cost:,.0f} µs each"
    )


def _replay(shown: Table, logs: Sequence[LogFigures]) -> None:
    if not any(log.replay for log in logs):
        return
    shown.add_section()
    shown.add_row(
        "[bold]replay[/bold]: events/s",
        *(_at_least(log, "replay", [run.events_per_s for run in log.replay]) for log in logs),
        "",
    )
    shown.add_row("events", *_each(logs, lambda log: log.replay, lambda runs: f"{runs[0].events:,}"), "")
    shown.add_row(
        "CPU per event (µs)",
        *_each(logs, lambda log: log.replay, lambda runs: f"{middle([run.cpu_us for run in runs]):.0f}"),
        "",
    )
    shown.add_row(
        "hash of all rows afterwards (s)",
        *_each(logs, lambda log: log.replay, lambda runs: f"{middle([run.hash_s for run in runs]):.1f}"),
        "",
    )


def _queries(shown: Table, logs: Sequence[LogFigures]) -> None:
    kinds = dict.fromkeys(query.what for log in logs for query in log.queries)
    if kinds:
        shown.add_section()
        rows = max(log.transactions for log in logs)
        shown.add_row(
            f"[bold]a page of a list[/bold] of {rows:,} transactions: median, p99 (ms)", *("" for _ in logs), ""
        )
    for kind in kinds:
        of = [[query for query in log.queries if query.what == kind] for log in logs]
        cells = [
            f"{_at_most_of([one.median_ms for one in found], QUERY_MS)}, {found[0].p99_ms:.1f}" if found else ""
            for found in of
        ]
        shown.add_row(f"    {kind}", *cells, "")


def _each(
    logs: Sequence[LogFigures], runs: Callable[[LogFigures], Sequence[T]], cell: Callable[[Sequence[T]], str]
) -> list[str]:
    return [cell(found) if (found := runs(log)) else "" for log in logs]


def _at_least(log: LogFigures, name: str, values: Sequence[float]) -> str:
    return _judged(values, _required(log, name), lambda value, limit: value >= limit, "≥", 0, 1)


def _at_most(log: LogFigures, name: str, values: Sequence[float], digits: int = 0, unit: float = 1) -> str:
    return _judged(values, _required(log, name), lambda value, limit: value <= limit, "≤", digits, unit)


def _at_most_of(values: Sequence[float], limit: float) -> str:
    return _judged(values, limit, operator.le, "≤", 1, 1)


def _required(log: LogFigures, name: str) -> float:
    """Of the log, however its processes are cut: `Kafka, a process each` is held to what is said of Kafka."""
    return REQUIRED[log.log.partition(",")[0]][name]


def _judged(
    values: Sequence[float], limit: float, good: Callable[[float, float], bool], sign: str, digits: int, unit: float
) -> str:
    if not values:
        return ""
    value = middle(values)
    colour = "green" if good(value, limit) else "red"
    return f"[{colour}]{value / unit:,.{digits}f}[/{colour}] [dim]{sign} {limit / unit:,.0f}[/dim]"


def _lines(*texts: str) -> str:
    return "\n".join(text for text in texts if text)
