"""The API of certificates on a real engine: effects, commands and their ends pass over the log."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import httpx
import msgspec
import pytest
from cryptography import x509

from ocppcore import topics
from ocppcore.clock import system_clock
from ocppcore.command_end import ENDED, Ended
from ocppcore.commands import Ask
from ocppcore.contracts.auth import CertificateUse, Scope
from ocppcore.contracts.certificates import EnsureLocalAuthority
from ocppcore.contracts.device import StationState
from ocppcore.envelope import (
    ConnectionChange,
    Frame,
    Request,
    connection_record,
    frame_record,
    parse_outbound,
    request_record,
)
from ocppcore.http.commands import CommandDesk, Registered
from ocppcore.log import NewRecord, Record
from ocppcore.pseudonym import Pseudonyms
from ocppcore.seal import Seal
from ocppcore.store import Store
from services.auth.authority.local import USES, LocalAuthority
from services.auth.authority.worker import SigningWorker
from services.auth.certificate_alarms_api import router as alarms_router
from services.auth.certificates import Certificates
from services.auth.certificates_api import router
from services.auth.domain.authority import LOCAL
from services.auth.domain.certificate_signing import Rules
from services.auth.service import build
from tests.support.csrs import csr
from tests.support.served import PARTITIONS, Served, put_state, served

SLOT, EPOCH = 1, 0
PSEUDONYMS = Pseudonyms(b"key")
SEAL = Seal(b"s" * 32, "outbound frames")


@dataclass
class Late:
    """The store that the authority reads, once the service has it."""

    inner: list[Store] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner[0], name)


@dataclass
class Rig:
    """The API as the administrator's, and CS-1 as its gateway sees it."""

    api: Served
    number: int = 0

    async def put(self, record: NewRecord) -> None:
        await self.api.log.append([record])

    async def connect(self) -> None:
        there = ConnectionChange(
            identity="CS-1", slot=SLOT, claim=0, connected=True, subprotocol="ocpp2.0.1", at=system_clock()
        )
        await self.put(connection_record(there, PARTITIONS))

    async def frame(self, kind: Any, message_id: str, action: str, frame: list[Any]) -> None:
        self.number += 1
        sent = Frame(
            "cs-1", "CS-1", SLOT, EPOCH, self.number, "ocpp2.0.1", system_clock(), kind, message_id, action, "",
            json.dumps(frame).encode(), "",
        )  # fmt: skip
        await self.put(frame_record(sent, "auth", PARTITIONS))

    async def sign_certificate(self, text: str, kind: str = "ChargingStationCertificate") -> None:
        payload = {"csr": text, "certificateType": kind}
        await self.frame(
            "call", f"m{self.number}", "SignCertificate", [2, f"m{self.number}", "SignCertificate", payload]
        )

    async def asked(self, action: str, count: int = 1) -> tuple[str, dict[str, Any]]:
        """Id and payload of the newest of so many commands of this action to the station."""

        def sent() -> list[tuple[str, dict[str, Any]]]:
            found = [parse_outbound(record) for record in self.api.records(topics.OUTBOUND)]
            return [(one.message_id, json.loads(one.frame)[3]) for one in found if one.action == action]

        return (await until(sent, lambda found: len(found) >= count))[-1]

    async def take(self, status: str = "Accepted", count: int = 1) -> x509.Certificate:
        """The station answers CertificateSigned; the certificate that it was sent."""
        id_, payload = await self.asked("CertificateSigned", count)
        await self.frame("result", id_, "CertificateSigned", [3, id_, {"status": status}])
        return x509.load_pem_x509_certificates(payload["certificateChain"].encode())[0]

    async def triggered(self, status: str = "Accepted") -> None:
        """Device tells how TriggerMessage ended."""

        def wanted() -> list[Record]:
            return self.api.records(topics.requests("device"))

        (record,) = await until(wanted, lambda found: len(found) == 1)
        ask = msgspec.json.decode(record.value, type=Ask)
        body = Ended(
            command_id=ask.command_id, action=ask.action, status="answered", reference=ask.reference,
            response=msgspec.Raw(json.dumps({"status": status}).encode()),
        )  # fmt: skip
        told = Request("ended", ENDED, "cs-1", msgspec.json.encode(body), system_clock(), "/device", "", "", "")
        await self.put(request_record(told, "auth", PARTITIONS))

    async def listed(self, count: int, **query: str) -> list[dict[str, Any]]:
        """The inventory, once it has so many that fit."""
        async with asyncio.timeout(10):
            while True:
                answer = await self.api.client.get("/certificates", params=query)
                assert answer.status_code == 200, answer.text
                items: list[dict[str, Any]] = answer.json()["items"]
                if len(items) == count:
                    return items
                await asyncio.sleep(0.01)


