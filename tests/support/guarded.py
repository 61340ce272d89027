"""A system with TLS as real processes, for the tests of its doors; the fixture is in `guarded_system.py`.

Strangers come from loopback addresses of their own (`stranger`), because limits count failures by address.
"""

import asyncio
import contextlib
import itertools
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from csms.harness import Program, System
from tests.support.pki import Certified, Kind, authority, client_context
from tests.support.raw_ws import Raw, basic, request

KINDS: tuple[Kind, ...] = ("EC", "RSA")
PASSWORD = "correct-horse-battery-staple"
_addresses = itertools.count(10)


def stranger() -> str:
    """An address that nobody has come from before."""
    number = next(_addresses)
    return f"127.0.{number // 250 + 1}.{number % 250 + 1}"


@dataclass
class Guarded:
    """The system, and who certifies whom. `csms`: the authority of its own certificates; `operator`: of stations."""

    system: System
    csms: Certified
    operator: Certified
    folder: Path
    http: httpx.AsyncClient = field(default_factory=httpx.AsyncClient)
    names: "itertools.count[int]" = field(default_factory=itertools.count)

    @property
    def door(self) -> Program:
        """The process that stations connect to."""
        return self.program("gateway")

    def program(self, service: str) -> Program:
        """The one that runs this service."""
        return self.system.programs.get(service) or self.system.programs["up"]

    @property
    def plain_port(self) -> int:
        return int(self.door.environment["CSMS_OCPP_PORT"])

    @property
    def tls_port(self) -> int:
        return int(self.door.environment["CSMS_OCPP_TLS_PORT"])

    def context(self, own: Certified | None = None, **options: Any) -> ssl.SSLContext:
        return client_context(self.csms.pem, own, self.folder, **options)

    async def register(self, identity: str = "", **fields: Any) -> str:
        """A station of this identity, or of one that is new; its generated password is `fields["password"]` unset."""
        identity = identity or f"G-{next(self.names)}"
        answer = await self.http.put(f"/device/stations/{identity}", json={"password": PASSWORD, **fields})
        assert answer.status_code in (200, 201), answer.text
        return identity

    async def patch(self, identity: str, **fields: Any) -> None:
        answer = await self.http.patch(f"/device/stations/{identity}", json=fields)
        assert answer.status_code == 200, answer.text

    @contextlib.asynccontextmanager
    async def station(
        self,
        identity: str,
        password: str | None = PASSWORD,
        *,
        tls: ssl.SSLContext | None = None,
        source: str = "127.0.0.1",
        user: str = "",
    ) -> AsyncIterator[ClientConnection]:
        """A station's connection. Raises InvalidStatus where it is refused."""
        headers = {"Authorization": basic(user or identity, password)} if password is not None else {}
        port = self.tls_port if tls else self.plain_port
        async with connect(
            f"{'wss' if tls else 'ws'}://localhost:{port}/ocpp/{identity}",
            host="127.0.0.1",
            ssl=tls,
            subprotocols=["ocpp2.0.1"],  # type: ignore[list-item]
            additional_headers=headers,
            proxy=None,
            local_addr=(source, 0),
            max_size=None,
        ) as connection:
            yield connection

    async def status(self, identity: str, password: str | None = PASSWORD, **more: Any) -> int:
        """What HTTP says; 101 where the station is let in and its Heartbeat answered."""
        try:
            async with self.station(identity, password, **more) as connection:
                await beat(connection)
        except InvalidStatus as refused:
            return int(refused.response.status_code)
        return 101

    @contextlib.asynccontextmanager
    async def raw(self, *, tls: ssl.SSLContext | None = None, source: str = "127.0.0.1") -> AsyncIterator[Raw]:
        """A TCP connection without manners."""
        reader, writer = await asyncio.open_connection(
            "127.0.0.1",
            self.tls_port if tls else self.plain_port,
            local_addr=(source, 0),
            ssl=tls,
            server_hostname="localhost" if tls else None,
        )
        try:
            yield Raw(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()

    async def raw_status(self, path: str, source: str) -> int:
        """What HTTP says to a request without credentials."""
        async with self.raw(source=source) as socket:
            await socket.send(request(path))
            return (await socket.response())[0]

    async def frames(self, identity: str) -> list[dict[str, Any]]:
        """What is in the log of this station's frames, page by page until all was looked at."""
        found: list[dict[str, Any]] = []
        params: dict[str, str] = {}
        async with asyncio.timeout(30):
            while True:
                answer = await self.http.get(f"/gateway/stations/{identity}/frames", params=params)
                assert answer.status_code == 200, answer.text
                page = answer.json()
                found += page["items"]
                if page["complete"]:
                    return found
                params = {"since": page["cursor"]}

    async def metric(self, name: str, **labels: str) -> float:
        """The value of a metric of the gateway, or of the service it is labelled with; 0 where it has none."""
        port = self.program(labels.get("service", "gateway")).http_port
        async with httpx.AsyncClient() as http:
            answer = await http.get(f"http://127.0.0.1:{port}/metrics")
        wanted = {f'{label}="{value}"' for label, value in labels.items()}
        for line in answer.text.splitlines():
            head, _, value = line.rpartition(" ")
            called, _, has = head.partition("{")
            if called == name and wanted <= set(has.rstrip("}").split(",")):
                return float(value)
        return 0.0

    async def observed(self, identity: str, least: int) -> list[dict[str, Any]]:
        """Security events of the CSMS's own about this station, the newest first, once there are so many."""
        params = {"stationId": identity, "observedBy": "csms"}
        async with asyncio.timeout(20):
            while True:
                answer = await self.http.get("/device/security-events", params=params)
                found: list[dict[str, Any]] = answer.json()["items"]
                if len(found) >= least:
                    return found
                await asyncio.sleep(0.05)

    async def refusals(self, cause: str) -> float:
        return await self.metric("csms_gateway_refusals_total", cause=cause)

    async def connected(self, identity: str) -> bool:
        """What the registry says of the station's connection."""
        answer = (await self.http.get(f"/device/stations/{identity}")).json()
        return bool(answer["connection"] and answer["connection"]["connected"])

    def process(self) -> psutil.Process:
        running_now = self.door.process
        assert running_now is not None
        return psutil.Process(running_now.pid)

    def log(self) -> list[dict[str, Any]]:
        """What the gateway's process has logged."""
        lines = self.door.output.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]


