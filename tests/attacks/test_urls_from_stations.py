"""Attack: a station names URLs, of our own network above all, in the hope that the CSMS fetches one.

Passes if nothing ever connects to a server that waits for it: not for a URL in any text of any message, not for one
in a certificate or a certificate request. And if only those modules can open a connection that ask whom the operator
named in a setting.
"""

import ast
import asyncio
import contextlib
import datetime
import json
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import AuthorityInformationAccessOID
from websockets.asyncio.client import ClientConnection

from ocppcore import actions
from tests.property.test_types_match_schema import SCHEMAS, Raw, Valid, write
from tests.support.csrs import key, name, pem
from tests.support.guarded import Guarded, beat

pytest_plugins = [
    "tests.support.kafka_broker", "tests.support.system", "tests.support.guarded_system", "tests.support.guarded_broker"
]  # fmt: skip

ROOT = Path(__file__).resolve().parents[2]
SEEDS = 4
CERTIFICATES = ("certificate", "csr", "certificateChain")

# -- a server that waits for somebody to come --------------------------------------------------------------------------


class Canary:
    """Counts who connects."""

    def __init__(self) -> None:
        self.visits = 0
        self.port = 0

    async def come(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.visits += 1
        writer.close()

    def urls(self) -> list[str]:
        """Ways to write its address; the short ones fit where few characters do."""
        hosts = ("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "2130706433", "127.1")
        made = [f"http://{host}:{self.port}/latest/meta-data" for host in hosts]
        schemes = ("https", "ftp", "ldap", "ws", "gopher")
        return [f"http://127.1:{self.port}", *made, *(f"{scheme}://127.0.0.1:{self.port}/" for scheme in schemes)]


@contextlib.asynccontextmanager
async def waiting() -> AsyncIterator[Canary]:
    canary = Canary()
    server = await asyncio.start_server(canary.come, "127.0.0.1", 0)
    canary.port = server.sockets[0].getsockname()[1]
    above = await asyncio.start_server(canary.come, "::1", canary.port)
    try:
        yield canary
    finally:
        for one in (server, above):
            one.close()
            await one.wait_closed()


def pointing(url: str) -> str:
    """A certificate of nobody's that says where its issuer, its revocation list and its OCSP responder are."""
    holder, subject, at = key(), name("Anybody", "Operator"), datetime.datetime.now(datetime.UTC)
    place = x509.UniformResourceIdentifier(url)
    access = [
        x509.AccessDescription(method, place)
        for method in (AuthorityInformationAccessOID.OCSP, AuthorityInformationAccessOID.CA_ISSUERS)
    ]
    lists = x509.DistributionPoint([place], None, None, None)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(holder.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(at - datetime.timedelta(days=1))
        .not_valid_after(at + datetime.timedelta(days=1))
        .add_extension(x509.AuthorityInformationAccess(access), critical=False)
        .add_extension(x509.CRLDistributionPoints([lists]), critical=False)
    )
    return pem(made.sign(holder, hashes.SHA256()))


def request_pointing(url: str, common_name: str) -> str:
    access = [x509.AccessDescription(AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(url))]
    asked = x509.CertificateSigningRequestBuilder().subject_name(name(common_name, "Operator"))
    return pem(
        asked.add_extension(x509.AuthorityInformationAccess(access), critical=False).sign(key(), hashes.SHA256())
    )


def laden(schema: str, urls: list[str], rng: random.Random, identity: str, fullness: float = 1.0) -> str:
    """A valid payload that has a URL in every text that takes one."""
    root = SCHEMAS[schema]
    valid = Valid(root, rng)

    def fill(part: dict[str, Any], value: object, field: str) -> object:
        part = valid.resolve(part)
        if isinstance(value, dict):
            known = part.get("properties", {})
            return {inner: fill(known.get(inner, {}), item, inner) for inner, item in value.items()}
        if isinstance(value, list):
            return [fill(part.get("items", {}), item, field) for item in value]
        if isinstance(value, Raw) or not isinstance(value, str) or "enum" in part or part.get("format") == "date-time":
            return value
        url = rng.choice(urls)
        if field in CERTIFICATES:
            return request_pointing(url, identity) if field == "csr" else pointing(url)
        fitting = [one for one in (url, urls[0]) if len(one) <= part.get("maxLength", 1000)]
        return fitting[0] if fitting else value

    return write(fill(root, valid.message(root, fullness), ""))


# -- the attack --------------------------------------------------------------------------------------------------------


class Station:
    """Sends what it likes, and answers every CALL with URLs."""

    def __init__(self, socket: ClientConnection, identity: str, urls: list[str]) -> None:
        self._socket = socket
        self._identity = identity
        self._urls = urls
        self._rng = random.Random("urls")
        self._answers: dict[str, asyncio.Future[list[Any]]] = {}

    async def listen(self) -> None:
        async for text in self._socket:
            message = json.loads(text)
            if message[0] == 2:
                payload = laden(f"{message[2]}Response", self._urls, self._rng, self._identity)
                await self._socket.send(f"[3,{json.dumps(message[1])},{payload}]")
            elif message[1] in self._answers:
                self._answers.pop(message[1]).set_result(message)

    async def call(self, action: str, payload: str) -> list[Any]:
        id_ = f"u{self._rng.getrandbits(64):x}"
        self._answers[id_] = asyncio.get_running_loop().create_future()
        answer = self._answers[id_]
        await self._socket.send(f'[2,"{id_}","{action}",{payload}]')
        async with asyncio.timeout(20):
            return await answer


@contextlib.asynccontextmanager
async def attacking(guarded: Guarded, urls: list[str]) -> AsyncIterator[tuple[str, Station]]:
    identity = await guarded.register()
    async with guarded.station(identity) as socket:
        station = Station(socket, identity, urls)
        listening = asyncio.create_task(station.listen())
        try:
            yield identity, station
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


async def test_no_url_in_a_message_of_a_station_is_fetched(guarded: Guarded) -> None:
    async with waiting() as canary, attacking(guarded, canary.urls()) as (identity, station):
        sent = ""
        for action in sorted(actions.FROM_STATION):
            for seed in range(SEEDS):
                payload = laden(f"{action}Request", canary.urls(), random.Random(f"{action}/{seed}"), identity)
                answer = await station.call(action, payload)
                assert answer[0] == 3, (action, payload, answer)
                sent += payload
        assert (
            sent.count(f":{canary.port}") > 100 and "BEGIN CERTIFICATE-" in sent and "BEGIN CERTIFICATE REQUEST" in sent
        )
        await _heard(guarded, canary)


async def test_no_url_in_an_answer_of_a_station_is_fetched(guarded: Guarded) -> None:
    async with waiting() as canary, attacking(guarded, canary.urls()) as (identity, _):
        headers = {"Prefer": "wait=20", "Content-Type": "application/json"}
        for action in sorted(actions.TO_STATION):
            schema = SCHEMAS[f"{action}Request"]
            asked = write(Valid(schema, random.Random(action)).message(schema, 0.0))
            path = f"/{actions.OWNER[action]}/stations/{identity}/commands/{action}"
            answer = await guarded.http.post(path, content=asked.encode(), headers=headers)
            assert answer.status_code == 200, (action, answer.text)
            assert answer.json()["status"] == "answered", answer.text
        await _heard(guarded, canary)


async def _heard(guarded: Guarded, canary: Canary) -> None:
    """Nobody came, though whoever had wanted to had the time that a station takes to come and be served."""
    later = await guarded.register()
    async with guarded.station(later) as socket:
        await beat(socket)
    assert canary.visits == 0
    _, writer = await asyncio.open_connection("127.0.0.1", canary.port)
    writer.close()
    await writer.wait_closed()
    async with asyncio.timeout(5):
        while canary.visits != 1:
            await asyncio.sleep(0)


# -- who could ---------------------------------------------------------------------------------------------------------

MODULES = {
    "aiohttp", "ftplib", "grpc", "http.client", "httpcore", "httpx", "requests", "smtplib", "socket", "subprocess",
    "telnetlib", "urllib.request", "urllib3", "websockets.asyncio.client", "websockets.client",
    "websockets.sync.client",
}  # fmt: skip
FUNCTIONS = {
    "create_connection", "create_datagram_endpoint", "create_subprocess_exec", "create_subprocess_shell",
    "create_unix_connection", "getaddrinfo", "open_connection", "open_unix_connection", "popen", "sock_connect",
    "urlopen",
}  # fmt: skip
MAY = {
    "libs/ocppcore/embedded/cluster.py": {"subprocess"},  # our own PostgreSQL
    "libs/ocppcore/embedded/processes.py": {"subprocess"},
    "libs/ocppcore/embedded/server.py": {"subprocess"},
    "libs/ocppcore/http/oidc.py": {"httpx"},  # issuers of tokens, from the settings
    "libs/ocppcore/http/server.py": {"socket"},  # listens
    "services/auth/authority/acme.py": {"httpx", "requests"},  # the operator's ACME server, from the settings
    "services/auth/authority/acme_http.py": {"httpx", "requests"},
    "services/auth/authority/est.py": {"httpx"},  # the operator's EST server, from the settings
    "services/auth/authority/program.py": {"create_subprocess_exec"},  # the operator's program, from the settings
    "services/device/firmware.py": {"httpx"},  # hosts of firmware, from the settings
    "services/gateway/app.py": {"socket"},  # its host's name, and a socket that listens
    "services/gateway/ocsp.py": {"httpx"},  # OCSP responders whose hosts are in the settings
    "services/gateway/ws.py": {"socket"},  # listens
}


def opens(source: str) -> Iterator[str]:
    """What a module's code names that can open a connection or start a program."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (one.name for one in names if one.name in MODULES)
            case ast.ImportFrom(module=str(module), names=names):
                yield from {module, *(f"{module}.{one.name}" for one in names)} & MODULES
                yield from {one.name for one in names} & FUNCTIONS
            case ast.Attribute(attr=attr) if attr in FUNCTIONS:
                yield attr


def test_only_these_modules_can_open_a_connection() -> None:
    found = {}
    for folder in ("services", "libs/ocppcore"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            names = set(opens(path.read_text()))
            if names:
                found[str(path.relative_to(ROOT))] = names
    assert found == MAY


@pytest.mark.parametrize(
    "code",
    [
        "import httpx",
        "import urllib.request",
        "from urllib import request as r",
        "from asyncio import open_connection",
        "await asyncio.open_connection(host, 80)",
        "from websockets.asyncio.client import connect",
        "loop.create_connection(made, host)",
    ],
)
def test_a_module_that_opens_one_is_seen(code: str) -> None:
    assert list(opens(code))
