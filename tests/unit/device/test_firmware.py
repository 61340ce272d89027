"""Firmware is looked at before it is offered (A00.FR.707): certificate, signature, file; doubts are warnings."""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.serialization import Encoding

from ocppcore.http.commands import CommandDesk, Registered
from ocppcore.http.commands import router as commands_router
from ocppcore.pseudonym import Pseudonyms
from ocppcore.seal import Seal
from ocppcore.settings import SettingsError
from services.device.firmware import FirmwareCheck, FirmwareRules, anchors
from services.device.service import build
from services.device.settings import Settings, firmware_rules
from tests.support.pki import NOW, Certified, authority
from tests.support.served import served

AT = round(NOW.timestamp() * 1000)
FILE = b"firmware " * 1000
MAKER = authority("Root of a manufacturer")
SUB = MAKER.issue("Signing CA", ca=True)
SIGNER = {kind: MAKER.issue("Firmware", "Maker", kind=kind) for kind in ("EC", "RSA")}
STRANGER = authority("Root of a manufacturer")


def signature(signer: Certified, file: bytes = FILE) -> str:
    if isinstance(signer.key, ec.EllipticCurvePrivateKey):
        made = signer.key.sign(file, ec.ECDSA(hashes.SHA256()))
    else:
        salted = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
        made = signer.key.sign(file, salted, hashes.SHA256())
    return base64.b64encode(made).decode()


def update(signer: Certified | None = SIGNER["EC"], location: str = "https://files.example/fw", **more: Any) -> bytes:
    firmware = {"location": location, "retrieveDateTime": "2026-01-01T00:00:00Z"}
    if signer is not None:
        firmware |= {"signingCertificate": signer.pem.decode(), "signature": signature(signer)}
    firmware |= more
    wanted = {name: value for name, value in firmware.items() if value is not None}
    return json.dumps({"requestId": 1, "firmware": wanted}).encode()


def check(**rules: Any) -> FirmwareCheck:
    return FirmwareCheck(FirmwareRules(**rules), lambda: AT)


async def doubts(payload: bytes, *trusted: x509.Certificate) -> Sequence[str]:
    return await check(anchors=trusted).doubts(payload)


# -- the certificate and the signature ---------------------------------------------------------------------------------


@pytest.mark.requirement("A00.FR.707")
@pytest.mark.parametrize(
    ("payload", "doubt"),
    [
        (update(), ""),
        (update(SIGNER["RSA"]), ""),
        (update(None), ""),
        (update(signature=None), "firmware.signature: missing"),
        (update(signingCertificate=None), "firmware.signingCertificate: missing"),
        (update(signature="no base 64!"), "firmware.signature: not in Base64"),
        (update(signingCertificate="a certificate"), "firmware.signingCertificate: no PEM"),
        (update(MAKER.issue("Firmware", days=(-9, -1))), "firmware.signingCertificate: expired"),
        (update(MAKER.issue("Firmware", days=(1, 9))), "firmware.signingCertificate: not valid before"),
        (
            update(MAKER.issue("Firmware", kind="RSA", bits=1024)),
            "firmware.signingCertificate: its key or its signature",
        ),
    ],
)
async def test_what_is_doubtful_about_the_payload_is_said(payload: bytes, doubt: str) -> None:
    found = await doubts(payload)
    assert [one.startswith(doubt) for one in found] == ([True] if doubt else []), found


@pytest.mark.requirement("A00.FR.707")
@pytest.mark.parametrize(
    ("signer", "trusted"),
    [
        (SIGNER["EC"], True),
        (SUB.issue("Firmware"), True),
        (SUB.issue("Firmware").alone(), False),
        (STRANGER.issue("Firmware"), False),
        (SIGNER["RSA"].issue("Firmware"), False),
        (MAKER.issue("Old CA", ca=True, days=(-9, -1)).issue("Firmware"), False),
    ],
    ids=["issued", "below a CA", "CA not sent", "namesake", "below no CA", "below an expired CA"],
)
async def test_with_authorities_named_the_certificate_must_lead_to_one(signer: Certified, trusted: bool) -> None:
    found = await doubts(update(signer), MAKER.certificate)
    assert [("no path" in one) for one in found] == ([] if trusted else [True]), found


# -- the file ----------------------------------------------------------------------------------------------------------


class Files:
    """Serves FILE over HTTP, or what a test wants."""

    def __init__(self) -> None:
        self.port = 0
        self.times = 0
        self.writers: list[asyncio.StreamWriter] = []
        self.says = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(FILE) + FILE

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.times += 1
        self.writers.append(writer)
        if self.says:
            writer.write(self.says)
            with contextlib.suppress(OSError):
                await writer.drain()
            writer.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/fw.bin"

    @property
    def rules(self) -> dict[str, Any]:
        return {"hosts": frozenset({f"127.0.0.1:{self.port}"}), "fetch_s": 5.0}


