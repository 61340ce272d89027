"""A station's security profile goes up (A05) on real sockets with TLS, and never down again, whatever is rebuilt."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import httpx
import pytest
import pytest_asyncio

from csms.harness import System
from simulator.config import ClientCertificate
from tests.support.changing_station import Answer, Line, closed, online, refused, set_variables, simulated
from tests.support.guarded import Guarded
from tests.support.pki import Certified
from tests.support.third_party import eventually

pytest_plugins = [
    "tests.support.kafka_broker", "tests.support.system", "tests.support.guarded_system", "tests.support.guarded_broker"
]  # fmt: skip

HASHES = {"hashAlgorithm": "SHA256", "issuerNameHash": "a", "issuerKeyHash": "b", "serialNumber": "1"}
INSTALLED = {"certificateType": "CSMSRootCertificate", "certificateHashData": HASHES}


class Secured(NamedTuple):
    """A system with a port for TLS, the authority of its own certificate, and that of stations."""

    system: System
    root: Certified
    stations: Certified
    guarded: Guarded

    @property
    def plain(self) -> str:
        return self.system.gateways[0]

    @property
    def tls(self) -> str:
        return self.system.secured[0]

    def client(self, serial_number: str = "") -> ssl.SSLContext:
        """A station's TLS, with a certificate if it has one of this serial number."""
        own = self.stations.issue(serial_number) if serial_number else None
        return self.guarded.context(own, check_hostname=False)


@pytest.fixture
def secured(guarded_on_each_log: Guarded) -> Secured:
    guarded = guarded_on_each_log
    return Secured(guarded.system, guarded.csms, guarded.operator, guarded)


@pytest_asyncio.fixture
async def api(secured: Secured) -> AsyncIterator[httpx.AsyncClient]:
    async with secured.system.client() as client:
        yield client


def station(written: list[Any]) -> dict[str, Answer]:
    """A station with the root's certificate, whose first slot is in use; what it is told goes to `written`."""

    def variables(request: dict[str, Any]) -> dict[str, Any]:
        one = {"attributeStatus": "Accepted", "attributeValue": "0"}
        return {"getVariableResult": [item | one for item in request["getVariableData"]]}

    def profile(request: dict[str, Any]) -> dict[str, Any]:
        written.append((request["configurationSlot"], request["connectionData"]["securityProfile"]))
        return {"status": "Accepted"}

    return {
        "GetInstalledCertificateIds": lambda _: {"status": "Accepted", "certificateHashDataChain": [INSTALLED]},
        "GetVariables": variables,
        "SetNetworkProfile": profile,
        "SetVariables": set_variables("Accepted", take=lambda name, value: written.append((name, value))),
        "Reset": lambda _: {"status": "Accepted"},
    }


async def register(api: httpx.AsyncClient, identity: str, **more: Any) -> str:
    made = await api.post("/device/stations", json={"id": identity, **more})
    assert made.status_code == 201, made.text
    return str(made.json().get("password", ""))


async def known(api: httpx.AsyncClient, identity: str) -> None:
    async def look() -> Any:
        return (await api.get(f"/device/stations/{identity}")).json()["connection"]

    await eventually(look, lambda connection: connection["connected"])


def upgrading(
    api: httpx.AsyncClient, identity: str, to: int, wait: str = "wait=30", **more: Any
) -> "asyncio.Task[httpx.Response]":
    path, body = f"/device/stations/{identity}/security-profile:upgrade", {"securityProfile": to, **more}
    return asyncio.create_task(api.post(path, json=body, headers={"Prefer": wait}))


async def boots(line: Line, serial_number: str) -> str:
    about = {"model": "M", "vendorName": "V", "serialNumber": serial_number}
    _, _, answer = await line.call("BootNotification", {"reason": "PowerUp", "chargingStation": about})
    return str(answer["status"])


