"""The authority that the settings name, with the rules for what is asked of it."""

import shlex
from dataclasses import dataclass
from typing import NamedTuple

from ocppcore.clock import Clock
from ocppcore.contracts.auth import CertificateUse
from ocppcore.seal import Seal
from ocppcore.store import Store
from services.auth.authority.command import CommandAuthority
from services.auth.authority.est import EstAuthority, tls
from services.auth.authority.local import LocalAuthority
from services.auth.authority.port import Authority
from services.auth.authority.worker import SigningWorker
from services.auth.certificates import Certificates
from services.auth.domain.certificate_signing import Rules
from services.auth.settings import Settings


class Selected(NamedTuple):
    """`local`: where our own CA signs."""

    certificates: Certificates
    local: LocalAuthority | None


@dataclass(frozen=True)
class Means:
    """What a local authority needs."""

    store: Store
    seal: Seal
    clock: Clock


def select(settings: Settings, means: Means) -> Selected:
    """Raises OperatorError for files that cannot be used."""
    local = None
    authority: Authority | None
    match settings.signs_by:
        case "none":
            authority = None
        case "local":
            authority = local = LocalAuthority(
                means.store, means.seal, means.clock, settings.organization, settings.certificate_days
            )
        case "command":
            programs = _each(settings.ca_command, settings.ca_v2g_command)
            authority = CommandAuthority(
                {use: shlex.split(text) for use, text in programs.items()}, settings.ca_timeout_s
            )
        case "est":
            password = settings.ca_password.get_secret_value() if settings.ca_password else ""
            authority = EstAuthority(
                _each(settings.ca_url, settings.ca_v2g_url),
                tls(settings.ca_trust, settings.ca_client_cert, settings.ca_client_key),
                (settings.ca_user, password) if settings.ca_user else None,
                settings.ca_timeout_s,
            )
    if authority is None:
        return Selected(Certificates(_rules(settings, frozenset())), None)
    worker = SigningWorker(authority, means.clock, settings.organization, local, settings.certificate_secc)
    return Selected(Certificates(_rules(settings, authority.uses), worker.effects()), local)


def _each(stations: str, v2g: str) -> dict[CertificateUse, str]:
    found: dict[CertificateUse, str] = {"ChargingStationCertificate": stations, "V2GCertificate": v2g}
    return {use: text for use, text in found.items() if text}


def _rules(settings: Settings, uses: frozenset[CertificateUse]) -> Rules:
    return Rules(
        uses=uses,
        organization=settings.organization,
        csrs_per_hour=settings.csrs_per_hour,
        signing_attempts=settings.signing_attempts,
        signing_pause_ms=round(settings.signing_pause_s * 1000),
        sends=settings.certificate_sends,
        send_pause_ms=round(settings.certificate_send_pause_s * 1000),
        send_within_ms=settings.certificate_send_within_s * 1000,
    )
