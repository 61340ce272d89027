"""The local authority: a root and an issuing CA for each use, P-256, for installations that have no PKI of their own.

It signs what was judged before, and takes nothing from a request but its key and its names: no extension that a station
asks for gets into a certificate. Private keys are kept sealed in auth's database; the root's is used only to
certify an issuing CA (A00.FR.603).
"""

import asyncio
import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from cryptography.x509.oid import NameOID

from ocppcore.clock import Clock
from ocppcore.contracts.auth import CertificateUse
from ocppcore.contracts.certificates import LocalAuthorityResult, MadeHierarchy
from ocppcore.seal import Seal
from ocppcore.store import StateKey, Store
from services.auth.authority.chain import ca_certificate, fingerprint, pem, when
from services.auth.authority.port import AuthorityFailed, Wanted
from services.auth.domain.authority import LOCAL, AuthorityKeys, KeptKey
from services.auth.domain.csr import organization_of

PURPOSE: Final = "auth.authority"
USES: Final[tuple[CertificateUse, ...]] = ("ChargingStationCertificate", "V2GCertificate")
NAMES: Final[Mapping[CertificateUse, str]] = {"ChargingStationCertificate": "Station", "V2GCertificate": "V2G"}
ROOT_DAYS: Final = 30 * 365
ISSUING_DAYS: Final = 12 * 365
BACKDATED_S: Final = 600
"""A station's clock may be behind ours (errata of A02.FR.06)."""
CRL_DAYS: Final = 7
FALLBACK_ORGANIZATION: Final = "CSMS"
SECC_DOMAIN: Final = "CPO"
"""The domain component by which a vehicle knows an SECC (ISO 15118-2, annex F; A00.FR.513)."""


