"""Client certificates that OCSP is asked about (A00.FR.702): what an answer is worth, when it is asked for, what counts
while there is none."""

import asyncio
import contextlib
import datetime
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID
from websockets.exceptions import ConnectionClosed, InvalidStatus

from services.gateway.domain.certificates import ClientCertificate
from services.gateway.domain.ocsp import AGE_MS_MAX, Answer, BadAnswer, judge, question
from services.gateway.ocsp import AGAIN_MS, ANSWER_BYTES_MAX, Ocsp, OcspRules
from services.gateway.tls import Tls, TlsFiles
from tests.support.pki import DAY, NOW, Certified, authority, client_context
from tests.unit.gateway.rig import Rig, listener, playing_services, running
from tests.unit.gateway.talk import call
from tests.unit.gateway.test_ws import talk

HOST = "ocsp.example"
URL = f"http://{HOST}/"
ROOT = authority("Root of the operator")
OWN = ROOT.issue("CS1", ocsp=URL)
AT = round(NOW.timestamp() * 1000)
HOUR = datetime.timedelta(hours=1)
GOOD, REVOKED = ocsp.OCSPCertStatus.GOOD, ocsp.OCSPCertStatus.REVOKED


def answer(
    status: ocsp.OCSPCertStatus = GOOD,
    about: Certified = OWN,
    signer: Certified = ROOT,
    *,
    digest: Any = None,
    shows: bool = False,
    of: datetime.datetime = NOW - HOUR,
    until: datetime.datetime | None = NOW + HOUR,
    issuer: Certified = ROOT,
) -> bytes:
    """A responder's answer, DER. `shows`: it has the signer's certificate in it."""
    builder = (
        ocsp.OCSPResponseBuilder()
        .add_response(
            about.certificate, issuer.certificate, hashes.SHA1(), status, of, until,
            NOW - DAY if status is REVOKED else None, None,
        )
        .responder_id(ocsp.OCSPResponderEncoding.HASH, signer.certificate)
    )  # fmt: skip
    if shows:
        builder = builder.certificates([signer.certificate])
    return builder.sign(signer.key, digest or hashes.SHA256()).public_bytes(Encoding.DER)


def asked(own: Certified = OWN) -> Any:
    found = question(own.certificate, ROOT.certificate, frozenset({HOST}))
    assert found is not None
    return found


# -- the question and the answer ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "is_asked"),
    [
        (URL, True),
        (f"https://{HOST}/path", True),
        (f"http://{HOST.upper()}/", True),
        (f"http://{HOST}:8080/", False),
        ("http://10.0.0.1/", False),
        (f"http://{HOST}@10.0.0.1/", False),
        (f"http://{HOST}.evil.example/", False),
        (f"ftp://{HOST}/", False),
        (f"http://{HOST}:x/", False),
        ("", False),
    ],
)
def test_only_responders_that_the_operator_named_are_asked(url: str, is_asked: bool) -> None:
    found = question(ROOT.issue("CS1", ocsp=url).certificate, ROOT.certificate, frozenset({HOST}))
    assert (found is not None) is is_asked


RESPONDER = ROOT.issue("Responder", uses=[ExtendedKeyUsageOID.OCSP_SIGNING])


@pytest.mark.requirement("A00.FR.702")
@pytest.mark.parametrize(
    ("der", "status"),
    [
        (answer(), "good"),
        (answer(REVOKED), "revoked"),
        (answer(ocsp.OCSPCertStatus.UNKNOWN), "unknown"),
        (answer(signer=RESPONDER, shows=True), "good"),
        (answer(until=None), "good"),
    ],
)
def test_what_its_issuer_or_the_issuers_responder_says_counts(der: bytes, status: str) -> None:
    assert judge(asked(), der, AT) == Answer(status, AT + 3_600_000)  # type: ignore[arg-type]


def test_an_answer_holds_a_day_at_most() -> None:
    assert judge(asked(), answer(until=NOW + 30 * DAY), AT).until == AT + AGE_MS_MAX


STRANGER = authority("Root of the operator")


@pytest.mark.parametrize(
    "der",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"<html>", id="no DER"),
        pytest.param(answer()[:-3], id="cut"),
        pytest.param(answer(signer=STRANGER, shows=True), id="a stranger of the same name"),
        pytest.param(answer(signer=ROOT.issue("CS2"), shows=True), id="another station"),
        pytest.param(
            answer(signer=STRANGER.issue("R", uses=[ExtendedKeyUsageOID.OCSP_SIGNING]), shows=True), id="theirs"
        ),
        pytest.param(
            answer(signer=ROOT.issue("R", uses=[ExtendedKeyUsageOID.OCSP_SIGNING], days=(-9, -1)), shows=True),
            id="an expired responder",
        ),
        pytest.param(
            answer(signer=ROOT.issue("R", uses=[ExtendedKeyUsageOID.CLIENT_AUTH]), shows=True), id="no responder"
        ),
        pytest.param(answer(about=ROOT.issue("CS1")), id="another certificate"),
        pytest.param(answer(issuer=STRANGER), id="another issuer"),
        pytest.param(answer(of=NOW - 2 * DAY, until=NOW - HOUR), id="old"),
        pytest.param(answer(of=NOW + HOUR, until=NOW + DAY), id="of tomorrow"),
        pytest.param(
            ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER).public_bytes(Encoding.DER),
            id="try later",
        ),
    ],
)
def test_what_anybody_else_says_is_no_answer(der: bytes) -> None:
    with pytest.raises(BadAnswer):
        judge(asked(), der, AT)


