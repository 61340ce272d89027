"""Passwords and security profiles over HTTP: what is answered, and that nobody but the station learns a password."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest

from ocppcore import credentials, topics
from ocppcore.clock import system_clock
from ocppcore.contracts.device import RotatePassword
from ocppcore.envelope import (
    AdmittedBy,
    ConnectionChange,
    Frame,
    OutFrame,
    Refusal,
    connection_record,
    frame_record,
    parse_outbound,
    refusal_record,
)
from ocppcore.http.commands import CommandDesk, Registered
from ocppcore.log import TopicPartition
from ocppcore.pseudonym import Pseudonyms
from ocppcore.seal import Seal
from services.device import api as stations_api
from services.device import changes_api, security_api
from services.device.passwords import Passwords
from services.device.service import build
from services.device.settings import Settings
from tests.support.served import PARTITIONS, PASSWORD_KEY, Served, served

SEAL = Seal(b"s" * 32, "outbound frames")
SLOT = 1
ROTATE = "/stations/CS-1/password:rotate"
UPGRADE = "/stations/CS-1/security-profile:upgrade"


class Station:
    """CS-1 on the log: hears commands, answers them."""

    def __init__(self, api: Served) -> None:
        self.api = api
        self.epoch = -1
        self.frames = 0
        self.reader = api.log.reader()
        self.reader.assign({TopicPartition(topics.OUTBOUND, SLOT): 0})

    async def connect(self, credential: AdmittedBy = "current", profile: int = 1) -> None:
        there = ConnectionChange(
            identity="CS-1", slot=SLOT, claim=0, connected=True, subprotocol="ocpp2.0.1", at=system_clock(),
            credential=credential, security_profile=profile,
        )  # fmt: skip
        (self.epoch,) = await self.api.log.append([connection_record(there, PARTITIONS)])
        await self.shown(lambda station: station["connection"].get("epoch") == self.epoch)

    async def shown(self, fits: Any) -> Any:
        async with asyncio.timeout(5):
            while not fits(found := (await self.api.client.get("/stations/CS-1")).json()):
                await asyncio.sleep(0.01)
        return found

    async def hear(self) -> tuple[OutFrame, Any]:
        """The next command: its record, and the opened frame's payload."""
        async with asyncio.timeout(5):
            while True:
                for record in await self.reader.fetch(1, 5):
                    out = parse_outbound(record)
                    if out.kind == "reply":
                        continue
                    frame = SEAL.open(out.frame, out.message_id.encode()) if out.sealed else out.frame
                    return out, msgspec.json.decode(frame)[3]

    async def answer(self, out: OutFrame, payload: object) -> None:
        self.frames += 1
        frame = msgspec.json.encode([3, out.message_id, payload])
        said = Frame(
            "cs-1", "CS-1", SLOT, self.epoch, self.frames, "ocpp2.0.1", system_clock(), "result", out.message_id,
            out.action, "", frame, "",
        )  # fmt: skip
        await self.api.log.append([frame_record(said, "device", PARTITIONS)])


@pytest.fixture
def everywhere() -> bool:
    """Whether what is decided is in force at all gateways."""
    return True


@pytest.fixture
def settings() -> Settings:
    return Settings.model_construct()


@pytest.fixture
async def api(everywhere: bool, settings: Settings) -> AsyncIterator[Served]:
    async def registered(station: str) -> Registered | None:
        return Registered(id="CS-1") if station == "cs-1" else None

    async def at_once(_: float) -> bool:
        return everywhere

    def routers(store: Any) -> Any:
        desk = CommandDesk("device", store, registered, Pseudonyms(b"k"), SEAL)
        return [
            stations_api.router(store, PASSWORD_KEY),
            changes_api.router(store, desk, passwords, settings, at_once),
            security_api.router(store),
        ]

    passwords = Passwords(PASSWORD_KEY, Pseudonyms(b"k"), SEAL, settings)
    async with served(build(passwords.effects()), routers) as made:
        assert (await made.client.post("/stations", json={"id": "CS-1"})).status_code == 201
        yield made


@pytest.fixture
async def station(api: Served) -> Station:
    made = Station(api)
    await made.connect()
    return made


def ask(api: Served, path: str, body: Any = None, wait: str = "wait=5") -> "asyncio.Task[httpx.Response]":
    return asyncio.create_task(api.client.post(path, json=body, headers={"Prefer": wait}))


