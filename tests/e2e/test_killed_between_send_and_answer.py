"""A process dies by kill -9 while stations hold commands of operations that change what lets them in (A01, A02, A05).

Three stations at once, one for each operation, and one process dies under them: each operation ends as it would have.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.changing_station import Answer, Line, online, refused, set_variables
from tests.support.csrs import csr, key
from tests.support.guarded import PASSWORD, Guarded
from tests.support.third_party import eventually

pytest_plugins = [
    "tests.support.kafka_broker", "tests.support.system", "tests.support.guarded_system", "tests.support.guarded_broker"
]  # fmt: skip

ROOT = {
    "certificateType": "CSMSRootCertificate",
    "certificateHashData": {
        "hashAlgorithm": "SHA256", "issuerNameHash": "a", "issuerKeyHash": "b", "serialNumber": "1",
    },
}  # fmt: skip
HELD = {"rotating": "SetVariables", "upgrading": "SetNetworkProfile", "renewing": "CertificateSigned"}
"""The commands that stations have taken and not answered when the process dies."""


@pytest.fixture(
    params=[("guarded_system", "up"), *(("guarded_kafka_system", one) for one in ("gateway", "device", "auth"))]
)
def doomed(request: pytest.FixtureRequest) -> tuple[Guarded, str]:
    """A system, and the process of it that dies: embedded it is everything."""
    system, victim = request.param
    return request.getfixturevalue(system), victim


@pytest_asyncio.fixture
async def http(doomed: tuple[Guarded, str]) -> AsyncIterator[httpx.AsyncClient]:
    guarded, _ = doomed
    async with guarded.system.client() as client:
        guarded.http = client
        yield client


@dataclass
class Kept:
    """What a station keeps over the crash."""

    identity: str
    password: str = PASSWORD
    key: ec.EllipticCurvePrivateKey = field(default_factory=key)
    chains: list[str] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)

    def take_password(self, request: dict[str, Any]) -> None:
        self.password = request["setVariableData"][0]["attributeValue"]

    def take_profile(self, request: dict[str, Any]) -> None:
        self.slots.append(request["configurationSlot"])

    def take_chain(self, request: dict[str, Any]) -> None:
        self.chains.append(request["certificateChain"])

    def answers(self, *, silent: bool) -> dict[str, Answer]:
        """`silent`: what is held is taken and not answered."""

        def held(take: Answer, response: dict[str, Any]) -> Answer:
            def answer(request: dict[str, Any]) -> dict[str, Any] | None:
                take(request)
                return None if silent else response

            return answer

        accepted = {"status": "Accepted"}
        said = set_variables("Accepted", take=lambda name, value: self._said(name, value))
        return {
            "SetVariables": self._hold if silent else said,
            "SetNetworkProfile": held(self.take_profile, accepted),
            "CertificateSigned": held(self.take_chain, accepted),
            "GetInstalledCertificateIds": lambda _: accepted | {"certificateHashDataChain": [ROOT]},
            "GetVariables": _variables,
            "Reset": lambda _: accepted,
        }

    def _hold(self, request: dict[str, Any]) -> None:
        self.take_password(request)

    def _said(self, name: str, value: str) -> None:
        if name == "BasicAuthPassword":
            self.password = value


def _variables(request: dict[str, Any]) -> dict[str, Any]:
    one = {"attributeStatus": "Accepted", "attributeValue": "0"}
    return {"getVariableResult": [item | one for item in request["getVariableData"]]}


async def boot(line: Line) -> None:
    about = {"model": "M", "vendorName": "V"}
    _, _, answer = await line.call("BootNotification", {"reason": "PowerUp", "chargingStation": about})
    assert answer["status"] == "Accepted"


async def change(http: httpx.AsyncClient, identity: str) -> dict[str, Any]:
    """The station's newest change of password or profile, once it is over."""

    async def look() -> Any:
        found = await http.get("/device/credential-changes", params={"stationId": identity})
        return found.json()["items"][0]

    over = ("changed", "kept", "upgraded", "no_effect", "replaced")
    found: dict[str, Any] = await eventually(look, lambda change: change["state"] in over)
    return found


@pytest.mark.timeout(240)
@pytest.mark.requirement("A01.FR.02", "A05.FR.07")
async def test_every_operation_ends_as_if_nothing_had_died(
    doomed: tuple[Guarded, str], http: httpx.AsyncClient
) -> None:
    guarded, victim = doomed
    plain, tls = guarded.system.gateways[0], guarded.system.secured[0]
    encrypted = guarded.context(check_hostname=False)
    stations = {what: Kept(await guarded.register(f"Held-{what}-{victim}")) for what in HELD}
    rotating, upgrading, renewing = stations.values()

    async with AsyncExitStack() as before:
        lines = {
            what: await before.enter_async_context(online(plain, one.identity, PASSWORD, one.answers(silent=True)))
            for what, one in stations.items()
        }
        for what, line in lines.items():
            await boot(line)
            await eventually(lambda what=what: guarded.connected(stations[what].identity), bool)
        asked = [
            await http.post(f"/device/stations/{rotating.identity}/password:rotate", headers={"Prefer": "wait=0"}),
            await http.post(
                f"/device/stations/{upgrading.identity}/security-profile:upgrade",
                json={"securityProfile": 2}, headers={"Prefer": "wait=0"},
            ),
        ]  # fmt: skip
        assert [one.status_code for one in asked] == [202, 202], [one.text for one in asked]
        signing = {"csr": csr(renewing.identity, None, renewing.key), "certificateType": "ChargingStationCertificate"}
        assert (await lines["renewing"].call("SignCertificate", signing))[2]["status"] == "Accepted"
        await asyncio.gather(*(lines[what].hears(command) for what, command in HELD.items()))
        guarded.system.programs[victim].kill()
    await guarded.system.start()

    async with AsyncExitStack() as after:
        # The one that was told a password has taken it; the two others come as they were.
        for what, one in stations.items():
            line = online(plain, one.identity, one.password, one.answers(silent=False))
            lines[what] = await after.enter_async_context(line)
            await boot(lines[what])
        assert (await change(http, rotating.identity))["state"] == "changed"
        assert await refused(plain, rotating.identity, PASSWORD) == 401
        assert await refused(plain, rotating.identity, rotating.password) == 101

        certificates = await eventually(
            lambda: listed(http, renewing.identity), lambda rows: [row["state"] for row in rows] == ["accepted"]
        )
        [chain] = set(renewing.chains)
        serial_number = x509.load_pem_x509_certificates(chain.encode())[0].serial_number
        assert certificates[0]["serialNumber"] == f"{serial_number:x}"

        await lines["upgrading"].hears("Reset")
        assert set(upgrading.slots) == {1}
        assert await refused(plain, upgrading.identity, PASSWORD) == 101, "until it came with the new one"
    async with online(tls, upgrading.identity, PASSWORD, upgrading.answers(silent=False), encrypted):
        assert (await change(http, upgrading.identity))["state"] == "upgraded"
    assert await refused(plain, upgrading.identity, PASSWORD) == 401


async def listed(http: httpx.AsyncClient, identity: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await http.get("/auth/certificates", params={"stationId": identity})).json()["items"]
    return found
