"""Authorities of others: an external program, an EST server; and the check of whatever an authority returns."""

import asyncio
import base64
import os
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from ocppcore.clock import system_clock
from ocppcore.contracts.auth import CertificateUse
from ocppcore.errors import OperatorError
from services.auth.authority.chain import checked
from services.auth.authority.command import CommandAuthority
from services.auth.authority.est import EstAuthority, tls
from services.auth.authority.port import AuthorityFailed, Wanted
from services.auth.authority.program import OUTPUT_BYTES_MAX
from tests.support.csrs import Ca, key, name, pem, request, secret_pem

USE: CertificateUse = "ChargingStationCertificate"


def wanted(common_name: str = "CS-1", organization: str | None = "Operator") -> Wanted:
    return Wanted(request(common_name, organization), USE, common_name, system_clock())


# What came back


@pytest.fixture(scope="module")
def ca() -> Ca:
    return Ca("Issuing", of=Ca("Sub", of=Ca("Root")))


@pytest.mark.requirement("A02.FR.04", "A03.FR.04")
def test_a_pool_in_any_order_becomes_a_chain_without_its_root(ca: Ca) -> None:
    asked = wanted()
    leaf = ca.issue(asked.request)
    found = checked([*reversed(ca.chain), Ca("Stranger").certificate, leaf], asked, "Operator")
    assert found.chain == tuple(map(pem, (leaf, *ca.chain[:2])))
    assert [issuer.kind for issuer in found.issuers] == ["issuing", "issuing", "root"]
    assert (found.serial_number, found.error) == (f"{leaf.serial_number:x}", "")


def test_the_root_need_not_be_there(ca: Ca) -> None:
    asked = wanted()
    found = checked([ca.issue(asked.request), ca.certificate], asked, "")
    assert len(found.chain) == 2
    assert [issuer.kind for issuer in found.issuers] == ["issuing"]


def refused(pool: Sequence[x509.Certificate], asked: Wanted, organization: str = "Operator") -> str:
    with pytest.raises(AuthorityFailed) as failed:
        checked(pool, asked, organization)
    return str(failed.value)


@pytest.mark.requirement("A00.FR.509", "A00.FR.511")
def test_what_an_authority_returns_is_not_believed(ca: Ca) -> None:
    asked = wanted()
    good = ca.issue(asked.request)
    assert "0 certificates" in refused([], asked)
    assert "0 certificates" in refused([ca.issue(request("CS-1"))], asked)
    assert "2 certificates" in refused([good, ca.issue(asked.request)], asked)
    assert "not for 'CS-1'" in refused([ca.issue(asked.request, subject=name("CS-2", "Operator"))], asked)
    assert "without O" in refused([ca.issue(asked.request, subject=name("CS-1"))], asked)
    assert "A00.FR.404" in refused([good], asked, "Other")
    assert "valid now" in refused([ca.issue(asked.request, days=-1)], asked)
    as_ca = ca.issue(asked.request, extensions=[x509.BasicConstraints(ca=True, path_length=None)])
    assert "a CA certificate" in refused([as_ca], asked)
    assert "more than" in refused([good] * 21, asked)


@pytest.mark.requirement("A00.FR.501", "A00.FR.504")
def test_weak_algorithms_anywhere_in_the_chain_are_refused() -> None:
    asked, weak = wanted(), Ca("Weak", digest=hashes.SHA224())
    assert "SHA-256 or better" in refused([weak.issue(asked.request), *weak.chain], asked)
    small = Ca("Small", holder=ec.generate_private_key(ec.SECP192R1()))
    assert "too weak" in refused([small.issue(asked.request), *small.chain], asked)


def test_a_ca_of_the_same_name_that_did_not_sign_is_not_in_the_chain(ca: Ca) -> None:
    asked = wanted()
    found = checked([ca.issue(asked.request), Ca("Issuing").certificate], asked, "")
    assert (len(found.chain), found.issuers) == (1, ())


# A program


def program(place: Path, body: str) -> CommandAuthority:
    path = place / "ca.py"
    path.write_text(f"import sys, os, time\n{body}\n")
    return CommandAuthority({USE: (sys.executable, str(path))}, 20.0)


async def failure(authority: CommandAuthority | EstAuthority, asked: Wanted | None = None) -> AuthorityFailed:
    with pytest.raises(AuthorityFailed) as failed:
        await authority.sign(asked or wanted())
    return failed.value


def with_names(*names: x509.GeneralName) -> Wanted:
    builder = x509.CertificateSigningRequestBuilder().subject_name(name("CS-1", "Operator"))
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return Wanted(builder.sign(key(), hashes.SHA256()), USE, "CS-1", system_clock())


