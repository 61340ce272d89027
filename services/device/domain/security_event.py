"""Security events of stations (A04): which are critical, and a row for every one that came.

The list is the standard's, which calls it not exhaustive: a type that is not on it is kept, and nobody says whether it
is critical.
"""

from collections.abc import Iterable, Mapping
from typing import ClassVar, Final

import msgspec

from ocppcore.contracts.device import SecurityEventReported
from ocppcore.service import Aggregate, Need, Put, View
from ocppcore.store import Table, Upsert

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
    },
    key=("station", "number"),
    indexes=(("received_at",), ("type", "received_at"), ("critical", "received_at")),
)
"""`number` counts a station's events from 1. `timestamp`: the station's; both times in ms. `critical` null: not on the
list."""

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


def event_needs(event: SecurityEventReported) -> tuple[Need, ...]:
    return ((SecurityLog, event.subject()),)


def evolve(event: SecurityEventReported, view: View) -> Iterable[Put]:
    log = view.get(SecurityLog, event.subject())
    yield Put(event.subject(), SecurityLog(count=log.count + 1 if log else 1))


def project(event: SecurityEventReported, view: View) -> Iterable[Upsert]:
    log = view.get(SecurityLog, event.subject())
    assert log is not None, f"{event.subject()} has sent no security event"
    said = msgspec.json.decode(event.payload, type=_Said)
    type_ = event.type or said.type  # the payload alone has it in events of the first release
    critical = event.critical if event.type else is_critical(type_)
    timestamp = event.timestamp or event.at
    row = (event.subject(), log.count, event.station, type_, critical, timestamp, event.at, said.tech_info)
    yield Upsert(SECURITY_EVENTS, row)
