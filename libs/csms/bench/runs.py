"""All that a benchmark does, in its order, with its progress."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from csms.bench import flood, handshakes, limits, queries, scenarios, systems
from csms.bench.figures import LogFigures, Report, middle
from csms.bench.pricing import tariff
from csms.bench.registration import register
from csms.bench.replay import place, produce, replay
from csms.bench.systems import System
from simulator.load import LoadConfig

LOGS = tuple(systems.NAMES)
PARTS = ("connections", "loads", "handshakes", "replay", "queries")
FLOODS_MAX = 3
"""Runs of the floods: each is four loads long."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to measure; times in seconds. `runs` of each load and each replay, of which the median is shown."""

    logs: tuple[str, ...] = LOGS
    runs: int = 5
    seconds: float = 15.0
    stations: int = 200
    rate: float = 1000.0
    connections: int = 10_000
    hold_s: float = 60.0
    events: int = 1_000_000
    transactions: int = 10_000_000
    partitions: int = 4
    parts: tuple[str, ...] = PARTS


class Bars:
    """A bar per phase."""

    def __init__(self, console: Console) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[done]}"),
            TimeElapsedColumn(),
        )
        self.progress = Progress(*columns, console=console)

    @contextmanager
    def bar(self, what: str, total: float | None = None) -> Iterator[Callable[[float, str], None]]:
        """Call it with how far it has come, and a word on it."""
        task = self.progress.add_task(what, total=total, done="")

        def come(completed: float, word: str = "") -> None:
            self.progress.update(task, completed=completed, done=word)

        try:
            yield come
        finally:
            self.progress.stop_task(task)


async def run(options: Options, report: Report, console: Console) -> None:
    """Measure everything and note it in the report as it comes. Raises ProcessFailed, BrokerUnavailable, LoadError."""
    bars = Bars(console)
    with bars.progress:
        if "loads" in options.parts:
            await _echo(options, report, bars)
        for log in options.logs:
            figures = LogFigures(systems.NAMES[log])
            report.logs.append(figures)
            if options.connections and "connections" in options.parts:
                # On a system of its own: one that has held so many is a fifth slower afterwards, all caches being cold.
                async with _system(log, options.partitions, bars) as system:
                    await _hold(options, figures, system, bars)
            async with _system(log, options.partitions, bars) as system:
                passwords = await _registered(options.stations, system, bars)
                if "loads" in options.parts:
                    await _loads(options, figures, system, bars, passwords)
                if log == "embedded" and "handshakes" in options.parts:
                    await _floods(options, figures, system, bars, passwords)
                    await _handshakes(options, figures, system, bars)
                if log == "kafka" and "loads" in options.parts:
                    await _round_trips(options, report, system, bars)
                if log == "kafka" and "replay" in options.parts:
                    await _replays(options, figures, system, bars)
            if log == "embedded" and "replay" in options.parts:
                await _replays(options, figures, None, bars)
            if log == "embedded" and "queries" in options.parts:
                await _queries(options, figures, bars)


@asynccontextmanager
async def _system(log: str, partitions: int, bars: Bars) -> AsyncIterator[System]:
    with bars.bar(f"{log}: start") as come:
        apart = log == "kafka-apart"
        starting = systems.embedded(partitions) if log == "embedded" else systems.on_kafka(partitions, apart=apart)
        system = await starting.__aenter__()
        come(1, "ready")
    try:
        yield system
    finally:
        await starting.__aexit__(None, None, None)


async def _echo(options: Options, report: Report, bars: Bars) -> None:
    async with limits.echo_server() as (url, pid):
        with bars.bar("bare WebSocket server", options.runs) as come:
            for number in range(options.runs):
                config = LoadConfig(url=url, stations=options.stations, duration_s=options.seconds)
                figures = await limits.echo(config, pid)
                report.echo.append(figures)
                come(number + 1, f"{figures.calls_per_s:,.0f} calls/s")


async def _registered(count: int, system: System, bars: Bars) -> tuple[str, ...]:
    """The passwords of so many stations."""
    stations = scenarios.station_ids(count)
    with bars.bar(f"{system.name}: register stations", count) as come:
        return await register(system, stations, lambda done: come(done, f"{done:,}"))


async def _hold(options: Options, figures: LogFigures, system: System, bars: Bars) -> None:
    passwords = await _registered(options.connections, system, bars)
    with bars.bar(f"{system.name}: hold {options.connections:,} connections", 1) as come:
        config = scenarios.load(
            system.ocpp_url,
            options.connections,
            passwords,
            mode="idle",
            compression=True,
            heartbeat_s=scenarios.HEARTBEAT_S,
            duration_s=options.hold_s,
            connect_per_s=scenarios.CONNECT_PER_S,
        )
        held = await scenarios.hold(system, config)
        figures.held.append(held)
        come(1, f"{held.connected:,}, {held.bytes_per_connection / 1024:.1f} KiB each")


