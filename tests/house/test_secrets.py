"""Secrets and idTokens stay where they belong: in frames, in requests, and encrypted; in no log line, event or tool.

A whole system on the in-memory log, with a real WebSocket and the real APIs, logs at debug level while passwords, API
keys and idTokens of every origin go through it: welcome, refused, malformed, and in a record that has to be parked.
"""

import asyncio
import base64
import io
import json
import logging
from typing import Any

import pytest
from rich.console import Console
from websockets.exceptions import InvalidStatus

from csms.tools.access import Access
from csms.tools.frames import frames
from ocppcore import topics
from ocppcore.log import NewRecord
from tests.support.transaction_frames import event
from tests.support.whole import ADMIN, KEYS, PASSWORD, SLOTS, Whole, answer, say

pytest_plugins = ["tests.support.whole_system"]

MAY_HOLD = (*(topics.frames(s) for s in topics.SERVICES), *(topics.requests(s) for s in topics.SERVICES))
"""Raw frames and requests are kept for days and are allowed to hold idTokens; so is `ocpp.outbound`, but no secret."""

ID_TOKENS = {
    "registered": "PLANTEDTOKEN01",
    "unknown": "PLANTEDTOKEN02",
    "pin": "PLANTEDPIN03",
    "wrong pin": "PLANTEDPIN14",
    "pin in a command": "PLANTEDPIN15",
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
PINS = ("pin", "wrong pin", "pin in a command")
"""Key codes are encrypted in frames too (C04.FR.04)."""
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


def token(name: str, kind: str = "ISO14443") -> dict[str, str]:
    return {"idToken": ID_TOKENS[name], "type": kind}


async def register(whole: Whole) -> None:
    """What an administrator does, and mistakes."""
    whole.planted.update(ID_TOKENS | SECRETS)
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
        wrong_pin = await say(station, "Authorize", {"idToken": token("wrong pin", "KeyCode")})
        assert wrong_pin[2]["idTokenInfo"]["status"] == "Invalid"
        by_pin = event("Started", 0, transaction="BY-PIN") | {"idToken": token("pin", "KeyCode")}
        assert (await say(station, "TransactionEvent", by_pin))[2]["idTokenInfo"]["status"] == "Accepted"
        assert (await say(station, "TransactionEvent", by_pin | {"seqNo": "7"}))[0] == 4
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
        async with whole.station(password=SECRETS["wrong password"]):
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
                {"idToken": token("pin in a command", "KeyCode"), "idTokenInfo": {"status": "Accepted"}},
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
    secrets = {what: secret for what, secret in whole.planted.items() if what not in ID_TOKENS or what in PINS}
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
