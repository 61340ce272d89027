"""Many stations in one process: their configurations drawn from one seed, one task group, faults that strike
all at once."""

import asyncio
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from .actions import Actions
from .client import Clock, Network, Player
from .config import ClientCertificate, Drivers, Faults, StationConfig
from .inputs import Finish, GoOffline, IdToken
from .ledger import Ledger
from .rng import Rng
from .station import Station
from .stats import Stats

SOURCES = 20
FAULTS = ("offline", "duplicates", "reconnect-storm", "power-cuts")
_POINTS = (
    ("PowerPathClosed", "PowerPathClosed"),
    ("EVConnected", "EVConnected"),
    ("Authorized", "Authorized"),
    ("EVConnected,Authorized", "PowerPathClosed"),
)
_POWERS_W = (11_000, 22_000, 22_000, 50_000, 150_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetConfig:
    """What to play. `passwords`: one for all stations, or by station id. `idle`: nobody comes to charge.
    `per_second`: how many stations are powered up in a second. `certificates`: a directory with ID.pem and ID.key of
    each station; one without has none."""

    url: str
    stations: int
    run: str
    seed: int = 0
    prefix: str = "SIM"
    evses: int = 1
    tokens: tuple[IdToken, ...] = ()
    passwords: str | dict[str, str] | None = None
    speed: float = 60.0
    faults: frozenset[str] = frozenset()
    idle: bool = False
    compression: bool = False
    security_profile: int = 1
    csms_roots: str = ""
    certificates: Path | None = None
    per_second: int = 500
    dials_max: int = 200
    storm_every_s: int = 30

    def station_ids(self) -> list[str]:
        return [f"{self.prefix}-{number:05d}" for number in range(1, self.stations + 1)]


def station_config(fleet: FleetConfig, station_id: str) -> StationConfig:
    """The configuration of one station: a mix of kinds, drawn from the seed."""
    rng = Rng(fleet.seed, station_id, "kind")
    start, stop = rng.choice(_POINTS)
    passwords = fleet.passwords
    people = None if fleet.idle or not fleet.tokens else Drivers(tokens=fleet.tokens)
    return StationConfig(
        station_id=station_id,
        seed=fleet.seed,
        run=fleet.run,
        evses=fleet.evses,
        max_power_w=rng.choice(_POWERS_W),
        tx_start_point=start,
        tx_stop_point=stop,
        speed=fleet.speed,
        drivers=people,
        faults=Faults(
            offline=0.4 if "offline" in fleet.faults else 0.0,
            duplicates=0.1 if "duplicates" in fleet.faults else 0.0,
            power_cuts=0.3 if "power-cuts" in fleet.faults else 0.0,
        ),
        password=passwords.get(station_id) if isinstance(passwords, dict) else passwords,
        security_profile=fleet.security_profile,
        csms_roots=fleet.csms_roots,
        certificate=_certificate(fleet.certificates, station_id),
    )


def _certificate(folder: Path | None, station_id: str) -> ClientCertificate | None:
    if folder is None or not (folder / f"{station_id}.pem").exists():
        return None
    return ClientCertificate((folder / f"{station_id}.pem").read_text(), (folder / f"{station_id}.key").read_text())


def source_addresses(url: str) -> tuple[str, ...]:
    """Local addresses to connect from: many where the target is IPv4 loopback, else whatever the system picks."""
    host = urlsplit(url).hostname or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return ()
    return tuple(f"127.0.0.{n}" for n in range(1, SOURCES + 1)) if address in _LOOPBACK else ()


_LOOPBACK = ipaddress.ip_network("127.0.0.0/8")


class Fleet:
    """The stations of a run. `stats` and `ledger` fill while it runs."""

    def __init__(self, config: FleetConfig, journal: IO[bytes] | None = None) -> None:
        self.config = config
        self.stats = Stats()
        self.ledger = Ledger(journal)
        self.players: list[Player] = []
        self._clock = Clock()
        self._rng = Rng(config.seed, "fleet")

    async def run(self, stop: asyncio.Event, drain_s: float) -> None:
        """Plays until `stop` is set, then lets everybody leave and everything be delivered, for at most `drain_s`."""
        async with asyncio.TaskGroup() as group:
            background = [group.create_task(self._power_up(group))]
            if "reconnect-storm" in self.config.faults:
                background.append(group.create_task(self._storms()))
            await stop.wait()
            for task in background:
                task.cancel()
            await self._drain(drain_s)
            for player in self.players:
                player.stop()
        self.ledger.flush()

    async def _power_up(self, group: asyncio.TaskGroup) -> None:
        network = Network(
            url=self.config.url.rstrip("/"),
            dials=asyncio.Semaphore(self.config.dials_max),
            sources=source_addresses(self.config.url),
            compression=self.config.compression,
        )
        for number, station_id in enumerate(self.config.station_ids()):
            station = Station(station_config(self.config, station_id), self._clock.now_ms())
            player = Player(station, number, network, self._clock, self._observe)
            self.players.append(player)
            group.create_task(player.run(), name=station_id)
            if (number + 1) % max(1, self.config.per_second // 10) == 0:
                await asyncio.sleep(0.1)

    def _observe(self, station: Station, actions: Actions) -> None:
        self.stats.take(station.config.station_id, actions)
        for note in actions.notes:
            self.ledger.take(station.config.station_id, note, station.now)

    async def _storms(self) -> None:
        """All stations lose their connections at once, and come back at once."""
        every_s = self.config.storm_every_s
        while True:
            await asyncio.sleep(self._rng.between(every_s // 2, every_s + every_s // 2))
            for player in self.players:
                player.inject(GoOffline(self._rng.between(1, 500)))

    async def _drain(self, drain_s: float) -> None:
        for player in self.players:
            player.inject(Finish())
        for _ in range(int(drain_s * 10)):
            if all(player.station.settled for player in self.players):
                return
            await asyncio.sleep(0.1)

    def count(self, test: Callable[[Station], bool]) -> int:
        return sum(test(player.station) for player in self.players)

    def unsettled(self) -> list[str]:
        """Stations that still have something to deliver."""
        return [p.station.config.station_id for p in self.players if p.station.outbox.queued_events]
