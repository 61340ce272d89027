"""Keys, certificate requests and authorities for tests."""

import datetime
from collections.abc import Sequence
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def key() -> ec.EllipticCurvePrivateKey:
    """A new one, P-256."""
    return ec.generate_private_key(ec.SECP256R1())


@cache
def rsa_key(bits: int = 2048, exponent: int = 65537) -> rsa.RSAPrivateKey:
    """Slow to make: one for all tests."""
    return rsa.generate_private_key(exponent, bits)


def name(common_name: str | None, organization: str | None = None) -> x509.Name:
    parts = ((NameOID.ORGANIZATION_NAME, organization), (NameOID.COMMON_NAME, common_name))
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts if value is not None])


def request(
    common_name: str | None,
    organization: str | None = None,
    holder: Key | None = None,
    digest: hashes.SHA224 | hashes.SHA256 | hashes.SHA384 | hashes.SHA512 | None = None,
) -> x509.CertificateSigningRequest:
    builder = x509.CertificateSigningRequestBuilder().subject_name(name(common_name, organization))
    return builder.sign(holder or key(), digest or hashes.SHA256())


def csr(common_name: str | None, organization: str | None = None, holder: Key | None = None) -> str:
    """In PEM."""
    return pem(request(common_name, organization, holder))


def pem(thing: x509.Certificate | x509.CertificateSigningRequest) -> str:
    return thing.public_bytes(serialization.Encoding.PEM).decode()


def secret_pem(holder: Key) -> str:
    return holder.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


class Ca:
    """A certificate authority; `of`: the one that certified it, `digest`: with which it signs."""

    def __init__(
        self,
        common_name: str,
        of: "Ca | None" = None,
        days: int = 3650,
        holder: ec.EllipticCurvePrivateKey | None = None,
        digest: hashes.SHA224 | hashes.SHA256 | None = None,
    ) -> None:
        self.key = holder or key()
        self.digest = digest or hashes.SHA256()
        self.name = name(common_name, "Test")
        self.of = of
        signer = of or self
        self.certificate = _sign(
            self.name, self.key.public_key(), signer.name, signer.key, signer.digest, days,
            [x509.BasicConstraints(ca=True, path_length=None)],
        )  # fmt: skip

    def issue(
        self,
        request: x509.CertificateSigningRequest,
        *,
        subject: x509.Name | None = None,
        days: int = 365,
        extensions: Sequence[x509.ExtensionType] = (),
    ) -> x509.Certificate:
        made = extensions or [x509.BasicConstraints(ca=False, path_length=None)]
        return _sign(subject or request.subject, request.public_key(), self.name, self.key, self.digest, days, made)

    @property
    def chain(self) -> list[x509.Certificate]:
        """Itself, and those above it."""
        return [self.certificate, *(self.of.chain if self.of else [])]


def _sign(
    subject: x509.Name, holder: object, issuer: x509.Name, signer: ec.EllipticCurvePrivateKey,
    digest: hashes.SHA224 | hashes.SHA256, days: int, extensions: Sequence[x509.ExtensionType],
) -> x509.Certificate:  # fmt: skip
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(holder)  # type: ignore[arg-type]
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=400))
        .not_valid_after(now + datetime.timedelta(days=days))
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    return builder.sign(signer, digest)
