"""An ACME server as authority, with certbot's client against a server of the tests' own, over TLS."""

import asyncio
import base64
import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from ocppcore.clock import system_clock
from ocppcore.contracts.auth import CertificateUse
from ocppcore.contracts.certificates import EnsureAcmeKey
from ocppcore.memory import MemoryStore
from ocppcore.seal import Seal
from ocppcore.service import Result
from ocppcore.settings import SettingsError, read
from ocppcore.store import StateKey, StateWrite
from services.auth.authority.acme import AcmeAuthority, Binding, Hook
from services.auth.authority.acme_account import AccountKey
from services.auth.authority.chain import checked
from services.auth.authority.est import tls
from services.auth.authority.port import AuthorityFailed, Wanted
from services.auth.authority.selected import Means, select
from services.auth.domain.acme_account import ACME, AcmeKey
from services.auth.settings import Settings
from tests.support.acme_server import ERROR, AcmeServer, Answer, acme_server
from tests.support.csrs import Ca, key, name, pem
from tests.support.csrs import request as csr_request
from tests.unit.auth.signing_rig import STATION, Rig

USE: CertificateUse = "ChargingStationCertificate"
SECRET = b"the key that the server's operator gave"
BINDING = Binding("account-7", base64.urlsafe_b64encode(SECRET).rstrip(b"=").decode())
TIMEOUT_S = 30.0


@pytest.fixture(scope="module")
def ca() -> Ca:
    return Ca("Issuing", of=Ca("Root"))


def account(kept: bool = True) -> AccountKey:
    """With a key, as the engine's commit leaves it."""
    made = AccountKey(MemoryStore(), Seal(b"k" * 32, "test"))
    return keep(made, made.fresh()) if kept else made


def keep(made: AccountKey, fresh: EnsureAcmeKey) -> AccountKey:
    state = AcmeKey(key=fresh.key, thumbprint=fresh.thumbprint)
    write = StateWrite(0, msgspec.json.encode(state), False, None)
    assert isinstance(made.store, MemoryStore)
    made.store.tables.states[StateKey(AcmeKey.KIND, ACME)] = write
    return made


def authority(server: AcmeServer, trust: Path, **more: Any) -> AcmeAuthority:
    by = more.pop("by", None) or account()
    return AcmeAuthority(server.url, tls(trust, None, None), by, more.pop("timeout_s", TIMEOUT_S), **more)


def wanted(common_name: str = STATION, request: x509.CertificateSigningRequest | None = None) -> Wanted:
    return Wanted(request or csr_request(common_name), USE, common_name, system_clock())


async def failure(one: AcmeAuthority, asked: Wanted | None = None) -> AuthorityFailed:
    with pytest.raises(AuthorityFailed) as failed:
        await one.sign(asked or wanted())
    return failed.value


# What it signs


@pytest.mark.requirement("A02.FR.04", "A03.FR.04", "A00.FR.703")
async def test_an_account_that_is_authorized_beforehand_gets_certificates(ca: Ca, tmp_path: Path) -> None:
    """Bound by what the server's operator gave; the second time the account is known."""
    server = AcmeServer(ca, binding=(BINDING.kid, SECRET))
    async with acme_server(tmp_path, server) as trust:
        one, asked = authority(server, trust, binding=BINDING), wanted()
        assert one.uses == {USE}
        result = checked(await one.sign(asked), asked, "Operator")
        assert [issuer.kind for issuer in result.issuers] == ["issuing"]
        assert len(result.chain) == 2
        await one.sign(wanted())
    assert len(server.accounts) == 1
    assert [order.name for order in server.orders] == [STATION, STATION]


async def test_two_at_once_do_not_meet(ca: Ca, tmp_path: Path) -> None:
    server = AcmeServer(ca)
    async with acme_server(tmp_path, server) as trust:
        one = authority(server, trust)
        asked = [wanted(f"CS-{number}") for number in range(3)]
        pools = await asyncio.gather(*map(one.sign, asked))
    for pool, request in zip(pools, asked, strict=True):
        assert checked(pool, request, "Operator").subject_name.startswith(f"CN={request.common_name}")


async def test_a_nonce_that_is_refused_once_and_an_order_that_takes_its_time(ca: Ca, tmp_path: Path) -> None:
    server = AcmeServer(ca, bad_nonces=1, processing=1)
    async with acme_server(tmp_path, server) as trust:
        assert len(await authority(server, trust).sign(wanted())) == 2
    assert server.asked.count("account") == 2


