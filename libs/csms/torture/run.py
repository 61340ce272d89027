"""One run of the torture: start, load, kill, calm down, judge."""

import asyncio
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from csms.harness import ProcessFailed, Program, System, on_kafka
from csms.houses import HOSTS
from csms.kafka_broker import KafkaBroker
from csms.torture import again, evidence, judge
from csms.torture.again import Said
from csms.torture.balancer import Balancer
from csms.torture.load import Load, load
from csms.torture.plan import Kill, plan
from csms.torture.victims import Broker, Database, Process, Victim, supervise
from ocppcore.contracts.charge_details import ChargeDetail

REPLICAS = {"gateway": 2, "transactions": 2}
"""Where one dies another goes on: connections move, cells change their owner."""
RECOVERED_WITHIN_S = 120.0
CALM_WITHIN_S = 180.0
DRAINED_WITHIN_S = 120.0
LOOK_AGAIN_S = 0.1


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What to do. `gap_s`: between two kills on average, beside what the system takes to come back."""

    seed: int
    kills: int = 60
    stations: int = 40
    speed: float = 300.0
    gap_s: float = 2.0


@dataclass
class Report:
    """What came of it; `faults` is empty when all promises were kept."""

    kills: Counter[str] = field(default_factory=Counter)
    ends: dict[str, dict[int, int]] = field(default_factory=dict)
    slowest_recovery_s: float = 0.0
    acknowledged: int = 0
    repeats_acknowledged: int = 0
    undelivered: int = 0
    transactions: int = 0
    commands: Counter[str] = field(default_factory=Counter)
    events: int = 0
    events_published_again: int = 0
    charge_details: int = 0
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)
    logs: Path | None = None
    """Where the processes' output was kept: only when something is broken."""


class NotStarted(Exception):
    """The system did not come up, before anything was killed."""


Show = Callable[[str, int, int], None]
"""Tells whoever watches: what is being done, kills so far, events acknowledged so far."""


class Arena:
    """The system with its broker and its database, all of it to be killed."""

    def __init__(self, system: System, victims: Sequence[Victim]) -> None:
        self.system = system
        self.victims = {victim.name: victim for victim in victims}

    async def until_ready(self) -> list[str]:
        """Wait until everything serves, however often it dies meanwhile; what has not come back, and what it says."""
        until = time.monotonic() + CALM_WITHIN_S
        return [fault for program in self.system.programs.values() if (fault := await _comes_back(program, until))]


async def _comes_back(program: Program, until: float) -> str:
    """ "" once it serves, else what it says in the end."""
    said = ""
    while (left := until - time.monotonic()) > 0 or not said:
        try:
            await program.ready(max(left, LOOK_AGAIN_S))
            return ""
        except ProcessFailed as error:
            said = str(error)
            await asyncio.sleep(LOOK_AGAIN_S)
    return f"{program.name} does not come back: {said}"


@asynccontextmanager
async def arena(directory: Path) -> AsyncIterator[Arena]:
    """Broker, database and all services, started and supervised; whatever runs at the end is killed."""
    database = Database(directory)
    async with KafkaBroker.start(own=True) as broker:
        await database.revive()
        system = on_kafka(directory, broker.bootstrap, database.dsn, replicas=REPLICAS, CSMS_LOG_LEVEL="warning")
        try:
            try:
                await system.start()
            except ProcessFailed as error:
                raise NotStarted(str(error)) from None
            yield Arena(system, [*map(Process, system.programs.values()), Broker(broker), database])
        finally:
            system.kill()
            await database.stop()


async def torture(wanted: Wanted, directory: Path, console: Console) -> Report:
    """Run it. Raises NotStarted, and BrokerUnavailable where no broker can be had."""
    began = time.monotonic()
    report = Report()
    with _progress(console) as progress:
        task = progress.add_task("starting", total=wanted.kills, acknowledged=0)

        def show(what: str, done: int, acknowledged: int) -> None:
            progress.update(task, description=what, completed=done, acknowledged=acknowledged)

        async with arena(directory) as place, Balancer(place.system.gateways).running() as balancer:
            supervisor = asyncio.create_task(supervise(place.victims.values()))
            try:
                heard, billed = await _suffer(place, balancer.url, wanted, report, show)
            finally:
                supervisor.cancel()
                await asyncio.wait([supervisor])
            await _judge_at_rest(place.system, report, show)
        show("the same without kills", wanted.kills, report.acknowledged)
        report.faults += await again.billed_alike(billed, heard, wanted.seed, place.system.environment, directory)
    if report.faults:
        report.logs = _keep_logs(directory)
    for victim in place.victims.values():
        if isinstance(victim, Process) and victim.ends:
            report.ends[victim.name] = dict(victim.ends)
    report.seconds = time.monotonic() - began
    return report


