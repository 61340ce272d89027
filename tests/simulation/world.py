"""All services, two gateways and model stations in one thread, on the in-memory log, in virtual time, under faults.

Every process is a task with its own handle on the log; a crash cancels it in the middle of whatever it awaits, with its
handle closed first, so that nothing it would still do on the way out happens. What survives is what a real crash
leaves: the log (`MemoryCluster`) and the services' tables (`MemoryTables`).
"""

import asyncio
import contextlib
import contextvars
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ocppcore import topics
from ocppcore.authorization import TokenState
from ocppcore.commands import ASK, Ask
from ocppcore.contracts.auth import PutToken
from ocppcore.contracts.device import PutStation, StationFields
from ocppcore.contracts.tariffs import AssignTariff, PutTariff
from ocppcore.credentials import hash_generated
from ocppcore.engine.loop import Engine, EngineSettings
from ocppcore.engine.step import Work
from ocppcore.envelope import Request, request_record
from ocppcore.errors import CsmsError
from ocppcore.memory import MemoryCluster, MemoryLog, MemoryMembership, MemoryStore, MemoryTables
from ocppcore.pseudonym import Pseudonyms
from ocppcore.seal import Seal
from ocppcore.service import Service
from ocppcore.tariff import Assignments
from services.auth import service as auth
from services.device import service as device
from services.gateway.domain.admission import Basic, Knock
from services.gateway.door import Admitted
from services.gateway.gateway import Gateway, Numbers
from services.gateway.passwords import Passwords
from services.gateway.session import ABNORMAL, Session
from services.smartcharging import service as smartcharging
from services.transactions import service as transactions
from tests.simulation.stations import Link, ModelStation
from tests.support.tariffs import tariff

START = 1_700_000_000_000
CELLS, SLOTS = 2, 4
KEY = b"k" * 32
PASSWORD = "a-password-of-the-simulation"
PSEUDONYMS = Pseudonyms(b"pseudonyms of the simulation")
TARIFFS = tuple(
    tariff({"ENERGY": price, "TIME": "1.00", "when": {"maxKwh": "2"}}, {"ENERGY": "0.20", "FLAT": "1.00"})
    for price in ("0.30", "0.50")
)
"""The second takes the first one's place while transactions run."""
IN_FORCE_S = 60
LATE = 0.0
"""How often a service that publishes is held to be dead, and does it after its successor: rare by itself."""
OUTBOUND = Seal(KEY, "outbound frames")
PROCESS: contextvars.ContextVar["Process | None"] = contextvars.ContextVar("process", default=None)
REPLICAS = {"device": 1, "auth": 1, "transactions": 2, "smartcharging": 1}


def definitions() -> dict[str, Service]:
    """The four services, as production assembles them."""
    return {
        "device": device.build(),
        "auth": auth.build(PSEUDONYMS),
        "transactions": transactions.build(PSEUDONYMS),
        "smartcharging": smartcharging.build(),
    }


@dataclass
class Decided:
    """A committed batch: what was looked at and what came of it, to be replayed."""

    works: Sequence[Work]
    found: Any
    late: Any
    stream: Sequence[Any]


class SimEngine(Engine):
    """Remembers what it decided, for the replay."""

    last: Decided | None = None

    def _decide(self, works: Any, found: Any, late: Any) -> Any:
        batch, job, results = super()._decide(works, found, late)
        self.last = Decided(works, found, late, batch.stream)
        return batch, job, results


class SimStore(MemoryStore):
    """Tells the world about each commit, in the order in which they took place."""

    def __init__(self, tables: MemoryTables, world: "World", engine: "Callable[[], SimEngine]") -> None:
        super().__init__(tables, world.interrupt)
        self._world = world
        self._engine = engine

    def _write(self, commit: Any) -> None:
        super()._write(commit)
        engine = self._engine()
        if engine.last is not None and commit.stream is engine.last.stream:
            self._world.decided[engine.service.name].append(engine.last)
            engine.last = None


