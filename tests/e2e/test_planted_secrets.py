"""A hundred secrets go through a system that logs at debug level and traces everything; none comes out.

Passwords, API keys, tokens, idTokens, and the secrets of the installation itself, welcome and refused, well formed and
not, over both APIs. Then everything is searched that the processes wrote: logs, spans, every record of every topic,
metrics, and what the tools show. Frames, requests and what goes to stations may hold idTokens, for days; nothing
else, and no key code.
"""

import asyncio
import base64
import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from websockets.exceptions import InvalidStatus

from csms.houses import GATEWAY, HOSTS
from ocppcore import topics
from ocppcore.log import NewRecord, TopicPartition
from tests.support.closed import Closed
from tests.support.issuer import pen
from tests.support.third_party import Station, connected, eventually, getting

pytest_plugins = ["tests.support.kafka_broker", "tests.support.system", "tests.support.closed_system"]
pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

MAY_HOLD_ID_TOKENS = frozenset(
    {*(topics.frames(one) for one in topics.SERVICES), *(topics.requests(one) for one in topics.SERVICES),
     topics.OUTBOUND}
)  # fmt: skip
STATIONS = 12
AT_LEAST = 100


@dataclass
class Planted:
    """What must not come out, by what it is."""

    secrets: dict[str, str] = field(default_factory=dict)
    id_tokens: dict[str, str] = field(default_factory=dict)

    def password(self, what: str) -> str:
        return self.secrets.setdefault(what, f"pw-{secrets.token_hex(14)}")

    def id_token(self, what: str) -> str:
        return self.id_tokens.setdefault(what, f"ID{secrets.token_hex(9)}".upper())

    def leaks(self, where: str, text: str, *, id_tokens: bool = True) -> list[str]:
        """What of it is in the text, in any case."""
        among = self.secrets | (self.id_tokens if id_tokens else {})
        found = text.casefold()
        return [f"{what} in {where}" for what, secret in among.items() if secret.casefold() in found]


def of_the_installation(closed: Closed, planted: Planted) -> None:
    for variable, secret in closed.secrets.items():
        planted.secrets[variable] = secret
        if variable == "DATABASE_URL" and (password := urlsplit(secret).password):
            planted.secrets["the database's password"] = password
    data = closed.system.environment.get("CSMS_DATA")
    for path in (Path(data) / "keys").iterdir() if data else ():
        if not path.name.startswith("."):
            planted.secrets[f"the key {path.name}"] = path.read_text().strip()
    if data:
        planted.secrets["the database's password"] = str(urlsplit(closed.system.dsn()).password)
    wanted = {"CSMS_AUTH_CA_PASSWORD", "CSMS_AUTH_CA_ACCOUNT_HMAC_KEY", "the database's password"}
    if closed.system.environment.get("CSMS_LOG") != "kafka":
        wanted.add("KAFKA_SASL_PASSWORD")
    assert wanted <= planted.secrets.keys()


async def as_administrators_do(closed: Closed, planted: Planted) -> None:
    """Stations, keys and tokens are made, and mistakes."""
    async with closed.admin as admin:
        for number in range(STATIONS):
            password = planted.password(f"password {number}")
            made = await admin.put(f"/device/stations/PLANT-{number}", json={"password": password})
            assert made.status_code == 201, made.text
            basic = base64.b64encode(f"PLANT-{number}:{password}".encode()).decode()
            planted.secrets[f"Basic credentials {number}"] = basic
            made = await admin.post("/device/stations", json={"id": f"PLANT-MADE-{number}"})
            planted.secrets[f"made password {number}"] = made.json()["password"]
            key = await admin.post("/auth/apikeys", json={"scope": "operator", "name": f"plant {number}"})
            planted.secrets[f"made key {number}"] = key.json()["key"]
            kind = "KeyCode" if number % 3 == 0 else "ISO14443"
            if kind == "KeyCode":
                planted.secrets[f"key code {number}"] = planted.id_token(f"registered {number}")
            group = {"idToken": f"FLEET-{number % 2}", "type": "Central"}  # names no driver: it stands in events
            put = await admin.put(
                f"/auth/tokens/{kind}/{planted.id_token(f'registered {number}')}",
                json={"status": "Accepted", "groupIdToken": group},
            )
            assert put.status_code == 201, put.text
        bad = planted.password("password in a bad body")
        token = {"idToken": planted.id_token("in a bad request"), "type": "Strange"}
        for method, path, body in (
            ("POST", "/device/stations", {"id": "PLANT-X", "password": [bad]}),
            ("POST", "/device/stations", {"id": "PLANT-X", "passwort": bad}),
            ("PUT", f"/auth/tokens/Strange/{token['idToken']}", {"status": "Accepted"}),
            ("PUT", f"/auth/tokens/ISO14443/{token['idToken']}", {"status": bad}),
            ("PUT", f"/auth/tokens/ISO14443/{token['idToken']}/{bad}", {"status": "Accepted"}),
            ("GET", f"/auth/tokens/ISO14443/{planted.id_token('asked for')}", None),
            ("GET", f"/auth/{planted.id_token('in no path')}?key={bad}", None),
            ("POST", "/transactions/stations/PLANT-0/remote-start", {"idToken": token}),
            ("POST", "/device/stations/PLANT-0/commands/CustomerInformation", {"idToken": token, "x": bad}),
        ):
            assert (await admin.request(method, path, json=body)).status_code in (404, 422), path
        assert (await admin.post("/device/stations", content=bad.encode())).status_code == 415
        assert (await admin.post("/device/stations", content=b'{"password":"' + bad.encode(),
                                 headers={"Content-Type": "application/json"})).status_code == 400  # fmt: skip


