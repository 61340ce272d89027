"""The fixture `whole`: see `whole.py`."""

import asyncio
import io
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import msgspec
import pytest
import structlog

from ocppcore import telemetry, topics
from ocppcore.authorization import Rules
from ocppcore.clock import system_clock
from ocppcore.contracts.auth import ApiKeyState
from ocppcore.envelope import state_record
from ocppcore.host import Environment
from ocppcore.http.app import build_app
from ocppcore.http.auth import Authenticator, KeyRing, hash_key
from ocppcore.in_force import InForce
from ocppcore.memory import MemoryLog, MemoryStore
from services.auth import app as auth
from services.auth.settings import Settings as AuthSettings
from services.device import app as device
from services.device.settings import Settings as DeviceSettings
from services.gateway import app as gateway
from services.gateway.settings import Settings as GatewaySettings
from services.smartcharging import app as smartcharging
from services.transactions import app as transactions
from tests.support.whole import ADMIN, KEYS, PARTITIONS, SLOTS, Whole


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    telemetry.configure_logging("debug", "json", stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
async def whole(logged: io.StringIO, tmp_path: Path) -> AsyncIterator[Whole]:
    log, stores = MemoryLog(), {service: MemoryStore() for service in topics.SERVICES}
    await log.declare(topics.partition_counts(PARTITIONS, SLOTS))
    admin = ApiKeyState(id="admin", hash=hash_key(ADMIN, KEYS.password), scope="admin", created_at=0)
    value = msgspec.to_builtins(admin)
    await log.append([state_record(topics.APIKEYS, "admin", value, "/auth", "auth/0/0", system_clock(), PARTITIONS)])
    settings = GatewaySettings.model_validate({"data": tmp_path, "partitions": PARTITIONS, "slots": SLOTS})
    ring, registry = KeyRing(log, PARTITIONS), telemetry.new_registry()
    env = Environment(
        settings, KEYS, log, system_clock, stores.__getitem__, Authenticator(ring, KEYS.password), registry,
        InForce(log, system_clock, "test"),
    )  # fmt: skip
    bound = socket.create_server(("127.0.0.1", 0))
    built = gateway.build(env, settings, bound)
    hosted = [
        device.build(env, DeviceSettings.model_validate({"data": tmp_path})),
        auth.build(env, AuthSettings.model_validate({"data": tmp_path})),
        transactions.build(env, Rules()),
        smartcharging.build(env),
        built.hosted,
    ]
    app = build_app({one.name: one.app for one in hosted}, registry=registry, ready={})
    tasks = [asyncio.ensure_future(one.run()) for one in hosted] + [asyncio.ensure_future(ring.run())]
    headers = {"Authorization": f"Bearer {ADMIN}"}
    try:
        async with asyncio.timeout(20):
            await ring.ready.wait()
            while not all(one.ready() for one in hosted):
                await asyncio.sleep(0.01)
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://test", headers=headers
        ) as api:
            yield Whole(api, log, bound.getsockname()[1], logged, env, stores)
    finally:
        await built.gateway.drain()
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
