"""Real sockets, a real station's library, the in-memory log."""

import json
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.unit.gateway.rig import PASSWORD, Rig, listener, playing_services, running
from tests.unit.gateway.talk import call


@asynccontextmanager
async def station(port: int, identity: str = "CS1", password: str | None = PASSWORD, user: str | None = None, **more):
    """A station's socket, as the `websockets` client opens it."""
    credentials = "" if password is None else f"{user or identity}:{password}@"
    uri = f"ws://{credentials}127.0.0.1:{port}/ocpp/{identity}"
    options = {"subprotocols": ["ocpp2.0.1"], "proxy": None, **more}
    async with connect(uri, **options) as socket:
        yield socket


@asynccontextmanager
async def served(**settings):
    """A gateway with one registered station, and services that answer everything."""
    rig, listening = Rig(), listener(**settings.pop("ws", {}))
    await rig.register("CS1")
    async with running(rig.gateway("gw", listening, **settings)), playing_services(rig):
        yield rig, listening.port


async def talk(socket: ClientConnection, frame: bytes) -> list:
    await socket.send(frame.decode())
    return json.loads(await socket.recv())


@pytest.mark.parametrize("compression", [None, "deflate"])
async def test_a_station_connects_and_is_answered(compression):
    async with served() as (rig, port), station(port, compression=compression) as socket:
        assert socket.subprotocol == "ocpp2.0.1"
        assert bool(socket.protocol.extensions) is (compression is not None)
        for n in range(3):
            assert await talk(socket, call(str(n), "BootNotification", {"x": "y" * 3000})) == [3, str(n), {}]

        [change] = rig.changes()
        assert (change.identity, change.connected, change.subprotocol) == ("CS1", True, "ocpp2.0.1")
