"""An authority for one benchmark: the gateway's certificate and those of stations, with EC keys."""

import datetime
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import NameOID

HOST = "localhost"
ROOT, GATEWAY, OPERATOR = "root", "gateway", "Operator"
_DAY = datetime.timedelta(days=1)


class Authority(NamedTuple):
    """`write` puts NAME.pem and NAME.key into the folder."""

    folder: Path
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def write(self, name: str) -> None:
        """A certificate for this common name."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName(HOST)])
        builder = _builder(name, key).issuer_name(self.certificate.subject).add_extension(names, critical=False)
        _save(self.folder, name, builder.sign(self.key, hashes.SHA256()), key)


def make(folder: Path) -> Authority:
    """With its root as root.pem, and the gateway's certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(ROOT, key).issuer_name(_name(ROOT))
    root = builder.add_extension(x509.BasicConstraints(True, None), critical=True).sign(key, hashes.SHA256())
    _save(folder, ROOT, root, key)
    authority = Authority(folder, root, key)
    authority.write(GATEWAY)
    return authority


def load(folder: Path) -> Authority:
    """The one that `make` has made there."""
    key = load_pem_private_key((folder / f"{ROOT}.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return Authority(folder, x509.load_pem_x509_certificate((folder / f"{ROOT}.pem").read_bytes()), key)


def settings(folder: Path) -> dict[str, str]:
    """What a system needs to speak TLS with them."""
    chain, key = folder / f"{GATEWAY}.pem", folder / f"{GATEWAY}.key"
    return {
        "CSMS_OCPP_TLS_CERTS": f"{chain}:{key}",
        "CSMS_OCPP_CLIENT_CAS": str(folder / f"{ROOT}.pem"),
        "CSMS_OCPP_ORGANIZATIONS": OPERATOR,
    }


def _name(common_name: str) -> x509.Name:
    owner = x509.NameAttribute(NameOID.ORGANIZATION_NAME, OPERATOR)
    return x509.Name([owner, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(common_name: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(common_name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + _DAY)
    )


def _save(folder: Path, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    held = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / f"{name}.key").write_bytes(held)
