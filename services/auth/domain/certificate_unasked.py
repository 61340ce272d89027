"""Renewal that nobody asked for (A02, A00.FR.406): of a certificate that nears its end, and of one that a station
brought along and that was never signed here.

Each look at a certificate is an event that says when the next one is, with growing pauses; it asks the station's own
cell, as a record, because only a record may look at what the registry allows. The renewal itself is like any other
(`certificate_renewal`), one at a time for a station.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

import msgspec

from ocppcore import topics
from ocppcore.contracts.certificates import CertificateRenewalAsked, CertificateRenewalPlanned, RenewUnasked
from ocppcore.contracts.device import StationState
from ocppcore.log import NewRecord
from ocppcore.service import NOTHING, Aggregate, Context, Follow, Lookup, Need, Outcome, Put, Timer, View
from services.auth.domain import certificate_renewal as renewal
from services.auth.domain.certificate import RENEW, Certificate, certificate_key, use_of
from services.auth.domain.certificate_signing import HOUR_MS, Rules, Signings, station_needs

PAUSE_MS: Final = 6 * HOUR_MS
"""Until the second look; doubles. Longer than a renewal takes, so that each has ended before the next."""
PAUSE_MS_MAX: Final = 72 * HOUR_MS
WAIT_MS: Final = HOUR_MS
QUEUE_MS: Final = 50 * 60_000
"""How long TriggerMessage waits for a station that is away."""
_DOUBLINGS_MAX: Final = 10


class Foreign(Aggregate, frozen=True, kw_only=True):
    """Looks at a station that came with a certificate of others; id = station."""

    KIND: ClassVar[str] = "ForeignCertificate"
    attempt: int
    again_at: int


def needs(event: CertificateRenewalPlanned) -> Sequence[Need]:
    station = event.subject()
    if not event.fingerprint:
        return ((Foreign, station),)
    return ((Certificate, certificate_key(station, event.fingerprint)),)


def connected_needs(station: str) -> Sequence[Need]:
    return ((Foreign, station), (Signings, station))


def ask_needs(body: RenewUnasked, station: str) -> Sequence[Need]:
    about = ((Certificate, certificate_key(station, body.fingerprint)),) if body.fingerprint else ()
    return (*station_needs(station), *about)


def ask_lookups(_: RenewUnasked, station: str) -> Sequence[Lookup]:
    """What may be sent to it unasked."""
    return ((topics.STATIONS, station),)


# Deciding


def look(subject: str, view: View, context: Context) -> Outcome:
    """It is time to renew a certificate in use, or to try again."""
    found = view.get(Certificate, subject)
    if found is None or found.state != "accepted":
        return NOTHING
    return Outcome((_planned(found.identity, found.fingerprint, found.renewals + 1, context),))


def connected(view: View, context: Context) -> Outcome:
    """A station came with a certificate although none of ours is in use (A00.FR.406). One that has expired is renewed
    at once, whatever it is; behind a Local Controller the certificate is not the station's."""
    connection = context.connection
    if connection is None or not connection.connected or connection.security_profile != 3:
        return NOTHING
    if connection.certificate_expired or not connection.certificate_name or _has_ours(view, context.station):
        return NOTHING
    before = view.get(Foreign, context.station)
    if before is not None and context.now < before.again_at:
        return NOTHING
    return Outcome((_planned(context.identity, "", before.attempt + 1 if before else 1, context),))


def _planned(station: str, fingerprint: str, attempt: int, context: Context) -> CertificateRenewalPlanned:
    pause = min(PAUSE_MS * 2 ** min(attempt - 1, _DOUBLINGS_MAX), PAUSE_MS_MAX)
    return CertificateRenewalPlanned(
        at=context.now, station=station, fingerprint=fingerprint, attempt=attempt, again_at=context.now + pause
    )


def _has_ours(view: View, station: str) -> bool:
    """Whether a certificate for its connection was signed here, or is about to be."""
    signings = view.get(Signings, station) or Signings()
    slots = (*signings.current, *(one.slot for one in signings.open))
    return any(slot.startswith("ChargingStationCertificate/") for slot in slots)


@dataclass(frozen=True)
class Unasked:
    """The decision whether a station is asked, with the installation's rules."""

    rules: Rules

    def ask(self, body: RenewUnasked, view: View, context: Context) -> Outcome:
        """Have it asked, if it may be, if it still matters, and if nothing of the kind is under way."""
        station = view.copy(topics.STATIONS, StationState, context.station)
        if station is None or station.deleted or station.disabled:
            return NOTHING
        if not (station.automatic.certificates or self.rules.renew_unasked):
            return NOTHING
        signings = view.get(Signings, context.station)
        under_way = any(view.get(*need) for need in renewal.needs_of(context.station))
        if under_way or (signings is not None and signings.open):
            return NOTHING
        if body.fingerprint:
            found = view.get(Certificate, certificate_key(context.station, body.fingerprint))
            if found is None or found.state != "accepted":
                return NOTHING
            use = use_of(found.type)
        elif _has_ours(view, context.station):
            return NOTHING
        else:
            use = "ChargingStationCertificate"
        if use not in self.rules.uses:
            return NOTHING
        ids = hashlib.blake2b(f"{context.station}/{context.source}".encode(), digest_size=12).hexdigest()
        asked = CertificateRenewalAsked(
            at=context.now,
            station=station.id,
            operation_id=ids,
            command_id=f"{ids}-trigger",
            certificate_type=use,
            due=context.now + WAIT_MS,
            trigger_at=0 if body.fingerprint else context.now + renewal.BOOT_MS,
            queue_for_ms=QUEUE_MS if body.fingerprint else 0,
            unasked="ending" if body.fingerprint else "foreign",
        )
        return Outcome((asked,))


# Folding


def evolve(event: CertificateRenewalPlanned, view: View) -> Iterable[Put | Timer]:
    station = event.subject()
    if not event.fingerprint:
        yield Put(station, Foreign(attempt=event.attempt, again_at=event.again_at))
        return
    key = certificate_key(station, event.fingerprint)
    found = view.get(Certificate, key)
    if found is not None:
        yield Put(key, msgspec.structs.replace(found, renewals=event.attempt))
        yield Timer(RENEW, key, event.again_at if event.again_at < found.not_after else None)


def derive(event: CertificateRenewalPlanned, follow: Follow) -> Iterable[NewRecord]:
    body = RenewUnasked(fingerprint=event.fingerprint)
    yield follow.request("auth", RenewUnasked.NAME, event.subject(), body, event.at)
