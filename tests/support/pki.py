"""Authorities and certificates for tests: made in memory, written as PEM where a program wants files."""

import datetime
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
DAY = datetime.timedelta(days=1)
Kind = Literal["EC", "RSA"]
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def new_key(kind: Kind = "EC", bits: int = 2048) -> Key:
    if kind == "RSA":
        return rsa.generate_private_key(65537, bits)
    return ec.generate_private_key(ec.SECP256R1())


def name(common_name: str, organization: str | None) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organization is not None:
        parts.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(parts)


@dataclass(frozen=True)
class Certified:
    """A certificate with its key and the ones above it, the root left out where it is not the certificate itself."""

    certificate: x509.Certificate
    key: Key
    above: "tuple[x509.Certificate, ...]" = ()

    def issue(
        self,
        common_name: str = "CS1",
        organization: str | None = "Operator",
        *,
        kind: Kind = "EC",
        bits: int = 2048,
        ca: bool = False,
        days: tuple[float, float] = (-1, 30),
        host: str | None = None,
        key: Key | None = None,
        ocsp: str = "",
        uses: Sequence[x509.ObjectIdentifier] = (),
    ) -> "Certified":
        """A certificate below this one. `days`: from when until when, counted from now. `ocsp`: who may be asked."""
        own = key or new_key(kind, bits)
        builder = _builder(name(common_name, organization), own, ca, days).issuer_name(self.certificate.subject)
        if host is not None:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        if ocsp:
            place = x509.AccessDescription(AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(ocsp))
            builder = builder.add_extension(x509.AuthorityInformationAccess([place]), critical=False)
        if uses:
            builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        signed = builder.sign(self.key, hashes.SHA256())
        is_root = self.certificate.issuer == self.certificate.subject
        return Certified(signed, own, () if is_root else (self.certificate, *self.above))

    def certify(self, request: x509.CertificateSigningRequest, common_name: str, organization: str) -> bytes:
        """A certificate for the key of a CSR, PEM."""
        builder = (
            x509.CertificateBuilder()
            .subject_name(name(common_name, organization))
            .issuer_name(self.certificate.subject)
            .public_key(request.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - DAY)
            .not_valid_after(NOW + DAY)
        )
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def crl(self, *revoked: "Certified", days: tuple[float, float] = (-1, 30)) -> bytes:
        """A list of revoked certificates, PEM."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(NOW + days[0] * DAY)
            .next_update(NOW + days[1] * DAY)
        )
        for one in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(one.certificate.serial_number)
            builder = builder.add_revoked_certificate(entry.revocation_date(NOW - DAY).build())
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM)

    @property
    def pem(self) -> bytes:
        """The certificate and what is above it."""
        return b"".join(one.public_bytes(Encoding.PEM) for one in (self.certificate, *self.above))

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def write(self, folder: Path, file: str) -> tuple[Path, Path]:
        """FILE.pem and FILE.key."""
        chain, key = folder / f"{file}.pem", folder / f"{file}.key"
        chain.write_bytes(self.pem)
        key.write_bytes(self.key_pem)
        return chain, key

    def alone(self) -> "Certified":
        """Without what is above it: the other side has to know that."""
        return replace(self, above=())


def authority(common_name: str = "Root", kind: Kind = "EC") -> Certified:
    key = new_key(kind)
    subject = name(common_name, "Operator")
    certificate = _builder(subject, key, True, (-1, 30)).issuer_name(subject).sign(key, hashes.SHA256())
    return Certified(certificate, key)


def _builder(subject: x509.Name, key: Key, ca: bool, days: tuple[float, float]) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + days[0] * DAY)
        .not_valid_after(NOW + days[1] * DAY)
        .add_extension(x509.BasicConstraints(ca, None), critical=True)
    )


def client_context(
    trust: bytes, own: Certified | None, folder: Path, *, version: ssl.TLSVersion | None = None, suite: str = "",
    **options: Any,
) -> ssl.SSLContext:  # fmt: skip
    """A station's side of TLS: it checks the CSMS's certificate, and shows `own`. `version`: that and no other."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=trust.decode())
    if version is not None:
        context.minimum_version = context.maximum_version = version
    if suite:
        context.set_ciphers(suite)
    if own is not None:
        context.load_cert_chain(*own.write(folder, f"client-{own.certificate.serial_number:x}"))
    for option, value in options.items():
        setattr(context, option, value)
    return context