# -- asking ------------------------------------------------------------------------------------------------------------


class House:
    """Ocsp with a responder that says what a test wants. `times`: how often it was asked."""

    def __init__(self, **rules: Any) -> None:
        self.now = AT
        self.says: Callable[[], bytes] = answer
        self.times = 0
        self.held = asyncio.Event()
        self.held.set()
        self.revoked: list[str] = []
        self.connected: list[str] = []
        made: dict[str, Any] = {"responders": frozenset({HOST}), "wait_s": 5.0, "at_once": 1} | rules
        self.ocsp = Ocsp(OcspRules(**made), lambda: self.now, self.revoked.append, lambda: self.connected, self.fetch)

    async def fetch(self, url: str, body: bytes) -> bytes:
        assert url == URL and ocsp.load_der_ocsp_request(body).serial_number
        self.times += 1
        await self.held.wait()
        return self.says()

    async def settled(self, times: int) -> None:
        """It was asked so often, and nobody asks now."""
        async with asyncio.timeout(5):
            while self.times < times or self.ocsp._asked:
                await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def working(**rules: Any) -> AsyncIterator[House]:
    house = House(**rules)
    task = asyncio.create_task(house.ocsp.run())
    yield house
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def shown(own: Certified = OWN) -> ClientCertificate:
    fingerprint = own.certificate.fingerprint(hashes.SHA256()).hex()
    return ClientCertificate(("CS1",), ("Operator",), fingerprint, 0, 0, 0, 0, ocsp=asked(own))


def silence() -> bytes:
    raise OSError("nobody there")


@pytest.mark.requirement("A00.FR.702")
@pytest.mark.parametrize("hard", [False, True])
async def test_the_first_handshake_waits_for_the_answer_and_the_next_ones_have_it(hard: bool) -> None:
    async with working(hard_fail=hard) as house:
        assert [await house.ocsp.refuses(shown()) for _ in range(3)] == [""] * 3
        assert house.times == 1
        house.now += 31 * 60_000  # half its time has passed: asked again beside the handshakes
        house.says = lambda: answer(REVOKED)
        assert await house.ocsp.refuses(shown()) == ""
        await house.settled(2)
        assert await house.ocsp.refuses(shown()) == "certificate_revoked"
        assert house.revoked == [shown().fingerprint]
        assert house.ocsp.has_revoked(shown().fingerprint)


@pytest.mark.requirement("A00.FR.702")
@pytest.mark.parametrize(("hard", "refused"), [(False, ""), (True, "certificate_unchecked")])
@pytest.mark.parametrize("says", [silence, lambda: b"", lambda: answer(ocsp.OCSPCertStatus.UNKNOWN)])
async def test_without_an_answer_a_setting_decides(hard: bool, refused: str, says: Callable[[], bytes]) -> None:
    async with working(hard_fail=hard) as house:
        house.says = says
        assert [await house.ocsp.refuses(shown()) for _ in range(3)] == [refused] * 3
        assert house.times == 1, "a responder that is down is not asked at every handshake"
        assert not house.revoked
    without = shown()._replace(ocsp=None)
    assert await house.ocsp.refuses(without) == "", "nobody to ask"


async def test_a_responder_that_came_back_is_heard() -> None:
    async with working(hard_fail=True) as house:
        house.says = silence
        assert await house.ocsp.refuses(shown()) == "certificate_unchecked"
        house.says, house.now = answer, house.now + AGAIN_MS
        assert await house.ocsp.refuses(shown()) == ""


@pytest.mark.parametrize("hard", [False, True])
async def test_a_slow_responder_holds_a_handshake_up_for_so_long_and_no_longer(hard: bool) -> None:
    async with working(hard_fail=hard, wait_s=0.01) as house:
        house.held.clear()
        assert await house.ocsp.refuses(shown()) == ("certificate_unchecked" if hard else "")
        house.held.set()
        await house.settled(1)
        assert (await house.ocsp.refuses(shown()), house.times) == ("", 1)


async def test_who_was_revoked_stays_so_while_the_responder_says_nothing() -> None:
    async with working() as house:
        house.says = lambda: answer(REVOKED)
        assert await house.ocsp.refuses(shown()) == "certificate_revoked"
        house.says, house.now = silence, house.now + 3 * AGE_MS_MAX
        for times in (2, 3):
            assert await house.ocsp.refuses(shown()) == "certificate_revoked"
            assert house.times == times
            house.now += AGAIN_MS
        assert house.revoked == [shown().fingerprint], "told once"


