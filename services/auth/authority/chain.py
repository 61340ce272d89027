"""A chain as an authority returned it, checked and put in order. CPU work: for a thread.

The authority is trusted to sign, not to keep to the rules: what it returns must be for this key and this name, be
valid now, hold together, and keep to A00.FR.5xx; then it is sent leaf first and without its root.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from ocppcore.contracts.certificates import CaCertificate, SigningResult
from services.auth.authority.port import AuthorityFailed, Wanted
from services.auth.domain.csr import CURVES, HASHES, RSA_BITS

DEPTH_MAX: Final = 5
POOL_MAX: Final = 20


def checked(pool: Sequence[x509.Certificate], wanted: Wanted, organization: str) -> SigningResult:
    """What is to be sent and trusted. `organization`: the operator's, "" if not set. Raises AuthorityFailed."""
    if len(pool) > POOL_MAX:
        raise _wrong(f"more than {POOL_MAX} certificates")
    try:
        leaf = _leaf(pool, wanted)
        _check_leaf(leaf, wanted, organization)
        above = _above(leaf, pool)
        for one in (leaf, *above):
            _check_strength(one)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise _wrong(f"a certificate that cannot be read: {error}") from None
    issuers = tuple(ca_certificate(one) for one in above)
    sent = [one for one in above if not is_root(one)]
    return SigningResult(
        request_id="",
        attempt=0,
        chain=tuple(pem(one) for one in (leaf, *sent)),
        issuers=issuers,
        fingerprint=fingerprint(leaf),
        serial_number=f"{leaf.serial_number:x}",
        subject_name=leaf.subject.rfc4514_string(),
        issuer_name=leaf.issuer.rfc4514_string(),
        issuer_fingerprint=issuers[0].fingerprint if issuers else "",
        not_before=ms(leaf.not_valid_before_utc),
        not_after=ms(leaf.not_valid_after_utc),
    )


def _leaf(pool: Sequence[x509.Certificate], wanted: Wanted) -> x509.Certificate:
    key = _spki(wanted.request)
    found = [one for one in pool if _spki(one) == key]
    if len(found) != 1:
        raise _wrong(f"{len(found)} certificates for the request's key")
    return found[0]


def _check_leaf(leaf: x509.Certificate, wanted: Wanted, organization: str) -> None:
    names = [str(one.value) for one in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if names != [wanted.common_name]:
        raise _wrong(f"a certificate for {names}, not for {wanted.common_name!r}")
    owners = [str(one.value) for one in leaf.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    if not owners:
        raise _wrong("a certificate without O (A00.FR.509)")
    if organization and organization not in owners:
        raise _wrong(f"a certificate of {owners}, not of {organization!r} (A00.FR.404)")
    if not ms(leaf.not_valid_before_utc) <= wanted.at < ms(leaf.not_valid_after_utc):
        raise _wrong("a certificate that is not valid now")
    if _is_ca(leaf):
        raise _wrong("a CA certificate for a station")


def _check_strength(certificate: x509.Certificate) -> None:
    """A00.FR.501 to 504, of every certificate of the chain; a root's own signature proves nothing."""
    if not is_root(certificate) and not isinstance(certificate.signature_hash_algorithm, HASHES):
        raise _wrong("a certificate that is not signed with SHA-256 or better (A00.FR.504)")
    match certificate.public_key():
        case ec.EllipticCurvePublicKey() as key if key.curve.name in CURVES:
            return
        case rsa.RSAPublicKey() as key if key.key_size >= RSA_BITS.start:
            return
    raise _wrong("a key that is too weak (A00.FR.501)")


def _above(leaf: x509.Certificate, pool: Sequence[x509.Certificate]) -> Sequence[x509.Certificate]:
    """From the leaf's issuer upwards, as far as the pool reaches."""
    found: list[x509.Certificate] = []
    below = leaf
    while not is_root(below) and len(found) <= DEPTH_MAX:
        issuer = next((one for one in pool if _issued(one, below)), None)
        if issuer is None:
            break
        found.append(issuer)
        below = issuer
    if len(found) > DEPTH_MAX:
        raise _wrong(f"a chain of more than {DEPTH_MAX} CAs")
    return found


def _issued(issuer: x509.Certificate, below: x509.Certificate) -> bool:
    if issuer.subject != below.issuer or not _is_ca(issuer):
        return False
    try:
        below.verify_directly_issued_by(issuer)
    except InvalidSignature:
        return False
    return True


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def is_root(certificate: x509.Certificate) -> bool:
    """Whether it is its own issuer."""
    return certificate.issuer == certificate.subject


def ca_certificate(certificate: x509.Certificate) -> CaCertificate:
    return CaCertificate(
        fingerprint=fingerprint(certificate),
        kind="root" if is_root(certificate) else "issuing",
        subject_name=certificate.subject.rfc4514_string(),
        not_after=ms(certificate.not_valid_after_utc),
        certificate=pem(certificate),
    )


def fingerprint(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(SHA256()).hex()


def pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def when(at: int) -> datetime:
    """A moment in ms as X.509 takes it: whole seconds, UTC."""
    return datetime.fromtimestamp(at // 1000, UTC)


def _spki(holder: x509.Certificate | x509.CertificateSigningRequest) -> bytes:
    return holder.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _wrong(what: str) -> AuthorityFailed:
    """Another answer may be right: the operator may put it right meanwhile."""
    return AuthorityFailed(f"the authority returned {what}", again=True)