def hook(place: Path, challenge: Any, body: str = "") -> Hook:
    """A program that writes proofs to a folder, and notes what it did."""
    (place / "hook.py").write_text(
        "import os, pathlib, sys\n"
        f"place = pathlib.Path({str(place)!r})\n"
        "told = {k: v for k, v in os.environ.items() if k.startswith(('ACME', 'CSMS'))}\n"
        "assert not [k for k in told if k.startswith('CSMS')]\n"
        "(place / 'done').open('a').write(told['ACME_ACTION'] + ' ' + told['ACME_IDENTIFIER'] + '\\n')\n"
        f"{body}\n"
        "proof = place / told['ACME_NAME'].rpartition('/')[2]\n"
        "if told['ACME_ACTION'] == 'set': proof.write_text(told['ACME_VALUE'])\n"
        "else: proof.unlink()\n"
    )
    return Hook((sys.executable, str(place / "hook.py")), challenge)


@pytest.mark.parametrize("challenge", ["dns-01", "http-01"])
async def test_a_program_proves_what_the_server_does_not_know(
    ca: Ca, tmp_path: Path, challenge: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CSMS_PASSWORD_KEY", "secret" * 10)
    proofs = tmp_path / "proofs"
    proofs.mkdir()
    server = AcmeServer(ca, authorized=False, proofs=proofs)
    async with acme_server(tmp_path, server) as trust:
        assert len(await authority(server, trust, hook=hook(proofs, challenge)).sign(wanted())) == 2
    assert (proofs / "done").read_text() == f"set {STATION}\nclear {STATION}\n"
    assert sorted(path.name for path in proofs.iterdir()) == ["done", "hook.py"]


# What it does not


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("sys.exit(0)", "the proof was not taken"),
        ("sys.exit('out of ink')", "ended with 1: out of ink"),
        ("if told['ACME_ACTION'] == 'clear': sys.exit(1)", ""),
    ],
)
async def test_a_program_that_fails(ca: Ca, tmp_path: Path, body: str, says: str) -> None:
    """One that cannot take its proof back spoils nothing."""
    server = AcmeServer(ca, authorized=False, proofs=tmp_path)
    async with acme_server(tmp_path, server) as trust:
        one = authority(server, trust, hook=hook(tmp_path, "dns-01", body))
        if says:
            failed = await failure(one)
            assert says in str(failed)
            assert failed.again
        else:
            assert len(await one.sign(wanted())) == 2
    assert (tmp_path / "done").read_text() == f"set {STATION}\nclear {STATION}\n"


async def test_without_a_program_or_its_challenge_nothing_is_proven(ca: Ca, tmp_path: Path) -> None:
    server = AcmeServer(ca, authorized=False, offered=("http-01",), proofs=tmp_path)
    async with acme_server(tmp_path, server) as trust:
        alone = await failure(authority(server, trust))
        assert "CSMS_AUTH_CA_CHALLENGE_COMMAND" in str(alone)
        other = await failure(authority(server, trust, hook=hook(tmp_path, "dns-01")))
        assert "offers no challenge dns-01" in str(other)
    assert alone.again and other.again
    assert not (tmp_path / "done").exists()


@pytest.mark.parametrize(
    ("server", "binding", "says"),
    [
        ({"binding": ("account-7", SECRET)}, None, "externalAccountRequired"),
        ({"binding": ("account-7", b"another")}, BINDING, "the binding is wrong"),
        ({"bad_nonces": 9}, None, "badNonce"),
    ],
)
async def test_an_account_that_is_not_taken(
    ca: Ca, tmp_path: Path, server: dict[str, Any], binding: Binding | None, says: str
) -> None:
    """The operator can put it right meanwhile."""
    served = AcmeServer(ca, **server)
    async with acme_server(tmp_path, served) as trust:
        failed = await failure(authority(served, trust, binding=binding))
    assert says in str(failed)
    assert failed.again
    assert SECRET.decode() not in str(failed)


def problem(code: str, status: int = 403) -> Answer:
    body = json.dumps({"type": ERROR + code, "detail": "as it is"}).encode()
    return Answer(status, body, (("Content-Type", "application/problem+json"),))


JSON = (("Content-Type", "application/json"),)