async def _loads(options: Options, figures: LogFigures, system: System, bars: Bars, passwords: tuple[str, ...]) -> None:
    def load(count: int, **more: object) -> LoadConfig:
        return scenarios.load(system.ocpp_url, count, passwords, **more)

    with bars.bar(f"{system.name}: closed loop, without and with a tariff", options.runs) as come:
        for number in range(options.runs):
            closed = await scenarios.closed_loop(system, load(options.stations, duration_s=options.seconds))
            figures.closed.append(closed)
            async with tariff(system):
                config = load(options.stations, duration_s=options.seconds, priced=True)
                priced = await scenarios.closed_loop(system, config)
            figures.priced.append(priced)
            come(
                number + 1,
                f"{closed.calls_per_s:,.0f} calls/s, {closed.cpu_us:.0f} µs; "
                f"priced {priced.calls_per_s:,.0f}, {priced.cpu_us:.0f} µs",
            )
    half = max(1.0, middle([closed.calls_per_s for closed in figures.closed]) / 2)
    for rate, into in ((options.rate, figures.open), (half, figures.half)):
        with bars.bar(f"{system.name}: open loop, {rate:,.0f} calls/s", options.runs) as come:
            for number in range(options.runs):
                config = load(options.stations, mode="open", rate=rate, duration_s=options.seconds)
                figure = await scenarios.open_loop(system, config)
                into.append(figure)
                come(number + 1, f"p50 {figure.p50_ms:.1f} ms, p99 {figure.p99_ms:.1f} ms")


async def _floods(
    options: Options, figures: LogFigures, system: System, bars: Bars, passwords: tuple[str, ...]
) -> None:
    runs = min(options.runs, FLOODS_MAX)
    with bars.bar(f"{system.name}: {flood.RATE:,} wrong passwords a second", runs) as come:
        for number in range(runs):
            more = {"mode": "open", "rate": options.rate, "duration_s": options.seconds}
            found = await flood.measure(system, scenarios.load(system.ocpp_url, options.stations, passwords, **more))
            figures.flood += found
            come(number + 1, f"p99 {found[0].calm_p99_ms:.1f} → " + ", ".join(f"{one.p99_ms:.1f}" for one in found))


async def _handshakes(options: Options, figures: LogFigures, system: System, bars: Bars) -> None:
    for kind in handshakes.KINDS:
        with bars.bar(f"{system.name}: handshakes, {kind}", options.runs) as come:
            for number in range(options.runs):
                found = await handshakes.measure(system, kind, options.seconds)
                figures.handshakes.append(found)
                come(number + 1, f"{found.per_s:,.0f}/s, {found.cpu_us:,.0f} µs")


async def _queries(options: Options, figures: LogFigures, bars: Bars) -> None:
    rows = options.transactions
    if not rows:
        return
    async with _system("embedded", options.partitions, bars) as system:
        with bars.bar(f"{system.name}: write {rows:,} transactions", rows) as come:
            await queries.fill(system, "transactions", rows, come)
        with bars.bar(f"{system.name}: lists of transactions", queries.asked_in_all(rows)) as come:
            figures.queries += await queries.measure(system, rows, come)
    figures.transactions = rows


async def _round_trips(options: Options, report: Report, system: System, bars: Bars) -> None:
    with bars.bar("bare Kafka round trip", options.runs) as come:
        for number in range(options.runs):
            trip = await limits.kafka_round_trip(system)
            report.kafka.append(trip)
            come(number + 1, f"{trip.records_per_s:,.0f} records/s, p50 {trip.p50_ms:.1f} ms")


async def _replays(options: Options, figures: LogFigures, system: System | None, bars: Bars) -> None:
    if not options.events:
        return
    async with place(system, options.partitions) as there:
        with bars.bar(f"{figures.log}: write {options.events:,} events", options.events) as come:
            produce_s = await produce(there, options.events, lambda done, _: come(done, f"{done:,}"))
        for number in range(options.runs):
            with bars.bar(f"{figures.log}: replay {number + 1}", options.events) as come:
                found = await replay(there, options.events, produce_s, lambda done, _: come(done, f"{done:,}"))
                come(options.events, f"{found.events_per_s:,.0f} events/s")
                figures.replay.append(found)