@pytest.mark.requirement("A00.FR.511")
@pytest.mark.parametrize(
    "host", [x509.DNSName("csms.example"), x509.DNSName("*.example"), x509.IPAddress(ip_address("192.0.2.1"))], ids=str
)
async def test_a_station_has_no_certificate_made_that_names_a_host(tmp_path: Path, host: x509.GeneralName) -> None:
    """With it it would pass as the CSMS, where the authority takes over what a request asks for."""
    asked = with_names(x509.DNSName("cs-1"), host)
    est = EstAuthority({USE: "https://localhost:9/est"}, ssl.create_default_context(), None, 20.0)
    for authority in (program(tmp_path, "sys.exit(1)"), est):
        failed = await failure(authority, asked)
        assert ("names of hosts" in str(failed), failed.again) == (True, False)
    harmless = with_names(x509.DNSName("cs-1"), x509.RFC822Name("depot@example.com"))
    assert "no certificates" in str(await failure(program(tmp_path, ""), harmless))


@pytest.mark.requirement("A02.FR.04", "A03.FR.04", "A00.FR.703")
async def test_a_program_signs(ca: Ca, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets the CSR and nothing of our environment."""
    monkeypatch.setenv("CSMS_PASSWORD_KEY", "secret" * 10)
    asked = wanted()
    made = [ca.issue(asked.request), *ca.chain]
    (tmp_path / "chain.pem").write_text("".join(map(pem, made)))
    text = pem(asked.request)
    authority = program(
        tmp_path,
        f"assert sys.stdin.read() == {text!r}\n"
        "assert not [name for name in os.environ if name.startswith('CSMS')]\n"
        f"sys.stdout.write(open({str(tmp_path / 'chain.pem')!r}).read())",
    )
    assert await authority.sign(asked) == made
    assert authority.uses == {USE}


@pytest.mark.parametrize(
    ("body", "says", "again"),
    [
        ("sys.exit('out of ink')", "ended with 1: out of ink", True),
        ("sys.stderr.write('not this one'); sys.exit(65)", "ended with 65: not this one", False),
        ("print('hello')", "no certificates", True),
        (f"sys.stdout.write('x' * {OUTPUT_BYTES_MAX + 1}); sys.stdout.flush(); time.sleep(60)", "more than", True),
        (f"sys.stderr.write('x' * {OUTPUT_BYTES_MAX + 1}); sys.stderr.flush(); time.sleep(60)", "more than", True),
        ("os.kill(os.getpid(), 9)", "ended with -9", True),
        ("sys.stdin.close(); print('hello')", "no certificates", True),
    ],
)
async def test_a_program_that_does_not_sign(tmp_path: Path, body: str, says: str, again: bool) -> None:
    failed = await failure(program(tmp_path, body))
    assert says in str(failed)
    assert failed.again is again


async def test_a_program_that_hangs_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    noted = tmp_path / "pids"
    script = f"echo $$ > {noted}; sleep 600 & echo $! >> {noted}; wait"
    hanging = CommandAuthority({USE: ("/bin/sh", "-c", script)}, 2.0)
    assert "longer than 2 s" in str(await failure(hanging))
    first, second = map(int, noted.read_text().split())
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)
    async with asyncio.timeout(20):
        while running(second):
            await asyncio.sleep(0.01)


def running(pid: int) -> bool:
    """Not gone, and no zombie that waits for whoever inherited it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_what_a_program_left_behind_is_killed_too(tmp_path: Path) -> None:
    """It has ended itself; what it started holds its output open."""
    left = tmp_path / "left"
    body = f"""
import subprocess
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open({str(left)!r}, "w").write(str(child.pid))
"""
    authority = CommandAuthority(program(tmp_path, body).commands, 1.5)
    assert "took longer" in str(await failure(authority))
    async with asyncio.timeout(10):
        while running(int(left.read_text())):
            await asyncio.sleep(0.01)


async def test_a_program_that_is_not_there() -> None:
    failed = await failure(CommandAuthority({USE: ("/nonexistent/ca",)}, 1.0))
    assert failed.again
    assert "cannot be run" in str(failed)


# An EST server

Answer = tuple[int, bytes]


@asynccontextmanager
async def est_server(
    place: Path, answer: Callable[[str, dict[str, str], bytes], Answer], client_ca: Ca | None = None
) -> AsyncIterator[tuple[str, Path]]:
    """A TLS server on a free port that answers requests so; its URL, and the file of its CA."""
    root, secret = Ca("EST root"), key()
    extensions = [x509.SubjectAlternativeName([x509.DNSName("localhost")])]
    (place / "root.pem").write_text(pem(root.certificate))
    certificate = root.issue(request("localhost", "Test", secret), extensions=extensions)
    (place / "server.pem").write_text(secret_pem(secret) + pem(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(place / "server.pem")
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=pem(client_ca.certificate))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                first, *lines = head.strip().split("\r\n")
                headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                status, content = answer(first, headers, body)
                writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"https://localhost:{server.sockets[0].getsockname()[1]}/.well-known/est", place / "root.pem"


def bag(certificates: Sequence[x509.Certificate]) -> bytes:
    return base64.encodebytes(pkcs7.serialize_certificates(list(certificates), Encoding.DER))


@pytest.mark.requirement("A02.FR.04", "A03.FR.04", "A00.FR.703")
async def test_an_est_server_signs(ca: Ca, tmp_path: Path) -> None:
    """With our client certificate and HTTP Basic."""
    asked = wanted()
    leaf, us, our_ca = ca.issue(asked.request), key(), Ca("Clients")
    (tmp_path / "us.pem").write_text(pem(our_ca.issue(request("csms", "Test", us))))
    (tmp_path / "us.key").write_text(secret_pem(us))
    seen: list[str] = []

    def answer(first: str, headers: dict[str, str], body: bytes) -> Answer:
        seen.append(first.rpartition(" ")[0])
        assert headers["authorization"] == "Basic " + base64.b64encode(b"csms:secret").decode()
        if first.startswith("GET"):
            return 200, bag(ca.chain)
        assert headers["content-type"] == "application/pkcs10"
        assert base64.b64decode(body) == asked.request.public_bytes(Encoding.DER)
        return 200, bag([leaf])

    async with est_server(tmp_path, answer, our_ca) as (url, trust):
        context = tls(trust, tmp_path / "us.pem", tmp_path / "us.key")
        authority = EstAuthority({USE: url}, context, ("csms", "secret"), 20.0)
        pool = await authority.sign(asked)
        assert checked(pool, asked, "Operator").chain == tuple(map(pem, (leaf, *ca.chain[:2])))
        stranger = EstAuthority({USE: url}, tls(trust, None, None), ("csms", "secret"), 20.0)
        assert "cannot be asked" in str(await failure(stranger))
    assert seen == ["POST /.well-known/est/simpleenroll", "GET /.well-known/est/cacerts"]


@pytest.mark.parametrize(
    ("given", "says", "again"),
    [
        ((400, b""), "answered 400", False),
        ((202, b""), "answered 202", True),
        ((401, b""), "answered 401", True),
        ((503, b""), "answered 503", True),
        ((302, b""), "answered 302", True),
        ((200, b"hello"), "no certificates", True),
        ((200, b"x" * 300_000), "more than", True),
    ],
)
async def test_an_est_server_that_does_not_sign(tmp_path: Path, given: Answer, says: str, again: bool) -> None:
    async with est_server(tmp_path, lambda *_: given) as (url, trust):
        failed = await failure(EstAuthority({USE: url}, tls(trust, None, None), None, 20.0))
    assert says in str(failed)
    assert failed.again is again


async def test_an_est_server_that_nobody_vouches_for_is_not_asked(tmp_path: Path) -> None:
    asked: list[str] = []

    def answer(first: str, headers: dict[str, str], body: bytes) -> Answer:
        asked.append(first)
        return 200, b""

    async with est_server(tmp_path, answer) as (url, _):
        failed = await failure(EstAuthority({USE: url}, tls(None, None, None), None, 20.0))
    assert (failed.again, asked) == (True, [])


async def test_an_est_server_that_is_away(tmp_path: Path) -> None:
    async with est_server(tmp_path, lambda *_: (200, b"")) as (url, trust):
        context = tls(trust, None, None)
    assert "cannot be asked" in str(await failure(EstAuthority({USE: url}, context, None, 20.0)))


async def test_an_est_server_that_hangs(tmp_path: Path) -> None:
    never = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await never.wait()
        writer.close()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
        url = f"https://localhost:{server.sockets[0].getsockname()[1]}"
        failed = await failure(EstAuthority({USE: url}, tls(None, None, None), None, 0.2))
        never.set()
    assert (failed.again, "ConnectTimeout" in str(failed)) == (True, True)


def test_files_for_the_server_that_cannot_be_used_are_said(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"nothing\.pem"):
        tls(tmp_path / "nothing.pem", None, None)