@pytest.mark.parametrize(
    ("endpoint", "given", "says", "again"),
    [
        ("order", problem("rejectedIdentifier"), "rejectedIdentifier", False),
        ("order", problem("malformed", 400), "malformed", False),
        ("finalize", problem("badCSR", 400), "badCSR", False),
        ("finalize", problem("badPublicKey", 400), "badPublicKey", False),
        ("order", problem("rateLimited", 429), "rateLimited", True),
        ("order", problem("unauthorized"), "as it is", True),
        ("order", problem("serverInternal", 500), "serverInternal", True),
        ("account", problem("somethingNew"), "as it is", True),
        ("directory", Answer(503), "503", True),
        ("directory", Answer(302, b"", (("Location", "https://localhost/"),)), "elsewhere", True),
        ("directory", Answer(200, b"hello"), "directory", True),
        ("directory", Answer(200, b"[1]", JSON), "no answer of ACME", True),
        ("directory", Answer(200, b"{}", JSON), "no answer of ACME", True),
        ("directory", Answer(200, b'{"newNonce": "http://localhost/", "newAccount": "", "newOrder": ""}', JSON),
         "without https", True),
        ("directory", Answer(200, b"x" * 300_000, JSON), "more than", True),
        ("nonce", Answer(500), "500", True),
        ("account", Answer(201, b"{}", JSON), "ACME", True),
        ("order", Answer(201, b'{"status": 7}', JSON), "ACME", True),
        ("authz", Answer(200, b"null", JSON), "ACME", True),
        ("certificate", Answer(200, b"hello"), "no certificates", True),
    ],
)  # fmt: skip
async def test_a_server_that_does_not_sign(
    ca: Ca, tmp_path: Path, endpoint: str, given: Answer, says: str, again: bool
) -> None:
    server = AcmeServer(ca, instead={endpoint: given})
    async with acme_server(tmp_path, server) as trust:
        failed = await failure(authority(server, trust))
    assert says in str(failed)
    assert failed.again is again
    assert len(str(failed)) <= 300


async def test_an_order_that_fails_while_it_is_processed(ca: Ca, tmp_path: Path) -> None:
    said = {"type": ERROR + "rejectedIdentifier", "detail": "not this one"}
    order = {"status": "invalid", "error": said, "authorizations": [], "finalize": "", "identifiers": []}

    class Failing(AcmeServer):
        def _order(self, order: Any, at: int) -> dict[str, Any]:
            return super()._order(order, at) if order.status == "ready" else made

    made = order
    server = Failing(ca, processing=1)
    async with acme_server(tmp_path, server) as trust:
        failed = await failure(authority(server, trust))
    assert ("not this one" in str(failed), failed.again) == (True, False)


async def test_a_server_that_takes_too_long(ca: Ca, tmp_path: Path) -> None:
    """With answers that never say that it is finished, or with none."""
    server = AcmeServer(ca, processing=1000)
    async with acme_server(tmp_path, server) as trust:
        slow = await failure(authority(server, trust, timeout_s=2.0))
    assert ("longer than 2 s" in str(slow), slow.again) == (True, True)
    never = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await never.wait()
        writer.close()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as listening:
        served = AcmeServer(ca, base=f"https://localhost:{listening.sockets[0].getsockname()[1]}")
        hung = await failure(authority(served, trust, timeout_s=0.3))
        never.set()
    assert hung.again


async def test_a_server_that_is_away_or_that_nobody_vouches_for(ca: Ca, tmp_path: Path) -> None:
    server = AcmeServer(ca)
    async with acme_server(tmp_path, server) as trust:
        stranger = AcmeAuthority(server.url, tls(None, None, None), account(), TIMEOUT_S)
        unknown = await failure(stranger)
        assert server.asked == []
    away = await failure(authority(server, trust))
    assert [("cannot be asked" in str(one), one.again) for one in (unknown, away)] == [(True, True)] * 2


@pytest.mark.parametrize(
    "also",
    [
        x509.DNSName("admin.example"),
        x509.UniformResourceIdentifier("https://admin.example"),
        x509.RFC822Name("root@admin.example"),
    ],
)
async def test_a_station_cannot_have_names_of_others_ordered(ca: Ca, tmp_path: Path, also: x509.GeneralName) -> None:
    """Our account may be authorized for them."""

    def with_names(*names: x509.GeneralName) -> Wanted:
        builder = x509.CertificateSigningRequestBuilder().subject_name(name(STATION))
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return wanted(request=builder.sign(key(), hashes.SHA256()))

    server = AcmeServer(ca)
    async with acme_server(tmp_path, server) as trust:
        failed = await failure(authority(server, trust), with_names(x509.DNSName(STATION), also))
        assert ("other names" in str(failed), failed.again) == (True, False)
        assert server.asked == []
        assert len(await authority(server, trust).sign(with_names(x509.DNSName(STATION)))) == 2


# Its account's key


def test_the_key_is_kept_once_and_sealed() -> None:
    one = account(kept=False)
    first, second = one.fresh(), one.fresh()
    rig = Rig()
    assert rig.world.ask(EnsureAcmeKey.NAME, first, key=ACME).result == Result(204)
    assert rig.world.ask(EnsureAcmeKey.NAME, second, key=ACME).events == ()
    kept = rig.world.state(AcmeKey, ACME)
    assert kept is not None
    assert (kept.key, kept.thumbprint) == (first.key, first.thumbprint)
    (made,) = rig.events("AcmeKeyMade")
    assert first.key not in repr(made)
    plain = one.seal.open(base64.b64decode(first.key), first.thumbprint.encode())
    assert plain not in base64.b64decode(first.key)