async def as_people_do(closed: Closed, planted: Planted) -> None:
    """Keys and tokens, good and bad."""
    issuer = closed.issuer
    async with closed.raw() as client:
        for number in range(8):
            tokens = {
                f"good token {number}": issuer.token(sub=f"p{number}", csms_stations=["*"]),
                f"forged token {number}": pen("planted").sign(issuer.claims(sub=f"p{number}")),
                f"expired token {number}": issuer.token(sub=f"p{number}", exp=1),
            }
            planted.secrets |= {what: token.rpartition(".")[2] for what, token in tokens.items()}
            wrong = planted.password(f"wrong key {number}")
            for token, status in zip((*tokens.values(), wrong), (200, 401, 401, 401), strict=True):
                for path in ("/device/stations", "/gateway/connections"):
                    answer = await client.get(path, headers={"Authorization": f"Bearer {token}"})
                    assert answer.status_code == status
            basic = {"Authorization": f"Basic {planted.password(f'in no bearer {number}')}"}
            assert (await client.get("/auth/tokens", headers=basic)).status_code == 401


async def as_stations_do(closed: Closed, planted: Planted) -> None:
    """They come with right and wrong passwords, and send idTokens that are known, unknown, and where none belong."""
    for number in range(6):
        with pytest.raises(InvalidStatus):
            async with connected(closed.system, "PLANT-0", planted.password(f"wrong password {number}")):
                pass
    async with connected(closed.system, "PLANT-0", planted.secrets["password 0"]) as station:
        assert (await station.boot()).status == "Accepted"
        for what in ("registered 1", "unknown to all"):
            await station.authorize(planted.id_token(what))
        await station.authorize(planted.id_token("registered 0"), "KeyCode")
        await station.begin("PLANTED", planted.id_token("registered 2"))
        await station.charge(100.0)
        await station.end()
        await badly(station, planted)
        async with closed.admin as admin:
            await commanded(admin, planted)


async def badly(station: Station, planted: Planted) -> None:
    """Frames that break every rule, each with an idToken in it."""
    connection = station._connection
    wrong = {"idToken": {"idToken": planted.id_token("in a wrong type"), "type": 7}}
    unknown = {"idToken": planted.id_token("of an unknown action")}
    for frame in (
        json.dumps([2, "p1", "Authorize", wrong]),
        json.dumps([2, "p2", "Autorize", unknown]),
        '[2,"p3","Authorize",{"idToken":{"idToken":"' + planted.id_token("in no JSON"),
        json.dumps({"idToken": planted.id_token("in no list")}),
        json.dumps([3, "p4", {"idToken": planted.id_token("in an answer to nothing")}]),
    ):
        await connection.send(frame)
    await station.status("Available")


async def commanded(admin: Any, planted: Planted) -> None:
    """Secrets on their way to a station: passwords, networks, lists of tokens."""
    password = {"component": {"name": "SecurityCtrlr"}, "variable": {"name": "BasicAuthPassword"}}
    apn = {
        "apn": "a",
        "apnAuthentication": "CHAP",
        "apnPassword": planted.secrets.setdefault("of a network", secrets.token_hex(10)),
    }
    profile = {"ocppVersion": "OCPP20", "ocppTransport": "JSON", "ocppCsmsUrl": "wss://x", "messageTimeout": 30,
               "securityProfile": 1, "ocppInterface": "Wireless0", "apn": apn}  # fmt: skip
    driver = {"idToken": planted.id_token("in a command"), "type": "ISO14443"}
    entry = {"idToken": {"idToken": planted.id_token("in a list"), "type": "ISO14443"}}
    start = {"idToken": planted.id_token("of a remote start"), "type": "ISO14443"}
    aws = (
        f"https://b.s3.example/log?X-Amz-Credential={planted.password('signs as')}%2Feu"
        f"&X-Amz-Security-Token={planted.password('with a session')}&X-Amz-Signature={planted.password('signature')}"
    )
    sas = f"https://b.blob.example/firmware?sv=2024-11-04&sp=r&sig={planted.password('SAS')}%3D"
    login = f"ftp://me:{planted.password('password of a server')}@files.example/firmware"
    when = "2030-01-01T00:00:00Z"
    for path, body in (
        ("/device/stations/PLANT-0/commands/SetVariables", {
            "setVariableData": [{**password, "attributeValue": planted.password("new password")}]}),
        ("/device/stations/PLANT-0/commands/SetNetworkProfile", {"configurationSlot": 1, "connectionData": profile}),
        ("/device/stations/PLANT-0/commands/CustomerInformation", {
            "requestId": 1, "report": True, "clear": False, "idToken": driver}),
        ("/device/stations/PLANT-0/commands/GetLog", {
            "logType": "SecurityLog", "requestId": 2, "log": {"remoteLocation": aws}}),
        ("/device/stations/PLANT-0/commands/UpdateFirmware", {
            "requestId": 3, "firmware": {"location": sas, "retrieveDateTime": when}}),
        ("/device/stations/PLANT-0/commands/PublishFirmware", {
            "requestId": 4, "location": sas, "checksum": "0" * 32}),
        ("/device/stations/PLANT-0/commands/UpdateFirmware", {
            "requestId": 5, "firmware": {"location": login, "retrieveDateTime": when}}),
        ("/auth/stations/PLANT-0/commands/SendLocalList", {
            "versionNumber": 1, "updateType": "Full", "localAuthorizationList": [entry]}),
        ("/transactions/stations/PLANT-0/remote-start", {"idToken": start, "effectWithin": 1}),
    ):  # fmt: skip
        answer = await admin.post(path, json=body, headers={"Prefer": "wait=5"})
        assert answer.status_code in (200, 202), f"{path}: {answer.text}"
        assert planted.leaks(path, answer.text) == []


