"""The fixture of `guarded.py`: `pytest_plugins = ["tests.support.system", "tests.support.guarded_system"]`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest_asyncio

from csms.harness import embedded, temporary_directory
from tests.support.guarded import Guarded
from tests.support.pki import authority
from tests.support.system import running


@pytest_asyncio.fixture
async def guarded(guarded_system: Guarded) -> AsyncIterator[Guarded]:
    """The system, with a client of this test's own for its APIs."""
    async with guarded_system.system.client() as http:
        guarded_system.http = http
        yield guarded_system


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def guarded_system() -> AsyncIterator[Guarded]:
    """The system, once for all tests."""
    async with opened() as guarded:
        yield guarded


@asynccontextmanager
async def opened(**more: str) -> AsyncIterator[Guarded]:
    """`csms up` with an EC and an RSA certificate; one operator's authority is trusted. `more`: more settings."""
    with temporary_directory() as place:
        csms, operator = authority("Root of the CSMS"), authority("Root of the operator")
        own = [csms.issue("localhost", kind=kind, host="localhost").write(place, kind) for kind in ("EC", "RSA")]
        for folder, pem in (("cas", operator.pem), ("crls", operator.crl())):
            (place / folder).mkdir()
            (place / folder / "operator.pem").write_bytes(pem)
        settings = {
            "CSMS_OCPP_TLS_CERTS": ",".join(f"{chain}:{key}" for chain, key in own),
            "CSMS_OCPP_CLIENT_CAS": str(place / "cas"),
            "CSMS_OCPP_CLIENT_CRLS": str(place / "crls"),
            "CSMS_OCPP_ORGANIZATIONS": "Operator; Partner, Inc.",
            "CSMS_GATEWAY_TLS_LOOK_S": "0.1",
            "CSMS_GATEWAY_HANDSHAKE_TIMEOUT_S": "3",
            "CSMS_GATEWAY_FLOOD_ALLOWANCE": "1000000000",
            **more,
        }
        async with running(embedded(place, **settings)) as system:
            yield Guarded(system, csms, operator, place)