async def test_without_its_key_or_under_another_password_key_it_waits(ca: Ca, tmp_path: Path) -> None:
    server = AcmeServer(ca)
    none = account(kept=False)
    other = keep(AccountKey(MemoryStore(), Seal(b"o" * 32, "test")), account(kept=False).fresh())
    async with acme_server(tmp_path, server) as trust:
        missing = await failure(authority(server, trust, by=none))
        closed = await failure(authority(server, trust, by=other))
    assert ("no key yet" in str(missing), "CSMS_PASSWORD_KEY" in str(closed)) == (True, True)
    assert missing.again and closed.again
    assert server.asked == []


# In the service


async def test_a_failing_server_raises_an_alarm_like_any_authority(ca: Ca, tmp_path: Path) -> None:
    server = AcmeServer(ca, instead={"order": problem("rejectedIdentifier")})
    async with acme_server(tmp_path, server) as trust:
        one = authority(server, trust)
        rig = await asyncio.to_thread(lambda: Rig(one, uses=one.uses))
        rig.world.connect()
        await asyncio.to_thread(rig.sign)
    (alarm,) = rig.events("CertificateAlarmRaised")
    assert alarm.what == "signing_failed"  # type: ignore[attr-defined]
    assert "rejectedIdentifier" in alarm.reason  # type: ignore[attr-defined]
    assert rig.send(pem(csr_request(STATION)), "V2GCertificate").reply.status == "Rejected"  # type: ignore[union-attr]


def settings(monkeypatch: pytest.MonkeyPatch, **given: str) -> Settings:
    for setting, value in ({"authority": "acme", "ca_url": "https://ca.example/directory"} | given).items():
        monkeypatch.setenv(f"CSMS_AUTH_{setting.upper()}", value)
    return read(Settings)


def test_it_is_selected_by_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    means = Means(MemoryStore(), Seal(b"k" * 32, "test"), system_clock)
    made = settings(monkeypatch, ca_account_kid="7", ca_account_hmac_key=BINDING.hmac_key, ca_challenge_command="a b")
    selected = select(made, means)
    assert selected.certificates.rules.uses == {USE}
    assert selected.at_start is not None
    assert (selected.at_start[0], type(selected.at_start[1])) == (ACME, EnsureAcmeKey)
    assert BINDING.hmac_key not in repr(made)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"ca_url": ""}, "must name the server's directory"),
        ({"ca_url": "http://ca.example/directory"}, "https"),
        ({"ca_v2g_url": "https://ca.example/v2g"}, "no V2G certificates"),
        ({"ca_account_kid": "7"}, "belong together"),
        ({"ca_account_hmac_key": BINDING.hmac_key}, "belong together"),
        ({"ca_account_kid": "7", "ca_account_hmac_key": "not base64url!"}, "no base64url"),
    ],
)
def test_settings_that_cannot_be(monkeypatch: pytest.MonkeyPatch, given: dict[str, str], says: str) -> None:
    with pytest.raises(SettingsError) as refused:
        settings(monkeypatch, **given)
    assert says in str(refused.value)
    assert "not base64url!" not in str(refused.value)


# Revocation


async def test_what_it_signed_is_revoked_by_the_same_account(ca: Ca, tmp_path: Path) -> None:
    """Asked once more, as after a crash, it is content."""
    server = AcmeServer(ca)
    async with acme_server(tmp_path, server) as trust:
        one = authority(server, trust)
        chain = await one.sign(wanted())
        for _ in range(2):
            await one.revoke(chain, "keyCompromise")
    assert server.revoked == [(chain[0].serial_number, 1)]


@pytest.mark.parametrize(
    ("given", "says", "again"),
    [
        (problem("badRevocationReason", 400), "badRevocationReason", False),
        (problem("serverInternal", 500), "serverInternal", True),
        (problem("unauthorized"), "as it is", True),
        (Answer(202), "HTTP OK", True),
    ],
)
async def test_a_server_that_does_not_revoke(ca: Ca, tmp_path: Path, given: Answer, says: str, again: bool) -> None:
    server = AcmeServer(ca, instead={"revoke": given})
    async with acme_server(tmp_path, server) as trust:
        with pytest.raises(AuthorityFailed) as failed:
            await authority(server, trust).revoke([ca.issue(csr_request(STATION))], "unspecified")
    assert (says in str(failed.value), failed.value.again) == (True, again), str(failed.value)


async def test_a_certificate_of_another_authority_is_not_revoked(ca: Ca, tmp_path: Path) -> None:
    server = AcmeServer(ca)
    async with acme_server(tmp_path, server) as trust:
        with pytest.raises(AuthorityFailed, match="not ordered by you"):
            await authority(server, trust).revoke([ca.issue(csr_request(STATION))], "unspecified")
    assert server.revoked == []