def set_to(status: str, value: Any) -> Any:
    item = value["setVariableData"][0]
    return {
        "setVariableResult": [{"attributeStatus": status, "component": item["component"], "variable": item["variable"]}]
    }


@pytest.mark.requirement("A01.FR.02", "A01.FR.03", "A01.FR.06", "A01.FR.07", "A01.FR.08", "A01.FR.09")
async def test_a_rotation_answers_when_the_new_password_is_in_force(api: Served, station: Station) -> None:
    asked = ask(api, ROTATE)
    out, payload = await station.hear()
    (item,) = payload["setVariableData"]
    assert (item["component"], item["variable"]) == ({"name": "SecurityCtrlr"}, {"name": "BasicAuthPassword"})
    password = item["attributeValue"]
    assert password.isalnum()
    assert len(password) == 32
    _, both = await api.states(topics.STATIONS, "cs-1", 2)
    assert credentials.verify(password, both["nextCredential"], PASSWORD_KEY)
    assert (await station.shown(lambda _: True))["passwordChanging"] is True
    assert not asked.done()

    await station.answer(out, set_to("Accepted", payload))
    answer = await asked
    assert answer.status_code == 200
    body = answer.json()
    assert (body["stationId"], body["kind"], body["state"], body["actor"]) == ("CS-1", "password", "changed", "admin")
    states = await api.states(topics.STATIONS, "cs-1", 3)
    assert credentials.verify(password, states[2]["credential"], PASSWORD_KEY)
    assert "nextCredential" not in states[2]
    polled = await api.client.get(answer.headers["location"].removeprefix("/device"))
    assert polled.json() == body
    assert password not in api.everything()


@pytest.mark.requirement("A01.FR.04")
async def test_a_rotation_answers_when_the_old_password_is_confirmed(api: Served, station: Station) -> None:
    asked = ask(api, ROTATE, {"length": 40})
    out, payload = await station.hear()
    assert len(payload["setVariableData"][0]["attributeValue"]) == 40
    await station.answer(out, set_to("Rejected", payload))
    answer = await asked
    assert (answer.status_code, answer.json()["state"], answer.json()["reason"]) == (200, "kept", "Rejected")
    old, _, after = await api.states(topics.STATIONS, "cs-1", 3)
    assert after == old


@pytest.mark.requirement("A00.FR.805")
async def test_the_password_of_the_factory_is_replaced_at_the_first_boot(api: Served, station: Station) -> None:
    body = {"password": "from-the-factory", "factoryCredentials": True, "automatic": {"provisioning": True}}
    assert (await api.client.patch("/stations/CS-1", json=body)).json()["factoryCredentials"] is True
    boot = b'[2,"b1","BootNotification",{"reason":"PowerUp","chargingStation":{"model":"M","vendorName":"V"}}]'
    frame = Frame(
        "cs-1",
        "CS-1",
        SLOT,
        station.epoch,
        1,
        "ocpp2.0.1",
        system_clock(),
        "call",
        "b1",
        "BootNotification",
        "",
        boot,
        "",
    )
    await api.log.append([frame_record(frame, "device", PARTITIONS)])

    out, payload = await station.hear()
    password = payload["setVariableData"][0]["attributeValue"]
    await station.answer(out, set_to("Accepted", payload))
    await station.shown(lambda shown: not shown["factoryCredentials"])
    assert credentials.verify(password, (await api.states(topics.STATIONS, "cs-1", 4))[3]["credential"], PASSWORD_KEY)
    (change,) = (await api.client.get("/credential-changes")).json()["items"]
    assert (change["state"], change["actor"]) == ("changed", "")
    assert password not in api.everything()


@pytest.mark.parametrize("everywhere", [False])
async def test_what_some_gateway_has_not_read_yet_is_no_200(api: Served) -> None:
    answer = await ask(api, ROTATE)
    assert (answer.status_code, answer.json()["state"]) == (202, "kept")


async def test_a_station_that_is_away_keeps_its_password(api: Served) -> None:
    answer = await ask(api, ROTATE)
    assert (answer.status_code, answer.json()["state"], answer.json()["reason"]) == (200, "kept", "not_connected")


