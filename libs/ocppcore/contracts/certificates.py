"""Certificates of stations as auth tells of them (A02, A03): asked for, signed, sent, accepted, expiring, revoked; the
operations on them, and the authority that signs. All of it is public: a private key is in no event.

Fingerprints are the SHA-256 of a certificate's DER, serial numbers are hexadecimal, both in lower case; names are
RFC 4514 texts; certificates and requests are PEM; times ms.
"""

from typing import ClassVar, Literal

import msgspec

from ocppcore.contracts.auth import AuthorityKind, AuthStationEvent, CertificateUse
from ocppcore.service import Event

CertificateState = Literal["issued", "sent", "accepted", "rejected", "undelivered", "superseded", "revoked", "expired"]
"""`issued`: signed, not sent yet; `undelivered`: no answer to CertificateSigned within its limits."""

RenewalState = Literal["asked", "triggered", "requested", "issued", "installed", "rejected", "failed", "no_effect"]
"""`asked` (TriggerMessage), `triggered` (accepted), `requested` (the CSR came), `issued` (CertificateSigned goes out),
then one end: `installed` (the station accepted it), `rejected` (by the station), `failed`, `no_effect` (in time)."""

CertificateAlarm = Literal["flood", "signing_failed", "rejected_by_station", "undelivered", "revocation_failed"]
"""`flood`: too many CSRs; `signing_failed`: by the authority; `undelivered`: no answer to CertificateSigned;
`revocation_failed`: an external authority has not revoked what is revoked here."""

CrlReason = Literal["unspecified", "keyCompromise", "affiliationChanged", "superseded", "cessationOfOperation"]
"""Why, as a CRL says it (RFC 5280, 5.3.1)."""

AuthorityTold = Literal["", "asked", "revoked", "failed"]
"""How far an external authority is with a revocation; "": it is not asked."""


class CaCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate of an authority."""

    fingerprint: str
    kind: AuthorityKind
    subject_name: str
    not_after: int
    certificate: str


# Requests


class SigningResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came of asking the authority; key = station. `error` "": `chain` is there, leaf first, without its root.

    `issuers`: every CA certificate of the chain, the root included where the authority gave it. `again`: the reason
    may go away by itself.
    """

    NAME: ClassVar[str] = "auth.SigningResult.v1"
    request_id: str
    attempt: int
    error: str = ""
    again: bool = False
    chain: tuple[str, ...] = ()
    issuers: tuple[CaCertificate, ...] = ()
    fingerprint: str = ""
    serial_number: str = ""
    subject_name: str = ""
    issuer_name: str = ""
    issuer_fingerprint: str = ""
    not_before: int = 0
    not_after: int = 0


class RenewCertificate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Have a station ask for a new certificate (A02); key = station. `wait_ms`: for the whole of it.

    `identity`: its id as it was registered, "" where that is the same.

    `evse_id`: whose SECC, for a V2GCertificate of a station that has several.
    """

    NAME: ClassVar[str] = "auth.RenewCertificate.v1"
    operation_id: str
    command_id: str
    certificate_type: CertificateUse
    wait_ms: int
    evse_id: int | None = None
    identity: str = ""


class RenewUnasked(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Decide whether a station is asked for a new certificate unasked; key = station. `fingerprint`: the certificate
    that nears its end, "": the station came with one that was not signed here."""

    NAME: ClassVar[str] = "auth.RenewUnasked.v1"
    fingerprint: str = ""


class RevokeCertificate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Key = station."""

    NAME: ClassVar[str] = "auth.RevokeCertificate.v1"
    fingerprint: str
    reason: str = ""
    crl_reason: CrlReason = "unspecified"


class RevocationResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came of asking the authority to revoke; key = station. `error` "": it has. `again`: as in SigningResult."""

    NAME: ClassVar[str] = "auth.RevocationResult.v1"
    fingerprint: str
    attempt: int
    error: str = ""
    again: bool = False


class EnsureLocalAuthority(msgspec.Struct, frozen=True, kw_only=True):
    """Asked at every start where the local authority is to sign: it is made if it is not there. Key = `local`."""

    NAME: ClassVar[str] = "auth.EnsureLocalAuthority.v1"


class MadeHierarchy(msgspec.Struct, frozen=True, kw_only=True):
    """A root and the CA under it that signs; their private keys are encrypted for auth alone."""

    use: CertificateUse
    root: CaCertificate
    issuing: CaCertificate
    root_key: str
    issuing_key: str


class LocalAuthorityResult(msgspec.Struct, frozen=True, kw_only=True):
    """Fresh keys and certificates of the local authority; key = `local`."""

    NAME: ClassVar[str] = "auth.LocalAuthorityResult.v1"
    hierarchies: tuple[MadeHierarchy, ...]


