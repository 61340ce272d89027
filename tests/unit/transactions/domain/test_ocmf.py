"""OCMF: whose signature counts, and what cannot be read."""

import base64
import json
from decimal import Decimal
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from services.transactions.domain.ocmf import Key, judge, read_key, spelled

METER = ec.derive_private_key(1234567, ec.SECP256R1())
OTHER = ec.derive_private_key(7654321, ec.SECP256R1())
PAYLOAD = {
    "FV": "1.0",
    "MS": "METER-1",
    "PG": "T17",
    "ID": "04AABBCC",
    "RD": [
        {"TM": "2026-01-01T10:00:00,000+0000 S", "TX": "B", "RV": 1.5, "RU": "kWh", "ST": "G"},
        {"TM": "2026-01-01T11:00:00,000+0000 S", "TX": "E", "RV": 12.25},
    ],
}


def der(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def frame(
    key: ec.EllipticCurvePrivateKey = METER, payload: Any = PAYLOAD, *, encoding: str = "hex", **more: str
) -> bytes:
    text = json.dumps(payload, indent=1).encode()
    signed = key.sign(text, ec.ECDSA(hashes.SHA256()))
    data = signed.hex() if encoding == "hex" else base64.b64encode(signed).decode()
    signature = {"SA": f"ECDSA-{key.curve.name}-SHA256", "SE": encoding, "SD": data} | more
    return b"OCMF|" + text + b"|" + json.dumps(signature).encode()


def sent(data: bytes) -> str:
    return base64.b64encode(data).decode()


def keys(*of: ec.EllipticCurvePrivateKey) -> list[Key]:
    return [read_key(der(key).hex()) for key in of]


def test_a_value_signed_by_a_registered_key_is_valid() -> None:
    found = judge(sent(frame()), "OCMF", "", keys(OTHER, METER))
    assert (found.verdict, found.fingerprint) == ("valid", keys(METER)[0].fingerprint)
    assert (found.meter, found.pagination) == ("METER-1", "T17")
    assert [(one.wh, one.kind, one.status) for one in found.readings] == [
        (Decimal(1500), "B", "G"),
        (Decimal(12250), "E", "G"),
    ]


@pytest.mark.parametrize(
    "curve",
    [ec.SECP192R1(), ec.SECP256K1(), ec.SECP384R1(), ec.SECP521R1(), ec.BrainpoolP256R1(), ec.BrainpoolP384R1()],
    ids=lambda curve: curve.name,
)
def test_other_curves(curve: ec.EllipticCurve) -> None:
    key = ec.derive_private_key(99, curve)
    assert judge(sent(frame(key)), "", "", keys(METER, key)).verdict == "valid"
    assert judge(sent(frame(key)), "", "", keys(METER)).verdict == "invalid"


def test_signatures_come_in_hexadecimal_or_base64() -> None:
    assert judge(sent(frame(encoding="base64")), "OCMF", "", keys(METER)).verdict == "valid"
    assert judge(frame().decode(), "OCMF", "", keys(METER)).verdict == "valid"


def test_the_key_that_came_along_proves_nothing() -> None:
    claim = base64.b64encode(der(OTHER)).decode()
    found = judge(sent(frame(OTHER)), "OCMF", claim, [])
    assert (found.verdict, found.fingerprint, found.claimed) == ("unverified", "", keys(OTHER)[0].fingerprint)
    assert judge(sent(frame(OTHER)), "OCMF", claim, keys(METER)).verdict == "invalid"


def test_a_byte_that_was_changed_shows() -> None:
    changed = frame().replace(b"12.25", b"12.26")
    assert judge(sent(changed), "OCMF", "", keys(METER)).verdict == "invalid"


@pytest.mark.parametrize(
    ("data", "encoding", "verdict"),
    [
        (b"", "OCMF", "malformed"),
        (b"OCMF|{}", "OCMF", "malformed"),
        (b"OCMF|{|{}", "OCMF", "malformed"),
        (b"OCMF|{}|{}", "OCMF", "malformed"),
        (b'OCMF|{}|{"SD":"xyz"}', "OCMF", "malformed"),
        (b'OCMF|{}|{"SD":"00","SE":"morse"}', "OCMF", "malformed"),
        (b"OCMF|[" + b"[" * 2000 + b"|{}", "OCMF", "malformed"),
        (b"AP;0;3;...", "EDL", "unsupported"),
        (frame(SA="ECDSA-secp192k1-SHA256"), "OCMF", "unsupported"),
        (frame(SA="RSA"), "OCMF", "unsupported"),
        (frame(SM="application/pem"), "OCMF", "unsupported"),
        (b'OCMF|{"RD":[1,null,{"RV":true}]}|{"SD":"00"}', "OCMF", "invalid"),
    ],
    ids=[
        "empty", "no-signature", "not-json", "no-readings", "not-hex", "unknown-encoding", "deep", "EDL", "secp192k1",
        "RSA", "pem", "odd-readings",
    ],
)  # fmt: skip
def test_what_cannot_be_verified_says_why(data: bytes, encoding: str, verdict: str) -> None:
    found = judge(sent(data), encoding, "not a key", keys(METER))
    assert (found.verdict, bool(found.reason), found.claimed) == (verdict, True, "")


def test_keys_come_in_many_spellings() -> None:
    pem = METER.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    hexadecimal, raw = der(METER).hex(), base64.b64encode(der(METER)).decode()
    prefixed = f"oca:base16:asn1:{hexadecimal}"
    spellings = [
        pem,
        hexadecimal,
        hexadecimal.upper(),
        raw,
        prefixed,
        sent(prefixed.encode()),
        sent(hexadecimal.encode()),
    ]
    assert {read_key(text).fingerprint for text in spellings} == {read_key(hexadecimal).fingerprint}
    assert spelled(read_key(pem)) == raw


@pytest.mark.parametrize(
    "text",
    [
        "", "00", "no key", "oca:base16:asn1:zz", "A" * 2501,
        ed25519.Ed25519PrivateKey.from_private_bytes(b"k" * 32).public_key()
        .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo).hex(),
        der(ec.derive_private_key(5, ec.SECP224R1())).hex(),
    ],
    ids=lambda text: text[:12],
)  # fmt: skip
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        read_key(text)


@given(st.text(max_size=200), st.text(max_size=20), st.text(max_size=50))
def test_whatever_comes_is_judged(data: str, encoding: str, key: str) -> None:
    assert judge(data, encoding, key, keys(METER)).verdict in ("malformed", "unsupported")


@given(st.binary(max_size=200))
def test_whatever_is_framed_is_judged(middle: bytes) -> None:
    assert judge(sent(b"OCMF|{" + middle + b"}"), "OCMF", "", keys(METER)).verdict != "valid"
