"""Secrets and idTokens stay where they belong: in frames, in requests, and encrypted; in no log line, event or tool.

A whole system on the in-memory log, with a real WebSocket and the real APIs, logs at debug level while passwords, API
keys and idTokens of every origin go through it: welcome, refused, malformed, and in a record that has to be parked.
"""

import asyncio
import base64
import io
import json
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import structlog
from rich.console import Console
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from csms.tools.access import Access
from csms.tools.frames import frames
from ocppcore import telemetry, topics
from ocppcore.authorization import Rules
from ocppcore.clock import system_clock
from ocppcore.contracts.auth import ApiKeyState
from ocppcore.envelope import state_record
from ocppcore.host import Environment
from ocppcore.http.app import build_app
from ocppcore.http.auth import Authenticator, KeyRing, hash_key
from ocppcore.in_force import InForce
from ocppcore.log import NewRecord
from ocppcore.memory import MemoryLog, MemoryStore
from ocppcore.settings import Keys
from services.auth import app as auth
from services.auth.settings import Settings as AuthSettings
from services.device import app as device
from services.device.settings import Settings as DeviceSettings
from services.gateway import app as gateway
from services.gateway.settings import Settings as GatewaySettings
from services.smartcharging import app as smartcharging
from services.transactions import app as transactions
from tests.support.transaction_frames import event

PARTITIONS, SLOTS = 2, 2
KEYS = Keys(b"p" * 32, b"w" * 32)
ADMIN = "planted-api-key-of-the-admin"
PASSWORD = "planted-password-of-the-station"
MAY_HOLD = (*(topics.frames(s) for s in topics.SERVICES), *(topics.requests(s) for s in topics.SERVICES))
"""Raw frames and requests are kept for days and are allowed to hold idTokens; so is `ocpp.outbound`, but no secret."""

ID_TOKENS = {
    "registered": "PLANTEDTOKEN01",
    "unknown": "PLANTEDTOKEN02",
    "pin": "PLANTEDPIN03",
    "remote start": "PLANTEDTOKEN04",
    "sent in a list": "PLANTEDTOKEN05",
    "asked about": "PLANTEDTOKEN06",
    "in a conflict": "PLANTEDTOKEN07",
    "in a bad frame": "PLANTEDTOKEN09",
    "in no JSON": "PLANTEDTOKEN10",
    "of an unknown action": "PLANTEDTOKEN11",
    "in a bad request": "PLANTEDTOKEN12",
    "in a parked record": "PLANTEDTOKEN13",
}
SECRETS = {
    "station's password": PASSWORD,
    "its Basic credentials": base64.b64encode(f"CS-1:{PASSWORD}".encode()).decode(),
    "wrong password": "planted-wrong-password",
    "admin's key": ADMIN,
    "wrong key": "planted-api-key-of-nobody",
    "new password": "planted-new-password-1",
    "password in a bad body": "planted-password-in-a-bad-body",
    "password of a network": "planted-apn-password",
}


@dataclass
class Whole:
    """The system in one process. `logged`: what it wrote to its log."""

    api: httpx.AsyncClient
    log: MemoryLog
    port: int
    logged: io.StringIO
    env: Environment
    stores: dict[str, MemoryStore]
    planted: dict[str, str] = field(default_factory=lambda: {**ID_TOKENS, **SECRETS})

    @asynccontextmanager
    async def station(self, password: str = PASSWORD) -> AsyncIterator[Any]:
        uri = f"ws://CS-1:{password}@127.0.0.1:{self.port}/ocpp/CS-1"
        async with connect(uri, subprotocols=["ocpp2.0.1"], proxy=None) as connection:  # type: ignore[list-item]
            yield connection

    def topic(self, name: str) -> str:
        return str([record for partition in self.log.cluster.partitions[name] for record in partition])

    def leaks(self, where: str, text: str, among: dict[str, str]) -> list[str]:
        return [f"{what} in {where}" for what, secret in among.items() if secret.casefold() in text.casefold()]


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


def token(name: str, kind: str = "ISO14443") -> dict[str, str]:
    return {"idToken": ID_TOKENS[name], "type": kind}


