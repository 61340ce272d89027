"""The part of auth about certificates of stations: signing, inventory, renewals, authorities."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from ocppcore.command_end import Ended
from ocppcore.contracts import auth as auth_contract
from ocppcore.contracts import certificates as contract
from ocppcore.contracts.auth import AuthStationEvent
from ocppcore.service import (
    ConnectionHandler,
    Drop,
    Effect,
    EndedHandler,
    Event,
    Fold,
    Need,
    Part,
    Put,
    RequestHandler,
    Timer,
    TimerHandler,
    View,
)
from services.auth.domain import acme_account, authority, certificate, certificate_alarm
from services.auth.domain import certificate_renewal as renewal
from services.auth.domain import certificate_revocation as revocation
from services.auth.domain import certificate_signing as signing
from services.auth.domain import certificate_unasked as unasked
from services.auth.domain.certificate_signing import Rules, SigningDesk

Evolve = Callable[[Any, View], Iterable[Put | Drop | Timer]]


@dataclass(frozen=True)
class Certificates:
    """What the installation sets, and what asks its authority; `tells`: about revocations too."""

    rules: Rules = field(default_factory=Rules)
    effects: Mapping[type[Event], Effect] = field(default_factory=dict)
    tells: bool = False


def part(certificates: Certificates) -> Part:
    """Requests, timers, folds, tables, effects; the action itself is with the others."""
    desk = SigningDesk(certificates.rules)
    revocations = revocation.RevocationDesk(certificates.tells, certificates.rules.signing_pause_ms)
    return Part(
        requests=(*_requests(desk), *_revocation_requests(revocations)),
        ended=(
            EndedHandler(signing.REFERENCE, desk.answered, _station_needs),
            EndedHandler(renewal.REFERENCE, renewal.triggered, _station_needs),
        ),
        timers=(
            TimerHandler(signing.AGAIN, desk.again, lambda subject: _again_needs(desk, subject)),
            TimerHandler(certificate.EXPIRY, certificate.expire, lambda key: ((certificate.Certificate, key),)),
            TimerHandler(certificate.TELL, revocations.again, lambda key: ((certificate.Certificate, key),)),
            TimerHandler(certificate.RENEW, unasked.look, lambda key: ((certificate.Certificate, key),)),
            TimerHandler(renewal.WAIT, renewal.expire, lambda key: ((renewal.Renewal, key),)),
            TimerHandler(renewal.TRIGGER, renewal.trigger, lambda key: ((renewal.Renewal, key),)),
            TimerHandler(authority.RENEWAL, authority.renew),
        ),
        connections=(
            (
                ConnectionHandler(renewal.connected, renewal.connected_needs),
                ConnectionHandler(unasked.connected, unasked.connected_needs),
            )
            if "ChargingStationCertificate" in certificates.rules.uses
            else ()
        ),
        folds=(*_signing_folds(), *_inventory_folds(), *_revocation_folds(), *_other_folds()),
        aggregates=(
            signing.Signings,
            certificate.Certificate,
            renewal.Renewal,
            unasked.Foreign,
            acme_account.AcmeKey,
            authority.AuthorityKeys,
            authority.LocalAuthority,
            authority.Trusted,
        ),
        tables=(
            certificate.CERTIFICATES,
            certificate.CHAINS,
            certificate_alarm.ALARMS,
            renewal.RENEWALS,
            authority.AUTHORITIES,
        ),
        effects=certificates.effects,
    )


def _station_needs(_: Ended, station: str) -> Sequence[Need]:
    return signing.station_needs(station)


def _requests(desk: SigningDesk) -> tuple[RequestHandler[Any], ...]:
    return (
        RequestHandler(
            contract.SigningResult.NAME,
            contract.SigningResult,
            desk.signed,
            lambda body, station: desk.send_needs(station, body.request_id),
            signing.result_lookups,
        ),
        RequestHandler(contract.RenewCertificate.NAME, contract.RenewCertificate, renewal.ask, renewal.ask_needs),
        RequestHandler(
            contract.RenewUnasked.NAME,
            contract.RenewUnasked,
            unasked.Unasked(desk.rules).ask,
            unasked.ask_needs,
            unasked.ask_lookups,
        ),
        RequestHandler(
            contract.EnsureLocalAuthority.NAME, contract.EnsureLocalAuthority, authority.ensure, authority.needs
        ),
        RequestHandler(
            contract.LocalAuthorityResult.NAME, contract.LocalAuthorityResult, authority.made, authority.needs
        ),
        RequestHandler(contract.EnsureAcmeKey.NAME, contract.EnsureAcmeKey, acme_account.ensure, acme_account.needs),
        RequestHandler(contract.TrustAuthority.NAME, contract.TrustAuthority, authority.trust, authority.trust_needs),
    )


def _revocation_requests(desk: revocation.RevocationDesk) -> tuple[RequestHandler[Any], ...]:
    return (
        RequestHandler(contract.RevokeCertificate.NAME, contract.RevokeCertificate, desk.revoke, revocation.needs),
        RequestHandler(contract.RevocationResult.NAME, contract.RevocationResult, desk.told, revocation.needs),
    )


def _again_needs(desk: SigningDesk, subject: str) -> Sequence[Need]:
    station, _, request_id = subject.partition("/")
    return desk.send_needs(station, request_id)


def _signings(event: AuthStationEvent) -> Sequence[Need]:
    return ((signing.Signings, event.subject()),)


def _both(first: Evolve, second: Evolve) -> Evolve:
    return lambda event, view: chain(first(event, view), second(event, view))


def _needs(event: Any) -> Sequence[Need]:
    return (*_signings(event), *certificate.needs(event))


def _signing_folds() -> Iterable[Fold[Any]]:
    yield Fold(auth_contract.CertificateSigningRefused, _signings, signing.evolve_refused)
    yield Fold(contract.CertificateSigningStarted, _signings, signing.evolve_started)
    yield Fold(contract.CertificateSigningFailed, _signings, signing.evolve_failed)
    yield Fold(
        contract.CertificateRequestSuperseded,
        signing.superseded_needs,
        signing.evolve_superseded,
        signing.project_superseded,
    )
    yield Fold(contract.CertificateAlarmRaised, project=certificate_alarm.project)


def _inventory_folds() -> Iterable[Fold[Any]]:
    """Events that both the signing and the inventory follow, then those of the inventory alone."""
    yield Fold(
        contract.CertificateIssued,
        _needs,
        _both(certificate.evolve_issued, signing.evolve_issued),
        certificate.project_issued,
        certificate.derive_issued,
    )
    yield Fold(
        contract.CertificateSent,
        _needs,
        _both(certificate.evolve_sent, signing.evolve_sent),
        certificate.project,
    )
    yield Fold(
        contract.CertificateSendingFailed,
        _needs,
        _both(certificate.evolve_unsent, signing.evolve_unsent),
        certificate.project,
    )
    yield Fold(
        contract.CertificateAccepted,
        lambda event: (*_signings(event), *certificate.accepted_needs(event)),
        _both(certificate.evolve_accepted, signing.evolve_accepted),
        certificate.project_accepted,
    )
    yield Fold(
        contract.CertificateRejected,
        _needs,
        _both(certificate.evolve_rejected, signing.evolve_rejected),
        certificate.project,
    )
    yield Fold(contract.CertificateExpiring, certificate.needs, certificate.evolve_expiring)
    yield Fold(
        contract.CertificateExpired,
        certificate.needs,
        certificate.evolve_expired,
        certificate.project_expired,
        certificate.derive_expired,
        project_first=True,
    )
    yield Fold(
        contract.CertificateRevoked,
        certificate.needs,
        certificate.evolve_revoked,
        certificate.project,
        certificate.derive_revoked,
    )


def _revocation_folds() -> Iterable[Fold[Any]]:
    needs, project = certificate.needs, certificate.project
    yield Fold(contract.CertificateRevocationStarted, needs, revocation.evolve_started, project)
    yield Fold(contract.CertificateRevocationDone, needs, revocation.evolve_done, project)
    yield Fold(contract.CertificateRevocationFailed, needs, revocation.evolve_failed, project)


def _other_folds() -> Iterable[Fold[Any]]:
    yield Fold(
        contract.CertificateRenewalAsked,
        renewal.needs,
        renewal.evolve_asked,
        renewal.project_asked,
        renewal.derive_asked,
    )
    yield Fold(contract.CertificateRenewalPlanned, unasked.needs, unasked.evolve, derive=unasked.derive)
    yield Fold(contract.CertificateRenewalDue, evolve=renewal.evolve_due, derive=renewal.derive_due)
    yield Fold(
        contract.CertificateRenewalMoved,
        renewal.needs,
        renewal.evolve_moved,
        renewal.project_moved,
        project_first=True,
    )
    yield Fold(contract.LocalAuthorityWanted, evolve=authority.evolve_wanted)
    yield Fold(contract.LocalAuthorityMade, evolve=authority.evolve_made, derive=authority.derive_made)
    yield Fold(contract.AcmeKeyMade)
    yield Fold(
        contract.AuthorityTrusted, evolve=authority.evolve_trusted, project=authority.project, derive=authority.derive
    )
    yield Fold(
        contract.AuthorityDistrusted,
        evolve=authority.evolve_distrusted,
        project=authority.project,
        derive=authority.derive,
    )