async def test_a_certificate_in_use_is_asked_about_in_good_time() -> None:
    async with working() as house:
        assert await house.ocsp.refuses(shown()) == ""
        house.connected = [shown().fingerprint, "of profile 2"]
        house.ocsp.look()
        assert house.times == 1
        house.says, house.now = lambda: answer(REVOKED), house.now + 31 * 60_000
        house.ocsp.look()
        await house.settled(2)
        assert house.revoked == [shown().fingerprint]


async def test_what_waits_and_what_is_remembered_is_bounded() -> None:
    async with working(waiting_max=1, remembered_max=2, wait_s=0.01) as house:
        house.held.clear()
        owns = [ROOT.issue("CS1", ocsp=URL) for _ in range(4)]
        assert [await house.ocsp.refuses(shown(own)) for own in owns] == [""] * 4
        assert len(house.ocsp._asked) == 2, "one is asked, one waits"
        house.held.set()
        await house.settled(2)
        house.says = silence
        for own in owns:
            await house.ocsp.refuses(shown(own))
        assert len(house.ocsp) == 2


# -- over sockets ------------------------------------------------------------------------------------------------------


class Responder:
    """An OCSP responder over HTTP. `status` answers; `said` replaces the whole answer."""

    def __init__(self) -> None:
        self.port = 0
        self.status = GOOD
        self.said: bytes | None = None
        self.about: Certified | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"POST / HTTP/1.1") and b"application/ocsp-request" in head
        assert self.about is not None
        body = self.said
        if body is None:
            der = answer(self.status, self.about)
            body = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(der) + der
        writer.write(body)
        with contextlib.suppress(OSError):
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def responder() -> AsyncIterator[Responder]:
    made = Responder()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    made.about = ROOT.issue("CS1", ocsp=f"http://127.0.0.1:{made.port}/")
    async with server:
        yield made


@contextlib.asynccontextmanager
async def guarded(folder: Path, port: int, **rules: Any) -> AsyncIterator[Any]:
    """A gateway that trusts ROOT and asks this responder: a function that connects CS1, which has profile 3."""
    csms = authority("Root of the CSMS")
    own = csms.issue("csms.example", host="localhost").write(folder, "own")
    (folder / "cas.pem").write_bytes(ROOT.pem)
    hosts = frozenset({f"127.0.0.1:{port}"})
    rig, listening = Rig(), listener(Tls(TlsFiles((own,), (folder / "cas.pem",), responders=hosts)))
    gateway = rig.gateway("gw", listening, ocsp=OcspRules(responders=hosts, **rules))
    await rig.register("CS1", security_profile=3, credential=None)

    def station(shows: Certified) -> Any:
        from websockets.asyncio.client import connect

        context = client_context(csms.pem, shows, folder)
        url = f"wss://localhost:{listening.port}/ocpp/CS1"
        return connect(url, ssl=context, subprotocols=["ocpp2.0.1"], proxy=None)  # type: ignore[list-item]

    async with running(gateway), playing_services(rig):
        yield gateway, station


@pytest.mark.requirement("A00.FR.702")
async def test_a_station_whose_certificate_its_responder_has_revoked_is_refused_and_closed(tmp_path: Path) -> None:
    async with responder() as asks, guarded(tmp_path, asks.port) as (gateway, station):
        assert asks.about is not None
        async with station(asks.about) as connected:
            assert (await talk(connected, call("1")))[0] == 3
            asks.status = REVOKED
            key = asks.about.certificate.fingerprint(hashes.SHA256()).hex()
            known = gateway.ocsp._known[key]
            gateway.ocsp._ask(key, known.question)
            with pytest.raises(ConnectionClosed):
                await connected.recv()
        with pytest.raises(InvalidStatus) as refused:
            async with station(asks.about):
                pass
        assert refused.value.response.status_code == 401
        assert gateway.stats.refusals == {"certificate_revoked": 1}
        assert gateway.stats.ocsp == {"good": 1, "revoked": 1}


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
        b"no HTTP",
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (ANSWER_BYTES_MAX + 2) + b"x" * (ANSWER_BYTES_MAX + 2),
    ],
    ids=["redirect", "error", "nonsense", "too long"],
)
async def test_an_odd_responder_harms_nobody(tmp_path: Path, said: bytes) -> None:
    async with responder() as asks, guarded(tmp_path, asks.port, hard_fail=True) as (gateway, station):
        asks.said = said
        assert asks.about is not None
        with pytest.raises(InvalidStatus):
            async with station(asks.about):
                pass
        assert gateway.stats.refusals == {"certificate_unchecked": 1}
        async with station(ROOT.issue("CS1", ocsp="http://10.0.0.1/")) as connected:
            assert (await talk(connected, call("1")))[0] == 3
