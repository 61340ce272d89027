"""Renewal of a station's certificate, asked for from here (A02), as a whole operation.

TriggerMessage goes out through device, which owns it; then the station's SignCertificate, the authority and
CertificateSigned follow, which the signing (`certificate_signing`) reports here. It ends when the station has accepted
its certificate, has refused, or the time is up; a signing that is under way goes on without it.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import ClassVar, Final

import msgspec

from ocppcore.command_end import Ended
from ocppcore.commands import ASK, Ask
from ocppcore.contracts.auth import CertificateUse
from ocppcore.contracts.certificates import (
    CertificateRenewalAsked,
    CertificateRenewalDue,
    CertificateRenewalMoved,
    RenewalState,
    RenewCertificate,
)
from ocppcore.log import NewRecord
from ocppcore.service import (
    NOTHING,
    Aggregate,
    Context,
    Drop,
    Event,
    Follow,
    Need,
    Outcome,
    Put,
    Result,
    Timer,
    View,
    problem,
)
from ocppcore.store import Table, Upsert
from ocppcore.wire import load_json

WAIT: Final = "certificate-renewal"
TRIGGER: Final = "certificate-trigger"
BOOT_MS: Final = 10_000
"""What a station that has just connected is given to boot, before it is asked for anything."""
EXPIRED_WAIT_MS: Final = 600_000
REFERENCE: Final = "renewal/"
"""Begins the reference of the TriggerMessage."""
MOVING: Final[frozenset[RenewalState]] = frozenset({"asked", "triggered", "requested", "issued"})
_ORDER: Final[tuple[RenewalState, ...]] = ("asked", "triggered", "requested", "issued")
_TRIGGER: Final = {
    "ChargingStationCertificate": "SignChargingStationCertificate",
    "V2GCertificate": "SignV2GCertificate",
}

RENEWALS = Table(
    "certificate_renewals",
    {
        "operation_id": "text",
        "station": "text",
        "identity": "text",
        "type": "text",
        "state": "text",
        "command_id": "text",
        "evse_id": "bigint",
        "fingerprint": "text",
        "reason": "text",
        "asked_at": "bigint",
        "changed_at": "bigint",
        "actor": "text",
    },
    ("operation_id",),
    indexes=(("station", "asked_at"),),
)


class Renewal(Aggregate, frozen=True, kw_only=True):
    """One that is under way; id = `renewal_key`."""

    KIND: ClassVar[str] = "CertificateRenewal"
    asked: CertificateRenewalAsked
    state: RenewalState = "asked"
    request_id: str = ""
    fingerprint: str = ""


def renewal_key(station: str, certificate_type: CertificateUse) -> str:
    return f"{station}/renew/{certificate_type}"


def needs_of(station: str) -> Sequence[Need]:
    """Both renewals that a station may have."""
    return (
        (Renewal, renewal_key(station, "ChargingStationCertificate")),
        (Renewal, renewal_key(station, "V2GCertificate")),
    )


def ask_needs(body: RenewCertificate, station: str) -> Sequence[Need]:
    return ((Renewal, renewal_key(station, body.certificate_type)),)


def needs(event: CertificateRenewalAsked | CertificateRenewalMoved) -> Sequence[Need]:
    return ((Renewal, renewal_key(event.subject(), event.certificate_type)),)


# Deciding


def ask(body: RenewCertificate, view: View, context: Context) -> Outcome:
    """Have the station asked: 202; 409 while one of this type is under way."""
    if view.get(Renewal, renewal_key(context.station, body.certificate_type)):
        return Outcome(result=problem(409, "Already asked", "a renewal of this certificate is under way"))
    asked = CertificateRenewalAsked(
        at=context.now,
        station=body.identity or context.identity,
        operation_id=body.operation_id,
        command_id=body.command_id,
        certificate_type=body.certificate_type,
        due=context.now + body.wait_ms,
        evse_id=body.evse_id,
        actor=context.actor,
    )
    return Outcome((asked,), result=Result(202, {"operationId": body.operation_id}))


def connected_needs(station: str) -> Sequence[Need]:
    return ((Renewal, renewal_key(station, "ChargingStationCertificate")),)


def connected(view: View, context: Context) -> Outcome:
    """One that came with a certificate which has expired renews it at once (A00.FR.429, A00.FR.807)."""
    connection = context.connection
    if connection is None or not connection.connected or not connection.certificate_expired:
        return NOTHING
    if view.get(Renewal, renewal_key(context.station, "ChargingStationCertificate")):
        return NOTHING
    ids = hashlib.blake2b(f"{context.station}/{connection.epoch}".encode(), digest_size=12).hexdigest()
    asked = CertificateRenewalAsked(
        at=context.now,
        station=context.identity,
        operation_id=ids,
        command_id=f"{ids}-trigger",
        certificate_type="ChargingStationCertificate",
        due=context.now + EXPIRED_WAIT_MS,
        trigger_at=context.now + BOOT_MS,
    )
    return Outcome((asked,))


def trigger(subject: str, view: View, context: Context) -> Outcome:
    """The station has had its time to boot."""
    renewal = view.get(Renewal, subject)
    if renewal is None:
        return NOTHING
    due = CertificateRenewalDue(
        at=context.now,
        station=renewal.asked.station,
        operation_id=renewal.asked.operation_id,
        command_id=renewal.asked.command_id,
        certificate_type=renewal.asked.certificate_type,
    )
    return Outcome((due,))


def triggered(body: Ended, view: View, context: Context) -> Outcome:
    """The station answered TriggerMessage, or will not. What it has asked for meanwhile counts more."""
    renewal = view.get(Renewal, body.reference.removeprefix(REFERENCE))
    if renewal is None or renewal.state != "asked" or renewal.asked.command_id != body.command_id:
        return NOTHING
    if body.status != "answered":
        error = load_json(body.error)
        detail = f": {error.get('description') or error.get('code')}" if isinstance(error, dict) else ""
        return Outcome(tuple(moved(renewal, context, "failed", reason=f"TriggerMessage: {body.status}{detail}")))
    status = load_json(body.response).get("status")
    if status == "Accepted":
        return Outcome(tuple(moved(renewal, context, "triggered")))
    return Outcome(tuple(moved(renewal, context, "rejected", reason=f"TriggerMessage: {status}")))


def expire(subject: str, view: View, context: Context) -> Outcome:
    """The time is up."""
    renewal = view.get(Renewal, subject)
    if renewal is None:
        return NOTHING
    reason = f"the station's certificate was {renewal.state} when the time was up"
    return Outcome(tuple(moved(renewal, context, "no_effect", reason=reason)))


def answered_by(view: View, station: str, certificate_type: str) -> Renewal | None:
    """The renewal that a SignCertificate of this type answers; without a type it answers either."""
    for use in ("ChargingStationCertificate", "V2GCertificate"):
        if certificate_type in ("", use) and (found := view.get(Renewal, renewal_key(station, use))):
            return found
    return None


def of_request(view: View, station: str, request_id: str) -> Renewal | None:
    """The renewal that waits for this CSR's certificate."""
    found = [view.get(Renewal, key) for _, key in needs_of(station)]
    return next((one for one in found if one is not None and one.request_id == request_id), None)


