"""The gateway's copy of `auth.authorities`: who signs certificates for this CSMS, and which of them were revoked."""

import msgspec
import structlog

from ocppcore.contracts.auth import AuthorityState
from ocppcore.log import Record
from ocppcore.newest import Newest

log = structlog.get_logger(__name__)


class Authorities:
    """Feed it every record of the topic. `changes` counts what concerns the handshake: CA certificates."""

    def __init__(self) -> None:
        self.changes = 0
        self._trusted: dict[str, str] = {}
        self._revoked: set[str] = set()
        self._newest = Newest()

    @property
    def trusted(self) -> tuple[str, ...]:
        """CA certificates (PEM) that certificates of stations are trusted by (A00.FR.403)."""
        return tuple(self._trusted.values())

    def has_revoked(self, fingerprint: str) -> bool:
        """Whether the certificate with this SHA-256 of its DER, in hexadecimal, was revoked."""
        return fingerprint in self._revoked

    def apply(self, record: Record) -> str:
        """Fold a record; the fingerprint of a station's certificate that it revokes, else "". One that came late,
        behind a later event's, changes nothing."""
        if not self._newest.takes(record):
            return ""
        key = record.key
        if self._trusted.pop(key, None) is not None:
            self.changes += 1
        self._revoked.discard(key)
        try:
            state = msgspec.json.decode(record.value, type=AuthorityState)
        except msgspec.DecodeError as error:
            log.error("authority cannot be read, it is not trusted", fingerprint=key, error=str(error))
            return ""
        if state.deleted:
            return ""
        if state.kind == "revoked":
            self._revoked.add(key)
            return key
        if state.use == "ChargingStationCertificate" and state.certificate:
            self._trusted[key] = state.certificate
            self.changes += 1
        return ""