class EnsureAcmeKey(msgspec.Struct, frozen=True, kw_only=True):
    """Asked at every start where an ACME server signs: this key is the account's if there is none. Key = `acme`.

    `key`: the private key, encrypted for auth alone; `thumbprint`: of the public one (RFC 7638).
    """

    NAME: ClassVar[str] = "auth.EnsureAcmeKey.v1"
    key: str
    thumbprint: str


class TrustAuthority(msgspec.Struct, frozen=True, kw_only=True):
    """A CA certificate that signs for us; key = its fingerprint."""

    NAME: ClassVar[str] = "auth.TrustAuthority.v1"
    use: CertificateUse
    authority: CaCertificate


# Events of stations' certificates


class CertificateSigningStarted(AuthStationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """SignCertificate was answered Accepted (`attempt` 1), or the authority is asked once more.

    `certificate_type`: as the station said it, "" if it did not. `digest`: SHA-256 of the CSR's DER.
    """

    TYPE: ClassVar[str] = "auth.CertificateSigningStarted.v1"
    request_id: str
    attempt: int
    csr: str
    digest: str
    certificate_type: str
    common_name: str


class CertificateSigningFailed(AuthStationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """`retry_at` 0: it is over."""

    TYPE: ClassVar[str] = "auth.CertificateSigningFailed.v1"
    request_id: str
    attempt: int
    reason: str
    retry_at: int = 0


class CertificateRequestSuperseded(AuthStationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The station has made another key (A02.FR.17) before it had a certificate for this one, or accepted that
    (`fingerprint`)."""

    TYPE: ClassVar[str] = "auth.CertificateRequestSuperseded.v1"
    request_id: str
    by: str
    fingerprint: str = ""


class CertificateIssued(AuthStationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The authority signed. `superseded`: too late, the station wants another one by now. `renew_at`: when, in use, it
    is to be renewed unasked."""

    TYPE: ClassVar[str] = "auth.CertificateIssued.v1"
    request_id: str
    certificate_type: str
    fingerprint: str
    serial_number: str
    subject_name: str
    issuer_name: str
    issuer_fingerprint: str
    not_before: int
    not_after: int
    chain: tuple[str, ...]
    issuers: tuple[CaCertificate, ...] = ()
    superseded: bool = False
    renew_at: int = 0


class CertificateEvent(AuthStationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """About one certificate that was issued."""

    fingerprint: str


class CertificateSent(CertificateEvent, frozen=True, kw_only=True, omit_defaults=True):
    """CertificateSigned was asked for, for the `send`-th time."""

    TYPE: ClassVar[str] = "auth.CertificateSent.v1"
    request_id: str
    send: int
    command_id: str


class CertificateSendingFailed(CertificateEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The command ended without the station's answer. `retry_at` 0: it is over."""

    TYPE: ClassVar[str] = "auth.CertificateSendingFailed.v1"
    request_id: str
    send: int
    reason: str
    retry_at: int = 0


class CertificateAccepted(CertificateEvent, frozen=True, kw_only=True, omit_defaults=True):
    """By the station, which now uses it. `supersedes`: the fingerprint of the one that it used before."""

    TYPE: ClassVar[str] = "auth.CertificateAccepted.v1"
    request_id: str
    supersedes: str = ""


class CertificateRejected(CertificateEvent, frozen=True, kw_only=True, omit_defaults=True):
    """By the station (A02.FR.07)."""

    TYPE: ClassVar[str] = "auth.CertificateRejected.v1"
    request_id: str
    reason: str = ""


class CertificateExpiring(CertificateEvent, frozen=True, kw_only=True, omit_defaults=True):
    """It is valid for `days` more days at most: 30, 14, 3."""

    TYPE: ClassVar[str] = "auth.CertificateExpiring.v1"
    certificate_type: str
    days: int
    not_after: int


class CertificateExpired(CertificateEvent, frozen=True, kw_only=True, omit_defaults=True):
    """`was`: its state until then."""

    TYPE: ClassVar[str] = "auth.CertificateExpired.v1"
    was: CertificateState
    not_after: int


class CertificateRevoked(CertificateEvent, frozen=True, kw_only=True, omit_defaults=True):
    """By an administrator: gateways admit nobody with it any more."""

    TYPE: ClassVar[str] = "auth.CertificateRevoked.v1"
    serial_number: str
    certificate_type: str
    not_after: int
    reason: str = ""
    actor: str = ""


class CertificateRevocationStarted(CertificateEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The authority that signed it is asked to revoke it too, for the `attempt`-th time."""

    TYPE: ClassVar[str] = "auth.CertificateRevocationStarted.v1"
    attempt: int
    crl_reason: CrlReason


class CertificateRevocationDone(CertificateEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The authority has revoked it."""

    TYPE: ClassVar[str] = "auth.CertificateRevocationDone.v1"
    attempt: int


class CertificateRevocationFailed(CertificateEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The authority has not. `retry_at` 0: it is not asked again by itself."""

    TYPE: ClassVar[str] = "auth.CertificateRevocationFailed.v1"
    attempt: int
    reason: str
    retry_at: int = 0


class CertificateAlarmRaised(AuthStationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """An operator must look: a station will not get its certificate by itself (A02, error handling)."""

    TYPE: ClassVar[str] = "auth.CertificateAlarmRaised.v1"
    what: CertificateAlarm
    reason: str
    request_id: str = ""


# Events of renewals


class CertificateRenewalAsked(AuthStationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """By a person (`actor`), or because the station came with a certificate that has expired (A00.FR.429), or
    `unasked`: its certificate nears its `ending`, or is `foreign`, signed by others (A00.FR.406).

    TriggerMessage waits until `trigger_at`, so that a station that has just connected can boot first, and then
    `queue_for_ms` for one that is away.
    """

    TYPE: ClassVar[str] = "auth.CertificateRenewalAsked.v1"
    operation_id: str
    command_id: str
    certificate_type: CertificateUse
    due: int
    evse_id: int | None = None
    actor: str = ""
    trigger_at: int = 0
    queue_for_ms: int = 0
    unasked: Literal["", "ending", "foreign"] = ""


class CertificateRenewalPlanned(AuthStationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A certificate in use nears its end (`fingerprint`), or a station came with one that was not signed here (""):
    it is asked for another, if it may be. Looked at again at `again_at`; `attempt` counts from 1."""

    TYPE: ClassVar[str] = "auth.CertificateRenewalPlanned.v1"
    attempt: int
    again_at: int
    fingerprint: str = ""


class CertificateRenewalDue(AuthStationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """`trigger_at` of a renewal has come."""

    TYPE: ClassVar[str] = "auth.CertificateRenewalDue.v1"
    operation_id: str
    command_id: str
    certificate_type: CertificateUse


class CertificateRenewalMoved(AuthStationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """`request_id`: of the CSR that answers it, once that has come."""

    TYPE: ClassVar[str] = "auth.CertificateRenewalMoved.v1"
    operation_id: str
    certificate_type: CertificateUse
    state: RenewalState
    request_id: str = ""
    fingerprint: str = ""
    reason: str = ""


# Events of authorities


class LocalAuthorityWanted(Event, frozen=True, kw_only=True, omit_defaults=True):
    """Keys and certificates of the local authority are to be made."""

    TYPE: ClassVar[str] = "auth.LocalAuthorityWanted.v1"
    authority: str
    reason: Literal["first", "keys_lost", "renewal"]

    def subject(self) -> str:
        return self.authority


class LocalAuthorityMade(Event, frozen=True, kw_only=True, omit_defaults=True):
    """`due`: when the next ones are to be made, long before these expire."""

    TYPE: ClassVar[str] = "auth.LocalAuthorityMade.v1"
    authority: str
    authorities: tuple[TrustAuthority, ...]
    due: int

    def subject(self) -> str:
        return self.authority


class AcmeKeyMade(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The account at the ACME server has a key, and another account if it had one before. `thumbprint`: RFC 7638."""

    TYPE: ClassVar[str] = "auth.AcmeKeyMade.v1"
    authority: str
    thumbprint: str

    def subject(self) -> str:
        return self.authority


class AuthorityEvent(Event, frozen=True, kw_only=True, omit_defaults=True):
    fingerprint: str

    def subject(self) -> str:
        return self.fingerprint


class AuthorityTrusted(AuthorityEvent, frozen=True, kw_only=True, omit_defaults=True):
    """This CA signs for us; gateways trust it for the connections of stations if that is its use."""

    TYPE: ClassVar[str] = "auth.AuthorityTrusted.v1"
    use: CertificateUse
    authority: CaCertificate


class AuthorityDistrusted(AuthorityEvent, frozen=True, kw_only=True, omit_defaults=True):
    """It signed for the other use too: a V2G certificate, which names no station, could open a station's connection.

    An operator must give the two uses authorities of their own.
    """

    TYPE: ClassVar[str] = "auth.AuthorityDistrusted.v1"
    use: CertificateUse
    authority: CaCertificate
