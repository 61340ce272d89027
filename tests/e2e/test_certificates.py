"""A station gets its certificate from the local authority (A02, A03) and opens its connection with it (profile 3),
between real processes, whatever dies."""

import asyncio
import base64
import re
import ssl
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.x509 import verification
from ocpp.routing import after, on
from ocpp.v201 import call, call_result
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus

from csms.harness import System, embedded, on_kafka, temporary_directory
from csms.kafka_broker import KafkaBroker
from ocppcore.embedded import EmbeddedPostgres
from tests.support.csrs import Ca, Key, csr, key, pem, request, rsa_key, secret_pem
from tests.support.third_party import PASSWORD, Station, eventually, getting

pytest_plugins = ["tests.support.kafka_broker"]

SERIAL = "SN-4711"
HASH = re.compile(r"^auth: ([0-9a-f]{64})$", re.MULTILINE)
SETTINGS = {
    "CSMS_AUTH_AUTHORITY": "local",
    "CSMS_AUTH_ORGANIZATION": "Operator",
    "CSMS_OCPP_ORGANIZATIONS": "Operator",
    "CSMS_AUTH_CERTIFICATE_SEND_PAUSE_S": "1",
    "CSMS_AUTH_CSRS_PER_HOUR": "5",
}


def served(place: Path) -> dict[str, Any]:
    """Settings with a certificate for the gateway."""
    secret, ca = key(), Ca("Server root")
    (place / "server.pem").write_text(pem(ca.issue(request("csms.example", "Operator", secret))))
    (place / "server.key").write_text(secret_pem(secret))
    return SETTINGS | {"CSMS_OCPP_TLS_CERTS": f"{place / 'server.pem'}:{place / 'server.key'}"}


@asynccontextmanager
async def running(system: System) -> AsyncIterator[System]:
    """Started before, stopped after: every process ends by itself, without an error."""
    try:
        await system.start()
        yield system
        codes = await system.stop()
        assert set(codes.values()) == {0}, f"{codes}\n{system.tails()}"
    finally:
        system.kill()


@pytest.fixture(params=["embedded", "kafka"])
def broker(request: pytest.FixtureRequest) -> KafkaBroker | None:
    """None: embedded."""
    found: KafkaBroker | None = request.getfixturevalue("kafka_broker") if request.param == "kafka" else None
    return found


@pytest.fixture
async def system(broker: KafkaBroker | None) -> AsyncIterator[System]:
    """One of its own for each test: they stop and kill it."""
    with temporary_directory() as place:
        if broker is None:
            async with running(embedded(place, **served(place))) as made:
                yield made
            return
        async with EmbeddedPostgres(place / "postgres", homes=place, restart=False) as database:
            settings = served(place) | {"CSMS_NAMESPACE": f"c{uuid.uuid4().hex[:8]}"}
            async with running(on_kafka(place, broker.bootstrap, database.dsn, **settings)) as made:
                yield made


class Owner(Station):
    """A station that makes a key when it is asked to, and takes the certificate for it unless `silent_times` are
    left."""

    def __init__(self, identity: str, connection: Any, holder: Key | None = None) -> None:
        super().__init__(identity, connection)
        self.holder = holder
        self.silent_times = 0
        self.chains: list[list[x509.Certificate]] = []
        self.reply = "Accepted"

    async def ask(self, common_name: str = SERIAL) -> str:
        """SignCertificate for a new key; the answer."""
        self.holder = self.holder or key()
        answer = await self.call(
            call.SignCertificate(csr=csr(common_name, None, self.holder), certificate_type="ChargingStationCertificate")
        )
        return str(answer.status)

    @on("TriggerMessage")
    async def on_trigger(self, requested_message: str, **_: Any) -> Any:
        known = requested_message == "SignChargingStationCertificate"
        return call_result.TriggerMessage(status="Accepted" if known else "NotImplemented")

    @after("TriggerMessage")
    async def after_trigger(self, requested_message: str, **_: Any) -> None:
        if requested_message == "SignChargingStationCertificate":
            assert await self.ask() == "Accepted"

    @on("CertificateSigned")
    async def on_certificate_signed(self, certificate_chain: str, certificate_type: str, **_: Any) -> Any:
        assert certificate_type == "ChargingStationCertificate"
        self.chains.append(x509.load_pem_x509_certificates(certificate_chain.encode()))
        if self.silent_times > 0:
            self.silent_times -= 1
            await self.silent.wait()
        assert self.holder is not None
        assert self.chains[-1][0].public_key() == self.holder.public_key()
        return call_result.CertificateSigned(status=self.reply)


@asynccontextmanager
async def online(url: str, identity: str, holder: Key | None = None, **how: Any) -> AsyncIterator[Owner]:
    """The station on its socket; `how`: for `connect`."""
    async with connect(
        f"{url}/{identity}",
        subprotocols=["ocpp2.0.1"],  # type: ignore[list-item]
        proxy=None,
        **how,
    ) as connection:
        station = Owner(identity, connection, holder)
        listening = asyncio.create_task(station.start())
        try:
            yield station
        finally:
            listening.cancel()
            with suppress(asyncio.CancelledError, ConnectionClosed):
                await listening


def plain(identity: str) -> dict[str, Any]:
    credentials = base64.b64encode(f"{identity}:{PASSWORD}".encode()).decode()
    return {"additional_headers": {"Authorization": f"Basic {credentials}"}}


