"""What is doubtful about the firmware that a station is to be offered (A00.FR.707, L01): its signing certificate and
its signature. Pure: the file is fetched, and hashed, elsewhere."""

import base64
import binascii
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

PATH_MAX: Final = 5
RSA_BITS_MIN: Final = 2048
EC_BITS_MIN: Final = 224
HASHES: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
CERTIFICATE: Final = "firmware.signingCertificate"
SIGNATURE: Final = "firmware.signature"
_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion)


class _Firmware(msgspec.Struct, rename="camel"):
    location: str
    signing_certificate: str | None = None
    signature: str | None = None


class _Update(msgspec.Struct):
    firmware: _Firmware


class Offer(NamedTuple):
    """`certificate` and `signature`: as they can be used, None where they cannot. `doubts`: what is wrong so far."""

    location: str
    certificate: x509.Certificate | None
    signature: bytes | None
    doubts: tuple[str, ...]


def examine(payload: bytes, anchors: Sequence[x509.Certificate], now: int) -> Offer:
    """An UpdateFirmware that fits its schema, at this moment (ms). `anchors`: manufacturers' authorities that are
    trusted, none: anybody's. One with neither certificate nor signature is not a secure update (L02): no doubt."""
    said = msgspec.json.decode(payload, type=_Update).firmware
    if said.signing_certificate is None and said.signature is None:
        return Offer(said.location, None, None, ())
    doubts: list[str] = []
    chain = _chain(said.signing_certificate, doubts)
    if chain:
        doubts += _about(chain, anchors, datetime.fromtimestamp(now / 1000, UTC))
    return Offer(said.location, chain[0] if chain else None, _signature(said.signature, doubts), tuple(doubts))


def _chain(text: str | None, doubts: list[str]) -> list[x509.Certificate]:
    if text is None:
        doubts.append(f"{CERTIFICATE}: missing, so the signature proves nothing (L01.FR.11)")
        return []
    try:
        return x509.load_pem_x509_certificates(text.encode())[:PATH_MAX]
    except _UNREADABLE:
        doubts.append(f"{CERTIFICATE}: no PEM certificate")
        return []


def _signature(text: str | None, doubts: list[str]) -> bytes | None:
    if text is None:
        doubts.append(f"{SIGNATURE}: missing, the certificate alone proves nothing")
        return None
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        doubts.append(f"{SIGNATURE}: not in Base64")
        return None


def _about(chain: list[x509.Certificate], anchors: Sequence[x509.Certificate], now: datetime) -> Iterator[str]:
    leaf = chain[0]
    if now < leaf.not_valid_before_utc:
        yield f"{CERTIFICATE}: not valid before {leaf.not_valid_before_utc.isoformat()}"
    if now >= leaf.not_valid_after_utc:
        yield f"{CERTIFICATE}: expired at {leaf.not_valid_after_utc.isoformat()}"
    try:
        if not _is_strong(leaf):
            yield f"{CERTIFICATE}: its key or its signature is too weak (A00.FR.501, A00.FR.504)"
        usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
        if not usage.digital_signature:
            yield f"{CERTIFICATE}: not for digital signatures (A00.FR.512)"
    except x509.ExtensionNotFound:
        pass
    except _UNREADABLE:
        yield f"{CERTIFICATE}: its key or its extensions cannot be read"
        return
    if anchors and not _is_trusted(chain, anchors, now):
        yield f"{CERTIFICATE}: no path to an authority of CSMS_DEVICE_FIRMWARE_CAS"


def _is_strong(certificate: x509.Certificate) -> bool:
    if not isinstance(certificate.signature_hash_algorithm, HASHES):
        return False
    match certificate.public_key():
        case ec.EllipticCurvePublicKey() as key:
            return key.key_size >= EC_BITS_MIN
        case rsa.RSAPublicKey() as key:
            return key.key_size >= RSA_BITS_MIN
    return False


def _is_trusted(chain: list[x509.Certificate], anchors: Sequence[x509.Certificate], now: datetime) -> bool:
    """Whether the leaf is below an anchor, by way of what was sent with it."""
    below = chain[0]
    for _ in range(PATH_MAX):
        if any(_issued(one, below, now) for one in anchors):
            return True
        above = next((one for one in chain[1:] if one != below and _issued(one, below, now)), None)
        if above is None:
            return False
        below = above
    return False


def _issued(issuer: x509.Certificate, below: x509.Certificate, now: datetime) -> bool:
    try:
        below.verify_directly_issued_by(issuer)
        is_ca = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (*_UNREADABLE, InvalidSignature, x509.ExtensionNotFound):
        return False
    return is_ca and issuer.not_valid_before_utc <= now < issuer.not_valid_after_utc


def fits(certificate: x509.Certificate, signature: bytes, digest: bytes) -> bool:
    """Whether this is the key's signature of a file with this SHA-256: RSA-PSS, or ECDSA for an EC key.

    The standard's other algorithm, ECSchnorr, has no well-kept library; EC keys sign with ECDSA in the field.
    """
    hashed = utils.Prehashed(hashes.SHA256())
    try:
        match certificate.public_key():
            case rsa.RSAPublicKey() as key:
                pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.AUTO)
                key.verify(signature, digest, pss, hashed)
            case ec.EllipticCurvePublicKey() as key:
                key.verify(signature, digest, ec.ECDSA(hashed))
            case _:
                return False
    except (*_UNREADABLE, InvalidSignature):
        return False
    return True
