"""What TLS needs: the gateway's certificates, whom it trusts, what was revoked; read again when the files change.

Security profiles 2 and 3 (A00.FR.306 to FR.322, FR.403 to FR.425). One port serves both: a client certificate is asked
for in the handshake and demanded, or not, once the URL has said which station this is. A new context is made for each
change; connections keep the one that they began with, and the gateway ends those that the newest would not open.
"""

import _ssl
import asyncio
import signal
import ssl
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple, cast
from weakref import WeakKeyDictionary, WeakValueDictionary

import structlog
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from ocppcore.settings import SettingsError
from services.gateway.authorities import Authorities
from services.gateway.domain.certificates import ClientCertificate, Issuers
from services.gateway.domain.grants import AUTHORITY_DISTRUSTED, CERTIFICATE_REVOKED
from services.gateway.domain.ocsp import question

SUITES: Final = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
)
"""All that are spoken with TLS 1.2 (A00.FR.318, FR.421), the best first; 1.3 has its own, which are all good."""

NO_CHECK_TIME: Final = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME, which the `ssl` module does not name: times are judged at the upgrade (A00.FR.429)."""

PATH_MAX: Final = 10
SUFFIXES: Final = frozenset({".pem", ".crt", ".cer", ".crl", ".der"})

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where it all is. `certificates`: (chain, key) each; the others: files, or directories of them (`SUFFIXES`).

    `responders`: who may be asked by OCSP about a client certificate that names it."""

    certificates: tuple[tuple[Path, Path], ...]
    client_cas: tuple[Path, ...] = ()
    revoked: tuple[Path, ...] = ()
    responders: frozenset[str] = frozenset()

    def all(self) -> Iterator[Path]:
        """Every file there is now."""
        for pair in self.certificates:
            yield from pair
        yield from _files(self.client_cas)
        yield from _files(self.revoked)

    def state(self) -> tuple[object, ...]:
        """What is not the same any more once a file has changed, come or gone."""
        return tuple(_state(path) for path in self.all())


class Tls:
    """`context()` for each new connection. Raises SettingsError at the start where something cannot be read; later
    such a change is logged and what was there goes on."""

    def __init__(self, files: TlsFiles) -> None:
        self.authorities = Authorities()
        self._files = files
        self._state = files.state()
        self._loaded = Loaded(files)
        self._changes = self.authorities.changes
        self._renewals = 0
        self._context = make_context(self._loaded, ())
        self._anchors = _anchors(self._loaded, ())
        self._issuers: WeakValueDictionary[tuple[str, ...], Issuers] = WeakValueDictionary()
        self._judged: WeakKeyDictionary[Issuers, str] = WeakKeyDictionary()

    @property
    def expires_at(self) -> int:
        """When the first of the gateway's own certificates expires, ms."""
        return self._loaded.expires_at

    @property
    def changes(self) -> int:
        """Another number after every change of authorities or revocation lists."""
        return self._renewals + self.authorities.changes

    def context(self) -> ssl.SSLContext:
        """The newest one."""
        if self._changes != self.authorities.changes:
            self._changes = self.authorities.changes
            self._renew(self._loaded)
        return self._context

    def look(self) -> bool:
        """Read what has changed; whether something was taken into use."""
        state = self._files.state()
        if state == self._state:
            return False
        self._state = state
        try:
            loaded = Loaded(self._files)
        except SettingsError as error:
            log.error("changed certificates cannot be used, the ones before are", error=str(error))
            return False
        return self._renew(loaded)

    def _renew(self, loaded: "Loaded") -> bool:
        try:
            context = make_context(loaded, self.authorities.trusted)
            anchors = _anchors(loaded, self.authorities.trusted)
        except SettingsError as error:
            log.error("changed certificates cannot be used, the ones before are", error=str(error))
            return False
        self._loaded, self._context, self._anchors = loaded, context, anchors
        self._renewals += 1
        self._judged.clear()
        log.info("certificates taken into use", own=len(loaded.certificates), authorities=len(loaded.authorities))
        return True

    def certificate(self, tls: ssl.SSLObject) -> ClientCertificate | None:
        """What the other side has shown and proven in its handshake; None if nothing, or what nobody can read."""
        try:
            chain = list(map(_parsed, verified_chain(tls))) or self._path_again(tls)
            if not chain:
                return None
            leaf, *issuers = chain
            fingerprints = [cert.fingerprint(hashes.SHA256()).hex() for cert in chain]
            revoked = any(map(self.authorities.has_revoked, fingerprints)) or self._loaded.has_revoked(chain)
            return ClientCertificate(
                common_names=_names(leaf, NameOID.COMMON_NAME),
                organizations=_names(leaf, NameOID.ORGANIZATION_NAME),
                fingerprint=fingerprints[0],
                valid_from=_ms(leaf.not_valid_before_utc),
                valid_until=_ms(leaf.not_valid_after_utc),
                issuers_from=max((_ms(cert.not_valid_before_utc) for cert in issuers), default=0),
                issuers_until=min((_ms(cert.not_valid_after_utc) for cert in issuers), default=sys.maxsize),
                revoked=revoked,
                ocsp=question(leaf, issuers[0], self._files.responders) if issuers and self._files.responders else None,
                serial_number=leaf.serial_number,
                issuers=self._shared(tuple(issuers), tuple(fingerprints[1:])),
            )
        except ValueError as error:
            log.warning("client certificate cannot be read", error=str(error))
            return None

    def objection(self, fingerprint: str, serial_number: int, issuers: Issuers) -> str:
        """Why a certificate that opened a connection would open none now, "" if it would.

        Trusted is a path with an authority in it that is, under its name and key, or that was issued by one: a root
        that is replaced by a younger one of the same key drops nobody.
        """
        self.context()
        if (above := self._judged.get(issuers)) is None:
            above = self._judged[issuers] = self._objection_above(issuers.certificates)
        if above == AUTHORITY_DISTRUSTED and any(one.fingerprint == fingerprint for one in self._anchors):
            above = ""
        if not above and issuers.certificates and self._loaded.has_listed(serial_number, issuers.certificates[0]):
            return CERTIFICATE_REVOKED
        return above

    def _objection_above(self, issuers: tuple[x509.Certificate, ...]) -> str:
        if self._loaded.has_revoked(issuers):
            return CERTIFICATE_REVOKED
        keys = {_name_and_key(one) for one in issuers}
        trusted = any(
            _name_and_key(anchor.certificate) in keys or any(_is_issued_by(one, anchor.certificate) for one in issuers)
            for anchor in self._anchors
        )
        return "" if trusted else AUTHORITY_DISTRUSTED

    def _shared(self, issuers: tuple[x509.Certificate, ...], fingerprints: tuple[str, ...]) -> Issuers:
        if (known := self._issuers.get(fingerprints)) is None:
            known = self._issuers[fingerprints] = Issuers(issuers, fingerprints)
        return known

    def _path_again(self, tls: ssl.SSLObject) -> list[x509.Certificate]:
        """The path of a resumed session (TLS 1.2), which was verified when it began, under this very context."""
        if not tls.getpeercert(binary_form=True):
            return []
        shown = list(map(_parsed, unverified_chain(tls)))
        path, issuers = shown[:1], [*shown[1:], *self._loaded.authorities]
        issuers += [x509.load_pem_x509_certificate(pem.encode()) for pem in self.authorities.trusted]
        while path and len(path) <= PATH_MAX and path[-1].issuer != path[-1].subject:
            above = next((one for one in issuers if _is_issued_by(path[-1], one)), None)
            if above is None:
                break
            path.append(above)
        return path


