"""What a process offers to the services that it hosts, and what hosting a service gives: an engine and an API."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType

import msgspec
from fastapi import APIRouter, FastAPI
from prometheus_client import CollectorRegistry

from ocppcore import envelope, topics
from ocppcore.clock import Clock
from ocppcore.command_payload import PURPOSE
from ocppcore.engine.loop import Engine, EngineSettings
from ocppcore.http import audit
from ocppcore.http.app import service_app
from ocppcore.http.auth import Authenticator
from ocppcore.http.commands import CommandDesk, Doubts, FindStation, Registered
from ocppcore.http.commands import router as commands_router
from ocppcore.http.refusals import Refusals
from ocppcore.http.requests import Writes
from ocppcore.in_force import InForce
from ocppcore.log import Log
from ocppcore.pseudonym import Pseudonyms
from ocppcore.seal import Seal
from ocppcore.service import Service
from ocppcore.settings import BaseServiceSettings, Keys
from ocppcore.store import Store


@dataclass(frozen=True)
class Environment:
    """Everything outside a service that it needs in this process. `store` opens a service's own."""

    settings: BaseServiceSettings
    keys: Keys
    log: Log
    clock: Clock
    store: Callable[[str], Store]
    authenticator: Authenticator
    registry: CollectorRegistry
    in_force: InForce
    """A change is answered once every process has it; copies of others' state in this process are its `followers`."""

    @property
    def pseudonyms(self) -> Pseudonyms:
        return Pseudonyms(self.keys.pseudonym)

    @property
    def outbound_seal(self) -> Seal:
        """For frames that carry secrets: services close it, gateways open it."""
        return Seal(self.keys.password, PURPOSE)


@dataclass(frozen=True)
class Hosted:
    """A service in this process: run it until cancelled; `ready` says it serves."""

    name: str
    app: FastAPI
    run: Callable[[], Awaitable[None]]
    ready: Callable[[], bool]
    engine: Engine | None = None


Routers = Callable[[Engine, Store, CommandDesk], Sequence[APIRouter]]


def host(
    env: Environment,
    service: Service,
    routers: Routers,
    find_station: FindStation | None = None,
    doubts: Mapping[str, Doubts] = MappingProxyType({}),
) -> Hosted:
    """An engine with its store, and the service's API with commands and operations.

    `find_station`: who else than the service's copy of the stations can tell what is registered. `doubts`: by action.
    """
    store = env.store(service.name)
    engine = Engine(
        service,
        env.log,
        store,
        clock=env.clock,
        seal=Seal(env.keys.password, "parked records"),
        settings=EngineSettings(partitions=env.settings.partition_count),
        everywhere=env.in_force.everywhere,
    )
    env.in_force.followers.append(engine.copies.followed)

    async def in_copy(station: str) -> Registered | None:
        lookup = (topics.STATIONS, station)
        row = (await engine.copies.find([lookup]))[lookup]
        return msgspec.json.decode(row.value, type=Registered) if row and row.value else None

    async def append(request: envelope.Request) -> None:
        await env.log.append([envelope.request_record(request, service.name, env.settings.partition_count)])

    refusals = Refusals(service.name, append, env.clock)
    desk = CommandDesk(service.name, store, find_station or in_copy, env.pseudonyms, env.outbound_seal, doubts)
    app = service_app(
        service.name,
        [*routers(engine, store, desk), commands_router(desk), audit.router(store)],
        authenticator=env.authenticator,
        writes=Writes(service.name, engine, env.clock, env.keys.password, env.settings.http_wait_s),
        body_bytes_max=env.settings.http_body_bytes_max,
        refusals=refusals,
    )

    async def run() -> None:
        noting = asyncio.create_task(refusals.run(), name=f"{service.name} refusals")
        try:
            await engine.run()
        finally:
            noting.cancel()
            with suppress(asyncio.CancelledError):
                await noting

    return Hosted(service.name, app, run, lambda: engine.ready, engine)