@pytest.mark.timeout(240)
@pytest.mark.requirement("A05.FR.07", "A00.FR.002", "B01.FR.11")
async def test_from_1_to_2_to_3_and_never_back(secured: Secured, api: httpx.AsyncClient) -> None:
    password = await register(api, "Up-1", serialNumber="SN-1")
    written: list[Any] = []
    async with online(secured.plain, "Up-1", password, station(written)) as line:
        await known(api, "Up-1")
        asked = upgrading(api, "Up-1", 2)
        await line.hears("Reset")
    assert written == [(1, 2), ("NetworkConfigurationPriority", "1,0")]
    assert await refused(secured.plain, "Up-1", password) == 101, "until it came with the new one"
    tls = secured.client()
    async with online(secured.tls, "Up-1", password, station(written), tls) as line:
        done = await asked
        assert (done.status_code, done.json()["state"]) == (200, "upgraded"), done.text
        assert await refused(secured.plain, "Up-1", password) == 401
        asked = upgrading(api, "Up-1", 3)
        await line.hears("Reset")
    certified = secured.client("SN-1")
    async with online(secured.tls, "Up-1", None, station(written), certified) as line:
        done = await asked
        assert (done.status_code, done.json()["state"]) == (200, "upgraded"), done.text
        assert await boots(line, "SN-1") == "Accepted"
    assert await refused(secured.tls, "Up-1", password, tls) == 401
    assert await refused(secured.plain, "Up-1", password) == 401

    tables = await secured.system.projections("device")
    await secured.system.stop()
    rebuilt = await secured.system.csms("rebuild", "device", beside="device")
    assert rebuilt.code == 0, rebuilt.output
    assert f"device: {tables}" in rebuilt.output, "not what its events say"
    await secured.system.start()
    assert await refused(secured.tls, "Up-1", password, tls) == 401
    assert await refused(secured.plain, "Up-1", password) == 401
    assert await refused(secured.tls, "Up-1", None, certified) == 101
    lower = await upgrading(api, "Up-1", 2)
    assert lower.status_code == 409


@pytest.mark.timeout(240)
async def test_killed_before_the_station_came_back(secured: Secured, api: httpx.AsyncClient) -> None:
    password = await register(api, "Up-killed")
    async with online(secured.plain, "Up-killed", password, station([])) as line:
        await known(api, "Up-killed")
        asked = await upgrading(api, "Up-killed", 2, "wait=0")
        assert asked.status_code == 202
        await line.hears("Reset")
        secured.system.kill()
    await secured.system.start()
    assert await refused(secured.plain, "Up-killed", password) == 101
    async with online(secured.tls, "Up-killed", password, station([]), secured.client()):

        async def look() -> Any:
            operation = (await api.get(asked.headers["location"])).json()
            if operation["status"] == "pending":
                return {"state": "pending"}  # in force, it says so once all processes have read it
            return (await api.get(operation["result"]["body"]["location"])).json()

        await eventually(look, lambda change: change["state"] == "upgraded")
    assert await refused(secured.plain, "Up-killed", password) == 401


async def test_a_station_without_what_it_needs_keeps_its_profile(secured: Secured, api: httpx.AsyncClient) -> None:
    password = await register(api, "Up-without")
    answers = station([]) | {"GetInstalledCertificateIds": lambda _: {"status": "NotFound"}}
    async with online(secured.plain, "Up-without", password, answers):
        await known(api, "Up-without")
        done = await upgrading(api, "Up-without", 2)
    assert (done.status_code, done.json()["state"]) == (200, "kept"), done.text
    assert "CSMSRootCertificate" in done.json()["reason"]
    assert await refused(secured.tls, "Up-without", password, secured.client()) == 401
    assert await refused(secured.plain, "Up-without", password) == 101


@pytest.mark.timeout(240)
async def test_a_simulated_station_goes_up_by_itself(secured: Secured, api: httpx.AsyncClient) -> None:
    """It checks what it needs (A05.FR.02), and forgets what is lower (A05.FR.06)."""
    name, password = "Up-simulated", await register(api, "Up-simulated")
    own = secured.stations.issue(name)
    url = secured.tls.replace("127.0.0.1", "localhost")
    certificate = ClientCertificate(own.pem.decode(), own.key_pem.decode())
    async with simulated(secured.plain, name, password, certificate=certificate) as station:
        await known(api, name)
        refusal = await upgrading(api, name, 2, ocppCsmsUrl=url)
        assert (refusal.status_code, refusal.json()["state"]) == (200, "kept"), "it does not know the CSMS's root"
        root = {"certificateType": "CSMSRootCertificate", "certificate": secured.root.pem.decode()}
        installed = await api.post(f"/auth/stations/{name}/commands/InstallCertificate", json=root)
        assert installed.json()["response"]["status"] == "Accepted", installed.text
        for profile in (2, 3):
            done = await upgrading(api, name, profile, ocppCsmsUrl=url, reset="Immediate")
            assert (done.status_code, done.json()["state"]) == (200, "upgraded"), done.text
            assert station.networks.security_profile == profile
    assert await refused(secured.plain, name, password) == 401
    assert await refused(secured.tls, name, password, secured.client()) == 401


@pytest.mark.requirement("B01.FR.12")
async def test_another_serial_number_than_the_certificates_is_closed(secured: Secured, api: httpx.AsyncClient) -> None:
    await register(api, "Up-serial", serialNumber="SN-2", securityProfile=3)
    async with online(secured.tls, "Up-serial", None, tls=secured.client("SN-2")) as line:
        await known(api, "Up-serial")
        assert await boots(line, "SN-3") == "Rejected"
        await closed(line)
        assert line.socket.close_code == 1008
