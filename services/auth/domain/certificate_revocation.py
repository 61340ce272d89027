"""Revocation of a certificate: here at once, and then at the authority that signed it, where that can be asked.

Gateways refuse it from the record on, whatever the authority says. A failing authority is asked again with growing
pauses; what it does not do in the end is an alarm, because others who trust it do not know.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from ocppcore.contracts.certificates import (
    CertificateAlarmRaised,
    CertificateEvent,
    CertificateRevocationDone,
    CertificateRevocationFailed,
    CertificateRevocationStarted,
    CertificateRevoked,
    CrlReason,
    RevocationResult,
    RevokeCertificate,
)
from ocppcore.service import NOTHING, Context, Need, Outcome, Put, Result, Timer, View, problem
from services.auth.domain.certificate import TELL, Certificate, certificate_key

ATTEMPTS_MAX: Final = 10
"""With the pauses as they are by default: for five hours."""
PAUSE_MS_MAX: Final = 3600 * 1000
REASON_CHARACTERS_MAX: Final = 500


def needs(body: RevokeCertificate | RevocationResult, station: str) -> Sequence[Need]:
    return ((Certificate, certificate_key(station, body.fingerprint)),)


@dataclass(frozen=True)
class RevocationDesk:
    """`tells`: the authority is there to be asked; `pause_ms`: before it is asked again, doubling."""

    tells: bool
    pause_ms: int

    def revoke(self, body: RevokeCertificate, view: View, context: Context) -> Outcome:
        """It opens nothing from now on: 204; 404 when it is not there or has expired.

        Asked for again, an authority that has failed is asked again.
        """
        found = view.get(Certificate, certificate_key(context.station, body.fingerprint))
        if found is None:
            return Outcome(result=problem(404, "Unknown certificate", "no valid certificate has this fingerprint"))
        told = (self._started(found, 1, body.crl_reason, context),) if self.tells else ()
        if found.state == "revoked":
            return Outcome(told if found.told in ("", "failed") else (), result=Result(204))
        revoked = CertificateRevoked(
            at=context.now,
            station=found.station,
            fingerprint=found.fingerprint,
            serial_number=found.serial_number,
            certificate_type=found.type,
            not_after=found.not_after,
            reason=body.reason,
            actor=context.actor,
        )
        return Outcome((revoked, *told), result=Result(204))

    def told(self, body: RevocationResult, view: View, context: Context) -> Outcome:
        """The authority has revoked it, or has not."""
        found = view.get(Certificate, certificate_key(context.station, body.fingerprint))
        if found is None or found.told != "asked" or found.tellings != body.attempt:
            return NOTHING
        if not body.error:
            done = CertificateRevocationDone(
                at=context.now, station=found.identity, fingerprint=found.fingerprint, attempt=body.attempt
            )
            return Outcome((done,))
        again = body.again and body.attempt < ATTEMPTS_MAX
        reason = body.error[:REASON_CHARACTERS_MAX]
        pause_ms = min(self.pause_ms * 2 ** (body.attempt - 1), PAUSE_MS_MAX)
        failed = CertificateRevocationFailed(
            at=context.now,
            station=found.identity,
            fingerprint=found.fingerprint,
            attempt=body.attempt,
            reason=reason,
            retry_at=context.now + pause_ms if again else 0,
        )
        if again:
            return Outcome((failed,))
        alarm = CertificateAlarmRaised(
            at=context.now,
            station=found.identity,
            what="revocation_failed",
            reason=f"{found.fingerprint}: {reason}"[:REASON_CHARACTERS_MAX],
            request_id=found.request_id,
        )
        return Outcome((failed, alarm))

    def again(self, subject: str, view: View, context: Context) -> Outcome:
        """The pause is over."""
        found = view.get(Certificate, subject)
        if found is None or found.told != "asked":
            return NOTHING
        return Outcome((self._started(found, found.tellings + 1, found.crl_reason, context),))

    def _started(
        self, found: Certificate, attempt: int, reason: CrlReason, context: Context
    ) -> CertificateRevocationStarted:
        return CertificateRevocationStarted(
            at=context.now,
            station=found.identity,
            fingerprint=found.fingerprint,
            attempt=attempt,
            crl_reason=reason,
        )


# Folding


def evolve_started(event: CertificateRevocationStarted, view: View) -> Iterable[Put | Timer]:
    yield from _moved(event, view, told="asked", tellings=event.attempt, crl_reason=event.crl_reason)
    yield Timer(TELL, certificate_key(event.subject(), event.fingerprint), None)


def evolve_done(event: CertificateRevocationDone, view: View) -> Iterable[Put]:
    return _moved(event, view, told="revoked")


def evolve_failed(event: CertificateRevocationFailed, view: View) -> Iterable[Put | Timer]:
    if event.retry_at:
        yield Timer(TELL, certificate_key(event.subject(), event.fingerprint), event.retry_at)
    else:
        yield from _moved(event, view, told="failed")


def _moved(event: CertificateEvent, view: View, **changes: object) -> Iterable[Put]:
    key = certificate_key(event.subject(), event.fingerprint)
    found = view.get(Certificate, key)
    if found is not None:
        yield Put(key, msgspec.structs.replace(found, **changes))