@dataclass(frozen=True)
class LocalAuthority:
    """`organization`: the O of what it signs and of its own certificates; "": as the request says, else `CSMS`."""

    store: Store
    seal: Seal
    clock: Clock
    organization: str
    valid_days: int

    @property
    def uses(self) -> frozenset[CertificateUse]:
        return frozenset(USES)

    async def sign(self, wanted: Wanted) -> Sequence[x509.Certificate]:
        """The certificate, its issuing CA and its root. Raises AuthorityFailed while there are no keys."""
        kept = await self._kept(wanted.use)
        return await asyncio.to_thread(self._sign, wanted, kept)

    def _sign(self, wanted: Wanted, kept: KeptKey) -> Sequence[x509.Certificate]:
        issuing = x509.load_pem_x509_certificate(kept.issuing.encode())
        owner = self.organization or organization_of(wanted.request) or FALLBACK_ORGANIZATION
        start = when(wanted.at) - timedelta(seconds=BACKDATED_S)
        end = min(when(wanted.at) + timedelta(days=self.valid_days), issuing.not_valid_after_utc)
        key = wanted.request.public_key()
        leaf = (
            x509.CertificateBuilder()
            .subject_name(_name(wanted.common_name, owner, SECC_DOMAIN if wanted.secc else ""))
            .issuer_name(issuing.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True, key_agreement=_is_ec(key)), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(_issued_by(issuing), critical=False)
            .sign(self._open(kept.issuing_key, kept.issuing), SHA256())
        )
        return leaf, issuing, x509.load_pem_x509_certificate(kept.root.encode())

    async def make(self) -> LocalAuthorityResult:
        """New issuing CAs, and roots where there are none yet that can be opened."""
        keys = await self._keys()
        kept = {one.use: one for one in keys.keys} if keys else {}
        made = [await asyncio.to_thread(self._made, use, kept.get(use)) for use in USES]
        return LocalAuthorityResult(hierarchies=tuple(made))

    def _made(self, use: CertificateUse, kept: KeptKey | None) -> MadeHierarchy:
        try:
            return self._hierarchy(use, kept)
        except AuthorityFailed:
            return self._hierarchy(use, None)

    def _hierarchy(self, use: CertificateUse, kept: KeptKey | None) -> MadeHierarchy:
        at, owner, name = self.clock(), self.organization or FALLBACK_ORGANIZATION, NAMES[use]
        if kept is None:
            root_key = ec.generate_private_key(ec.SECP256R1())
            root = _ca(f"{name} Root CA {at // 1000}", owner, root_key, at, ROOT_DAYS, None, root_key)
            root_sealed = self._close(root_key, root)
        else:
            root = x509.load_pem_x509_certificate(kept.root.encode())
            root_key, root_sealed = self._open(kept.root_key, kept.root), kept.root_key
        key = ec.generate_private_key(ec.SECP256R1())
        issuing = _ca(f"{name} Issuing CA {at // 1000}", owner, key, at, ISSUING_DAYS, root, root_key)
        return MadeHierarchy(
            use=use,
            root=ca_certificate(root),
            issuing=ca_certificate(issuing),
            root_key=root_sealed,
            issuing_key=self._close(key, issuing),
        )

    async def crl(self, revoked: Mapping[int, int]) -> bytes | None:
        """What the issuing CA for stations revoked, in DER: serial number -> when, ms. None: there is no such CA."""
        try:
            kept = await self._kept("ChargingStationCertificate")
        except AuthorityFailed:
            return None
        return await asyncio.to_thread(self._crl, kept, revoked)

    def _crl(self, kept: KeptKey, revoked: Mapping[int, int]) -> bytes:
        at, issuing = self.clock(), x509.load_pem_x509_certificate(kept.issuing.encode())
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(issuing.subject)
            .last_update(when(at))
            .next_update(when(at) + timedelta(days=CRL_DAYS))
            .add_extension(x509.CRLNumber(at), critical=False)
            .add_extension(_issued_by(issuing), critical=False)
        )
        for serial, since in revoked.items():
            one = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(when(since))
            builder = builder.add_revoked_certificate(one.build())
        return builder.sign(self._open(kept.issuing_key, kept.issuing), SHA256()).public_bytes(Encoding.DER)

    async def issuing_fingerprint(self) -> str:
        """Of the issuing CA for stations; "" while there is none."""
        try:
            kept = await self._kept("ChargingStationCertificate")
        except AuthorityFailed:
            return ""
        return fingerprint(x509.load_pem_x509_certificate(kept.issuing.encode()))

    async def _keys(self) -> AuthorityKeys | None:
        key = StateKey(AuthorityKeys.KIND, LOCAL)
        data = (await self.store.load([key])).get(key)
        return msgspec.json.decode(data, type=AuthorityKeys) if data else None

    async def _kept(self, use: CertificateUse) -> KeptKey:
        keys = await self._keys()
        found = next((one for one in keys.keys if one.use == use), None) if keys else None
        if found is None:
            raise AuthorityFailed("the local authority has no keys yet", again=True)
        return found

    def _close(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> str:
        plain = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        return base64.b64encode(self.seal.seal(plain, pem(certificate).encode())).decode()

    def _open(self, sealed: str, certificate: str) -> ec.EllipticCurvePrivateKey:
        try:
            plain = self.seal.open(base64.b64decode(sealed), certificate.encode())
        except InvalidTag:
            raise AuthorityFailed(
                "the local authority's keys are under another CSMS_PASSWORD_KEY", again=True
            ) from None
        key = load_der_private_key(plain, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey), "the local authority's keys are EC"
        return key


def _name(common_name: str, organization: str, domain: str = "") -> x509.Name:
    named = [
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
        x509.NameAttribute(NameOID.COMMON_NAME, common_name),
    ]
    return x509.Name([*named, x509.NameAttribute(NameOID.DOMAIN_COMPONENT, domain)] if domain else named)


def _usage(*, digital_signature: bool = False, key_agreement: bool = False, ca: bool = False) -> x509.KeyUsage:
    """A00.FR.512; no Extended Key Usage (A00.FR.514)."""
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=key_agreement,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _ca(
    name: str,
    organization: str,
    key: ec.EllipticCurvePrivateKey,
    at: int,
    days: int,
    issuer: x509.Certificate | None,
    issuer_key: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    """A root (`issuer` None) or a CA under one, which certifies no further CA."""
    subject = _name(name, organization)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(when(at) - timedelta(seconds=BACKDATED_S))
        .not_valid_after(when(at) + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0 if issuer else 1), critical=True)
        .add_extension(_usage(ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if issuer:
        builder = builder.add_extension(_issued_by(issuer), critical=False)
    return builder.sign(issuer_key, SHA256())


def _issued_by(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    own = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def _is_ec(key: object) -> bool:
    return isinstance(key, ec.EllipticCurvePublicKey)
