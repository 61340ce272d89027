"""Stations with TLS: whom they trust, what they show, and profiles that the CSMS has them change to."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from simulator import command
from simulator.client import Clock, Network, Player
from simulator.config import ClientCertificate, StationConfig
from simulator.station import Station
from tests.support.fake_csms import FakeCsms
from tests.support.pki import Certified, authority

from .test_client import QUICK

ROOT = authority("Root of the CSMS")
STATIONS = authority("Root of stations")
SERVER = ROOT.issue("localhost", host="localhost")


def server(folder: Path, mutual: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*SERVER.write(folder, "server"))
    if mutual:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=STATIONS.pem.decode())
    return context


def own(certified: Certified) -> ClientCertificate:
    return ClientCertificate(certified.pem.decode(), certified.key_pem.decode())


@asynccontextmanager
async def playing(csms: FakeCsms, **config: Any) -> AsyncIterator[Player]:
    clock = Clock()
    settings = {"station_id": "CS1", "variables": QUICK, "password": "0123456789abcdef", "speed": 1e6, **config}
    station = Station(StationConfig(**settings), clock.now_ms())
    player = Player(station, 0, Network(url=csms.url, dials=asyncio.Semaphore(1)), clock, lambda *_: None)
    async with asyncio.TaskGroup() as group:
        group.create_task(player.run())
        yield player
        player.stop()


async def test_profile_2_checks_the_csms_and_gives_the_password(tmp_path: Path) -> None:
    async with (
        FakeCsms(server(tmp_path)) as csms,
        playing(csms, security_profile=2, csms_roots=ROOT.pem.decode()),
    ):
        await csms.wait_for(lambda: bool(csms.of("StatusNotification")))
        assert csms.authorization == {"CS1": "CS1:0123456789abcdef"}


async def test_a_csms_that_cannot_prove_itself_hears_nothing(tmp_path: Path) -> None:
    async with (
        FakeCsms(server(tmp_path)) as csms,
        playing(csms, security_profile=2, csms_roots=STATIONS.pem.decode()) as player,
    ):
        async with asyncio.timeout(20):
            while player.station.networks._attempts < 2:
                await asyncio.sleep(0.01)
        assert csms.authorization == {}


async def test_profile_3_shows_the_certificate_and_no_password(tmp_path: Path) -> None:
    certificate = own(STATIONS.issue("CS1"))
    async with (
        FakeCsms(server(tmp_path, mutual=True)) as csms,
        playing(csms, security_profile=3, csms_roots=ROOT.pem.decode(), certificate=certificate),
    ):
        await csms.wait_for(lambda: bool(csms.of("StatusNotification")))
        assert csms.authorization == {"CS1": ""}
        assert csms.certificates["CS1"]["commonName"] == "CS1"


async def test_an_upgrade_by_commands_moves_the_station_to_tls(tmp_path: Path) -> None:
    """A05 as the CSMS carries it out: the profile into a slot, the slot first, a reset."""
    async with FakeCsms() as plain, FakeCsms(server(tmp_path)) as secured, playing(plain) as player:
        await plain.wait_for(lambda: bool(plain.of("StatusNotification")))
        priority = {"component": {"name": "OCPPCommCtrlr"}, "variable": {"name": "NetworkConfigurationPriority"}}
        choose = {"setVariableData": [{**priority, "attributeValue": "1,0"}]}
        put = {
            "configurationSlot": 1,
            "connectionData": {
                "ocppVersion": "OCPP20",
                "ocppTransport": "JSON",
                "ocppCsmsUrl": secured.url,
                "messageTimeout": 30,
                "securityProfile": 2,
                "ocppInterface": "Wired0",
            },
        }
        assert (await plain.ask("CS1", "SetNetworkProfile", put))[2] == {"status": "Accepted"}
        refused = await plain.ask("CS1", "SetVariables", choose)
        assert refused[2]["setVariableResult"][0]["attributeStatus"] == "Rejected", "it does not know the CSMS's root"

        root = {"certificateType": "CSMSRootCertificate", "certificate": ROOT.pem.decode()}
        assert (await plain.ask("CS1", "InstallCertificate", root))[2] == {"status": "Accepted"}
        installed = await plain.ask("CS1", "GetInstalledCertificateIds", {})
        assert [one["certificateType"] for one in installed[2]["certificateHashDataChain"]] == ["CSMSRootCertificate"]
        accepted = await plain.ask("CS1", "SetVariables", choose)
        assert accepted[2]["setVariableResult"][0]["attributeStatus"] == "Accepted"
        assert (await plain.ask("CS1", "Reset", {"type": "OnIdle"}))[2] == {"status": "Accepted"}

        await secured.wait_for(lambda: bool(secured.of("BootNotification")))
        assert secured.authorization == {"CS1": "CS1:0123456789abcdef"}
        assert player.station.networks.security_profile == 2
        assert player.station.model.text("OCPPCommCtrlr", "NetworkConfigurationPriority") == "1"
        down = {**put, "configurationSlot": 2, "connectionData": {**put["connectionData"], "securityProfile": 1}}
        down["connectionData"]["ocppCsmsUrl"] = plain.url
        answer = (await secured.ask("CS1", "SetNetworkProfile", down))[2]
        assert answer == {"status": "Rejected", "statusInfo": {"reasonCode": "NoSecurityDowngrade"}}


async def test_a_new_profile_that_leads_nowhere_is_given_up_for_the_old_one(tmp_path: Path) -> None:
    async with FakeCsms() as csms, playing(csms, csms_roots=ROOT.pem.decode()) as player:
        await csms.wait_for(lambda: bool(csms.of("StatusNotification")))
        networks = player.station.networks
        assert networks.put(1, "wss://127.0.0.1:1/ocpp", 2) is None
        assert networks.allows("1,0")
        priority = {"component": {"name": "OCPPCommCtrlr"}, "variable": {"name": "NetworkConfigurationPriority"}}
        await csms.ask("CS1", "SetVariables", {"setVariableData": [{**priority, "attributeValue": "1,0"}]})
        before = csms.opened["CS1"]
        await csms.ask("CS1", "Reset", {"type": "OnIdle"})

        await csms.wait_for(lambda: csms.opened["CS1"] > before)
        assert networks.active == 0
        assert networks.security_profile == 1


async def test_a_renewed_certificate_is_shown_from_the_next_connection_on(tmp_path: Path) -> None:
    """A02: our request, signed, comes back; the station connects anew."""
    from cryptography import x509

    first = own(STATIONS.issue("CS1", "First"))
    roots = ROOT.pem.decode()
    async with (
        FakeCsms(server(tmp_path, mutual=True)) as csms,
        playing(csms, security_profile=3, csms_roots=roots, certificate=first),
    ):
        csms.answers["SignCertificate"] = {"status": "Accepted"}
        await csms.wait_for(lambda: bool(csms.of("StatusNotification")))
        await csms.ask("CS1", "TriggerMessage", {"requestedMessage": "SignChargingStationCertificate"})
        await csms.wait_for(lambda: bool(csms.of("SignCertificate")))
        request = x509.load_pem_x509_csr(csms.of("SignCertificate")[0]["csr"].encode())
        signed = STATIONS.certify(request, "CS1", "Second")

        answer = await csms.ask("CS1", "CertificateSigned", {"certificateChain": signed.decode()})
        assert answer[2] == {"status": "Accepted"}
        await csms.wait_for(lambda: csms.certificates["CS1"]["organizationName"] == "Second")


async def test_simulate_plays_stations_with_tls(tmp_path: Path) -> None:
    roots = tmp_path / "root.pem"
    roots.write_bytes(ROOT.pem)
    for number in (1, 2):
        STATIONS.issue(f"SIM-0000{number}").write(tmp_path, f"SIM-0000{number}")
    async with FakeCsms(server(tmp_path, mutual=True)) as csms:
        outcome = await command.run(
            url=csms.url, stations=2, duration_s=1.0, profile=3, ca_file=roots, certificates=tmp_path, drain_s=10
        )
        assert outcome.exit_code == command.KEPT, outcome.summary.broken
        assert sorted(csms.certificates) == ["SIM-00001", "SIM-00002"]
