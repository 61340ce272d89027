"""The local authority's certificates, judged by others: OpenSSL in a TLS handshake, the verifier of `cryptography`."""

import datetime
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import verification
from cryptography.x509.oid import NameOID

from ocppcore.clock import system_clock
from ocppcore.memory import MemoryStore
from ocppcore.seal import Seal
from ocppcore.store import StateKey
from services.auth.authority.local import ISSUING_DAYS, LocalAuthority
from services.auth.authority.port import Wanted
from services.auth.domain.authority import LOCAL, RENEWAL, RENEWAL_BEFORE_MS, AuthorityKeys
from services.auth.domain.certificate import CHAINS
from tests.support.csrs import Ca, Key, csr, key, pem, request, rsa_key, secret_pem
from tests.unit.auth.signing_rig import STATION, Rig

TYPE = "ChargingStationCertificate"


def signed(rig: Rig, holder: Key, kind: str = TYPE) -> list[x509.Certificate]:
    rig.sign(csr(STATION, None, holder), kind)
    newest = rig.events("CertificateIssued")[-1].fingerprint  # type: ignore[attr-defined]
    (chain,) = [str(row["chain"]) for row in rig.world.rows(CHAINS) if row["fingerprint"] == newest]
    return x509.load_pem_x509_certificates(chain.encode())


def roots(rig: Rig, kind: str = TYPE) -> list[x509.Certificate]:
    found = [
        event.authority.certificate  # type: ignore[attr-defined]
        for event in rig.events("AuthorityTrusted")
        if event.use == kind and event.authority.kind == "root"  # type: ignore[attr-defined]
    ]
    return [x509.load_pem_x509_certificate(one.encode()) for one in found]


@pytest.fixture
def rig() -> Rig:
    made = Rig()
    made.world.now = system_clock()
    return made


@pytest.mark.requirement("A00.FR.421", "A00.FR.505")
@pytest.mark.parametrize(
    "holder", [key(), ec.generate_private_key(ec.SECP384R1()), rsa_key()], ids=["EC", "384", "RSA"]
)
def test_the_chain_verifies_under_the_root(rig: Rig, holder: Key) -> None:
    chain = signed(rig, holder)
    leaf, issuing = chain
    store = verification.Store(roots(rig))
    ee = verification.ExtensionPolicy.permit_all().require_present(
        x509.KeyUsage, verification.Criticality.CRITICAL, lambda policy, certificate, usage: None
    )
    policy = verification.PolicyBuilder().store(store).time(datetime.datetime.now(datetime.UTC))
    policy = policy.extension_policies(ca_policy=verification.ExtensionPolicy.webpki_defaults_ca(), ee_policy=ee)
    verified = policy.build_client_verifier().verify(leaf, [issuing])
    assert [one.subject for one in verified.chain] == [leaf.subject, issuing.subject, roots(rig)[0].subject]
    with pytest.raises(verification.VerificationError):
        others = verification.PolicyBuilder().store(verification.Store(roots(rig, "V2GCertificate")))
        others = others.extension_policies(ca_policy=verification.ExtensionPolicy.webpki_defaults_ca(), ee_policy=ee)
        others.build_client_verifier().verify(leaf, [issuing])


