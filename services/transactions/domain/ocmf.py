"""Signed meter values in the Open Charge Metering Format: `OCMF|{payload}|{signature}` (J; SignedMeterValueType). Pure.

What is signed are the bytes of the payload as they were sent. A signature counts only under a key that somebody
registered for the EVSE; the key that a message brings is a claim of whoever wrote the message, and names itself only.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal, NamedTuple

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)

Verdict = Literal["valid", "invalid", "unverified", "unsupported", "malformed"]
"""valid: signed by a registered key. invalid: not signed by any of those registered. unverified: none is registered.
unsupported: not OCMF, or an algorithm that is not known here. malformed: OCMF that cannot be read."""

CURVES: Final = {
    "secp192r1": "secp192r1",
    "secp256k1": "secp256k1",
    "secp256r1": "secp256r1",
    "secp384r1": "secp384r1",
    "secp521r1": "secp521r1",
    "brainpool256r1": "brainpoolP256r1",
    "brainpoolP256r1": "brainpoolP256r1",
    "brainpool384r1": "brainpoolP384r1",
    "brainpoolP384r1": "brainpoolP384r1",
}
"""As OCMF and stations write them -> as the library names them. secp192k1 it does not have."""
ALGORITHMS: Final[Mapping[str, str]] = {f"ECDSA-{named}-SHA256": curve for named, curve in CURVES.items()}
DEFAULT_ALGORITHM: Final = "ECDSA-secp256r1-SHA256"
PER_UNIT: Final = {"Wh": Decimal(1), "kWh": Decimal(1000)}
READINGS_MAX: Final = 100
KEY_CHARACTERS_MAX: Final = 2500
_FRAME = re.compile(rb"OCMF\|(\{.*\})\|(\{[^|]*\})\s*", re.DOTALL)
_PREFIX: Final = "oca:base16:asn1:"


class Key(NamedTuple):
    """A public key: `fingerprint` is the SHA-256 of its SubjectPublicKeyInfo, in hexadecimal."""

    fingerprint: str
    public: ec.EllipticCurvePublicKey


class Reading(NamedTuple):
    """One of the readings that were signed, in Wh where its unit is of energy. `status` G: good, says the meter."""

    at: str
    wh: Decimal | None
    status: str
    kind: str


class Judged(NamedTuple):
    """What a signed value turned out to be. `fingerprint`: of the key that it is valid under; `claimed`: of the key
    that came with it."""

    verdict: Verdict
    reason: str = ""
    fingerprint: str = ""
    claimed: str = ""
    meter: str = ""
    pagination: str = ""
    readings: tuple[Reading, ...] = ()


class _Signature(msgspec.Struct):
    SD: str
    SA: str = DEFAULT_ALGORITHM
    SE: str = "hex"
    SM: str = "application/x-der"


def read_key(text: str) -> Key:
    """A public key as PEM, or SubjectPublicKeyInfo in hexadecimal or base64, also as `oca:base16:asn1:...`.

    Raises ValueError, also for curves that OCMF does not have.
    """
    if len(text) > KEY_CHARACTERS_MAX:
        raise ValueError(f"a public key is at most {KEY_CHARACTERS_MAX} characters")
    text = text.strip()
    try:
        if text.startswith("-----BEGIN"):
            public = load_pem_public_key(text.encode())
        else:
            public = load_der_public_key(_der(text))
    except (ValueError, UnsupportedAlgorithm, binascii.Error) as error:
        raise ValueError("not a public key in PEM, hexadecimal or base64") from error
    if not isinstance(public, ec.EllipticCurvePublicKey):
        raise ValueError("not a key on an elliptic curve")
    if public.curve.name not in CURVES.values():
        raise ValueError(f"OCMF has no signatures on the curve {public.curve.name}")
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Key(hashlib.sha256(der).hexdigest(), public)


def spelled(key: Key) -> str:
    """The key as it is kept: base64 of its SubjectPublicKeyInfo."""
    return base64.b64encode(key.public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


def _der(text: str) -> bytes:
    for _ in range(2):  # OCPP puts the base64 over whatever the format has
        if text.startswith(_PREFIX):
            return bytes.fromhex(text.removeprefix(_PREFIX))
        if re.fullmatch(r"(?:[0-9a-fA-F]{2})+", text):
            return bytes.fromhex(text)
        decoded = base64.b64decode(text, validate=True)
        if decoded[:1] == b"\x30":
            return decoded
        text = decoded.decode("ascii").strip()
    return bytes.fromhex(text)


def judge(data: str, encoding: str, public_key: str, keys: Sequence[Key]) -> Judged:
    """`data`: signedMeterData, `encoding`: encodingMethod, `public_key`: as it came; `keys`: the registered ones."""
    claimed = _claimed(public_key)
    frame = _plain(data)
    if not frame.startswith(b"OCMF|"):
        if encoding.strip().upper() == "OCMF":
            return Judged("malformed", "it does not begin with OCMF|", claimed=claimed)
        return Judged("unsupported", "only OCMF is verified", claimed=claimed)
    parts = _FRAME.fullmatch(frame)
    if parts is None:
        return Judged("malformed", "not OCMF|{...}|{...}", claimed=claimed)
    payload = parts[1]
    try:
        content = msgspec.json.decode(payload, type=dict[str, Any])
        signature = msgspec.json.decode(parts[2], type=_Signature)
        signed = _signed(signature)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return Judged("malformed", "payload or signature cannot be read", claimed=claimed)
    found = Judged(
        "unverified",
        claimed=claimed,
        meter=str(content.get("MS", ""))[:50],
        pagination=str(content.get("PG", ""))[:20],
        readings=_readings(content.get("RD")),
    )
    if signature.SA not in ALGORITHMS or signature.SM != "application/x-der":
        return found._replace(verdict="unsupported", reason=f"algorithm {signature.SA[:50]!r}")
    if not keys:
        return found._replace(reason="no key is registered for this EVSE")
    curve = ALGORITHMS[signature.SA]
    for key in sorted(keys, key=lambda key: key.fingerprint != claimed):
        if key.public.curve.name == curve and _verifies(key.public, signed, payload):
            return found._replace(verdict="valid", fingerprint=key.fingerprint)
    return found._replace(verdict="invalid", reason="not signed by a registered key")


def _verifies(key: ec.EllipticCurvePublicKey, signed: bytes, payload: bytes) -> bool:
    try:
        key.verify(signed, payload, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def _claimed(public_key: str) -> str:
    try:
        return read_key(public_key).fingerprint if public_key else ""
    except ValueError:
        return ""


def _plain(data: str) -> bytes:
    """signedMeterData is base64 of the frame; some stations send the frame itself."""
    if data.startswith("OCMF|"):
        return data.encode()
    try:
        return base64.b64decode(data, validate=True)
    except (ValueError, binascii.Error):
        return b""


def _signed(signature: _Signature) -> bytes:
    if signature.SE == "hex":
        return bytes.fromhex(signature.SD)
    if signature.SE == "base64":
        return base64.b64decode(signature.SD, validate=True)
    raise ValueError(f"signature encoding {signature.SE!r}")


def _readings(listed: object) -> tuple[Reading, ...]:
    """Time, unit, kind (TX: B begin, E end) and status may be left out where they are as before."""
    found: list[Reading] = []
    at = unit = status = ""
    for one in listed[:READINGS_MAX] if isinstance(listed, list) else ():
        if not isinstance(one, dict):
            continue
        at, unit, status = (str(one.get(of, before)) for of, before in (("TM", at), ("RU", unit), ("ST", status)))
        found.append(Reading(at[:40], _wh(one.get("RV"), unit), status[:1], str(one.get("TX", ""))[:1]))
    return tuple(found)


def _wh(value: object, unit: str) -> Decimal | None:
    per_unit = PER_UNIT.get(unit)
    if per_unit is None or isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number * per_unit if number.is_finite() else None
