"""The inventory: every certificate that was issued to a station, from its signature to its expiry.

A certificate's home is the cell of its station. What opens nothing any more (revoked) is told to the gateways by a
record of `auth.authorities`; a superseded one is not: until it has used the new one, the station may need the old.
"""

from collections.abc import Iterable, Sequence
from typing import ClassVar, Final

import msgspec

from ocppcore import topics
from ocppcore.contracts.auth import AuthorityState, CertificateUse
from ocppcore.contracts.certificates import (
    AuthorityTold,
    CertificateAccepted,
    CertificateEvent,
    CertificateExpired,
    CertificateExpiring,
    CertificateIssued,
    CertificateRejected,
    CertificateRevoked,
    CertificateSendingFailed,
    CertificateSent,
    CertificateState,
    CrlReason,
    TrustAuthority,
)
from ocppcore.envelope import Request, request_record, state_record
from ocppcore.log import NewRecord
from ocppcore.service import NOTHING, Aggregate, Context, Drop, Follow, Need, Outcome, Put, Timer, View
from ocppcore.store import Table, Upsert

EXPIRY: Final = "certificate-expiry"
RENEW: Final = "certificate-renew"
"""Set while a certificate is in use: it is to be renewed unasked."""
TELL: Final = "certificate-revocation"
"""Set while the authority that signed it is to be asked again to revoke it."""
DAY_MS: Final = 24 * 3600 * 1000
MILESTONES: Final = (30, 14, 3)
"""Days before expiry at which it is an event."""
LIVE: Final[frozenset[CertificateState]] = frozenset({"issued", "sent", "accepted"})

CERTIFICATES = Table(
    "certificates",
    {
        "fingerprint": "text",
        "station": "text",
        "identity": "text",
        "type": "text",
        "serial_number": "text",
        "subject": "text",
        "issuer": "text",
        "issuer_fingerprint": "text",
        "state": "text",
        "not_before": "bigint",
        "not_after": "bigint",
        "issued_at": "bigint",
        "changed_at": "bigint",
        "request_id": "text",
        "reason": "text",
        "told": "text",
    },
    key=("fingerprint",),
    indexes=(("station",), ("state",), ("not_after",), ("issuer_fingerprint", "state")),
)
"""`station`: normalised, `identity`: as it is spelled; `type`: what the station asked for, "" for both uses; `told`:
how far the authority is with its revocation."""

CHAINS = Table("certificate_chains", {"fingerprint": "text", "chain": "text"}, key=("fingerprint",))
"""`chain`: PEM, leaf first, without the root."""


class Certificate(Aggregate, frozen=True, kw_only=True):
    """One that has not expired; id = `certificate_key`. `at`: when its state changed. `renewals`: how often it was
    tried to renew it unasked, from `renew_at` on; `tellings`: how often the authority was asked to revoke it."""

    KIND: ClassVar[str] = "Certificate"
    station: str
    identity: str
    fingerprint: str
    type: str
    serial_number: str
    subject: str
    issuer: str
    issuer_fingerprint: str
    not_before: int
    not_after: int
    issued_at: int
    request_id: str
    state: CertificateState
    at: int
    reason: str = ""
    renew_at: int = 0
    renewals: int = 0
    told: AuthorityTold = ""
    tellings: int = 0
    crl_reason: CrlReason = "unspecified"


def certificate_key(station: str, fingerprint: str) -> str:
    return f"{station}/{fingerprint}"


def use_of(certificate_type: str) -> CertificateUse:
    """What a certificate of this type is for; without one it is for both uses, so it must do for the stricter."""
    return "V2GCertificate" if certificate_type == "V2GCertificate" else "ChargingStationCertificate"


def needs(event: CertificateEvent | CertificateIssued) -> Sequence[Need]:
    return ((Certificate, certificate_key(event.subject(), event.fingerprint)),)


def accepted_needs(event: CertificateAccepted) -> Sequence[Need]:
    before = (Certificate, certificate_key(event.subject(), event.supersedes))
    return (*needs(event), before) if event.supersedes else needs(event)


# Deciding


def expire(subject: str, view: View, context: Context) -> Outcome:
    """A milestone before its expiry, or the expiry itself, has come."""
    found = view.get(Certificate, subject)
    if found is None:
        return NOTHING
    if context.now >= found.not_after:
        gone = CertificateExpired(
            at=context.now,
            station=found.station,
            fingerprint=found.fingerprint,
            was=found.state,
            not_after=found.not_after,
        )
        return Outcome((gone,))
    days = next((m for m in reversed(MILESTONES) if context.now >= found.not_after - m * DAY_MS), MILESTONES[0])
    expiring = CertificateExpiring(
        at=context.now,
        station=found.station,
        fingerprint=found.fingerprint,
        certificate_type=found.type,
        days=days,
        not_after=found.not_after,
    )
    return Outcome((expiring,))


# Folding


def evolve_issued(event: CertificateIssued, _: View) -> Iterable[Put | Timer]:
    key = certificate_key(event.subject(), event.fingerprint)
    state: CertificateState = "superseded" if event.superseded else "issued"
    made = Certificate(
        station=event.subject(),
        identity=event.station,
        fingerprint=event.fingerprint,
        type=event.certificate_type,
        serial_number=event.serial_number,
        subject=event.subject_name,
        issuer=event.issuer_name,
        issuer_fingerprint=event.issuer_fingerprint,
        not_before=event.not_before,
        not_after=event.not_after,
        issued_at=event.at,
        request_id=event.request_id,
        state=state,
        at=event.at,
        renew_at=event.renew_at,
    )
    yield Put(key, made)
    yield _timer(key, made, event.at)


