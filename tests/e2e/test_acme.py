"""An ACME server (RFC 8555) signs a station's certificate, through the whole system, and it opens the connection."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from csms.harness import System, embedded, temporary_directory
from tests.e2e.test_certificates import SERIAL, mutual, online, plain, register, running
from tests.support.acme_server import AcmeServer, acme_server
from tests.support.csrs import Ca, key, name, pem, request, secret_pem
from tests.support.third_party import eventually, getting

KID, SECRET = "account-7", b"the key that the server's operator gave"


@asynccontextmanager
async def signed_by(server: AcmeServer, place: Path) -> AsyncIterator[System]:
    """`csms up`, whose certificates this server signs under the name of the operator; nobody else is trusted."""
    secret = key()
    (place / "server.pem").write_text(pem(Ca("Server root").issue(request("csms.example", "Operator", secret))))
    (place / "server.key").write_text(secret_pem(secret))
    async with acme_server(place, server) as trust:
        settings = {
            "CSMS_OCPP_TLS_CERTS": f"{place / 'server.pem'}:{place / 'server.key'}",
            "CSMS_AUTH_AUTHORITY": "acme",
            "CSMS_AUTH_ORGANIZATION": "Operator",
            "CSMS_AUTH_CA_URL": server.url,
            "CSMS_AUTH_CA_TRUST": str(trust),
            "CSMS_AUTH_CA_ACCOUNT_KID": KID,
            "CSMS_AUTH_CA_ACCOUNT_HMAC_KEY": base64.urlsafe_b64encode(SECRET).rstrip(b"=").decode(),
        }
        async with running(embedded(place, prefix=(), **settings)) as system:
            yield system


@pytest.mark.timeout(120)
@pytest.mark.requirement("A02.FR.04", "A02.FR.11", "A00.FR.403", "A00.FR.404")
async def test_what_an_acme_server_signs_opens_the_door_to_its_station_alone() -> None:
    server = AcmeServer(Ca("Issuing", of=Ca("Root")), binding=(KID, SECRET))
    with temporary_directory() as place:
        async with signed_by(server, place) as system, system.client() as api:
            await register(api, "Acme-1")
            async with online(system.gateways[0], "Acme-1", **plain("Acme-1")) as station:
                await station.boot()
                assert await station.ask() == "Accepted"
                listed = await eventually(
                    getting(api, "/auth/certificates?stationId=Acme-1"),
                    lambda page: [row["state"] for row in page["items"]] == ["accepted"],
                )
                (chain,), holder = station.chains, station.holder
            assert holder is not None
            assert [order.name for order in server.orders] == [SERIAL]
            assert len(server.accounts) == 1
            assert listed["items"][0]["serialNumber"] == f"{chain[0].serial_number:x}"

            assert (await api.patch("/device/stations/Acme-1", json={"securityProfile": 3})).status_code == 200
            async with online(system.secured[0], "Acme-1", **mutual(place, holder, chain)) as station:
                await station.boot()

            # The same authority certifies others too, under the name of the station.
            for common_name, owner in ((SERIAL, "Somebody"), (SERIAL, None), ("SN-OTHER", "Operator")):
                other = key()
                leaf = server.ca.issue(request(common_name, owner, other), subject=name(common_name, owner))
                with pytest.raises(InvalidStatus) as refused:
                    async with online(system.secured[0], "Acme-1", **mutual(place, other, [leaf, *chain[1:]])):
                        pass
                assert refused.value.response.status_code == 401, (common_name, owner)
