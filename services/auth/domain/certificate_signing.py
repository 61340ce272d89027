"""From SignCertificate to the station's answer to CertificateSigned (A02, A03).

The CSR is judged and answered at once. What is accepted is signed by the authority, outside of decisions, asked again
with growing pauses while it fails; the chain is then sent, again while the station does not answer. A refusal by the
station ends it: it has discarded the certificate and would not take the same one later (A02.FR.07, A02.FR.20).
Whatever ends without a certificate in use raises an alarm: the station itself will not be told (A02, error handling).
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

import msgspec

from ocppcore import topics
from ocppcore.command_end import Ended
from ocppcore.commands import Ask, commands
from ocppcore.commands import ask_needs as command_needs
from ocppcore.contracts.auth import CertificateSigningRefused, CertificateUse
from ocppcore.contracts.certificates import (
    CertificateAccepted,
    CertificateAlarm,
    CertificateAlarmRaised,
    CertificateIssued,
    CertificateRejected,
    CertificateRequestSuperseded,
    CertificateSendingFailed,
    CertificateSent,
    CertificateSigningFailed,
    CertificateSigningStarted,
    SigningResult,
)
from ocppcore.contracts.device import StationState
from ocppcore.service import NOTHING, Aggregate, Context, Event, Lookup, Need, Outcome, Put, Timer, View
from ocppcore.store import Upsert
from ocppcore.wire import load_json
from services.auth.domain import certificate_renewal as renewal
from services.auth.domain.certificate import Certificate, certificate_key, moved, row, use_of
from services.auth.domain.csr import Csr, CsrRefused, judge

AGAIN: Final = "certificate-again"
REFERENCE: Final = "certificate/"
"""Begins the reference of CertificateSigned."""
HOUR_MS: Final = 3600 * 1000
PAUSE_MS_MAX: Final = HOUR_MS
OPEN_MAX: Final = 10
"""Signings under way for one station: each SECC may ask for its own."""
CHAIN_CHARACTERS_MAX: Final = 10_000
"""Of CertificateSigned's schema; a station may take less (MaxCertificateChainSize)."""
CURRENT_MAX: Final = 50
SENDS_MAX: Final = 10
REASON_CHARACTERS_MAX: Final = 500