def look_on_hangup(loop: asyncio.AbstractEventLoop, tls: Tls) -> Callable[[], None]:
    """Have SIGHUP make it look; call what is returned to undo that.

    Only where the signal would do nothing but kill: a process at a terminal has to end when that is closed.
    """
    at_terminal = sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()
    hangup: int | None = getattr(signal, "SIGHUP", None)
    if hangup is None or at_terminal or signal.getsignal(hangup) is not signal.SIG_DFL:
        return lambda: None
    try:
        loop.add_signal_handler(hangup, tls.look)
    except (NotImplementedError, RuntimeError, ValueError):  # not in the main thread
        return lambda: None

    def undo() -> None:
        loop.remove_signal_handler(hangup)

    return undo


class _Revoked(NamedTuple):
    """A list, and the serial numbers in it: to look for one in the list itself takes time in its length."""

    listed: x509.CertificateRevocationList
    serial_numbers: frozenset[int]


class _Anchor(NamedTuple):
    certificate: x509.Certificate
    fingerprint: str


def _anchors(loaded: "Loaded", trusted: Iterable[str]) -> tuple[_Anchor, ...]:
    """All authorities that are trusted. Raises SettingsError."""
    try:
        more = [x509.load_pem_x509_certificate(pem.encode()) for pem in trusted]
    except ValueError as error:
        raise SettingsError(f"authorities of client certificates: {error}") from None
    return tuple(_Anchor(one, one.fingerprint(hashes.SHA256()).hex()) for one in (*loaded.authorities, *more))


def _name_and_key(cert: x509.Certificate) -> tuple[bytes, bytes]:
    key = cert.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return cert.subject.public_bytes(), key


