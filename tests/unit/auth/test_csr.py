"""Certificate signing requests: what is refused at once, and why."""

import base64
import hashlib
import warnings
from contextlib import suppress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import example, given
from hypothesis import strategies as st

from services.auth.authority.port import AuthorityFailed
from services.auth.authority.worker import proven
from services.auth.domain.csr import Csr, CsrRefused, judge
from tests.support.csrs import csr, name, pem, request, rsa_key


def judged(text: str, organization: str = "Operator") -> Csr:
    return judge(text, lambda common_name: common_name == "CS-1", organization)


def refusal(text: str) -> str:
    with pytest.raises(CsrRefused) as refused:
        judged(text)
    return str(refused.value)


@pytest.mark.requirement("A00.FR.501", "A00.FR.502", "A00.FR.503")
@pytest.mark.parametrize(
    "holder",
    [ec.generate_private_key(curve()) for curve in (ec.SECP224R1, ec.SECP256R1, ec.SECP384R1, ec.BrainpoolP256R1)]
    + [rsa_key(2048)],
    ids=["P-224", "P-256", "P-384", "brainpool", "RSA-2048"],
)
def test_strong_keys_are_taken(holder: ec.EllipticCurvePrivateKey) -> None:
    made = request("CS-1", "Operator", holder)
    digest = hashlib.sha256(made.public_bytes(Encoding.DER)).hexdigest()
    assert judged(pem(made)) == Csr(digest, "CS-1", "Operator")


@pytest.mark.requirement("A00.FR.501", "A00.FR.502", "A00.FR.503")
@pytest.mark.parametrize(
    "made",
    [
        request("CS-1", None, rsa_key(1024)),
        request("CS-1", None, rsa_key(2048, 3)),
        request("CS-1", None, ec.generate_private_key(ec.SECP192R1())),
        request("CS-1", None, ec.generate_private_key(ec.SECP256K1())),
        x509.CertificateSigningRequestBuilder()
        .subject_name(name("CS-1"))
        .sign(dsa.generate_private_key(2048), hashes.SHA256()),
    ],
    ids=["RSA-1024", "exponent", "P-192", "secp256k1", "DSA"],
)
def test_weak_keys_are_refused(made: x509.CertificateSigningRequest) -> None:
    assert "EC of 224 bits or more nor RSA of 2048" in refusal(pem(made))


@pytest.mark.requirement("A00.FR.504", "A00.FR.506")
def test_a_weak_digest_is_refused() -> None:
    assert "SHA-256" in refusal(pem(request("CS-1", digest=hashes.SHA224())))
    key = ed25519.Ed25519PrivateKey.generate()
    other = x509.CertificateSigningRequestBuilder().subject_name(name("CS-1")).sign(key, None)
    assert "SHA-256" in refusal(pem(other))


@pytest.mark.requirement("A00.FR.511")
@pytest.mark.parametrize("common_name", ["CS-2", "cs-1", "*", ""])
def test_another_name_is_refused(common_name: str) -> None:
    assert "CN" in refusal(csr(common_name or None))


@pytest.mark.requirement("A00.FR.511")
@pytest.mark.parametrize("common_name", ["https://x", "10.0.0.1", "fe80::1", "[::1]", "a\tb"])
def test_no_name_looks_like_an_address(common_name: str) -> None:
    with pytest.raises(CsrRefused, match="URL or an IP"):
        judge(csr(common_name), lambda _: True, "")


def test_two_names_are_refused() -> None:
    both = [x509.NameAttribute(NameOID.COMMON_NAME, one) for one in ("CS-1", "CS-2")]
    made = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(both))
    assert "more than one CN" in refusal(pem(made.sign(rsa_key(), hashes.SHA256())))


@pytest.mark.requirement("A00.FR.509")
def test_a_missing_organization_is_fine_and_another_is_not() -> None:
    assert judged(csr("CS-1")).organization == ""
    assert judged(csr("CS-1", "OPERATOR")).organization == "OPERATOR"
    assert judged(csr("CS-1", "Whoever"), organization="").organization == "Whoever"
    assert "another organization" in refusal(csr("CS-1", "Whoever"))
    assert "more than 64" in refusal(csr("CS-1", "W" * 65))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "garbage",
        "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----",
        "-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----",
        csr("CS-1") + csr("CS-1"),
        csr("CS-1").replace("REQUEST", "CERTIFICATE"),
        csr("CS-1")[:200],
        csr("CS-1") + "é",
        csr("CS-1") + " " * 5500,
    ],
)
def test_what_is_no_request_is_refused(text: str) -> None:
    assert refusal(text).startswith("the CSR is")


def test_spaces_around_it_and_windows_lines_are_nothing() -> None:
    text = csr("CS-1")
    assert judged("\n" + text.replace("\n", "\r\n") + "\n") == judged(text)


SOUND = [
    request("CS-1", "Operator").public_bytes(Encoding.DER),
    request("CS-1", holder=rsa_key()).public_bytes(Encoding.DER),
]


@example(SOUND[0], [(8, 1)], 0)  # another version than 0
@given(
    st.sampled_from(SOUND),
    st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255)), min_size=1, max_size=4),
    st.integers(0, 700),
)
def test_whatever_the_bytes_are_the_verdict_is_yes_or_no(der: bytes, changes: list[tuple[int, int]], cut: int) -> None:
    """Nothing else is raised, in the decision and in the worker."""
    broken = bytearray(der[: len(der) - cut if cut < 20 else len(der)])
    for place, value in changes:
        broken[place % len(broken)] = value
    body = base64.encodebytes(bytes(broken)).decode()
    text = f"-----BEGIN CERTIFICATE REQUEST-----\n{body}-----END CERTIFICATE REQUEST-----\n"
    with suppress(CsrRefused), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        judge(text, lambda _: True, "Operator")
    with suppress(AuthorityFailed), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        proven(text)
