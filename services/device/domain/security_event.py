"""Security events of stations (A04) and what the CSMS saw of them itself: which are critical, a row for every one.

The list is the standard's, which calls it not exhaustive: a type that is not on it is kept, and nobody says whether it
is critical.
"""

from collections.abc import Iterable, Mapping
from typing import ClassVar, Final

import msgspec

from ocppcore.contracts.device import SecurityEventObserved, SecurityEventReported
from ocppcore.envelope import Refusal
from ocppcore.service import NOTHING, Aggregate, Context, Need, Outcome, Put, View
from ocppcore.store import Table, Upsert
from services.device.domain.station import station_of

CRITICAL: Final[Mapping[str, bool]] = {
    "AttemptedReplayAttacks": False,
    "CsmsFailedToAuthentication": False,
    "FailedToAuthenticationAtCsms": False,
    "FirmwareUpdated": True,
    "InvalidChargingStationCertificate": True,
    "InvalidCsmsCertificate": True,
    "InvalidFirmwareSignature": True,
    "InvalidFirmwareSigningCertificate": True,
    "InvalidMessages": False,
    "InvalidTLSCipherSuite": True,
    "InvalidTLSVersion": True,
    "MaintenanceLoginAccepted": True,
    "MaintenanceLoginFailed": True,
    "MemoryExhaustion": True,
    "ReconfigurationOfSecurityParameters": False,
    "ResetOrReboot": True,
    "SecurityLogWasCleared": True,
    "SettingSystemTime": True,
    "StartupOfTheDevice": True,
    "TamperDetectionActivated": True,
}
"""Part 2, appendix 1: type -> whether it is critical."""

SECURITY_EVENTS: Final = Table(
    "security_events",
    {
        "station": "text",
        "number": "bigint",
        "identity": "text",
        "type": "text",
        "critical": "boolean",
        "timestamp": "bigint",
        "received_at": "bigint",
        "tech_info": "text",
        "observed_by": "text",
    },
    key=("station", "number"),
    indexes=(("received_at",), ("type", "received_at"), ("critical", "received_at")),
)
"""`number` counts a station's events from 1. `timestamp`: the station's; both times in ms. `critical` null: not on the
list. `observed_by`: station or csms."""

PASSWORD_UNCONFIRMED: Final = "PasswordUnconfirmed"
CAUSE_CHARS_MAX: Final = 50
ADDRESS_CHARS_MAX: Final = 64

_FOLDED: Final = {name.casefold(): critical for name, critical in CRITICAL.items()}


class _Said(msgspec.Struct, rename="camel"):
    type: str = ""
    tech_info: str | None = None


class SecurityLog(Aggregate, frozen=True, kw_only=True):
    """How many security events a station has sent; id = normalised station id."""

    KIND: ClassVar[str] = "SecurityLog"
    count: int


def is_critical(type_: str) -> bool | None:
    """By the list, in any case; None for a type that is not on it."""
    return _FOLDED.get(type_.casefold())


def refused(refusal: Refusal, view: View, context: Context) -> Outcome:
    """A gateway refused a handshake of this station (A00.FR.408). Of one that is not registered nothing is kept."""
    state = station_of(view, context.station).state
    if state is None:
        return NOTHING
    return Outcome(
        (
            _observed(
                state.id,
                context,
                refusal.cause[:CAUSE_CHARS_MAX],
                address=refusal.address[:ADDRESS_CHARS_MAX],
                secure=refusal.secure,
                more=max(0, refusal.more),
            ),
        )
    )


def connected(view: View, context: Context) -> Outcome:
    """A station was let in with an expired certificate, because the registry allows it (A00.FR.408, FR.429)."""
    now, line = context.connection, station_of(view, context.station).line
    if now is None or not (now.connected and now.certificate_expired):
        return NOTHING
    if line is not None and (line.epoch, line.connected) == (now.epoch, True):
        return NOTHING
    return Outcome((_observed(now.identity, context, "certificate_expired", secure=True, admitted=True),))


def unconfirmed(station: str, context: Context, info: str) -> SecurityEventObserved:
    """For the operator: nothing showed which of two passwords the station has. `info`: what was done about it."""
    return SecurityEventObserved(
        at=context.now,
        station=station,
        type=PASSWORD_UNCONFIRMED,
        critical=is_critical(PASSWORD_UNCONFIRMED),
        cause="password_unconfirmed",
        info=info,
    )


def _observed(
    station: str,
    context: Context,
    cause: str,
    *,
    address: str = "",
    secure: bool = False,
    more: int = 0,
    admitted: bool = False,
) -> SecurityEventObserved:
    type_ = "InvalidChargingStationCertificate" if "certificate" in cause else "FailedToAuthenticationAtCsms"
    return SecurityEventObserved(
        at=context.now,
        station=station,
        type=type_,
        critical=is_critical(type_),
        cause=cause,
        address=address,
        secure=secure,
        more=more,
        admitted=admitted,
    )


def event_needs(event: SecurityEventReported | SecurityEventObserved) -> tuple[Need, ...]:
    return ((SecurityLog, event.subject()),)


def evolve(event: SecurityEventReported | SecurityEventObserved, view: View) -> Iterable[Put]:
    log = view.get(SecurityLog, event.subject())
    yield Put(event.subject(), SecurityLog(count=log.count + 1 if log else 1))


def project(event: SecurityEventReported, view: View) -> Iterable[Upsert]:
    number = _number(event, view)
    said = msgspec.json.decode(event.payload, type=_Said)
    type_ = event.type or said.type  # the payload alone has it in events of the first release
    critical = event.critical if event.type else is_critical(type_)
    timestamp = event.timestamp or event.at
    row = (event.subject(), number, event.station, type_, critical, timestamp, event.at, said.tech_info, "station")
    yield Upsert(SECURITY_EVENTS, row)


def project_observed(event: SecurityEventObserved, view: View) -> Iterable[Upsert]:
    words = [event.cause, "admitted" if event.admitted else "refused"]
    if event.address:
        words.append(f"from {event.address}")
    words.append("over TLS" if event.secure else "without TLS")
    info = event.info or " ".join(words) + (f", and {event.more} more before" if event.more else "")
    number = _number(event, view)
    who = event.subject(), number, event.station
    yield Upsert(SECURITY_EVENTS, (*who, event.type, event.critical, event.at, event.at, info, "csms"))


def _number(event: SecurityEventReported | SecurityEventObserved, view: View) -> int:
    log = view.get(SecurityLog, event.subject())
    assert log is not None, f"there is no security event of {event.subject()}"
    return log.count
