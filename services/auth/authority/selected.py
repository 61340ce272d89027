"""The authority that the settings name, with the rules for what is asked of it."""

import shlex
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from ocppcore.clock import Clock
from ocppcore.contracts.auth import CertificateUse
from ocppcore.contracts.certificates import EnsureAcmeKey, EnsureLocalAuthority
from ocppcore.seal import Seal
from ocppcore.store import Store
from services.auth.authority.acme import AcmeAuthority, Binding, Hook
from services.auth.authority.acme_account import AccountKey
from services.auth.authority.command import CommandAuthority
from services.auth.authority.est import EstAuthority, tls
from services.auth.authority.local import LocalAuthority
from services.auth.authority.port import Authority, Revoker
from services.auth.authority.revoking import RevocationWorker, RevokingProgram
from services.auth.authority.worker import SigningWorker
from services.auth.certificates import Certificates
from services.auth.domain.acme_account import ACME
from services.auth.domain.authority import LOCAL
from services.auth.domain.certificate import CHAINS, DAY_MS
from services.auth.domain.certificate_signing import Rules
from services.auth.settings import Settings

AtStart = tuple[str, EnsureLocalAuthority | EnsureAcmeKey]
"""A key of auth's own requests, and the request."""


class Selected(NamedTuple):
    """`local`: where our own CA signs. `at_start`: what auth asks itself for at every start: a key, and the request."""

    certificates: Certificates
    local: LocalAuthority | None
    at_start: AtStart | None = None


@dataclass(frozen=True)
class Means:
    """What an authority with keys of its own needs."""

    store: Store
    seal: Seal
    clock: Clock


def select(settings: Settings, means: Means) -> Selected:
    """Raises OperatorError for files that cannot be used."""
    local: LocalAuthority | None = None
    revoker: Revoker | None = _program(settings)
    at_start: AtStart | None = None
    authority: Authority | None
    match settings.signs_by:
        case "none":
            authority = None
        case "local":
            authority = local = LocalAuthority(
                means.store, means.seal, means.clock, settings.organization, settings.certificate_days
            )
            at_start = (LOCAL, EnsureLocalAuthority())
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
        case "acme":
            account = AccountKey(means.store, means.seal)
            authority = revoker = _acme(settings, account)
            at_start = (ACME, account.fresh())
    if authority is None:
        return Selected(Certificates(_rules(settings, frozenset())), None)
    worker = SigningWorker(authority, means.clock, settings.organization, local, settings.certificate_secc)
    effects = worker.effects()
    if revoker is not None:
        effects = {**effects, **RevocationWorker(revoker, partial(_chain, means.store)).effects()}
    rules = _rules(settings, authority.uses)
    return Selected(Certificates(rules, tells=revoker is not None, effects=effects), local, at_start)


def _program(settings: Settings) -> RevokingProgram | None:
    command = shlex.split(settings.ca_revoke_command)
    return RevokingProgram(command, settings.ca_timeout_s) if command else None


async def _chain(store: Store, fingerprint: str) -> str:
    rows = await store.select(CHAINS, {"fingerprint": fingerprint}, limit=1)
    return str(rows[0]["chain"]) if rows else ""


def _acme(settings: Settings, account: AccountKey) -> AcmeAuthority:
    key, command = settings.ca_account_hmac_key, shlex.split(settings.ca_challenge_command)
    return AcmeAuthority(
        settings.ca_url,
        tls(settings.ca_trust, settings.ca_client_cert, settings.ca_client_key),
        account,
        settings.ca_timeout_s,
        binding=Binding(settings.ca_account_kid, key.get_secret_value()) if key else None,
        hook=Hook(command, settings.ca_challenge) if command else None,
    )


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
        renew_before_ms=settings.renew_days * DAY_MS,
        renew_unasked=settings.renew_unasked,
    )
