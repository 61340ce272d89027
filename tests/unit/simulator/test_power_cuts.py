"""A station that dies over a command: what it has kept, and what it comes back with."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from simulator.config import Faults
from tests.support.fake_csms import FakeCsms

from .test_client import QUICK
from .test_tls import ROOT, STATIONS, own, playing, server

OLD, NEW = "0123456789abcdef", "fedcba9876543210"
PASSWORD = {
    "setVariableData": [
        {
            "component": {"name": "SecurityCtrlr"},
            "variable": {"name": "BasicAuthPassword"},
            "attributeValue": NEW,
        }
    ]
}


def dying(seed: int) -> dict[str, Any]:
    return {"seed": seed, "faults": Faults(power_cuts=1.0), "variables": QUICK}


@pytest.mark.parametrize("seed", range(6))
async def test_it_dies_before_it_took_its_password_or_after_and_says_nothing(seed: int) -> None:
    async with FakeCsms() as csms, playing(csms, **dying(seed)) as player:
        await csms.wait_for(lambda: bool(csms.of("StatusNotification")))
        asking = asyncio.create_task(csms.ask("CS1", "SetVariables", PASSWORD))
        await csms.wait_for(lambda: len(csms.of("BootNotification")) == 2)
        assert not asking.done()
        asking.cancel()
        assert csms.of("BootNotification")[1]["reason"] == "PowerUp"
        assert player.station.password in (OLD, NEW)
        assert csms.authorization["CS1"] == f"CS1:{player.station.password}"
        assert csms.closed == [None], "nobody said goodbye"


async def test_both_happen() -> None:
    found = set()
    for seed in range(6):
        async with FakeCsms() as csms, playing(csms, **dying(seed)) as player:
            await csms.wait_for(lambda csms=csms: bool(csms.of("StatusNotification")))  # type: ignore[misc]
            asking = asyncio.create_task(csms.ask("CS1", "SetVariables", PASSWORD))
            await csms.wait_for(lambda csms=csms: bool(csms.closed))  # type: ignore[misc]
            asking.cancel()
            found.add(player.station.password)
    assert found == {OLD, NEW}


async def test_other_commands_are_answered() -> None:
    async with FakeCsms() as csms, playing(csms, **dying(1)):
        await csms.wait_for(lambda: bool(csms.of("StatusNotification")))
        answer = await csms.ask("CS1", "TriggerMessage", {"requestedMessage": "Heartbeat"})
        assert answer[2]["status"] == "Accepted"
        assert csms.opened["CS1"] == 1


@pytest.mark.parametrize("seed", range(4))
async def test_it_comes_back_with_the_certificate_that_it_has_kept(tmp_path: Path, seed: int) -> None:
    """Profile 3: the old one if it died before it took the new one, never none."""
    first = own(STATIONS.issue("CS1", "First"))
    config = dying(seed) | {"security_profile": 3, "csms_roots": ROOT.pem.decode(), "certificate": first}
    async with FakeCsms(server(tmp_path, mutual=True)) as csms, playing(csms, **config) as player:
        csms.answers["SignCertificate"] = {"status": "Accepted"}
        await csms.wait_for(lambda: bool(csms.of("StatusNotification")))
        await csms.ask("CS1", "TriggerMessage", {"requestedMessage": "SignChargingStationCertificate"})
        await csms.wait_for(lambda: bool(csms.of("SignCertificate")))
        request = x509.load_pem_x509_csr(csms.of("SignCertificate")[0]["csr"].encode())
        chain = {"certificateChain": STATIONS.certify(request, "CS1", "Second").decode()}
        asking = asyncio.create_task(csms.ask("CS1", "CertificateSigned", chain))
        await csms.wait_for(lambda: len(csms.of("BootNotification")) == 2)
        assert not asking.done()
        asking.cancel()
        kept = "First" if player.station.certificate == first else "Second"
        assert csms.certificates["CS1"]["organizationName"] == kept


async def test_it_goes_up_although_it_dies_over_the_reset(tmp_path: Path) -> None:
    """A05: what it was told of networks before is kept; it starts with the first of its profiles, asked to or not."""
    config = {"csms_roots": ROOT.pem.decode(), "variables": QUICK, "seed": 3}
    async with FakeCsms() as plain, FakeCsms(server(tmp_path)) as secured, playing(plain, **config) as player:
        await plain.wait_for(lambda: bool(plain.of("StatusNotification")))
        assert player.station.networks.put(1, secured.url, 2) is None
        priority = {"component": {"name": "OCPPCommCtrlr"}, "variable": {"name": "NetworkConfigurationPriority"}}
        await plain.ask("CS1", "SetVariables", {"setVariableData": [{**priority, "attributeValue": "1,0"}]})
        player.station.config = replace(player.station.config, faults=Faults(power_cuts=1.0))
        asking = asyncio.create_task(plain.ask("CS1", "Reset", {"type": "OnIdle"}))
        await secured.wait_for(lambda: bool(secured.of("BootNotification")))
        asking.cancel()
        assert secured.of("BootNotification")[0]["reason"] == "PowerUp"
        assert player.station.networks.security_profile == 2