@dataclass
class Process:
    """One process: `make` builds what it runs on a fresh handle of the log; it is started again after a crash."""

    name: str
    world: "World"
    make: Callable[[MemoryLog], Any]
    log: MemoryLog = field(init=False)
    running: Any = None
    crashing: bool = False
    task: "asyncio.Task[None] | None" = None

    async def live(self) -> None:
        PROCESS.set(self)
        while True:
            self.log = MemoryLog(self.world.cluster)
            self.crashing = False
            self.running = self.make(self.log)
            self.task = asyncio.create_task(self.running.run())
            try:
                await asyncio.shield(asyncio.wait({self.task}))
            finally:
                if not self.task.done():
                    self.log._closed = True
                    self.task.cancel()
                    await asyncio.wait({self.task})
            error = None if self.task.cancelled() else self.task.exception()
            if error and not self.crashing:
                self.world.problems.append(f"{self.name} ended by itself: {error!r}")
            self.running = None
            with contextlib.suppress(Exception):
                await self.log.close()
            await asyncio.sleep(self.world.chance.uniform(0.2, 4.0))

    def crash(self) -> None:
        """kill -9: nothing that it would do on the way out reaches the log."""
        if self.task is not None and not self.task.done() and not self.crashing:
            self.crashing = True
            self.world.crashes += 1
            self.log._closed = True
            self.task.cancel()


class SimLink:
    """A station's connection to a gateway, with delays; implements both sides."""

    def __init__(self, world: "World", station: ModelStation) -> None:
        self.world = world
        self.station = station
        self.session: Session | None = None
        self.open = True
        self._last_up = self._last_down = 0.0

    def _later(self, last: float, call: Callable[[], None]) -> float:
        """After a delay, but never before what went before on this link: TCP keeps the order."""
        loop = asyncio.get_running_loop()
        at = max(last, loop.time() + self.world.chance.uniform(0.001, 0.05))
        loop.call_at(at, call)
        return at

    # The station's side.

    def send(self, frame: bytes) -> None:
        self._last_up = self._later(self._last_up, lambda: self._arrive(frame))

    def _arrive(self, frame: bytes) -> None:
        # A frame on its way arrives although the station is gone meanwhile: the gateway does not know yet.
        if self.session is not None and not self.session.closed:
            self.session.receive(frame)

    def cut(self) -> None:
        """The station's side is gone; the gateway hears of it later."""
        self.open = False
        asyncio.get_running_loop().call_later(self.world.chance.uniform(0.01, 3.0), self._noticed)

    def _noticed(self) -> None:
        if self.session is not None and not self.session.closed:
            self.session.ended(ABNORMAL, "gone")

    # The gateway's side (Transport).

    def deliver(self, frame: bytes) -> None:
        self._last_down = self._later(self._last_down, lambda: self._down(frame))

    def _down(self, frame: bytes | None) -> None:
        if self.open:
            self.station.incoming.put_nowait(frame)
            if frame is None:
                self.open = False


