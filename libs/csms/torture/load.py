"""The load: simulated stations that charge, and commands to them; what they saw is kept for the judge."""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from csms.harness import Routed, System
from csms.torture import tariff
from csms.torture.judge import Command
from ocppcore.actions import ACTIONS
from simulator.api import CsmsApi
from simulator.fleet import Fleet, FleetConfig
from simulator.inputs import IdToken
from simulator.ledger import Ledger
from simulator.notes import CommandAnswered, Note, PromiseBroken

TOKENS = 50
ASKED_AT_ONCE = 4
COMMAND_EVERY_S = 0.5
COMMANDS_MAX = 20_000
ENDED_WITHIN_S = 90.0

COMMANDS = {
    "UnlockConnector": {"evseId": 1, "connectorId": 1},
    "TriggerMessage": {"requestedMessage": "StatusNotification", "evse": {"id": 1, "connectorId": 1}},
    "GetVariables": {
        "getVariableData": [{"component": {"name": "OCPPCommCtrlr"}, "variable": {"name": "HeartbeatInterval"}}]
    },
    "GetLocalListVersion": {},
    "GetTransactionStatus": {},
}
"""To be sent at random: some may be repeated, some may not."""


class Notebook(Ledger):
    """What the stations saw: the ledger of their transactions, the commands that they answered, broken promises."""

    def __init__(self) -> None:
        super().__init__()
        self.answered: Counter[str] = Counter()
        self.broken: list[str] = []

    def take(self, station_id: str, note: Note, at_ms: int) -> None:
        match note:
            case CommandAnswered(message_id=message_id):
                self.answered[message_id] += 1
            case PromiseBroken(what):
                self.broken.append(f"{station_id}: the CSMS {what}")
            case _:
                super().take(station_id, note, at_ms)


@dataclass
class Load:
    """Stations under way. `asked`: commands that the CSMS took, by id, with their action."""

    system: System
    fleet: Fleet
    notebook: Notebook
    asked: dict[str, str]

    @property
    def acknowledged(self) -> int:
        return self.notebook.events + self.notebook.repeats

    async def transactions(self) -> list[str]:
        """What the API of transactions gets wrong about those that stations saw acknowledged."""
        async with _api(self.system) as api:
            return await api.check(self.notebook)

    async def commands(self) -> list[Command]:
        """Every command that was taken, as the CSMS shows it once it has ended, or after `ENDED_WITHIN_S`."""
        gate = asyncio.Semaphore(ASKED_AT_ONCE)
        until = time.monotonic() + ENDED_WITHIN_S
        async with self.system.client() as client:

            async def look(id_: str, action: str) -> Command:
                owner = ACTIONS[action].owner
                async with gate:
                    while True:
                        shown = (await client.get(f"/{owner}/commands/{id_}")).json()
                        ended = shown.get("endedAt") is not None
                        if ended or time.monotonic() > until:
                            status = str(shown.get("status", "unknown to the CSMS"))
                            return Command(id_, action, status, repeatable=bool(ACTIONS[action].idempotent))
                        await asyncio.sleep(0.2)

            return list(await asyncio.gather(*(look(id_, action) for id_, action in self.asked.items())))


@asynccontextmanager
async def load(
    system: System, url: str, *, stations: int, speed: float, seed: int, drain_s: float
) -> AsyncIterator[Load]:
    """Stations that charge by a tariff while inside; then all leave, and deliver what they have, at most `drain_s`."""
    tokens, prefix = tokens_of(seed), "TORTURE"
    await register_tokens(system, seed)
    await tariff.assign(system)
    config = FleetConfig(
        url=url, stations=stations, run=f"{time.time_ns():x}", seed=seed, prefix=prefix, tokens=tokens,
        speed=speed, faults=frozenset({"duplicates", "offline"}),
        passwords=await register_stations(system, [f"{prefix}-{number:05d}" for number in range(1, stations + 1)]),
    )  # fmt: skip
    notebook = Notebook()
    fleet = Fleet(config)
    fleet.ledger = notebook
    made = Load(system, fleet, notebook, {})
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        playing = group.create_task(fleet.run(stop, drain_s))
        asking = group.create_task(_ask(made, random.Random(seed), config.station_ids()))
        yield made
        asking.cancel()
        stop.set()
        await playing


def _api(system: System) -> CsmsApi:
    return CsmsApi("http://csms", system.key, Routed(system.addresses))


def tokens_of(seed: int) -> tuple[IdToken, ...]:
    """The drivers' idTokens."""
    return tuple(IdToken(f"04{seed % 2**32:08X}{number:04X}") for number in range(TOKENS))


async def register_tokens(system: System, seed: int) -> None:
    """All of them, accepted."""
    async with _api(system) as api:
        await api.register_tokens(tokens_of(seed))


async def register_stations(system: System, ids: list[str]) -> dict[str, str]:
    """Passwords that the CSMS made, by station id."""
    passwords: dict[str, str] = {}
    async with system.client() as client:
        for id_ in ids:
            answer = await client.post("/device/stations", json={"id": id_})
            answer.raise_for_status()
            passwords[id_] = answer.json()["password"]
    return passwords


async def _ask(made: Load, rng: random.Random, stations: list[str]) -> None:
    """Commands one after another; what the CSMS does not take, because it is dead just now, is nobody's."""
    async with made.system.client(timeout=10.0) as client:
        while len(made.asked) < COMMANDS_MAX:
            await asyncio.sleep(COMMAND_EVERY_S)
            action = rng.choice(list(COMMANDS))
            path = f"/{ACTIONS[action].owner}/stations/{rng.choice(stations)}/commands/{action}"
            with contextlib.suppress(httpx.HTTPError):
                answer = await client.post(path, json=COMMANDS[action], headers={"Prefer": "wait=2"})
                if answer.status_code in (200, 202) and (id_ := answer.json().get("commandId")):
                    made.asked[id_] = action