async def test_without_waiting_the_operation_can_be_polled(api: Served, station: Station) -> None:
    answer = await ask(api, ROTATE, wait="wait=0")
    assert answer.status_code == 202
    out, payload = await station.hear()
    await station.answer(out, set_to("Accepted", payload))
    listing = "/credential-changes"
    async with asyncio.timeout(5):
        while (items := (await api.client.get(listing)).json()["items"])[0]["state"] != "changed":
            await asyncio.sleep(0.01)
    assert [one["kind"] for one in items] == ["password"]
    filters = {"stationId": "cs-1", "kind": "password", "state": "changed"}
    assert (await api.client.get(listing, params=filters)).json()["items"] == items
    assert (await api.client.get(listing, params=filters | {"state": "kept"})).json()["items"] == []
    assert (await api.client.get(f"{listing}/none")).status_code == 404


@pytest.mark.parametrize("length", [15, 65, "20"])
async def test_a_length_that_no_station_takes_is_refused(api: Served, length: Any) -> None:
    refused = await api.client.post(ROTATE, json={"length": length})
    assert refused.status_code == 422


async def test_who_may_only_read_changes_nothing(api: Served) -> None:
    for path, body in ((ROTATE, {}), (UPGRADE, {"securityProfile": 2})):
        assert (await api.as_("viewer").post(path, json=body)).status_code == 403
    assert (await api.client.post("/stations/CS-9/password:rotate")).status_code == 404
    assert (
        await api.client.post("/stations/CS-9/security-profile:upgrade", json={"securityProfile": 2})
    ).status_code == 404


@pytest.mark.requirement("A05.FR.07")
async def test_an_upgrade_answers_when_the_station_came_with_the_new_profile(api: Served, station: Station) -> None:
    asked = ask(api, UPGRADE, {"securityProfile": 2, "assured": True, "ocppInterface": "Wireless1"})
    named = {"component": {"name": "OCPPCommCtrlr"}, "variable": {"name": "NetworkConfigurationPriority"}}
    out, _ = await station.hear()
    await station.answer(out, {"getVariableResult": [named | {"attributeStatus": "Accepted", "attributeValue": "1"}]})
    out, profile = await station.hear()
    assert (profile["configurationSlot"], profile["connectionData"]["ocppCsmsUrl"]) == (2, "wss://test:9443/ocpp")
    assert profile["connectionData"]["ocppInterface"] == "Wireless1"
    assert (await station.shown(lambda _: True))["nextSecurityProfile"] == 2
    await station.answer(out, {"status": "Accepted"})
    out, priority = await station.hear()
    await station.answer(out, set_to("Accepted", priority))
    out, _ = await station.hear()
    assert out.action == "Reset"
    await station.answer(out, {"status": "Accepted"})
    await station.connect(profile=2)
    answer = await asked
    body = answer.json()
    assert (answer.status_code, body["state"], body["fromProfile"], body["toProfile"]) == (200, "upgraded", 1, 2)
    shown = await station.shown(lambda _: True)
    assert (shown["securityProfile"], shown["nextSecurityProfile"]) == (2, None)


@pytest.mark.parametrize(
    ("body", "status", "names"),
    [
        ({}, 422, "securityProfile"),
        ({"securityProfile": 4}, 422, "securityProfile"),
        ({"securityProfile": 2, "ocppCsmsUrl": "ws://csms.example.org/ocpp"}, 422, "ocppCsmsUrl"),
        ({"securityProfile": 2, "prepared": True}, 422, "configurationSlot"),
        ({"securityProfile": 1}, 409, "in force"),
    ],
)
async def test_an_upgrade_that_cannot_be_is_refused(api: Served, body: Any, status: int, names: str) -> None:
    refused = await api.client.post(UPGRADE, json=body)
    assert refused.status_code == status
    assert names in refused.text


async def test_the_registry_names_controllers_and_who_may_come_with_an_expired_certificate(api: Served) -> None:
    body = {"allowExpiredCertificate": True, "controller": "LC-1"}
    changed = (await api.client.patch("/stations/CS-1", json=body)).json()
    assert (changed["allowExpiredCertificate"], changed["controller"]) == (True, "lc-1")
    _, state = await api.states(topics.STATIONS, "cs-1", 2)
    assert (state["allowExpiredCertificate"], state["controller"]) == (True, "lc-1")
    back = (await api.client.patch("/stations/CS-1", json={"allowExpiredCertificate": None, "controller": None})).json()
    assert (back["allowExpiredCertificate"], back["controller"]) == (False, "")
    assert (await api.client.patch("/stations/CS-1", json={"controller": "a/b"})).status_code == 422