class Transport:
    """What the gateway sees of a link."""

    def __init__(self, link: SimLink) -> None:
        self.link = link

    def send(self, frame: bytes) -> None:
        self.link.deliver(frame)

    def close(self, code: int, reason: str) -> None:
        self.link._last_down = self.link._later(self.link._last_down, lambda: self.link._down(None))
        asyncio.get_running_loop().call_soon(self.link._noticed)

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class World:
    """One run, from one seed."""

    def __init__(self, seed: int, *, stations: int = 3, faults: bool = True, one_tariff: bool = False) -> None:
        self.seed = seed
        self.one_tariff = one_tariff
        """The tariff is in force everywhere before the first station comes, and stays: costs cannot differ."""
        self.chance = random.Random(seed)
        self.faults = faults
        self.crashes = 0
        self.problems: list[str] = []
        loop = asyncio.get_running_loop()
        self.clock = lambda: START + int(loop.time() * 1000)
        self.cluster = MemoryCluster("simulated", self.clock)
        self.cluster.declare(topics.partition_counts(CELLS, SLOTS))
        self.cluster.interrupt = self.interrupt
        self.definitions = definitions()
        self.tables = {name: MemoryTables() for name in self.definitions}
        self.decided: dict[str, list[Decided]] = {name: [] for name in self.definitions}
        self.asked: dict[str, str] = {}
        self.processes = [
            Process(f"{name}-{n}", self, self._engine_maker(name))
            for name, count in REPLICAS.items()
            for n in range(count)
        ]
        self.gateways = [Process(f"gateway-{n}", self, self._gateway_maker(f"gw{n}")) for n in range(2)]
        self.stations = [
            ModelStation(f"CS-{n}", random.Random(self.chance.random()), self, f"TOKEN-{n % 2}")
            for n in range(stations)
        ]

    def _engine_maker(self, name: str) -> Callable[[MemoryLog], SimEngine]:
        def make(log: MemoryLog) -> SimEngine:
            made: list[SimEngine] = []
            store = SimStore(self.tables[name], self, lambda: made[0])
            settings = EngineSettings(
                partitions=CELLS, reopen_after_s=0.5, suspect_times_max=10**6
            )  # deaths are chance
            engine = SimEngine(
                self.definitions[name], log, store, clock=self.clock, seal=Seal(KEY, "parked"), settings=settings
            )
            made.append(engine)
            return engine

        return make

    def _gateway_maker(self, name: str) -> Callable[[MemoryLog], Gateway]:
        def make(log: MemoryLog) -> Gateway:
            passwords = Passwords(KEY, threads=1, waiting_max=10, remembered_max=10)
            numbers = Numbers(cells=CELLS, slots=SLOTS, lease_ms=4000)
            fresh = f"{name}/{self.chance.random()}"
            return Gateway(log, numbers, self.clock, passwords, OUTBOUND, fresh, chance=random.Random(fresh))

        return make

    # The network.

    async def connect(self, station: ModelStation) -> Link | None:
        """To one of the gateways; None when it refuses or goes away meanwhile."""
        await asyncio.sleep(self.chance.uniform(0.01, 0.3))
        gateway: Gateway | None = self.chance.choice(self.gateways).running
        if gateway is None:
            return None
        link = SimLink(self, station)
        try:
            async with asyncio.timeout(20):
                admitted = await gateway.admit(station.identity, Knock(Basic(station.identity, PASSWORD)))
                if not isinstance(admitted, Admitted):
                    return None
                session = await gateway.connect(admitted, station.identity, "ocpp2.0.1", Transport(link))
        except (TimeoutError, CsmsError):  # what a dying gateway says
            return None
        if not isinstance(session, Session):
            return None
        link.session = session
        return link

    # Faults.

    async def interrupt(self, point: str) -> None:
        """Where a process appends and commits: it is delayed, stays behind as a zombie, or dies before or after."""
        process = PROCESS.get()
        if process is None:
            return
        if process.crashing:
            await asyncio.Event().wait()
        if not self.faults:
            return
        if LATE and point == "append" and process in self.processes and self.chance.random() < LATE:
            self._make_zombie(process)
            await asyncio.sleep(self.chance.uniform(2.0, 15.0))
        draw = self.chance.random()
        if draw < 0.004:
            process.crash()
            await asyncio.Event().wait()
        elif draw < 0.007 and point == "commit":
            self._make_zombie(process)
            await asyncio.sleep(self.chance.uniform(1.0, 4.0))
        elif draw < 0.1 and point == "append" and process in self.gateways:
            await asyncio.sleep(self.chance.uniform(0.0, 4.0))  # frames of a connection that is over come late
        elif draw < 0.05:
            await asyncio.sleep(self.chance.uniform(0.0, 0.5))
        elif draw < 0.06:
            await asyncio.sleep(self.chance.uniform(0.5, 5.0))

    def _make_zombie(self, process: Process) -> None:
        for member in process.log._members:
            member.cut()

    async def _disturb(self) -> None:
        """From outside: crashes at any moment, gateways that leave well, owners that change."""
        while True:
            await asyncio.sleep(self.chance.uniform(2.0, 12.0))
            if not self.faults:
                continue
            draw = self.chance.random()
            if draw < 0.35:
                self.chance.choice([*self.processes, *self.gateways]).crash()
            elif draw < 0.5:
                process = self.chance.choice(self.processes)
                if process.running is not None:
                    for member in list(process.log._members):
                        await self._hand_over(member)

    async def _hand_over(self, member: MemoryMembership) -> None:
        """The group moves its cells around among those that are there."""
        group = member._group
        if member in group.members:
            group.members.remove(member)
            group.members.append(member)
            self.cluster.rebalance(group)

    # A run.

    async def run(self) -> None:
        """Faults while the stations talk, then calm until everything has been said and decided."""
        await self._prepare()
        tasks = [asyncio.create_task(process.live()) for process in (*self.processes, *self.gateways)]
        if self.one_tariff:
            await asyncio.sleep(IN_FORCE_S)
        tasks += [asyncio.create_task(station.live()) for station in self.stations]
        asking = asyncio.create_task(self._command())
        tasks += [asyncio.create_task(self._disturb()), asking]
        try:
            loop = asyncio.get_running_loop()
            while loop.time() < 150 and not all(station.done for station in self.stations):
                await asyncio.sleep(1)
            self.faults = False
            for station in self.stations:
                station.calm = True
            try:
                async with asyncio.timeout(400):
                    while not (asking.done() and all(s.done for s in self.stations) and self._settled()):
                        await asyncio.sleep(1)
                    await asyncio.sleep(3)
                    while not self._settled():
                        await asyncio.sleep(0.2)
            except TimeoutError:
                left = {station.identity: len(station.queue) for station in self.stations if station.queue}
                self.problems.append(f"not settled: {left or self._unsettled()}")
        finally:
            for process in (*self.processes, *self.gateways):
                process.crashing = True
                process.log._closed = True
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _prepare(self) -> None:
        """Register stations and tokens, as the APIs would."""
        log = MemoryLog(self.cluster)
        credential = hash_generated(PASSWORD, KEY)
        for station in self.stations:
            station.plan()
            body = PutStation(
                identity=station.identity, fields=StationFields(credential=credential), spare=credential, create=True
            )
            await self._request(log, "device", PutStation.NAME, station.identity.casefold(), body)
        await self._request(log, "transactions", PutTariff.NAME, "t", PutTariff(tariff=TARIFFS[0]))
        everybody = AssignTariff(assignments=Assignments(default=True))
        await self._request(log, "transactions", AssignTariff.NAME, "t", everybody)
        token = PutToken(state=TokenState(type="ISO14443", status="Accepted", concurrent=1), driver_key="x")
        await self._request(log, "auth", PutToken.NAME, PSEUDONYMS.of("ISO14443", "TOKEN-0"), token)

    async def _request(
        self, log: MemoryLog, service: str, type_: str, key: str, body: msgspec.Struct, which: str = ""
    ) -> None:
        id_ = f"sim/{service}/{type_}/{key}/{getattr(body, 'command_id', which)}"
        request = Request(id_, type_, key, msgspec.json.encode(body), self.clock(), "/sim", "sim", "", "")
        await log.append([request_record(request, service, CELLS)])

    async def _command(self) -> None:
        """Now and then a command for some station; some asked twice, as a client does that got no answer."""
        log = MemoryLog(self.cluster)
        await asyncio.sleep(self.chance.uniform(1, 15))
        if not self.one_tariff:
            await self._request(log, "transactions", PutTariff.NAME, "t", PutTariff(tariff=TARIFFS[1]), "changed")
        for number in range(self.chance.randint(1, 5)):
            await asyncio.sleep(self.chance.uniform(1, 15))
            station = self.chance.choice(self.stations).identity.casefold()
            service, action = self.chance.choice(
                [("device", "UnlockConnector"), ("auth", "ClearCache"), ("transactions", "GetTransactionStatus")]
            )
            payload = b'{"evseId":1,"connectorId":1}' if action == "UnlockConnector" else b"{}"
            queue_for = self.chance.choice([0, 20_000])
            ask = Ask(
                command_id=f"command-{number}", action=action, payload=msgspec.Raw(payload), queue_for_ms=queue_for
            )
            self.asked[ask.command_id] = action
            for _ in range(self.chance.choice([1, 1, 2])):
                await self._request(log, service, ASK, station, ask)

    def _unsettled(self) -> list[str]:
        found = []
        for name, tables in self.tables.items():
            for cell, row in tables.cells.items():
                for topic, position in row.positions.items():
                    end = len(self.cluster.partitions[topic][cell])
                    if position < end:
                        found.append(f"{name}: {topic}/{cell} read to {position} of {end}")
            for topic, places in tables.copy_positions.items():
                for n, position in places.items():
                    if position < len(self.cluster.partitions[topic][n]):
                        found.append(f"{name}: the copy of {topic}/{n} read to {position}")
            found += [
                f"{name}: {key} of {topic} is stale"
                for topic, rows in tables.copies.items()
                for key, kept in rows.items()
                if kept.stale is not None
            ]
            found += [f"{name}: {key} open" for key in tables.states if key.kind == "CommandQueue"]
            for (topic, cell), rows in tables.streams.items():
                published = {record.headers["number"] for record in self.cluster.partitions[topic][cell]}
                if len(published) < len(rows):
                    found.append(f"{topic}/{cell}: {len(published)} of {len(rows)} published")
        return found

    def _settled(self) -> bool:
        return not self._unsettled()
