"""A certificate signing request, read and judged (A02, A03; A00.FR.501 to 511): all that takes no time.

Whether its signature is valid is found out by the worker that has it signed: that can take milliseconds.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from ocppcore.topics import normalise

CSR_CHARACTERS_MAX: Final = 5500
COMMON_NAME_MAX: Final = 64
ORGANIZATION_MAX: Final = 64
RSA_BITS: Final = range(2048, 8193)
RSA_EXPONENT_MAX: Final = 2**32
"""A larger key or exponent makes checking its signature cost what an attacker likes."""
CURVES: Final = frozenset(
    {"secp224r1", "secp256r1", "secp384r1", "secp521r1", "brainpoolP256r1", "brainpoolP384r1", "brainpoolP512r1"}
)
HASHES: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_BLOCK = re.compile(r"-----BEGIN (NEW )?CERTIFICATE REQUEST-----.*-----END (NEW )?CERTIFICATE REQUEST-----", re.DOTALL)
_ADDRESS = re.compile(r"://|^(\d{1,3}\.){3}\d{1,3}$|^\[?[0-9a-fA-F:]*:[0-9a-fA-F:]*:[0-9a-fA-F:.]*\]?$")


class CsrRefused(ValueError):
    """The request cannot be signed; the text tells the station and the operator why."""


@dataclass(frozen=True)
class Csr:
    """`digest`: SHA-256 of the DER. `organization` "": it names none."""

    digest: str
    common_name: str
    organization: str


def read(text: str) -> x509.CertificateSigningRequest:
    """The request in PEM, which must be all there is; raises CsrRefused."""
    if len(text) > CSR_CHARACTERS_MAX:
        raise CsrRefused(f"the CSR is longer than {CSR_CHARACTERS_MAX} characters")
    found = text.strip()
    if not found.isascii() or found.count("-----BEGIN") != 1 or not _BLOCK.fullmatch(found):
        raise CsrRefused("the CSR is no PEM certificate request")
    try:
        return x509.load_pem_x509_csr(found.encode())
    except (ValueError, x509.InvalidVersion):  # which is no ValueError
        raise CsrRefused("the CSR is no PKCS #10 request") from None


def judge(text: str, is_name: Callable[[str], bool], organization: str) -> Csr:
    """Whether this may be signed for whom `is_name` knows by the common name.

    `organization`: the operator's, "" if that is not set. A request without one is fine: the authority sets it.
    Raises CsrRefused.
    """
    request = read(text)
    _judge_key(request)
    common_name = _one(request, NameOID.COMMON_NAME, "CN")
    if not common_name:
        raise CsrRefused("the CSR's subject has no CN")
    if len(organization_of(request)) > ORGANIZATION_MAX:
        raise CsrRefused(f"the O has more than {ORGANIZATION_MAX} characters")
    if len(common_name) > COMMON_NAME_MAX or not common_name.isprintable() or _ADDRESS.search(common_name):
        raise CsrRefused("the CN is none of a station: too long, or a URL or an IP address (A00.FR.511)")
    if not is_name(common_name):
        raise CsrRefused("the CN is not this station's serial number, or its id if none is registered (A00.FR.511)")
    named = organization_of(request)
    if named and organization and normalise(named) != normalise(organization):
        raise CsrRefused("the O is another organization than the operator's (A00.FR.404)")
    digest = hashlib.sha256(request.public_bytes(Encoding.DER)).hexdigest()
    return Csr(digest, common_name, named)


def organization_of(request: x509.CertificateSigningRequest) -> str:
    """The O that it names, "" for none; raises CsrRefused."""
    return _one(request, NameOID.ORGANIZATION_NAME, "O")


def _judge_key(request: x509.CertificateSigningRequest) -> None:
    try:
        key = request.public_key()
        digest = request.signature_hash_algorithm
    except (ValueError, UnsupportedAlgorithm):
        raise CsrRefused("the CSR's key or algorithm is not known") from None
    if not isinstance(digest, HASHES):
        raise CsrRefused("the CSR is not signed with SHA-256 or better (A00.FR.504, A00.FR.506)")
    match key:
        case ec.EllipticCurvePublicKey() if key.curve.name in CURVES:
            return
        case rsa.RSAPublicKey() if key.key_size in RSA_BITS and 65537 <= key.public_numbers().e < RSA_EXPONENT_MAX:
            return
    raise CsrRefused("the key is neither EC of 224 bits or more nor RSA of 2048 to 8192 (A00.FR.502, A00.FR.503)")


def _one(request: x509.CertificateSigningRequest, oid: x509.ObjectIdentifier, called: str) -> str:
    try:
        found = request.subject.get_attributes_for_oid(oid)
    except ValueError:
        raise CsrRefused("the CSR's subject cannot be read") from None
    if len(found) > 1:
        raise CsrRefused(f"the CSR's subject has more than one {called}")
    value = found[0].value if found else ""
    return value if isinstance(value, str) else ""