class Doors:
    """An EC and an RSA certificate for the gateway, one operator's authority that is trusted, and a local one."""

    def __init__(self, place: Path) -> None:
        self.csms, self.operator = authority("Root of the CSMS"), authority("Root of the operator")
        self.place = place
        own = [self.csms.issue("localhost", kind=kind, host="localhost").write(place, kind) for kind in KINDS]
        for folder, pem in (("cas", self.operator.pem), ("crls", self.operator.crl())):
            (place / folder).mkdir()
            (place / folder / "operator.pem").write_bytes(pem)
        self.settings = {
            "CSMS_OCPP_TLS_CERTS": ",".join(f"{chain}:{key}" for chain, key in own),
            "CSMS_OCPP_CLIENT_CAS": str(place / "cas"),
            "CSMS_OCPP_CLIENT_CRLS": str(place / "crls"),
            "CSMS_OCPP_ORGANIZATIONS": "Operator; Partner, Inc.",
            "CSMS_GATEWAY_TLS_LOOK_S": "0.1",
            "CSMS_GATEWAY_HANDSHAKE_TIMEOUT_S": "3",
            "CSMS_GATEWAY_FLOOD_ALLOWANCE": "1000000000",
            "CSMS_AUTH_AUTHORITY": "local",
            "CSMS_AUTH_ORGANIZATION": "Operator",
            "CSMS_AUTH_CERTIFICATE_SEND_PAUSE_S": "1",
        }

    def of(self, system: System) -> Guarded:
        return Guarded(system, self.csms, self.operator, self.place)


async def beat(connection: ClientConnection, message_id: str = "beat") -> None:
    """The station is served: its Heartbeat is answered."""
    await connection.send(json.dumps([2, message_id, "Heartbeat", {}]))
    async with asyncio.timeout(20):
        while (answer := json.loads(await connection.recv()))[1] != message_id:
            pass
    assert answer[0] == 3, answer