@pytest.mark.requirement("A04.FR.02")
async def test_security_events_are_listed_with_filters(api: Served, station: Station) -> None:
    for n, type_ in enumerate(("InvalidMessages", "FirmwareUpdated", "AcmeDoorbellRang")):
        said = {"type": type_, "timestamp": "2020-01-01T00:00:00Z", "techInfo": f"n{n}"}
        frame = msgspec.json.encode([2, f"m{n}", "SecurityEventNotification", said])
        sent = Frame(
            "cs-1", "CS-1", SLOT, station.epoch, n, "ocpp2.0.1", system_clock(), "call", f"m{n}",
            "SecurityEventNotification", "", frame, "",
        )  # fmt: skip
        await api.log.append([frame_record(sent, "device", PARTITIONS)])

    async def types(**params: Any) -> list[str]:
        return [one["type"] for one in (await api.client.get("/security-events", params=params)).json()["items"]]

    async with asyncio.timeout(5):
        while len(await types()) < 3:
            await asyncio.sleep(0.01)
    assert sorted(await types(stationId="cs-1")) == ["AcmeDoorbellRang", "FirmwareUpdated", "InvalidMessages"]
    assert await types(critical=True) == ["FirmwareUpdated"]
    assert await types(critical=False) == ["InvalidMessages"]
    assert await types(type="AcmeDoorbellRang") == ["AcmeDoorbellRang"]
    assert await types(stationId="cs-2") == []
    (item,) = (await api.client.get("/security-events", params={"type": "InvalidMessages"})).json()["items"]
    assert (item["stationId"], item["timestamp"], item["techInfo"]) == ("CS-1", "2020-01-01T00:00:00.000Z", "n0")
    refusal = Refusal(identity="CS-1", slot=SLOT, at=system_clock(), cause="password", address="10.0.0.1")
    await api.log.append([refusal_record(refusal, 1, PARTITIONS)])
    async with asyncio.timeout(5):
        while await types(observedBy="csms") != ["FailedToAuthenticationAtCsms"]:
            await asyncio.sleep(0.01)
    assert len(await types(observedBy="station")) == 3
    assert (await api.client.get("/security-events", params={"observedBy": "me"})).status_code == 422
    first = (await api.client.get("/security-events", params={"limit": 2, "observedBy": "station"})).json()
    rest = (await api.client.get(first["next"])).json()
    assert [len(first["items"]), len(rest["items"])] == [2, 1]


# Settings


@pytest.mark.parametrize(
    ("settings", "status"),
    [
        (Settings.model_construct(), 409),
        (Settings.model_construct(allow_security_profile_downgrade=True), 200),
    ],
)
async def test_from_3_to_2_only_where_that_is_switched_on(api: Served, status: int) -> None:
    assert (await api.client.patch("/stations/CS-1", json={"securityProfile": 3})).status_code == 200
    answer = await ask(api, UPGRADE, {"securityProfile": 2}, wait="wait=1")
    assert answer.status_code == status


@pytest.mark.requirement("A01.FR.05")
@pytest.mark.parametrize(
    ("settings", "limit"),
    [
        (Settings.model_construct(), False),
        (Settings.model_construct(password_refused_boot="pending", password_evidence_s=7), True),
    ],
)
async def test_a_station_that_refuses_is_limited_where_that_is_set(
    api: Served, settings: Settings, limit: bool
) -> None:
    assert (await ask(api, ROTATE)).status_code == 200
    (asked,) = (
        msgspec.json.decode(record.value)
        for record in api.records(topics.requests("device"))
        if record.headers["ce_type"] == RotatePassword.NAME
    )
    assert (asked["limit"], asked["evidence_ms"]) == (limit, settings.password_evidence_s * 1000)


@pytest.mark.parametrize("settings", [Settings.model_construct(ocpp_url="wss://csms.example.org:9443/ocpp")])
async def test_a_station_is_told_the_address_that_is_set(api: Served, station: Station) -> None:
    asked = ask(api, UPGRADE, {"securityProfile": 2, "assured": True, "configurationSlot": 3})
    named = {"component": {"name": "OCPPCommCtrlr"}, "variable": {"name": "NetworkConfigurationPriority"}}
    out, _ = await station.hear()
    await station.answer(out, {"getVariableResult": [named | {"attributeStatus": "Accepted", "attributeValue": "0"}]})
    out, profile = await station.hear()
    assert profile["connectionData"]["ocppCsmsUrl"] == "wss://csms.example.org:9443/ocpp"
    await station.answer(out, {"status": "Failed"})
    assert (await asked).json()["reason"] == "SetNetworkProfile: Failed"