@dataclass(frozen=True)
class Rules:
    """What the installation sets. `uses`: what an authority is there for; times in ms, `*_pause_ms` doubles.

    `renew_before_ms`: so long before its end a certificate is renewed, of stations that allow it (`automatic` in the
    registry), with `renew_unasked` of all.
    """

    uses: frozenset[CertificateUse] = frozenset()
    organization: str = ""
    csrs_per_hour: int = 20
    signing_attempts: int = 5
    signing_pause_ms: int = 30_000
    sends: int = 3
    send_pause_ms: int = 60_000
    send_within_ms: int = 24 * HOUR_MS
    renew_before_ms: int = 30 * 24 * HOUR_MS
    renew_unasked: bool = False

    def __post_init__(self) -> None:
        assert 1 <= self.sends <= SENDS_MAX, self.sends

    def renew_at(self, not_before: int, not_after: int) -> int:
        """When a certificate of these times is to be renewed: one that lives shortly, in the last third of its life."""
        return not_after - min(self.renew_before_ms, (not_after - not_before) // 3)


class Signing(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One that is under way. `at`: `authority` (being signed), `pause` (to be signed again), `station` (sent, to be
    answered), `unsent` (to be sent again). `done`: attempts or sends so far."""

    request_id: str
    identity: str
    csr: str
    digest: str
    certificate_type: str
    common_name: str
    at: Literal["authority", "pause", "station", "unsent"] = "authority"
    done: int = 1
    fingerprint: str = ""
    chain: str = ""
    command_id: str = ""

    @property
    def slot(self) -> str:
        """What there is one certificate for: the station's connection, or an SECC."""
        return slot(self.certificate_type, self.common_name)


class Signings(Aggregate, frozen=True, kw_only=True):
    """Of a station; id = station. `recent`: when CSRs came within the last hour; `current`: slot -> fingerprint of the
    certificate that is in use."""

    KIND: ClassVar[str] = "CertificateSignings"
    open: tuple[Signing, ...] = ()
    recent: tuple[int, ...] = ()
    flooded_at: int = 0
    current: dict[str, str] = msgspec.field(default_factory=dict)

    def find(self, request_id: str) -> Signing | None:
        return next((one for one in self.open if one.request_id == request_id), None)


def slot(certificate_type: str, common_name: str) -> str:
    return f"{use_of(certificate_type)}/{common_name}"


def _signings(view: View, station: str) -> Signings:
    return view.get(Signings, station) or Signings()


def station_needs(station: str) -> Sequence[Need]:
    return ((Signings, station), *renewal.needs_of(station))


def result_lookups(_: SigningResult, station: str) -> Sequence[Lookup]:
    """How long a chain the station takes."""
    return ((topics.STATIONS, station),)


class Refused(Exception):
    """SignCertificate is answered Rejected; `kept`: the event, if there is to be one."""

    def __init__(self, code: str, reason: str, events: Sequence[Event] = ()) -> None:
        super().__init__(reason)
        self.code = code
        self.events = events


@dataclass(frozen=True)
class SigningDesk:
    """The decisions, with the installation's rules."""

    rules: Rules

    def send_needs(self, station: str, request_id: str) -> Sequence[Need]:
        """What sending looks at, whichever time it is."""
        ids = [f"{request_id}-{send}" for send in range(1, self.rules.sends + 1)]
        asks = [need for id_ in ids for need in command_needs(_ask(id_, b"null"), station)]
        return (*station_needs(station), *dict.fromkeys(asks))

    # SignCertificate

    def request(self, text: str, certificate_type: str, view: View, context: Context) -> Sequence[Event]:
        """The events of a SignCertificate that is accepted. A repeat of one that is under way starts nothing.

        Raises Refused.
        """
        rules, signings = self.rules, _signings(view, context.station)
        recent = [at for at in signings.recent if at > context.now - HOUR_MS]
        if len(recent) >= rules.csrs_per_hour:
            repeat = _repeated(signings, text, certificate_type)
            if repeat is None:
                raise self._flooded(signings, certificate_type, context)
            return ()
        if use_of(certificate_type) not in rules.uses:
            raise _refused("UnsupportedRequest", "no authority is at hand", text, certificate_type, context)
        try:
            csr = judge(text, self._names(certificate_type, view, context), rules.organization)
        except CsrRefused as error:
            raise _refused("InvalidCSR", str(error), text, certificate_type, context) from None
        wanted = renewal.answered_by(view, context.station, certificate_type)
        for one in signings.open:
            if (one.digest, one.certificate_type) == (csr.digest, certificate_type):
                return tuple(renewal.moved(wanted, context, "requested", request_id=one.request_id))
        return self._start(text, csr, certificate_type, signings, wanted, context)

    def _start(
        self,
        text: str,
        csr: Csr,
        certificate_type: str,
        signings: Signings,
        wanted: renewal.Renewal | None,
        context: Context,
    ) -> Sequence[Event]:
        request_id = hashlib.blake2b(context.source.encode(), digest_size=12).hexdigest()
        old = [one for one in signings.open if one.slot == slot(certificate_type, csr.common_name)]
        if len(signings.open) - len(old) >= OPEN_MAX:
            raise _refused("Unspecified", f"{OPEN_MAX} are under way already", text, certificate_type, context)
        superseded = [
            CertificateRequestSuperseded(
                at=context.now,
                station=context.identity,
                request_id=one.request_id,
                by=request_id,
                fingerprint=one.fingerprint,
            )
            for one in old
        ]
        started = CertificateSigningStarted(
            at=context.now,
            station=context.identity,
            request_id=request_id,
            attempt=1,
            csr=text,
            digest=csr.digest,
            certificate_type=certificate_type,
            common_name=csr.common_name,
        )
        return (*superseded, started, *renewal.moved(wanted, context, "requested", request_id=request_id))

    def _names(self, certificate_type: str, view: View, context: Context) -> Any:
        """Who the common name may be: the serial number that is registered, else the station's id (A00.FR.511).

        An SECC has its own id (A02, SeccId), which nobody registers: a V2G certificate opens no connection.
        """
        if use_of(certificate_type) == "V2GCertificate":
            return lambda name: True
        station = view.copy(topics.STATIONS, StationState, context.station)
        if station is not None and station.serial_number:
            return lambda name: name == station.serial_number
        return lambda name: topics.normalise(name) == context.station

    def _flooded(self, signings: Signings, certificate_type: str, context: Context) -> Refused:
        reason = f"more than {self.rules.csrs_per_hour} certificate requests within an hour"
        if signings.flooded_at > context.now - HOUR_MS:
            return Refused("Unspecified", reason)
        kept = CertificateSigningRefused(
            at=context.now, station=context.identity, csr="", certificate_type=certificate_type, reason=reason
        )
        return Refused("Unspecified", reason, (kept, _alarm(context, "flood", reason)))

    # The authority's result

    def signed(self, body: SigningResult, view: View, context: Context) -> Outcome:
        """The authority has signed, or has not."""
        signing = _signings(view, context.station).find(body.request_id)
        late = signing is None or signing.at not in ("authority", "pause")
        if body.error:
            if signing is None or signing.at != "authority" or signing.done != body.attempt:
                return NOTHING
            return self._unsigned(signing, body, view, context)
        issued = CertificateIssued(
            at=context.now,
            station=signing.identity if signing else context.identity,
            request_id=body.request_id,
            certificate_type=signing.certificate_type if signing else "",
            fingerprint=body.fingerprint,
            serial_number=body.serial_number,
            subject_name=body.subject_name,
            issuer_name=body.issuer_name,
            issuer_fingerprint=body.issuer_fingerprint,
            not_before=body.not_before,
            not_after=body.not_after,
            chain=body.chain,
            issuers=body.issuers,
            superseded=late,
            renew_at=self.rules.renew_at(body.not_before, body.not_after),
        )
        if late or signing is None:
            return Outcome((issued,))
        chain = "".join(body.chain)
        most = _chain_characters_max(view.copy(topics.STATIONS, StationState, context.station))
        wanted = renewal.of_request(view, context.station, signing.request_id)
        if len(chain) > most:
            reason = f"the chain has {len(chain)} characters, the station takes {most} (MaxCertificateChainSize)"
            failed = CertificateSendingFailed(
                at=context.now,
                station=context.identity,
                fingerprint=body.fingerprint,
                request_id=body.request_id,
                send=0,
                reason=reason,
            )
            ended = renewal.moved(wanted, context, "failed", fingerprint=body.fingerprint, reason=reason)
            alarm = _alarm(context, "undelivered", reason, body.request_id)
            return Outcome((issued, failed, alarm, *ended))
        signed = msgspec.structs.replace(signing, fingerprint=body.fingerprint, chain=chain, done=0)
        sent = self._send(signed, view, context)
        forward = renewal.moved(wanted, context, "issued", fingerprint=body.fingerprint)
        return msgspec.structs.replace(sent, events=(issued, *sent.events, *forward))

    def _unsigned(self, signing: Signing, body: SigningResult, view: View, context: Context) -> Outcome:
        again = body.again and body.attempt < self.rules.signing_attempts
        reason = body.error[:REASON_CHARACTERS_MAX]
        failed = CertificateSigningFailed(
            at=context.now,
            station=context.identity,
            request_id=body.request_id,
            attempt=body.attempt,
            reason=reason,
            retry_at=context.now + _pause(self.rules.signing_pause_ms, body.attempt) if again else 0,
        )
        if again:
            return Outcome((failed,))
        wanted = renewal.of_request(view, context.station, signing.request_id)
        alarm = _alarm(context, "signing_failed", reason, body.request_id)
        return Outcome((failed, alarm, *renewal.moved(wanted, context, "failed", reason=reason)))

    # CertificateSigned

    def _send(self, signing: Signing, view: View, context: Context) -> Outcome:
        send = signing.done + 1
        payload = {"certificateChain": signing.chain}
        if signing.certificate_type:
            payload["certificateType"] = signing.certificate_type
        ask = _ask(
            f"{signing.request_id}-{send}",
            msgspec.json.encode(payload),
            queue_for_ms=self.rules.send_within_ms,
            reference=REFERENCE + signing.request_id,
            identity=signing.identity,
        )
        asked = commands("auth").ask(ask, view, context)
        sent = CertificateSent(
            at=context.now,
            station=context.identity,
            fingerprint=signing.fingerprint,
            request_id=signing.request_id,
            send=send,
            command_id=ask.command_id,
        )
        return Outcome((sent, *asked.events), calls=asked.calls, puts=asked.puts)

    def answered(self, body: Ended, view: View, context: Context) -> Outcome:
        """CertificateSigned ended."""
        signings = _signings(view, context.station)
        signing = signings.find(body.reference.removeprefix(REFERENCE))
        if signing is None or signing.at != "station" or signing.command_id != body.command_id:
            return NOTHING
        if body.status != "answered":
            return self._undelivered(signing, body, view, context)
        about = {"fingerprint": signing.fingerprint}
        wanted = renewal.of_request(view, context.station, signing.request_id)
        answer = load_json(body.response)
        if answer.get("status") == "Accepted":
            before = signings.current.get(signing.slot, "")
            accepted = CertificateAccepted(
                at=context.now,
                station=context.identity,
                fingerprint=signing.fingerprint,
                request_id=signing.request_id,
                supersedes=before,
            )
            return Outcome((accepted, *renewal.moved(wanted, context, "installed", **about)))
        reason = _said(answer)
        if signing.done > 1:
            reason += "; it may have accepted it before, when its answer did not come"
        rejected = CertificateRejected(
            at=context.now,
            station=context.identity,
            fingerprint=signing.fingerprint,
            request_id=signing.request_id,
            reason=reason,
        )
        alarm = _alarm(context, "rejected_by_station", reason, signing.request_id)
        return Outcome((rejected, alarm, *renewal.moved(wanted, context, "rejected", reason=reason, **about)))

    def _undelivered(self, signing: Signing, body: Ended, view: View, context: Context) -> Outcome:
        again = body.status != "expired" and signing.done < self.rules.sends
        error = load_json(body.error)
        detail = f": {error.get('code')} {error.get('description')}" if isinstance(error, dict) else ""
        reason = f"CertificateSigned: {body.status}{detail}"[:REASON_CHARACTERS_MAX]
        failed = CertificateSendingFailed(
            at=context.now,
            station=context.identity,
            fingerprint=signing.fingerprint,
            request_id=signing.request_id,
            send=signing.done,
            reason=reason,
            retry_at=context.now + _pause(self.rules.send_pause_ms, signing.done) if again else 0,
        )
        if again:
            return Outcome((failed,))
        wanted = renewal.of_request(view, context.station, signing.request_id)
        alarm = _alarm(context, "undelivered", reason, signing.request_id)
        ended = renewal.moved(wanted, context, "failed", fingerprint=signing.fingerprint, reason=reason)
        return Outcome((failed, alarm, *ended))

    def again(self, subject: str, view: View, context: Context) -> Outcome:
        """The pause is over."""
        station, _, request_id = subject.partition("/")
        signing = _signings(view, station).find(request_id)
        if signing is None or signing.at not in ("pause", "unsent"):
            return NOTHING
        if signing.at == "unsent":
            return self._send(signing, view, context)
        started = CertificateSigningStarted(
            at=context.now,
            station=signing.identity,
            request_id=signing.request_id,
            attempt=signing.done + 1,
            csr=signing.csr,
            digest=signing.digest,
            certificate_type=signing.certificate_type,
            common_name=signing.common_name,
        )
        return Outcome((started,))


def _ask(command_id: str, payload: bytes, *, queue_for_ms: int = 0, reference: str = "", identity: str = "") -> Ask:
    return Ask(
        command_id=command_id,
        action="CertificateSigned",
        payload=msgspec.Raw(payload),
        queue_for_ms=queue_for_ms,
        reply_service="auth",
        reference=reference,
        identity=identity,
    )


def _repeated(signings: Signings, text: str, certificate_type: str) -> Signing | None:
    """The signing of which this is a repeat, letter by letter."""
    found = (one for one in signings.open if (one.csr, one.certificate_type) == (text, certificate_type))
    return next(found, None)


def _chain_characters_max(station: StationState | None) -> int:
    limit = station.limits.get("CertificateSigned") if station else None
    return min(limit.bytes, CHAIN_CHARACTERS_MAX) if limit and limit.bytes else CHAIN_CHARACTERS_MAX


def _pause(first_ms: int, done: int) -> int:
    return int(min(first_ms * 2 ** (done - 1), PAUSE_MS_MAX))


def _said(answer: dict[str, Any]) -> str:
    info = answer.get("statusInfo") or {}
    said = " ".join(filter(None, (info.get("reasonCode"), info.get("additionalInfo"))))
    return f"CertificateSigned: {answer.get('status')} {said}".strip()[:REASON_CHARACTERS_MAX]


def _refused(code: str, reason: str, text: str, certificate_type: str, context: Context) -> Refused:
    kept = CertificateSigningRefused(
        at=context.now, station=context.identity, csr=text, certificate_type=certificate_type, reason=reason
    )
    return Refused(code, reason, (kept,))


def _alarm(
    context: Context,
    what: CertificateAlarm,
    reason: str,
    request_id: str = "",
) -> CertificateAlarmRaised:
    return CertificateAlarmRaised(
        at=context.now, station=context.identity, what=what, reason=reason, request_id=request_id
    )


# Folding


def evolve_refused(event: CertificateSigningRefused, view: View) -> Iterable[Put]:
    signings = _signings(view, event.subject())
    if not event.csr:
        yield Put(event.subject(), msgspec.structs.replace(signings, flooded_at=event.at))
        return
    yield Put(event.subject(), msgspec.structs.replace(signings, recent=_counted(signings, event.at)))


def _counted(signings: Signings, at: int) -> tuple[int, ...]:
    return (*(one for one in signings.recent if one > at - HOUR_MS), at)


def evolve_started(event: CertificateSigningStarted, view: View) -> Iterable[Put | Timer]:
    station = event.subject()
    signings = _signings(view, station)
    if event.attempt > 1:
        yield _put(signings, station, event.request_id, at="authority", done=event.attempt)
        yield Timer(AGAIN, f"{station}/{event.request_id}", None)
        return
    started = Signing(
        request_id=event.request_id,
        identity=event.station,
        csr=event.csr,
        digest=event.digest,
        certificate_type=event.certificate_type,
        common_name=event.common_name,
    )
    changed = {"open": (*signings.open, started), "recent": _counted(signings, event.at)}
    yield Put(station, msgspec.structs.replace(signings, **changed))


def evolve_failed(event: CertificateSigningFailed, view: View) -> Iterable[Put | Timer]:
    station = event.subject()
    if not event.retry_at:
        yield from _closed(view, station, event.request_id)
        return
    yield _put(_signings(view, station), station, event.request_id, at="pause")
    yield Timer(AGAIN, f"{station}/{event.request_id}", event.retry_at)


def superseded_needs(event: CertificateRequestSuperseded) -> Sequence[Need]:
    signed = (Certificate, certificate_key(event.subject(), event.fingerprint))
    return ((Signings, event.subject()), *((signed,) if event.fingerprint else ()))


def evolve_superseded(event: CertificateRequestSuperseded, view: View) -> Iterable[Put | Timer]:
    """Also its certificate, which the station did not accept so far."""
    yield from _closed(view, event.subject(), event.request_id)
    if event.fingerprint:
        yield from moved(view, event.subject(), event.fingerprint, "superseded", event.at)


def project_superseded(event: CertificateRequestSuperseded, view: View) -> Iterable[Upsert]:
    if event.fingerprint:
        found = view.get(Certificate, certificate_key(event.subject(), event.fingerprint))
        yield from (row(found),) if found is not None else ()


def evolve_issued(event: CertificateIssued, view: View) -> Iterable[Put | Timer]:
    """The signing has its certificate, unless that came too late."""
    if event.superseded:
        return
    signings = _signings(view, event.subject())
    chain = "".join(event.chain)
    yield _put(signings, event.subject(), event.request_id, fingerprint=event.fingerprint, chain=chain, done=0)


def evolve_sent(event: CertificateSent, view: View) -> Iterable[Put | Timer]:
    station, changes = event.subject(), {"at": "station", "done": event.send, "command_id": event.command_id}
    yield _put(_signings(view, station), station, event.request_id, **changes)
    yield Timer(AGAIN, f"{station}/{event.request_id}", None)


def evolve_unsent(event: CertificateSendingFailed, view: View) -> Iterable[Put | Timer]:
    station = event.subject()
    if not event.retry_at:
        yield from _closed(view, station, event.request_id)
        return
    yield _put(_signings(view, station), station, event.request_id, at="unsent")
    yield Timer(AGAIN, f"{station}/{event.request_id}", event.retry_at)


def evolve_accepted(event: CertificateAccepted, view: View) -> Iterable[Put | Timer]:
    station = event.subject()
    signings = _signings(view, station)
    signing = signings.find(event.request_id)
    assert signing is not None, f"no signing {event.request_id}"
    left = tuple(one for one in signings.open if one.request_id != event.request_id)
    others = [(name, held) for name, held in signings.current.items() if name != signing.slot]
    current = dict([*others[-(CURRENT_MAX - 1) :], (signing.slot, event.fingerprint)])
    yield Put(station, msgspec.structs.replace(signings, open=left, current=current))


def evolve_rejected(event: CertificateRejected, view: View) -> Iterable[Put | Timer]:
    return _closed(view, event.subject(), event.request_id)


def _put(signings: Signings, station: str, request_id: str, **changes: object) -> Put:
    changed = tuple(
        msgspec.structs.replace(one, **changes) if one.request_id == request_id else one for one in signings.open
    )
    return Put(station, msgspec.structs.replace(signings, open=changed))


def _closed(view: View, station: str, request_id: str) -> Iterable[Put | Timer]:
    signings = _signings(view, station)
    left = tuple(one for one in signings.open if one.request_id != request_id)
    yield Put(station, msgspec.structs.replace(signings, open=left))
    yield Timer(AGAIN, f"{station}/{request_id}", None)