@pytest.fixture
async def files() -> AsyncIterator[Files]:
    made = Files()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    async with server:
        yield made
        for writer in made.writers:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@pytest.mark.requirement("A00.FR.707")
@pytest.mark.parametrize("kind", ["EC", "RSA"])
async def test_a_file_of_an_allowed_host_is_fetched_and_its_signature_checked(files: Files, kind: str) -> None:
    looks = check(**files.rules)
    assert await looks.doubts(update(SIGNER[kind], files.url)) == ()
    for other in (signature(SIGNER[kind], b"another file"), signature(MAKER), "AAAA"):
        assert await looks.doubts(update(SIGNER[kind], files.url, signature=other)) == (
            "firmware.signature: not the signature of the file, by this certificate",
        )


async def test_a_file_is_fetched_once_for_a_fleet(files: Files) -> None:
    looks = check(**files.rules)
    found = await asyncio.gather(*(looks.doubts(update(location=files.url, signature="AAAA")) for _ in range(50)))
    assert len(set(map(tuple, found))) == 1 and len(found[0]) == 1
    assert files.times == 1


@pytest.mark.parametrize("location", ["https://files.example/fw", "ftp://127.0.0.1/fw", "//x", "http://[/", ""])
async def test_nobody_else_is_asked_for_a_file(files: Files, location: str) -> None:
    assert await check(**files.rules).doubts(update(location=location)) == ()
    assert await check().doubts(update(location=files.url)) == ()
    assert files.times == 0


@pytest.mark.parametrize(
    ("says", "rules", "doubt"),
    [
        (None, {"bytes_max": len(FILE) - 1}, f"longer than {len(FILE) - 1} bytes"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://10.0.0.1/\r\nContent-Length: 0\r\n\r\n", {}, "HTTPStatusError"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\nshort", {}, "RemoteProtocolError"),
        (b"no HTTP", {}, "RemoteProtocolError"),
        (b"", {"fetch_s": 0.05}, "could not be fetched"),
    ],
    ids=["too long", "redirect", "cut", "no HTTP", "silent"],
)
async def test_a_file_that_cannot_be_had_is_a_doubt_and_no_more(
    files: Files, says: bytes | None, rules: dict[str, Any], doubt: str
) -> None:
    files.says, good = files.says if says is None else says, files.says
    looks, payload = check(**(files.rules | rules)), update(location=files.url)
    [said] = await looks.doubts(payload)
    assert said.startswith("firmware.location: ") and doubt in said
    files.says = good
    if "fetch_s" not in rules and "bytes_max" not in rules:
        assert await looks.doubts(payload) == (), "asked again, not remembered"


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("A00.FR.707")
async def test_the_command_warns_and_goes_out_all_the_same() -> None:
    async def registered(_: str) -> Registered:
        return Registered(id="CS-1")

    def routers(store: Any) -> Any:
        looks = {"UpdateFirmware": check().doubts}
        return [
            commands_router(CommandDesk("device", store, registered, Pseudonyms(b"k"), Seal(b"s" * 32, "f"), looks))
        ]

    async with served(build(), routers) as api:
        expired = update(MAKER.issue("Firmware", days=(-9, -1)))
        headers = {"Content-Type": "application/json"}
        answer = await api.client.post("/stations/CS-1/commands/UpdateFirmware", content=expired, headers=headers)
        shown = answer.json()
        assert (answer.status_code, shown["status"]) == (200, "not_connected"), answer.text
        [warning] = shown["warnings"]
        assert warning.startswith("firmware.signingCertificate: expired")
        refused = await api.client.post("/stations/CS-1/commands/UpdateFirmware", content=b"{}", headers=headers)
        assert refused.status_code == 422


# -- the settings ------------------------------------------------------------------------------------------------------


def test_authorities_and_hosts_come_from_settings(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    for file, one in (("a.pem", MAKER), ("more/b.pem", STRANGER)):
        (tmp_path / file).write_bytes(one.certificate.public_bytes(Encoding.PEM))
    places = f"{tmp_path / 'a.pem'}, {tmp_path / 'more'}"
    made = firmware_rules(Settings.model_construct(firmware_cas=places, firmware_fetch_allow="Files.example, b:80"))
    assert made.anchors == (MAKER.certificate, STRANGER.certificate)
    assert made.hosts == {"files.example", "b:80"}
    (tmp_path / "a.pem").write_bytes(b"nonsense")
    with pytest.raises(SettingsError, match=r"a\.pem"):
        anchors([tmp_path / "a.pem"])
