"""`csms simulate`: plays stations against a CSMS and says whether it kept its promises.

`run` takes plain values, so that tests and other programs call it as the command line does.
"""

import asyncio
import contextlib
import dataclasses
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .api import ApiError, CsmsApi
from .fleet import FAULTS, Fleet, FleetConfig
from .inputs import IdToken
from .promises import undelivered
from .table import View

KEPT, BROKEN, NOT_STARTED = 0, 1, 2
TOKENS_MAX = 500
DRAIN_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What the run came to. Times in seconds, latencies in ms."""

    stations: int
    connected: int
    seconds: float
    calls: int
    calls_per_second: float
    latency_p50_ms: float
    latency_p99_ms: float
    transactions: int
    events_acknowledged: int
    repeats_acknowledged: int
    commands: int
    checked: int
    undelivered: int
    by_action: dict[str, int] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    """Broken promises, word by word; at most a few dozen of each kind."""


class Outcome(NamedTuple):
    """`exit_code`: 0 all promises kept, 1 one was broken, 2 no station ever connected or the API refused."""

    summary: Summary
    exit_code: int


async def run(
    *,
    url: str = "ws://127.0.0.1:9000/ocpp",
    stations: int = 10,
    seed: int = 0,
    faults: Sequence[str] = (),
    password: str | None = None,
    duration_s: float | None = None,
    speed: float = 60.0,
    tokens: Sequence[str] = (),
    evses: int = 1,
    prefix: str = "SIM",
    idle: bool = False,
    compression: bool = False,
    profile: int = 1,
    ca_file: Path | None = None,
    certificates: Path | None = None,
    journal: Path | None = None,
    api: str | None = None,
    key: str | None = None,
    drain_s: float = DRAIN_S,
    console: Console | None = None,
) -> Outcome:
    """Plays `stations` stations called PREFIX-00001 and so on, until `duration_s` is over (None: until SIGINT
    or SIGTERM).

    `faults`: of "offline", "duplicates", "reconnect-storm", "power-cuts". `tokens`: `TYPE:VALUE` or `VALUE`; without
    any, idTokens are made up. With `api` and `key` the stations and idTokens are registered first, and at the end
    every transaction is compared with the CSMS's. `journal`: a file of JSON lines, one per acknowledged
    transaction event. `speed`: see `StationConfig`. `profile`: the security profile; `ca_file`: by which the stations
    know the CSMS, PEM; `certificates`: directory of their own ones (`FleetConfig`), needed with profile 3. Raises
    ValueError for impossible arguments.
    """
    unknown = set(faults) - set(FAULTS)
    if unknown or stations < 1 or evses < 1 or speed <= 0:
        raise ValueError(f"unknown faults {sorted(unknown)}" if unknown else "stations, evses and speed are positive")
    if profile > 1 and not url.startswith("wss:"):
        raise ValueError(f"security profile {profile} is TLS: the URL begins with wss://, not as {url} does")
    if (api is None) != (key is None):
        raise ValueError("an API needs its key, and the other way round")
    console = console or Console()
    id_tokens = tuple(map(IdToken.parse, tokens)) or _made_up(seed, min(TOKENS_MAX, stations * evses))
    config = FleetConfig(
        url=url,
        stations=stations,
        run=f"{time.time_ns():x}",
        seed=seed,
        prefix=prefix,
        evses=evses,
        tokens=id_tokens,
        passwords=password,
        speed=speed,
        faults=frozenset(faults),
        idle=idle,
        compression=compression,
        security_profile=profile,
        csms_roots=_text(ca_file),
        certificates=certificates,
        storm_every_s=max(2, int(min(30, (duration_s or 90) / 3))),
    )
    with _open(journal) as file:
        if api is None or key is None:
            return await _play(config, file, duration_s, drain_s, console, None)
        async with CsmsApi(api, key) as csms:
            try:
                passwords = await csms.register_stations(config.station_ids(), evses, password, profile)
                await csms.register_tokens(id_tokens)
            except ApiError as error:
                console.print(f"[red]cannot prepare the CSMS:[/red] {escape(str(error))}", soft_wrap=True)
                return Outcome(_summary(Fleet(config), 0.0, 0, []), NOT_STARTED)
            config = dataclasses.replace(config, passwords=passwords)
            return await _play(config, file, duration_s, drain_s, console, csms)


async def _play(
    config: FleetConfig,
    journal: IO[bytes] | None,
    duration_s: float | None,
    drain_s: float,
    console: Console,
    csms: CsmsApi | None,
) -> Outcome:
    fleet = Fleet(config, journal)
    stop = asyncio.Event()
    started = time.monotonic()
    with _signals(stop):
        async with asyncio.TaskGroup() as group:
            view = group.create_task(View(fleet, console).follow())
            ending = group.create_task(_set_after(stop, duration_s))
            await fleet.run(stop, drain_s)
            view.cancel()
            ending.cancel()
    seconds = time.monotonic() - started
    broken = undelivered(fleet.ledger)
    checked = 0
    if csms is not None:
        checked = len(fleet.ledger)
        broken += await csms.check(fleet.ledger)
    summary = _summary(fleet, seconds, checked, broken)
    show(summary, console)
    if not fleet.stats.answered:
        console.print(
            f"[red]No station was ever answered at {escape(config.url)}:[/red] is a CSMS there?", soft_wrap=True
        )
        return Outcome(summary, NOT_STARTED)
    return Outcome(summary, BROKEN if summary.broken else KEPT)


def _summary(fleet: Fleet, seconds: float, checked: int, broken: list[str]) -> Summary:
    stats, waiting = fleet.stats, fleet.unsettled()
    if waiting:
        broken = [*broken, f"{len(waiting)} stations could not deliver everything, such as {waiting[0]}"]
    return Summary(
        stations=fleet.config.stations,
        connected=fleet.count(lambda station: station.registration.value == "accepted"),
        seconds=round(seconds, 1),
        calls=stats.answered,
        calls_per_second=round(stats.answered / seconds, 1) if seconds else 0.0,
        latency_p50_ms=stats.latency_ms.percentile(50),
        latency_p99_ms=stats.latency_ms.percentile(99),
        transactions=stats.transactions,
        events_acknowledged=fleet.ledger.events,
        repeats_acknowledged=fleet.ledger.repeats,
        commands=stats.commands.total(),
        checked=checked,
        undelivered=len(waiting),
        by_action=dict(stats.calls),
        faults=dict(stats.faults),
        failures=dict(stats.failed + stats.refused),
        broken=[*stats.examples, *broken],
    )


def show(summary: Summary, console: Console) -> None:
    """Prints the summary, and the broken promises one by one."""
    table = Table(title="Summary", show_header=False)
    table.add_column(style="dim")
    table.add_column()
    for name, value in vars(summary).items():
        match value:
            case list():
                continue
            case dict():
                text = ", ".join(f"{k} {v}" for k, v in sorted(value.items())) or "none"
            case _:
                text = str(value)
        table.add_row(name.replace("_", " "), escape(text))
    console.print(table)
    for line in summary.broken:
        console.print(f"[red]broken:[/red] {escape(line)}", highlight=False, soft_wrap=True)
    if not summary.broken and summary.calls:
        console.print("[green]All promises were kept.[/green]")


def _text(file: Path | None) -> str:
    try:
        return "" if file is None else file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} cannot be read: {error}") from None


def _made_up(seed: int, count: int) -> tuple[IdToken, ...]:
    return tuple(IdToken(f"04{(seed << 32 | number) & (1 << 48) - 1:012X}") for number in range(count))


@contextlib.contextmanager
def _open(journal: Path | None) -> Iterator[IO[bytes] | None]:
    if journal is None:
        yield None
    else:
        with journal.open("wb") as file:
            yield file


async def _set_after(stop: asyncio.Event, seconds: float | None) -> None:
    if seconds is not None:
        await asyncio.sleep(seconds)
        stop.set()


@contextlib.contextmanager
def _signals(stop: asyncio.Event) -> Iterator[None]:
    """SIGINT and SIGTERM end the run in order; where handlers cannot be set (not the main thread), they act
    as usual."""
    loop = asyncio.get_running_loop()
    taken = []
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, stop.set)
            taken.append(number)
    try:
        yield
    finally:
        for number in taken:
            loop.remove_signal_handler(number)