@pytest.mark.parametrize("holder", [key(), rsa_key()], ids=["EC", "RSA"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_openssl_takes_it_as_a_client_certificate(
    rig: Rig, holder: Key, version: ssl.TLSVersion, tmp_path: Path
) -> None:
    """A handshake in memory: the server demands a certificate under our root, the station shows what it was sent."""
    chain = signed(rig, holder)
    assert shown(tmp_path, holder, chain, roots(rig), version) == chain[0]
    with pytest.raises(ssl.SSLError, match=r"(?i)unknown.ca|verify failed"):
        shown(tmp_path, holder, chain, roots(rig, "V2GCertificate"), version)


def shown(
    place: Path, holder: Key, chain: list[x509.Certificate], trusted: list[x509.Certificate], version: ssl.TLSVersion
) -> x509.Certificate:
    """The client's certificate as the server of a handshake in memory sees it. Raises SSLError."""
    secret, ca = key(), Ca("Server")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (place / "server.pem").write_text(secret_pem(secret) + pem(ca.issue(request("csms.example", "Test", secret))))
    server.load_cert_chain(place / "server.pem")
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_verify_locations(cadata="".join(map(pem, trusted)))
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.minimum_version = client.maximum_version = version
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    (place / "client.pem").write_text(secret_pem(holder) + "".join(map(pem, chain)))
    client.load_cert_chain(place / "client.pem")
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [server.wrap_bio(up, down, server_side=True), client.wrap_bio(down, up)]
    for _ in range(10):
        done = [handshaken(end) for end in ends]
        if all(done):
            break
    der = ends[0].getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der)


def handshaken(end: ssl.SSLObject) -> bool:
    try:
        end.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


@pytest.mark.requirement("A00.FR.509")
@pytest.mark.parametrize("named", [b"", b"\x13\x04Mine"], ids=["none", "Mine"])
async def test_without_an_operators_name_there_is_still_an_o(rig: Rig, named: bytes) -> None:
    """Its own, or ours."""
    der = request("CS-1", "Mine").public_bytes(Encoding.DER)
    text = b"\x0c\x04Mine"
    assert text in der
    asked = x509.load_der_x509_csr(der.replace(text, named)) if named else request("CS-1")
    authority = LocalAuthority(rig.store, rig.local.seal, system_clock, "", 365)
    wanted = Wanted(asked, "ChargingStationCertificate", "CS-1", system_clock())
    leaf = (await authority.sign(wanted))[0]
    (owner,) = leaf.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    assert owner.value == ("Mine" if named else "CSMS")


@pytest.mark.requirement("A00.FR.513")
@pytest.mark.parametrize(
    ("kind", "always", "domain"),
    [
        ("", False, ["CPO"]),
        ("V2GCertificate", False, ["CPO"]),
        (TYPE, False, []),
        (TYPE, True, ["CPO"]),
    ],
)
def test_what_vehicles_are_shown_is_an_seccs(rig: Rig, kind: str, always: bool, domain: list[str]) -> None:
    """ISO 15118-2, annex F: DC=CPO, a P-256 key with digitalSignature and keyAgreement, no CA; still the station's."""
    rig.worker.always_secc = always
    leaf = signed(rig, key(), kind)[0]
    assert [one.value for one in leaf.subject.get_attributes_for_oid(NameOID.DOMAIN_COMPONENT)] == domain
    assert [one.value for one in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == [STATION]
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical and usage.value.digital_signature and usage.value.key_agreement
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


# Keys


@pytest.mark.requirement("A00.FR.603")
async def test_private_keys_are_sealed_at_rest(rig: Rig) -> None:
    kept = rig.store.tables.states[StateKey(AuthorityKeys.KIND, LOCAL)].data
    assert kept is not None
    assert b"PRIVATE" not in kept
    other = LocalAuthority(rig.store, Seal(b"another key" * 4, "test"), system_clock, "", 365)
    made = (await other.make()).hierarchies
    assert {one.root.fingerprint for one in made}.isdisjoint(
        {event.fingerprint for event in rig.events("AuthorityTrusted")}  # type: ignore[attr-defined]
    ), "who cannot open the keys makes others"


def test_a_new_issuing_ca_comes_under_the_same_root_in_good_time(rig: Rig) -> None:
    ((_, subject),) = [one for one in rig.world.timers if one[0] == RENEWAL]
    due = rig.world.timers[RENEWAL, subject]
    ends = min(event.authority.not_after for event in rig.events("AuthorityTrusted"))  # type: ignore[attr-defined]
    assert due == ends - RENEWAL_BEFORE_MS
    assert ISSUING_DAYS * 24 * 3600 * 1000 > RENEWAL_BEFORE_MS
    before = roots(rig)
    rig.world.now = due
    rig.run(rig.world.tick(RENEWAL, subject))
    assert roots(rig) == before
    issuing = [event for event in rig.events("AuthorityTrusted") if event.authority.kind == "issuing"]  # type: ignore[attr-defined]
    assert len(issuing) == 4
    leaf, by = signed(rig, key())
    assert by.not_valid_after_utc.timestamp() * 1000 > ends
    assert leaf.issuer == by.subject


async def test_the_crl_lists_what_was_revoked_and_is_signed_by_the_issuing_ca(rig: Rig) -> None:
    issuing = next(
        event.authority.certificate  # type: ignore[attr-defined]
        for event in rig.events("AuthorityTrusted")
        if (event.use, event.authority.kind) == (TYPE, "issuing")  # type: ignore[attr-defined]
    )
    raw = await rig.local.crl({4711: rig.world.now - 5000})
    assert raw is not None
    crl = x509.load_der_x509_crl(raw)
    assert crl.is_signature_valid(x509.load_pem_x509_certificate(issuing.encode()).public_key())  # type: ignore[arg-type]
    assert [one.serial_number for one in crl] == [4711]
    assert crl.next_update_utc is not None
    assert crl.next_update_utc > datetime.datetime.now(datetime.UTC)


async def test_without_keys_there_is_no_crl() -> None:
    empty = LocalAuthority(MemoryStore(), Seal(b"k" * 32, "test"), system_clock, "", 365)
    assert (await empty.crl({}), await empty.issuing_fingerprint()) == (None, "")