async def register(whole: Whole) -> None:
    """What an administrator does, and mistakes."""
    api = whole.api
    made = await api.post("/device/stations", json={"id": "CS-1", "password": PASSWORD})
    assert made.status_code == 201, made.text
    whole.planted["made password"] = (await api.post("/device/stations", json={"id": "CS-2"})).json()["password"]
    whole.planted["made key"] = (await api.post("/auth/apikeys", json={"scope": "viewer"})).json()["key"]
    for name, kind in (("registered", "ISO14443"), ("pin", "KeyCode")):
        group = {"idToken": "FLEET", "type": "Central"}
        put = await api.put(
            f"/auth/tokens/{kind}/{ID_TOKENS[name]}", json={"status": "Accepted", "groupIdToken": group}
        )
        assert put.status_code == 201, put.text
    stranger = {"Authorization": f"Bearer {SECRETS['wrong key']}"}
    assert (await api.get("/auth/tokens", headers=stranger)).status_code == 401
    bad: list[tuple[str, str, dict[str, Any]]] = [
        ("PUT", f"/auth/tokens/ISO14443/{ID_TOKENS['in a bad request']}", {"status": "Fine"}),
        ("PUT", f"/auth/tokens/Strange/{ID_TOKENS['in a bad request']}", {"status": "Accepted"}),
        ("POST", "/device/stations", {"id": "CS-3", "password": [SECRETS["password in a bad body"]]}),
        ("POST", "/transactions/stations/CS-1/remote-start", {"idToken": token("in a bad request", "Strange")}),
        ("POST", "/device/stations/CS-1/commands/CustomerInformation", {"idToken": token("in a bad request")}),
    ]
    for method, path, body in bad:
        assert (await api.request(method, path, json=body)).status_code == 422, path


async def charge(whole: Whole) -> None:
    """What a station says, well and badly."""
    async with whole.station() as station:
        boot = {"reason": "PowerUp", "chargingStation": {"model": "M", "vendorName": "V"}}
        assert (await say(station, "BootNotification", boot))[2]["status"] == "Accepted"
        statuses = []
        for name, kind in (("registered", "ISO14443"), ("unknown", "ISO14443"), ("pin", "KeyCode")):
            statuses.append((await say(station, "Authorize", {"idToken": token(name, kind)}))[2]["idTokenInfo"])
        assert [one["status"] for one in statuses] == ["Accepted", "Unknown", "Accepted"]
        for payload in (
            event("Started", 0, token=ID_TOKENS["registered"], wh=1.0),
            event("Updated", 1, token=ID_TOKENS["unknown"]),
            event("Updated", 1, token=ID_TOKENS["in a conflict"], wh=2.0),
            event("Ended", 2, token=ID_TOKENS["registered"], wh=9.0),
        ):
            assert (await say(station, "TransactionEvent", payload))[0] == 3
        wrong = {"idToken": {"idToken": ID_TOKENS["in a bad frame"], "type": 7}}
        assert (await say(station, "Authorize", wrong))[0] == 4
        assert (await say(station, "Autorize", {"idToken": token("of an unknown action")}))[2] == "NotImplemented"
        await station.send('[2,"x","Authorize",{"idToken":{"idToken":"' + ID_TOKENS["in no JSON"] + '"')
        assert (await answer(station))[2] == "RpcFrameworkError"
    with pytest.raises(InvalidStatus):
        async with whole.station(SECRETS["wrong password"]):
            pass


COMMANDS: list[tuple[str, dict[str, Any]]] = [
    (
        "device/stations/CS-1/commands/SetVariables",
        {
            "setVariableData": [
                {
                    "component": {"name": "SecurityCtrlr"},
                    "variable": {"name": "BasicAuthPassword"},
                    "attributeValue": SECRETS["new password"],
                }
            ]
        },
    ),
    (
        "device/stations/CS-1/commands/SetNetworkProfile",
        {
            "configurationSlot": 1,
            "connectionData": {
                "ocppVersion": "OCPP20",
                "ocppTransport": "JSON",
                "ocppCsmsUrl": "wss://example.org",
                "messageTimeout": 30,
                "securityProfile": 1,
                "ocppInterface": "Wireless0",
                "apn": {
                    "apn": "x",
                    "apnUserName": "u",
                    "apnPassword": SECRETS["password of a network"],
                    "apnAuthentication": "CHAP",
                },
            },
        },
    ),
    (
        "device/stations/CS-1/commands/CustomerInformation",
        {"requestId": 1, "report": True, "clear": False, "idToken": token("asked about")},
    ),
    (
        "auth/stations/CS-1/commands/SendLocalList",
        {
            "versionNumber": 1,
            "updateType": "Full",
            "localAuthorizationList": [
                {"idToken": token("sent in a list"), "idTokenInfo": {"status": "Accepted"}},
            ],
        },
    ),
    ("transactions/stations/CS-1/remote-start", {"idToken": token("remote start"), "evseId": 1, "effectWithin": 1}),
]