def moved(
    view: View, station: str, fingerprint: str, state: CertificateState, at: int, reason: str = ""
) -> Iterable[Put | Timer]:
    """The certificate in another state; nothing if it has expired, or was revoked, meanwhile."""
    key = certificate_key(station, fingerprint)
    found = view.get(Certificate, key)
    if found is None or found.state == "revoked":
        return
    changed = msgspec.structs.replace(found, state=state, at=at, reason=reason)
    yield Put(key, changed)
    yield _timer(key, changed, at)
    if state == "accepted" and found.renew_at:
        yield Timer(RENEW, key, max(found.renew_at, at))
    elif found.state == "accepted":
        yield Timer(RENEW, key, None)


def _timer(key: str, certificate: Certificate, at: int) -> Timer:
    """At the next milestone of one that matters, else at its end."""
    due = [certificate.not_after - days * DAY_MS for days in MILESTONES] if certificate.state in LIVE else []
    return Timer(EXPIRY, key, next((moment for moment in due if moment > at), certificate.not_after))


def evolve_sent(event: CertificateSent, view: View) -> Iterable[Put | Timer]:
    return moved(view, event.subject(), event.fingerprint, "sent", event.at)


def evolve_unsent(event: CertificateSendingFailed, view: View) -> Iterable[Put | Timer]:
    state: CertificateState = "sent" if event.retry_at else "undelivered"
    return moved(view, event.subject(), event.fingerprint, state, event.at, event.reason)


def evolve_accepted(event: CertificateAccepted, view: View) -> Iterable[Put | Timer]:
    yield from moved(view, event.subject(), event.fingerprint, "accepted", event.at)
    if event.supersedes:
        yield from moved(view, event.subject(), event.supersedes, "superseded", event.at)


def evolve_rejected(event: CertificateRejected, view: View) -> Iterable[Put | Timer]:
    return moved(view, event.subject(), event.fingerprint, "rejected", event.at, event.reason)


def evolve_expiring(event: CertificateExpiring, view: View) -> Iterable[Timer]:
    key = certificate_key(event.subject(), event.fingerprint)
    found = view.get(Certificate, key)
    if found is not None:
        yield _timer(key, found, event.at)


def evolve_expired(event: CertificateExpired, _: View) -> Iterable[Drop | Timer]:
    key = certificate_key(event.subject(), event.fingerprint)
    yield Drop(Certificate, key)
    yield Timer(EXPIRY, key, None)
    yield Timer(RENEW, key, None)
    yield Timer(TELL, key, None)


def evolve_revoked(event: CertificateRevoked, view: View) -> Iterable[Put | Timer]:
    return moved(view, event.subject(), event.fingerprint, "revoked", event.at, event.reason)


# Rows


def project_issued(event: CertificateIssued, view: View) -> Iterable[Upsert]:
    yield from project(event, view)
    yield Upsert(CHAINS, (event.fingerprint, "".join(event.chain)))


def project(event: CertificateEvent | CertificateIssued, view: View) -> Iterable[Upsert]:
    """The row as the aggregate is now."""
    found = view.get(Certificate, certificate_key(event.subject(), event.fingerprint))
    if found is not None:
        yield row(found)


def project_accepted(event: CertificateAccepted, view: View) -> Iterable[Upsert]:
    yield from project(event, view)
    if event.supersedes:
        before = view.get(Certificate, certificate_key(event.subject(), event.supersedes))
        if before is not None:
            yield row(before)


def project_expired(event: CertificateExpired, view: View) -> Iterable[Upsert]:
    """Before the aggregate goes: one that was in use has `expired`, any other keeps what it was."""
    found = view.get(Certificate, certificate_key(event.subject(), event.fingerprint))
    if found is not None:
        yield row(msgspec.structs.replace(found, state="expired", at=event.at) if found.state in LIVE else found)


def row(certificate: Certificate) -> Upsert:
    one = certificate
    values = (
        one.fingerprint, one.station, one.identity, one.type, one.serial_number, one.subject, one.issuer,
        one.issuer_fingerprint, one.state, one.not_before, one.not_after, one.issued_at, one.at, one.request_id,
        one.reason, one.told,
    )  # fmt: skip
    return Upsert(CERTIFICATES, values)


# Records for others


def derive_issued(event: CertificateIssued, follow: Follow) -> Iterable[NewRecord]:
    """Who signed it is to be trusted: told to the home of each CA certificate."""
    for number, issuer in enumerate(event.issuers):
        body = TrustAuthority(use=use_of(event.certificate_type), authority=issuer)
        yield trust_record(body, f"{follow.id}/{number}", event.at, follow.partitions)


def trust_record(body: TrustAuthority, id_: str, at: int, partitions: int) -> NewRecord:
    key = body.authority.fingerprint
    request = Request(id_, TrustAuthority.NAME, key, msgspec.json.encode(body), at, "/auth", "", "", "")
    return request_record(request, "auth", partitions)


def derive_revoked(event: CertificateRevoked, follow: Follow) -> Iterable[NewRecord]:
    yield _revocation(event, use_of(event.certificate_type), follow, deleted=False)


def derive_expired(event: CertificateExpired, follow: Follow) -> Iterable[NewRecord]:
    if event.was == "revoked":
        yield _revocation(event, "ChargingStationCertificate", follow, deleted=True)


def _revocation(
    event: CertificateRevoked | CertificateExpired, use: CertificateUse, follow: Follow, *, deleted: bool
) -> NewRecord:
    state = AuthorityState(
        fingerprint=event.fingerprint, kind="revoked", use=use, not_after=event.not_after, deleted=deleted
    )
    value = msgspec.to_builtins(state)
    return state_record(topics.AUTHORITIES, event.fingerprint, value, "/auth", follow.id, event.at, follow.partitions)