T = TypeVar("T")


async def until(look: Callable[[], list[T]], fits: Callable[[list[T]], bool]) -> list[T]:
    async with asyncio.timeout(10):
        while not fits(found := look()):
            await asyncio.sleep(0.01)
    return found


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    """With a local authority, and CS-1 registered and connected."""
    late = Late()
    local = LocalAuthority(cast(Store, late), Seal(b"k" * 32, "test"), system_clock, "Operator", 365)
    worker = SigningWorker(local, system_clock, "Operator", local)
    uses: frozenset[CertificateUse] = frozenset(USES)
    certificates = Certificates(Rules(uses=uses, organization="Operator"), worker.effects())

    async def find(station: str) -> Registered | None:
        return Registered(id="CS-1") if station == "cs-1" else None

    def routers(store: Store) -> list[Any]:
        late.inner.append(store)
        desk = CommandDesk("auth", store, find, PSEUDONYMS, SEAL)
        return [router(store, desk, local, system_clock), alarms_router(store)]

    async with served(build(PSEUDONYMS, certificates=certificates), routers) as api:
        made = Rig(api)
        state = StationState(id="CS-1", security_profile=3, credential=None, registration="Accepted")
        await put_state(api.log, topics.STATIONS, "cs-1", state)
        body = msgspec.json.encode(EnsureLocalAuthority())
        wanted = Request("ensure", EnsureLocalAuthority.NAME, LOCAL, body, system_clock(), "/auth", "", "", "")
        await made.put(request_record(wanted, "auth", PARTITIONS))
        await made.connect()
        await until(lambda: api.records(topics.AUTHORITIES), lambda found: len(found) == 4)
        yield made


@pytest.mark.requirement("A03.FR.11", "A03.FR.14")
async def test_a_certificate_that_a_station_asked_for_is_in_the_inventory(rig: Rig) -> None:
    await rig.sign_certificate(csr("CS-1"))
    leaf = await rig.take()
    (shown,) = await rig.listed(1, state="accepted", stationId="cs-1", certificateType="ChargingStationCertificate")
    assert (shown["stationId"], shown["serialNumber"]) == ("CS-1", f"{leaf.serial_number:x}")
    assert shown["subject"] == leaf.subject.rfc4514_string()
    one = await rig.api.as_("viewer").get(f"/certificates/{shown['fingerprint']}")
    assert one.json()["certificateChain"].count("BEGIN CERTIFICATE") == 2
    await rig.listed(0, state="rejected")
    await rig.listed(0, stationId="other")
    await rig.listed(0, expiresBefore="2020-01-01T00:00:00Z")
    await rig.listed(1, expiresBefore="2100-01-01T00:00:00Z")
    assert (await rig.api.client.get(f"/certificates/{'0' * 64}")).status_code == 404
    assert (await rig.api.client.get("/certificates/x")).status_code == 422


async def test_the_list_is_in_pages_first_to_expire_first(rig: Rig) -> None:
    for count in (1, 2, 3):
        await rig.sign_certificate(csr(f"SECC-{count}"), "V2GCertificate")
        await rig.asked("CertificateSigned", count)
    await rig.listed(3)
    first = (await rig.api.client.get("/certificates?limit=2")).json()
    second = (await rig.api.client.get(first["next"])).json()
    together = [*first["items"], *second["items"]]
    assert (len(together), second["next"]) == (3, None)
    assert [one["notAfter"] for one in together] == sorted(one["notAfter"] for one in together)


@pytest.mark.requirement("A02.FR.01")
async def test_a_renewal_answers_when_the_station_has_its_certificate(rig: Rig) -> None:
    async def station() -> None:
        await rig.triggered()
        await rig.sign_certificate(csr("CS-1"))
        await rig.take()

    answer, _ = await asyncio.gather(rig.api.client.post("/stations/CS-1/certificate:renew", json={}), station())
    assert answer.status_code == 200, answer.text
    shown = answer.json()
    assert (shown["state"], shown["stationId"], shown["certificateType"]) == (
        "installed",
        "CS-1",
        "ChargingStationCertificate",
    )
    (row,) = await rig.listed(1, state="accepted")
    assert shown["fingerprint"] == row["fingerprint"]
    path = answer.headers["location"].removeprefix("/auth")
    assert (await rig.api.client.get(path)).json() == shown
    assert (await rig.api.client.get(path.replace("CS-1", "CS-2"))).status_code == 404