async def park(closed: Closed, planted: Planted) -> None:
    """A record that nobody can decide."""
    log = await closed.log()
    try:
        value = json.dumps([2, "x", "Authorize", {"idToken": planted.id_token("in a parked record")}]).encode()
        await log.append([NewRecord(topics.frames("auth"), 0, "plant-0", value, {"ce_type": "ocpp.frame.v1"})])
    finally:
        await log.close()

    async def listed() -> str:
        return (await closed.system.csms("parked", "list")).output

    await eventually(listed, lambda said: "plant-0" in said)


async def records(closed: Closed) -> Iterable[tuple[str, str]]:
    """Every record of every topic: where it is and all of its text."""
    log = await closed.log()
    counts = topics.partition_counts(4, 64)
    found: list[tuple[str, str]] = []
    try:
        partitions = [TopicPartition(name, number) for name, count in counts.items() for number in range(count)]
        starts, ends = await log.starts(partitions), await log.ends(partitions)
        reader = log.reader()
        reader.assign(starts)
        left = {one for one in partitions if starts[one] < ends[one]}
        async with asyncio.timeout(60):
            while left:
                for record in await reader.fetch(1000, 1.0):
                    text = f"{record.key} {record.headers} {record.value.decode(errors='replace')}"
                    found.append((record.topic, text))
                    place = TopicPartition(record.topic, record.partition)
                    if record.position + 1 >= ends[place]:
                        left.discard(place)
        await reader.close()
    finally:
        await log.close()
    return found


@pytest.mark.requirement("A01.FR.09", "C04.FR.04")
async def test_no_secret_comes_out(closed: Closed) -> None:
    planted = Planted()
    of_the_installation(closed, planted)
    await as_administrators_do(closed, planted)
    await as_people_do(closed, planted)
    await as_stations_do(closed, planted)
    await park(closed, planted)
    assert len(planted.secrets) + len(planted.id_tokens) >= AT_LEAST

    spoken = closed.logged()
    assert '"level": "debug"' in spoken
    found = planted.leaks("the logs", spoken)
    traced = b"".join(closed.collector.sent).decode(errors="replace")
    assert "HTTP request" in traced
    found += planted.leaks("the traces", traced)

    kept = list(await records(closed))
    assert {topics.events("auth"), topics.frames("device"), topics.OUTBOUND, topics.STATIONS} <= {
        topic for topic, _ in kept
    }
    for topic in {topic for topic, _ in kept}:
        text = "\n".join(text for where, text in kept if where == topic)
        found += planted.leaks(topic, text, id_tokens=topic not in MAY_HOLD_ID_TOKENS)
    sent = "".join(text for topic, text in kept if topic in MAY_HOLD_ID_TOKENS)
    assert planted.id_token("unknown to all") in sent, "the search finds what is there"

    shown = await closed.system.csms("frames", "--last", "2000")
    assert shown.code == 0 and "Authorize" in shown.output, shown.output
    found += planted.leaks("csms frames", shown.output)
    listed = await closed.system.csms("parked", "list")
    found += planted.leaks("csms parked list", listed.output)
    async with closed.admin as admin:
        for service in (*HOSTS, GATEWAY):
            found += planted.leaks(f"{service}'s metrics", await metrics(closed, service))
        for service in HOSTS:
            audit = json.dumps(await getting(admin, f"/{service}/audit?limit=500")())
            found += planted.leaks(f"{service}'s audit", audit)
        frames = await getting(admin, f"/gateway/stations/{quote('PLANT-0')}/frames?limit=1000")()
        assert frames["items"]
        found += planted.leaks("the frames' API", json.dumps(frames))
    assert found == []


async def metrics(closed: Closed, service: str) -> str:
    async with closed.raw() as client:
        return (await client.get(f"{closed.system.addresses[service]}/metrics")).text