def moved(
    renewal: Renewal | None,
    context: Context,
    state: RenewalState,
    *,
    request_id: str = "",
    fingerprint: str = "",
    reason: str = "",
) -> Iterable[Event]:
    """It moved on; nothing when there is none, or it was there already. Another request takes over from the first."""
    if renewal is None:
        return
    there = state in MOVING and _ORDER.index(state) <= _ORDER.index(renewal.state)
    if there and request_id in ("", renewal.request_id):
        return
    yield CertificateRenewalMoved(
        at=context.now,
        station=renewal.asked.station,
        operation_id=renewal.asked.operation_id,
        certificate_type=renewal.asked.certificate_type,
        state=state,
        request_id=request_id,
        fingerprint=fingerprint,
        reason=reason,
    )


# Folding


def evolve_asked(event: CertificateRenewalAsked, _: View) -> Iterable[Put | Timer]:
    key = renewal_key(event.subject(), event.certificate_type)
    yield Put(key, Renewal(asked=event))
    yield Timer(WAIT, key, event.due)
    if event.trigger_at:
        yield Timer(TRIGGER, key, event.trigger_at)


def evolve_due(event: CertificateRenewalDue, _: View) -> Iterable[Timer]:
    yield Timer(TRIGGER, renewal_key(event.subject(), event.certificate_type), None)


def evolve_moved(event: CertificateRenewalMoved, view: View) -> Iterable[Put | Drop | Timer]:
    key = renewal_key(event.subject(), event.certificate_type)
    yield Timer(TRIGGER, key, None)  # what it was to be asked for has come, or nobody waits for it any more
    if event.state in MOVING:
        renewal = view.get(Renewal, key)
        assert renewal is not None, f"no renewal {key}"
        changed = msgspec.structs.replace(
            renewal,
            state=event.state,
            request_id=event.request_id or renewal.request_id,
            fingerprint=event.fingerprint or renewal.fingerprint,
        )
        yield Put(key, changed)
        return
    yield Drop(Renewal, key)
    yield Timer(WAIT, key, None)


def project_asked(event: CertificateRenewalAsked, _: View) -> Iterable[Upsert]:
    yield _row(event, "asked", event.at)


def project_moved(event: CertificateRenewalMoved, view: View) -> Iterable[Upsert]:
    """Before the aggregate goes."""
    renewal = view.get(Renewal, renewal_key(event.subject(), event.certificate_type))
    assert renewal is not None, f"no renewal {event.operation_id}"
    yield _row(renewal.asked, event.state, event.at, event.fingerprint or renewal.fingerprint, event.reason)


def _row(
    asked: CertificateRenewalAsked, state: RenewalState, at: int, fingerprint: str = "", reason: str = ""
) -> Upsert:
    values = (
        asked.operation_id, asked.subject(), asked.station, asked.certificate_type, state, asked.command_id,
        asked.evse_id, fingerprint or None, reason or None, asked.at, at, asked.actor,
    )  # fmt: skip
    return Upsert(RENEWALS, values)


def derive_asked(event: CertificateRenewalAsked, follow: Follow) -> Iterable[NewRecord]:
    """TriggerMessage is device's to send; its end comes back as a record."""
    if not event.trigger_at:
        yield _trigger_record(event, event.evse_id, event.actor, follow, event.queue_for_ms)


def derive_due(event: CertificateRenewalDue, follow: Follow) -> Iterable[NewRecord]:
    yield _trigger_record(event, None, "", follow)


def _trigger_record(
    event: CertificateRenewalAsked | CertificateRenewalDue,
    evse_id: int | None,
    actor: str,
    follow: Follow,
    queue_for_ms: int = 0,
) -> NewRecord:
    payload: dict[str, object] = {"requestedMessage": _TRIGGER[event.certificate_type]}
    if evse_id is not None:
        payload["evse"] = {"id": evse_id}
    wanted = Ask(
        command_id=event.command_id,
        action="TriggerMessage",
        payload=msgspec.Raw(msgspec.json.encode(payload)),
        queue_for_ms=queue_for_ms,
        reply_service="auth",
        reference=REFERENCE + renewal_key(event.subject(), event.certificate_type),
        identity=event.station,
    )
    return follow.request("device", ASK, event.subject(), wanted, event.at, actor=actor)
