"""A service's API in memory: its real engine, log, store and application, asked over HTTP without a socket."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec
from fastapi import APIRouter

from ocppcore import topics
from ocppcore.clock import system_clock
from ocppcore.contracts.auth import ApiKeyState, Scope
from ocppcore.engine.loop import Engine
from ocppcore.envelope import Request, request_record, state_record
from ocppcore.http import audit
from ocppcore.http.app import service_app
from ocppcore.http.auth import Authenticator, KeyRing, hash_key
from ocppcore.http.refusals import Refusals
from ocppcore.http.requests import Writes
from ocppcore.log import Record, TopicPartition
from ocppcore.memory import MemoryLog, MemoryStore
from ocppcore.seal import Seal
from ocppcore.service import Service
from ocppcore.store import Store

PARTITIONS = 4
PASSWORD_KEY = b"the password key of these tests"
SCOPES: tuple[Scope, ...] = ("viewer", "operator", "admin")


@dataclass
class Served:
    """`client` is the admin's; `as_(scope)` another's. `log` and `store` are the service's. `refusals` are noted when
    it is told to flush them."""

    client: httpx.AsyncClient
    log: MemoryLog
    store: MemoryStore
    clients: Mapping[Scope, httpx.AsyncClient]
    refusals: Refusals

    def as_(self, scope: Scope) -> httpx.AsyncClient:
        return self.clients[scope]

    def records(self, topic: str) -> list[Record]:
        """Everything ever appended to the topic."""
        return [record for partition in self.log.cluster.partitions[topic] for record in partition]

    async def states(self, topic: str, key: str, count: int) -> list[dict[str, Any]]:
        """The first `count` state records of a key, oldest first; waits for them: they follow the commit."""
        place = TopicPartition(topic, topics.partition_of(key, PARTITIONS))
        reader = self.log.reader()
        reader.assign({place: 0})
        found: list[dict[str, Any]] = []
        async with asyncio.timeout(5):
            while len(found) < count:
                records = await reader.fetch(100, 5)
                found += [msgspec.json.decode(record.value) for record in records if record.key == key]
        return found[:count]

    def everything(self) -> str:
        """All bytes of the log and the store, to be searched for what must not be there."""
        log = [record for topic in self.log.cluster.partitions for record in self.records(topic)]
        return f"{log} {self.store.tables.states} {dict(self.store.tables.rows)}"


async def put_state(log: MemoryLog, topic: str, key: str, state: msgspec.Struct) -> None:
    """Another service's state record."""
    value = msgspec.to_builtins(state)
    await log.append([state_record(topic, key, value, "/test", f"test/{key}", system_clock(), PARTITIONS)])


@asynccontextmanager
async def served(
    service: Service, routers: Callable[[Store], Sequence[APIRouter]], *, raw_paths: str = ""
) -> AsyncIterator[Served]:
    """Serve until the block ends; an API key of each scope is there: `viewer-key`, `operator-key`, `admin-key`."""
    log, store = MemoryLog(), MemoryStore()
    await log.declare(topics.partition_counts(PARTITIONS, 4))
    for scope in SCOPES:
        state = ApiKeyState(id=scope, hash=hash_key(f"{scope}-key", PASSWORD_KEY), scope=scope, created_at=0)
        await put_state(log, topics.APIKEYS, scope, state)
    engine = Engine(service, log, store, clock=system_clock, seal=Seal(b"seal", "test"))
    ring = KeyRing(log, PARTITIONS)

    async def append(request: Request) -> None:
        await log.append([request_record(request, service.name, PARTITIONS)])

    refusals = Refusals(service.name, append, system_clock)
    app = service_app(
        service.name,
        [*routers(store), audit.router(store)],
        authenticator=Authenticator(ring, PASSWORD_KEY),
        writes=Writes(service.name, engine, system_clock, b"secret", 5.0),
        body_bytes_max=1_000_000,
        raw_paths=raw_paths,
        refusals=refusals,
    )
    tasks = [asyncio.create_task(engine.run()), asyncio.create_task(ring.run())]
    try:
        await ring.ready.wait()
        clients = {
            scope: httpx.AsyncClient(
                transport=httpx.ASGITransport(app),
                base_url="http://test",
                headers={"Authorization": f"Bearer {scope}-key"},
            )
            for scope in SCOPES
        }
        yield Served(clients["admin"], log, store, clients, refusals)
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
