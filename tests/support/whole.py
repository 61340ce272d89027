"""A whole system in one process on the in-memory log, with a real WebSocket and the real APIs, logging at debug level.

For tests that search everything it wrote: `pytest_plugins = ["tests.support.whole_system"]` gives the fixture `whole`.
"""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from websockets.asyncio.client import connect

from ocppcore.host import Environment
from ocppcore.memory import MemoryLog, MemoryStore
from ocppcore.settings import Keys

PARTITIONS, SLOTS = 2, 2
KEYS = Keys(b"p" * 32, b"w" * 32)
ADMIN = "planted-api-key-of-the-admin"
PASSWORD = "planted-password-of-the-station"


@dataclass
class Whole:
    """`logged`: what it wrote to its log; `planted`: what a test looks for, by what it is."""

    api: httpx.AsyncClient
    log: MemoryLog
    port: int
    logged: io.StringIO
    env: Environment
    stores: dict[str, MemoryStore]
    planted: dict[str, str] = field(default_factory=dict)

    @asynccontextmanager
    async def station(self, identity: str = "CS-1", password: str = PASSWORD) -> AsyncIterator[Any]:
        uri = f"ws://{identity}:{password}@127.0.0.1:{self.port}/ocpp/{identity}"
        async with connect(uri, subprotocols=["ocpp2.0.1"], proxy=None) as connection:  # type: ignore[list-item]
            yield connection

    def topic(self, name: str) -> str:
        return str([record for partition in self.log.cluster.partitions[name] for record in partition])

    def leaks(self, where: str, text: str, among: dict[str, str]) -> list[str]:
        return [f"{what} in {where}" for what, secret in among.items() if secret.casefold() in text.casefold()]


async def say(connection: Any, action: str, payload: object, id_: str = "m") -> list[Any]:
    """A CALL and its answer; commands on the way are answered with what every station may say."""
    await connection.send(json.dumps([2, id_, action, payload]))
    return await answer(connection)


async def answer(connection: Any) -> list[Any]:
    while True:
        frame: list[Any] = json.loads(await asyncio.wait_for(connection.recv(), 10))
        if frame[0] != 2:
            return frame
        await connection.send(json.dumps([4, frame[1], "NotImplemented", "", {}]))