class Loaded:
    """The files' content. Raises SettingsError, which names the file."""

    def __init__(self, files: TlsFiles) -> None:
        self.certificates = files.certificates
        self.authorities = [cert for path in _files(files.client_cas) for cert in _certificates(path)]
        self._lists: dict[bytes, list[_Revoked]] = {}
        self._signed: dict[tuple[int, bytes], bool] = {}
        for path in _files(files.revoked):
            revoked = _revocation_list(path)
            numbers = frozenset(one.serial_number for one in revoked)
            self._lists.setdefault(revoked.issuer.public_bytes(), []).append(_Revoked(revoked, numbers))
        own = [_certificates(path)[0] for path, _ in files.certificates]
        self.expires_at = min((_ms(cert.not_valid_after_utc) for cert in own), default=0)
        kinds = [type(cert.public_key()) for cert in own]
        if len(set(map(_kind, own))) < len(kinds):
            raise SettingsError("CSMS_OCPP_TLS_CERTS: one certificate with an RSA key and one with an EC key, not more")

    def has_revoked(self, chain: Sequence[x509.Certificate]) -> bool:
        """Whether a list that its issuer signed names a certificate of the path. A list that is out of date counts."""
        return any(self.has_listed(cert.serial_number, issuer) for cert, issuer in pairwise(chain))

    def has_listed(self, serial_number: int, issuer: x509.Certificate) -> bool:
        """Whether a list that it signed names the issuer's certificate of this serial number."""
        return any(
            serial_number in revoked.serial_numbers and self._is_signed(revoked.listed, issuer)
            for revoked in self._lists.get(issuer.subject.public_bytes(), ())
        )

    def _is_signed(self, listed: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
        key = (id(listed), issuer.fingerprint(hashes.SHA256()))
        if key not in self._signed:
            public = issuer.public_key()
            self._signed[key] = isinstance(public, (RSAPublicKey, EllipticCurvePublicKey)) and (
                listed.is_signature_valid(public)
            )
        return self._signed[key]


def make_context(loaded: Loaded, trusted: Iterable[str]) -> ssl.SSLContext:
    """TLS 1.2 or newer with the suites above, keys of 112 bits or more (A00.FR.501), no compression, no renegotiation.

    `trusted`: more authorities, PEM. Raises SettingsError for a pair of certificate and key that is none.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(":".join(SUITES) + ":@SECLEVEL=2")
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.options |= ssl.OP_NO_TICKET  # sessions are not resumed without their certificates, which we look at again
    context.num_tickets = 0
    for certificate, key in loaded.certificates:
        try:
            context.load_cert_chain(certificate, key, password=lambda: "")
        except (OSError, ValueError) as error:
            raise SettingsError(f"CSMS_OCPP_TLS_CERTS: {certificate} with {key}: {_why(error)}") from None
    authorities = [cert.public_bytes(Encoding.PEM).decode() for cert in loaded.authorities] + list(trusted)
    if authorities:
        try:
            context.load_verify_locations(cadata="\n".join(authorities))
        except (ssl.SSLError, ValueError) as error:
            raise SettingsError(f"authorities of client certificates: {error}") from None
        context.verify_mode = ssl.CERT_OPTIONAL
        context.verify_flags |= NO_CHECK_TIME | ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def verified_chain(tls: ssl.SSLObject) -> list[bytes]:
    """The certification path that the handshake has verified, DER, the leaf first; empty without a certificate."""
    if sys.version_info >= (3, 13):
        return list(tls.get_verified_chain())
    chain = cast(Any, tls)._sslobj.get_verified_chain()  # the same, under the name it had before it was public
    return [cert.public_bytes(_ssl.ENCODING_DER) for cert in chain or ()]


def unverified_chain(tls: ssl.SSLObject) -> list[bytes]:
    """What the other side sent, DER, its own certificate first."""
    if sys.version_info >= (3, 13):
        return list(tls.get_unverified_chain())
    return [cert.public_bytes(_ssl.ENCODING_DER) for cert in cast(Any, tls)._sslobj.get_unverified_chain() or ()]


def _is_issued_by(cert: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        cert.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


@lru_cache(maxsize=256)
def _parsed(der: bytes) -> x509.Certificate:
    return x509.load_der_x509_certificate(der)


def _names(cert: x509.Certificate, oid: x509.ObjectIdentifier) -> tuple[str, ...]:
    return tuple(str(one.value) for one in cert.subject.get_attributes_for_oid(oid))


def _kind(cert: x509.Certificate) -> str:
    return "EC" if isinstance(cert.public_key(), EllipticCurvePublicKey) else "RSA"


def _files(places: Iterable[Path]) -> Iterator[Path]:
    for place in places:
        if place.is_dir():
            yield from sorted(path for path in place.iterdir() if path.suffix in SUFFIXES)
        else:
            yield place


def _state(path: Path) -> tuple[object, ...]:
    try:
        found = path.stat()
    except OSError:
        return (path, None)
    return (path, found.st_mtime_ns, found.st_size, found.st_ino)


def _certificates(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} is no file of PEM certificates: {_why(error)}") from None


def _revocation_list(path: Path) -> x509.CertificateRevocationList:
    try:
        content = path.read_bytes()
        is_pem = content.lstrip().startswith(b"-----")
        return x509.load_pem_x509_crl(content) if is_pem else x509.load_der_x509_crl(content)
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} is no certificate revocation list: {_why(error)}") from None


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