async def command(whole: Whole) -> None:
    """Commands with secrets and idTokens, to a station that is there and to one that is not."""
    for path, payload in COMMANDS:
        away = await whole.api.post(f"/{path}", json=payload, headers={"Prefer": "wait=5"})
        assert away.status_code == 200, away.text
    async with whole.station() as station:
        served = asyncio.ensure_future(answer(station))
        for path, payload in COMMANDS:
            done = await whole.api.post(f"/{path}", json=payload, headers={"Prefer": "wait=5"})
            assert done.status_code == 200, done.text
            assert not whole.leaks(path, done.text, whole.planted)
        served.cancel()
        await asyncio.gather(served, return_exceptions=True)
        await rotate(whole, station)


async def rotate(whole: Whole, station: Any) -> None:
    """A password that nobody but the station hears."""
    asked = asyncio.ensure_future(whole.api.post("/device/stations/CS-1/password:rotate", headers={"Prefer": "wait=5"}))
    while True:
        _, id_, action, payload = json.loads(await asyncio.wait_for(station.recv(), 10))
        told = [one["attributeValue"] for one in payload.get("setVariableData", ())]
        await station.send(json.dumps([4, id_, "NotSupported", "", {}]))
        if action == "SetVariables" and SECRETS["new password"] not in told:
            break
    (whole.planted["rotated password"],) = told
    done = await asked
    assert (done.status_code, done.json()["state"]) == (200, "kept"), done.text
    assert not whole.leaks("rotate", done.text, whole.planted)


async def park(whole: Whole) -> None:
    """A record that nobody can decide about."""
    value = json.dumps([2, "x", "Authorize", {"idToken": token("in a parked record")}]).encode()
    await whole.log.append([NewRecord(topics.frames("auth"), 0, "cs-1", value, {"ce_type": "ocpp.frame.v1"})])
    async with asyncio.timeout(5):
        while "RecordParked" not in whole.topic(topics.events("auth")):
            await asyncio.sleep(0.01)


@pytest.mark.requirement("A01.FR.09", "C04.FR.04")
async def test_no_secret_and_no_id_token_is_told(whole: Whole) -> None:
    await register(whole)
    await charge(whole)
    await command(whole)
    await park(whole)

    lines = [json.loads(line) for line in whole.logged.getvalue().splitlines()]
    assert len([line for line in lines if line["logger"] == "ocppcore.http.app"]) > 10, "the APIs log"
    found = whole.leaks("the log", whole.logged.getvalue(), whole.planted)
    for name in topics.BY_NAME.keys() - {*MAY_HOLD, topics.OUTBOUND}:
        found += whole.leaks(name, whole.topic(name), whole.planted)
    secrets = {what: secret for what, secret in whole.planted.items() if what not in ID_TOKENS}
    for name in (*MAY_HOLD, topics.OUTBOUND):
        found += whole.leaks(name, whole.topic(name), secrets)
    for name, store in whole.stores.items():
        found += whole.leaks(f"{name}'s tables", str(vars(store.tables)), whole.planted)
    found += whole.leaks("the metrics", (await whole.api.get("/metrics")).text, whole.planted)
    page = await whole.api.get("/gateway/stations/CS-1/frames", params={"limit": 1000})
    assert {"Authorize", "SetVariables", "SendLocalList"} <= {item["action"] for item in page.json()["items"]}
    found += whole.leaks("GET frames", page.text, whole.planted)
    shown = io.StringIO()
    access = Access(whole.env.settings, "", whole.log, KEYS)
    await frames(access, Console(file=shown, width=400), station=None, follow=False, last=1000, slots=SLOTS)
    assert "TransactionEvent" in shown.getvalue()
    found += whole.leaks("csms frames", shown.getvalue(), whole.planted)
    assert found == []


async def test_the_search_finds_what_is_there(whole: Whole) -> None:
    """It is no use if nothing was planted: frames hold the idTokens that the station sent, as received."""
    await register(whole)
    await charge(whole)
    sent = "".join(whole.topic(name) for name in MAY_HOLD)
    for what in ("registered", "unknown", "in a bad frame", "in no JSON"):
        assert whole.leaks("frames", sent, {what: ID_TOKENS[what]}) == [f"{what} in frames"]
    logging.getLogger("anything").warning("hello %s", ID_TOKENS["registered"])
    assert whole.leaks("the log", whole.logged.getvalue(), ID_TOKENS) == ["registered in the log"]
