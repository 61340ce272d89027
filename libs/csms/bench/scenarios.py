"""The loads: as many calls as go, a given rate, many connections."""

import asyncio

from csms.bench.figures import Closed, Held, Open, errors_of
from csms.bench.registration import TOKEN, TOKEN_TYPE
from csms.bench.systems import System
from csms.bench.usage import Meter, family, rss_bytes
from simulator.load import NO_COST, LoadConfig, LoadError, LoadResult, drive_apart

PREFIX = "BENCH"
HEARTBEAT_S = 30.0
CONNECT_PER_S = 400.0
WATCH_S = 0.25


def station_ids(count: int) -> list[str]:
    """The ids that the load generator gives to `count` stations."""
    return LoadConfig(url="", stations=count, prefix=PREFIX).station_ids


def load(url: str, stations: int, passwords: tuple[str, ...], **more: object) -> LoadConfig:
    """Settings of the load generator for the first `stations` stations; `more` as in LoadConfig."""
    return LoadConfig(
        url=url,
        stations=stations,
        prefix=PREFIX,
        passwords=passwords[:stations],
        tokens=(f"{TOKEN_TYPE}:{TOKEN}",),
        **more,  # type: ignore[arg-type]
    )


async def closed_loop(system: System, config: LoadConfig) -> Closed:
    """As many calls as the system takes: every station sends its next CALL when the last is answered.

    Raises LoadError, also where cost is to be told (`config.priced`) and an answer does not.
    """
    async with Meter(system.groups) as meter:
        result = await drive_apart(config)
    if config.priced:
        require_costs(result)
    return closed_figures(result, meter)


def require_costs(result: LoadResult) -> None:
    """Raises LoadError unless every answer that had to tell the cost did, and there were any."""
    if missing := result.errors.get(NO_COST, 0):
        raise LoadError(f"{missing} answers under a tariff without totalCost: {'; '.join(result.samples)}")
    if not result.transactions:
        raise LoadError("no transaction under a tariff ended within the window: make it longer")


def closed_figures(result: LoadResult, meter: Meter) -> Closed:
    """The figures of a closed loop from the driver's result and the CPU clocks around it."""
    by = {name: _us(spent, result.calls) for name, spent in meter.cpu_s(*result.window).items()}
    return Closed(
        calls_per_s=result.calls_per_s,
        cpu_us=round(sum(by.values()), 1),
        cpu_us_by=by,
        driver_cpu_us=result.driver_cpu_us_per_call,
        p50_ms=result.latency.p50,
        p99_ms=result.latency.p99,
        others_cores=_others(result, meter),
        errors=errors_of(result),
    )


async def open_loop(system: System, config: LoadConfig) -> Open:
    """Calls on schedule, whether or not those before were answered."""
    async with Meter(system.groups) as meter:
        result = await drive_apart(config)
    return Open(
        rate=config.rate,
        p50_ms=result.latency.p50,
        p99_ms=result.latency.p99,
        cpu_us=round(sum(_us(spent, result.calls) for spent in meter.cpu_s(*result.window).values()), 1),
        others_cores=_others(result, meter),
        late=result.unsent + result.unanswered,
        errors=errors_of(result),
        authorize_p99_ms=result.by_step["Authorize"].p99 if "Authorize" in result.by_step else 0.0,
    )


async def hold(system: System, config: LoadConfig) -> Held:
    """Connect many stations; each sends a Heartbeat every so often. The memory is the most that was seen."""
    before = _memory(system)
    seen: list[tuple[int, int]] = []

    async def watch() -> None:
        while True:
            seen.append(_memory(system))
            await asyncio.sleep(WATCH_S)

    watching = asyncio.create_task(watch())
    try:
        result = await drive_apart(config)
    finally:
        watching.cancel()
    held = max(1, result.connected)
    return Held(
        connections=config.stations,
        connected=result.connected,
        connect_s=result.connect_s,
        bytes_per_connection=round((max(gateway for gateway, _ in seen) - before[0]) / held),
        all_bytes_per_connection=round((max(ours for _, ours in seen) - before[1]) / held),
        heartbeats_per_s=result.calls_per_s,
        p50_ms=result.latency.p50,
        p99_ms=result.latency.p99,
        errors=errors_of(result),
    )


def _memory(system: System) -> tuple[int, int]:
    """Resident bytes of the process with the sockets, and of all our own processes."""
    ours = [process for pid in system.pids.values() for process in family(pid)[:1]]
    sizes = {process.pid: rss_bytes(process) for process in ours}
    return sizes.get(system.gateway_pid, 0), sum(sizes.values())


def _others(result: LoadResult, meter: Meter) -> float:
    driver_cpu_s = result.driver_cpu_us_per_call * result.calls / 1e6
    return round(meter.others_cores(*result.window, driver_cpu_s), 2)


def _us(seconds: float, calls: int) -> float:
    return round(seconds * 1e6 / max(1, calls), 1)
