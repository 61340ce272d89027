"""What OCSP says of a client certificate (RFC 6960; A00.FR.702): the question, and what its answer is worth. No IO.

Whose URL is in a certificate is not for the certificate to say: only responders that the operator has named are asked.
An answer counts when it is signed by the certificate's issuer, or by whom the issuer has certified for just that.
"""

from collections.abc import Iterable, Set
from datetime import datetime
from typing import Final, Literal, NamedTuple
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

SKEW_MS: Final = 5 * 60_000
"""How far a responder's clock may be ahead of ours."""
HOUR_MS: Final = 3_600_000
AGE_MS_MAX: Final = 24 * HOUR_MS
"""An answer is asked for again after a day, whatever it says of its next update."""
HASHES: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)

Status = Literal["good", "revoked", "unknown"]


class Question(NamedTuple):
    """`request`: DER, for a POST to `url`."""

    url: str
    request: bytes
    leaf: x509.Certificate
    issuer: x509.Certificate


class Answer(NamedTuple):
    """`until`: what it holds until, ms."""

    status: Status
    until: int


class BadAnswer(ValueError):
    """It says nothing: not signed by whom it should be, too old, or about another certificate."""


def question(leaf: x509.Certificate, issuer: x509.Certificate, responders: Set[str]) -> Question | None:
    """What to ask about a certificate; None where it names no responder of `responders` (`HOST` or `HOST:PORT`)."""
    try:
        named = leaf.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except (x509.ExtensionNotFound, ValueError):
        return None
    for access in named:
        place = access.access_location
        if (
            access.access_method == AuthorityInformationAccessOID.OCSP
            and isinstance(place, x509.UniformResourceIdentifier)
            and _allowed(place.value, responders)
        ):
            asked = ocsp.OCSPRequestBuilder().add_certificate(leaf, issuer, hashes.SHA1())
            return Question(place.value, asked.build().public_bytes(Encoding.DER), leaf, issuer)
    return None


def _allowed(url: str, responders: Set[str]) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        return False
    return parts.hostname in responders if port is None else f"{parts.hostname}:{port}" in responders


def judge(asked: Question, der: bytes, now: int) -> Answer:
    """What a responder's answer is worth at this moment (ms). Raises BadAnswer."""
    try:
        response = ocsp.load_der_ocsp_response(der)
        if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            raise BadAnswer(f"the responder says {response.response_status.name}")
        _check_signature(response, asked.issuer, now)
        return _single(asked, response.responses, now)
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature) as error:
        if isinstance(error, BadAnswer):
            raise
        raise BadAnswer(f"no OCSP answer that can be used: {type(error).__name__} {error}".strip()) from None


def _single(asked: Question, found: Iterable[ocsp.OCSPSingleResponse], now: int) -> Answer:
    request = ocsp.load_der_ocsp_request(asked.request)
    wanted = (request.serial_number, request.issuer_key_hash, request.issuer_name_hash)
    for one in found:
        if (one.serial_number, one.issuer_key_hash, one.issuer_name_hash) != wanted:
            continue
        until = _ms(one.next_update_utc) if one.next_update_utc else now + HOUR_MS
        if _ms(one.this_update_utc) > now + SKEW_MS or until <= now:
            raise BadAnswer("the answer is not of now")
        status: dict[ocsp.OCSPCertStatus, Status] = {
            ocsp.OCSPCertStatus.GOOD: "good",
            ocsp.OCSPCertStatus.REVOKED: "revoked",
        }
        return Answer(status.get(one.certificate_status, "unknown"), min(until, now + AGE_MS_MAX))
    raise BadAnswer("the answer is about another certificate")


def _check_signature(response: ocsp.OCSPResponse, issuer: x509.Certificate, now: int) -> None:
    """Raises BadAnswer or InvalidSignature."""
    digest = response.signature_hash_algorithm
    if not isinstance(digest, HASHES):
        raise BadAnswer("the answer is not signed with SHA-256 or better")
    signers = [issuer, *(one for one in response.certificates if _may_sign(one, issuer, now))]
    if not any(_signed(response, signer, digest) for signer in signers):
        raise BadAnswer("the answer is not signed by the certificate's issuer, nor by its responder")


def _may_sign(signer: x509.Certificate, issuer: x509.Certificate, now: int) -> bool:
    """Whether the issuer has certified it for OCSP (RFC 6960, 4.2.2.2)."""
    try:
        signer.verify_directly_issued_by(issuer)
        uses = signer.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, x509.ExtensionNotFound):
        return False
    timely = _ms(signer.not_valid_before_utc) <= now < _ms(signer.not_valid_after_utc)
    return timely and ExtendedKeyUsageOID.OCSP_SIGNING in uses


def _signed(response: ocsp.OCSPResponse, signer: x509.Certificate, digest: hashes.HashAlgorithm) -> bool:
    try:
        match signer.public_key():
            case ec.EllipticCurvePublicKey() as key:
                key.verify(response.signature, response.tbs_response_bytes, ec.ECDSA(digest))
            case rsa.RSAPublicKey() as key:
                key.verify(response.signature, response.tbs_response_bytes, padding.PKCS1v15(), digest)
            case _:
                return False
    except InvalidSignature:
        return False
    return True


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