async def test_a_renewal_may_be_asked_about_later(rig: Rig) -> None:
    later = await rig.api.client.post(
        "/stations/CS-1/certificate:renew", json={"effectWithin": 60}, headers={"Prefer": "wait=1"}
    )
    assert (later.status_code, later.json()["state"]) == (202, "asked")
    again = await rig.api.client.post("/stations/CS-1/certificate:renew", json={})
    assert again.status_code == 409
    await rig.triggered("NotImplemented")
    path = later.headers["location"].removeprefix("/auth")

    async with asyncio.timeout(10):
        while (shown := (await rig.api.client.get(path)).json())["state"] == "asked":
            await asyncio.sleep(0.01)
    assert (shown["state"], shown["reason"]) == ("rejected", "TriggerMessage: NotImplemented")


async def test_who_may_not_or_asks_for_what_is_not_there(rig: Rig) -> None:
    renew = "/stations/CS-1/certificate:renew"
    assert (await rig.api.as_("viewer").post(renew, json={})).status_code == 403
    assert (await rig.api.client.post("/stations/CS-9/certificate:renew", json={})).status_code == 404
    assert (await rig.api.client.post(renew, json={"certificateType": "Other"})).status_code == 422
    gone = await rig.api.client.post(f"/stations/CS-1/certificates/{'0' * 64}:revoke", json={})
    assert gone.status_code == 404


@pytest.mark.requirement("A00.FR.704")
async def test_a_revoked_certificate_is_on_the_list_and_known_to_gateways(rig: Rig) -> None:
    await rig.sign_certificate(csr("CS-1"))
    leaf = await rig.take()
    (shown,) = await rig.listed(1, state="accepted")
    assert crl(await rig.api.client.get("/authority/crl")) == []
    path = f"/stations/CS-1/certificates/{shown['fingerprint']}:revoke"
    revoked = await rig.api.as_("operator").post(path, json={"reason": "stolen"})
    assert revoked.status_code == 204, revoked.text
    (shown,) = await rig.listed(1, state="revoked")
    assert shown["reason"] == "stolen"
    assert crl(await rig.api.as_("viewer").get("/authority/crl")) == [leaf.serial_number]
    told = await rig.api.states(topics.AUTHORITIES, shown["fingerprint"], 1)
    assert told[0]["kind"] == "revoked"


def crl(answer: httpx.Response) -> list[int]:
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/pkix-crl")
    return [one.serial_number for one in x509.load_der_x509_crl(answer.content)]


async def test_alarms_are_listed_the_newest_first(rig: Rig) -> None:
    """Two certificates that the station throws away: found by station, kind, request and time."""

    async def alarms(scope: Scope = "viewer", **query: str) -> list[dict[str, Any]]:
        answer = await rig.api.as_(scope).get("/certificate-alarms", params=query)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["items"]
        return found

    assert await alarms() == []
    for count in (1, 2):
        await rig.sign_certificate(csr("CS-1"))
        await rig.take("Rejected", count)
        await rig.listed(count, state="rejected")
    newest, oldest = await alarms()
    assert newest["raisedAt"] >= oldest["raisedAt"]
    assert newest["requestId"] != oldest["requestId"]
    assert (newest["stationId"], newest["what"], newest["reason"]) == (
        "CS-1", "rejected_by_station", "CertificateSigned: Rejected",
    )  # fmt: skip
    assert await alarms(requestId=oldest["requestId"]) == [oldest]
    assert await alarms(stationId="cs-1", what="rejected_by_station") == [newest, oldest]
    assert await alarms(stationId="CS-2") == await alarms(what="flood") == []
    assert await alarms(since=oldest["raisedAt"]) == [newest, oldest]
    assert await alarms(since="2100-01-01T00:00:00Z") == []
    first = (await rig.api.client.get("/certificate-alarms?limit=1")).json()
    second = (await rig.api.client.get(first["next"])).json()
    assert (first["items"], second["items"], second["next"]) == ([newest], [oldest], None)
    assert (await rig.api.client.get("/certificate-alarms?what=other")).status_code == 422


async def test_the_authority_can_be_downloaded(rig: Rig) -> None:
    shown = (await rig.api.as_("viewer").get("/authority")).json()
    assert sorted((one["kind"], one["certificateType"]) for one in shown) == [
        (kind, use) for kind in ("issuing", "root") for use in ("ChargingStationCertificate", "V2GCertificate")
    ]
    bundle = await rig.api.client.get("/authority/certificates")
    found = x509.load_pem_x509_certificates(bundle.content)
    assert len(found) == 2
    assert {one.fingerprint(one.signature_hash_algorithm).hex() for one in found} == {  # type: ignore[arg-type]
        one["fingerprint"] for one in shown if one["certificateType"] == "ChargingStationCertificate"
    }
    everything = rig.api.everything()
    assert "PRIVATE KEY" not in everything