async def _suffer(
    place: Arena, url: str, wanted: Wanted, report: Report, show: Show
) -> tuple[Sequence[Said], Sequence[ChargeDetail]]:
    """Load and kills; then, everything being up again, what its API says. What was heard of transactions, and what was
    billed."""
    show("registering stations", 0, 0)
    async with load(
        place.system, url, stations=wanted.stations, speed=wanted.speed, seed=wanted.seed, drain_s=DRAINED_WITHIN_S
    ) as charging:
        await _acknowledged_more(charging, 0, report)
        for number, kill in enumerate(plan(wanted.seed, wanted.kills, list(place.victims), wanted.gap_s)):
            show(f"killing {kill.target}", number, charging.acknowledged)
            await _kill(place, kill, charging, report)
        show("calming down", wanted.kills, charging.acknowledged)
        report.faults += await place.until_ready()
        await _acknowledged_more(charging, charging.acknowledged, report)
        show("last events", wanted.kills, charging.acknowledged)
    return await _judge_running(charging, report, show)


async def _kill(place: Arena, kill: Kill, charging: Load, report: Report) -> None:
    before = charging.acknowledged
    await asyncio.sleep(kill.pause_s)
    if kill.recovered:
        await _acknowledged_more(charging, before, report)
    victim = place.victims[kill.target]
    async with asyncio.timeout(CALM_WITHIN_S):
        while not victim.alive:  # noqa: ASYNC110  its supervisor is about to start it
            await asyncio.sleep(LOOK_AGAIN_S)
    victim.dead_s = kill.dead_s
    victim.kill()
    report.kills[kill.target] += 1


async def _acknowledged_more(charging: Load, than: int, report: Report) -> None:
    """Wait until a station was answered again: a system that does not come back has broken its promise."""
    began = time.monotonic()
    while charging.acknowledged <= than:
        await asyncio.sleep(LOOK_AGAIN_S)
        if time.monotonic() - began > RECOVERED_WITHIN_S:
            report.faults.append(f"no station was answered for {RECOVERED_WITHIN_S:.0f} s")
            return
    report.slowest_recovery_s = max(report.slowest_recovery_s, time.monotonic() - began)


async def _judge_running(charging: Load, report: Report, show: Show) -> tuple[Sequence[Said], Sequence[ChargeDetail]]:
    notebook = charging.notebook
    show("comparing with the API", sum(report.kills.values()), charging.acknowledged)
    report.acknowledged, report.repeats_acknowledged = notebook.events, notebook.repeats
    report.transactions = len(notebook)
    report.undelivered = len(charging.fleet.unsettled())
    report.faults += notebook.broken
    report.faults += await charging.transactions()
    shown = await charging.commands()
    report.commands.update(command.status for command in shown)
    report.faults += judge.commands(shown, notebook.answered)
    found = await evidence.events(charging.system, notebook)
    report.events, report.events_published_again = found.count, found.repeats
    report.faults += found.faults
    report.faults += await evidence.parked(charging.system)
    billed = await again.charge_details(charging.system)
    report.charge_details = len(billed)
    return found.said, billed


async def _judge_at_rest(system: System, report: Report, show: Show) -> None:
    show("stopping", sum(report.kills.values()), report.acknowledged)
    for name, code in (await system.stop()).items():
        if code != 0:
            report.faults.append(f"{name} was asked to stop and ended with {code}")
    for service in HOSTS:
        show(f"rebuilding {service}", sum(report.kills.values()), report.acknowledged)
        report.faults += await evidence.rebuilt(system, service)


def _keep_logs(directory: Path) -> Path:
    kept = Path(tempfile.mkdtemp(prefix="csms-torture-"))
    for log in directory.glob("*.log"):
        shutil.copy(log, kept)
    return kept


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:<24}"), BarColumn(), MofNCompleteColumn(), TextColumn("kills"),
        TextColumn("{task.fields[acknowledged]} events acknowledged"), TimeElapsedColumn(),
        console=console,
    )  # fmt: skip