def mutual(place: Path, holder: Key, chain: list[x509.Certificate]) -> dict[str, Any]:
    """TLS with this client certificate; who the server is matters to the gateway's own tests."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    (place / "client.pem").write_text(secret_pem(holder) + "".join(map(pem, chain)))
    context.load_cert_chain(place / "client.pem")
    return {"ssl": context}


async def register(api: httpx.AsyncClient, identity: str) -> None:
    body = {"id": identity, "password": PASSWORD, "serialNumber": SERIAL}
    answer = await api.post("/device/stations", json=body)
    assert answer.status_code == 201, answer.text


async def renew(api: httpx.AsyncClient, identity: str) -> dict[str, Any]:
    answer = await api.post(f"/auth/stations/{identity}/certificate:renew", json={}, headers={"Prefer": "wait=30"})
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


async def roots(api: httpx.AsyncClient) -> list[x509.Certificate]:
    bundle = await api.get("/auth/authority/certificates")
    return [one for one in x509.load_pem_x509_certificates(bundle.content) if one.issuer == one.subject]


def verify(chain: list[x509.Certificate], trusted: list[x509.Certificate]) -> None:
    """Raises VerificationError."""
    made = verification.PolicyBuilder().store(verification.Store(trusted))
    made = made.extension_policies(
        ca_policy=verification.ExtensionPolicy.webpki_defaults_ca(), ee_policy=verification.ExtensionPolicy.permit_all()
    )
    made.build_client_verifier().verify(chain[0], chain[1:])


@pytest.mark.timeout(300)
@pytest.mark.requirement("A02.FR.11", "A02.FR.14", "A00.FR.403", "A00.FR.405", "A00.FR.421", "A00.FR.705")
async def test_stations_are_given_certificates_and_come_back_with_them(system: System, tmp_path: Path) -> None:
    async with system.client() as api:
        revoked = [await life(system, api, "Owner-EC", key(), tmp_path)]
        revoked.append(await life(system, api, "Owner-RSA", rsa_key(), tmp_path))
        found = x509.load_der_x509_crl((await api.get("/auth/authority/crl")).content)
        assert {entry.serial_number for entry in found} == set(revoked)
        hash_ = await system.projections("auth")
        assert set((await system.stop()).values()) == {0}, system.tails()
        rebuilt = await system.csms("rebuild", "auth")
        assert HASH.findall(rebuilt.output) == [hash_], rebuilt.output
        await system.start()


async def life(system: System, api: httpx.AsyncClient, identity: str, holder: Key, place: Path) -> int:
    """A certificate's, from its renewal to its revocation; its serial number."""
    await register(api, identity)
    async with online(system.gateways[0], identity, holder, **plain(identity)) as one:
        await one.boot()
        shown = await renew(api, identity)
        assert shown["state"] == "installed", shown
        chain = one.chains[0]
    verify(chain, await roots(api))
    (row,) = (await api.get("/auth/certificates", params={"stationId": identity.lower()})).json()["items"]
    assert (row["state"], row["stationId"], row["fingerprint"]) == ("accepted", identity, shown["fingerprint"])

    await api.patch(f"/device/stations/{identity}", json={"securityProfile": 3})
    async with online(system.secured[0], identity, **mutual(place, holder, chain)) as one:
        await one.boot()
        path = f"/auth/stations/{identity}/certificates/{shown['fingerprint']}:revoke"
        assert (await api.post(path, json={"reason": "test"})).status_code == 204
        await asyncio.wait_for(one._connection.wait_closed(), 20)
    with pytest.raises((InvalidStatus, InvalidMessage, ConnectionClosed, OSError)):
        async with online(system.secured[0], identity, **mutual(place, holder, chain)) as one:
            await one.boot()
    return chain[0].serial_number


@pytest.mark.timeout(300)
async def test_a_crash_between_send_and_answer_sends_the_certificate_again(system: System) -> None:
    """Everything is killed while the station holds CertificateSigned; it makes no other key, the chain comes again."""
    async with system.client() as api:
        await register(api, "Crash-1")
        async with online(system.gateways[0], "Crash-1", **plain("Crash-1")) as one:
            await one.boot()
            one.silent_times = 1
            assert await one.ask() == "Accepted"

            async def told() -> int:
                return len(one.chains)

            await eventually(told, lambda count: count == 1)
            sent, holder = one.chains[0], one.holder
            for program in system.programs.values():
                program.kill()
        await system.start()
        async with online(system.gateways[0], "Crash-1", holder, **plain("Crash-1")) as one:
            await one.boot()
            listed = await eventually(
                getting(api, "/auth/certificates?stationId=Crash-1"),
                lambda page: [row["state"] for row in page["items"]] == ["accepted"],
            )
            assert one.chains[-1] == sent
            assert listed["items"][0]["serialNumber"] == f"{sent[0].serial_number:x}"


@pytest.mark.timeout(300)
@pytest.mark.requirement("A03.FR.11", "A03.FR.12", "A00.FR.511")
async def test_what_a_station_asks_for_itself(system: System) -> None:
    """A03; another's name, and a flood, are rejected."""
    async with system.client() as api:
        await register(api, "Self-1")
        async with online(system.gateways[0], "Self-1", **plain("Self-1")) as one:
            await one.boot()
            assert await one.ask("SN-OTHER") == "Rejected"
            assert await one.ask() == "Accepted"
            await eventually(
                getting(api, "/auth/certificates?stationId=Self-1&state=accepted"),
                lambda page: len(page["items"]) == 1,
            )
            one.reply = "Rejected"
            one.holder = key()
            assert await one.ask() == "Accepted"
            await eventually(
                getting(api, "/auth/certificates?stationId=Self-1&state=rejected"),
                lambda page: len(page["items"]) == 1,
            )
            for _ in range(2):
                one.holder = key()
                assert await one.ask() == "Accepted"
            one.holder = key()
            assert [await one.ask(), await one.ask()] == ["Rejected", "Rejected"]
