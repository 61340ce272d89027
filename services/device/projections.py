"""What can be asked about stations: their rows, the status of every connector and its history. Pure."""

from collections.abc import Iterable

import msgspec

from ocppcore.clock import to_rfc3339
from ocppcore.contracts.device import (
    ConnectorState,
    ConnectorStatusChanged,
    ReportReceived,
    StationBooted,
    StationChanged,
    StationEvent,
    StationRegistered,
    StationRemoved,
    StationState,
    connector_key,
)
from ocppcore.contracts.inquiries import StationEvidence
from ocppcore.contracts.local_lists import StationBoot
from ocppcore.envelope import state_record
from ocppcore.log import NewRecord
from ocppcore.service import Follow, View
from ocppcore.store import Delete, Table, Upsert
from ocppcore.topics import CONNECTORS as CONNECTORS_TOPIC
from ocppcore.topics import STATIONS as STATIONS_TOPIC
from services.device.domain.rotation import mentions_password
from services.device.domain.station import LastBoot, represent, station_of

STATIONS = Table(
    "stations",
    {
        "station": "text",
        "identity": "text",
        "boot": "text",
        "registration": "text",
        "connected": "boolean",
        "security_profile": "bigint",
        "serial_number": "text",
        "vendor": "text",
        "model": "text",
        "firmware_version": "text",
        "password_max": "bigint",
        "entry": "jsonb",
        "last_boot": "jsonb",
        "connection": "jsonb",
    },
    key=("station",),
    indexes=(("registration",), ("connected",)),
)
"""A row a registered station. `entry`: the registry as the API shows it; `last_boot`, `connection`: likewise.
`password_max`: how many characters a password may have, where it said so."""

CONNECTORS = Table(
    "connectors",
    {
        "station": "text",
        "evse_id": "bigint",
        "connector_id": "bigint",
        "status": "text",
        "timestamp": "bigint",
        "received_at": "bigint",
        "via": "text",
    },
    key=("station", "evse_id", "connector_id"),
    indexes=(("status",),),
)
"""The present status. connector_id 0: the EVSE as such, evse_id 0: the station as such. Times in ms."""

HISTORY = Table(
    "connector_history",
    {
        "station": "text",
        "evse_id": "bigint",
        "connector_id": "bigint",
        "timestamp": "bigint",
        "status": "text",
        "received_at": "bigint",
        "via": "text",
    },
    key=("station", "timestamp", "evse_id", "connector_id", "status"),
)
"""Every status that a connector was said to have, by the station's own timestamp. Kept when the station is removed."""

TABLES = (STATIONS, CONNECTORS, HISTORY)


class _About(msgspec.Struct, rename="camel"):
    """What is shown of a chargingStation in columns of their own."""

    vendor_name: str = ""
    model: str = ""
    serial_number: str | None = None
    firmware_version: str | None = None


def project_station(event: StationEvent, view: View) -> Iterable[Upsert]:
    """The station's row, after any event that changed it."""
    station = station_of(view, event.subject())
    if station.state is None:
        return
    state, boot, line = station.state, station.boot, station.line
    about = msgspec.json.decode(boot.charging_station, type=_About) if boot else _About()
    connection = None
    if line:
        shown = {"connected": line.connected, "since": to_rfc3339(line.at), "subprotocol": line.subprotocol}
        connection = _json(shown | {"gatewaySlot": line.slot, "epoch": line.epoch})
    yield Upsert(
        STATIONS,
        (
            event.subject(),
            state.id,
            state.boot,
            state.registration,
            line is not None and line.connected,
            state.security_profile,
            state.serial_number or about.serial_number,
            about.vendor_name,
            about.model,
            about.firmware_version,
            station.password_max,
            _json(represent(state)),
            _json(_boot(boot)) if boot else None,
            connection,
        ),
    )


def project_report(event: ReportReceived, view: View) -> Iterable[Upsert]:
    """A report that said something of the station itself."""
    if mentions_password(event.payload):
        yield from project_station(event, view)


def project_removed(event: StationRemoved, view: View) -> Iterable[Delete]:
    """Looks at what was there before the event."""
    yield Delete(STATIONS, (event.subject(),))
    for place in station_of(view, event.subject()).connectors:
        yield Delete(CONNECTORS, (event.subject(), *place))


def project_status(event: ConnectorStatusChanged, view: View) -> Iterable[Upsert]:
    who, evse, connector = event.subject(), event.evse_id, event.connector_id
    yield Upsert(CONNECTORS, (who, evse, connector, event.status, event.timestamp, event.at, event.via))
    yield Upsert(HISTORY, (who, evse, connector, event.timestamp, event.status, event.at, event.via))


def derive_state(event: StationRegistered | StationChanged, follow: Follow) -> Iterable[NewRecord]:
    """The station's record for gateways and other services."""
    yield _record(event, event.state, follow)


def derive_removed(event: StationRemoved, follow: Follow) -> Iterable[NewRecord]:
    gone = StationState(
        id=event.station, security_profile=1, credential=None, registration="Rejected", deleted=True, disabled=True
    )
    yield _record(event, gone, follow)
    for evse_id, connector_id in event.connectors:
        state = ConnectorState(status="Unavailable", at=event.at, deleted=True)
        yield _connector(event, connector_key(event.subject(), evse_id, connector_id), state, follow)


def derive_status(event: ConnectorStatusChanged, follow: Follow) -> Iterable[NewRecord]:
    """The connector's record for other services; and where one is Available, nobody is plugged in."""
    key = connector_key(event.subject(), event.evse_id, event.connector_id)
    yield _connector(event, key, ConnectorState(status=event.status, at=event.at), follow)
    if event.status == "Available" and event.evse_id:
        yield _evidence(event, StationEvidence(what="available", at=event.at, evse_id=event.evse_id), follow)


def _connector(event: StationEvent, key: str, state: ConnectorState, follow: Follow) -> NewRecord:
    value = msgspec.to_builtins(state)
    return state_record(CONNECTORS_TOPIC, key, value, "/device", follow.id, event.at, follow.partitions)


def derive_booted(event: StationBooted, follow: Follow) -> Iterable[NewRecord]:
    """Auth looks after the station's Local Authorization List; a boot that was not just asked for (Triggered) makes
    transactions doubtful that are open there."""
    if event.local_list:
        yield follow.request("auth", StationBoot.NAME, event.subject(), StationBoot(), event.at)
    if event.status == "Accepted" and event.reason != "Triggered":
        yield _evidence(event, StationEvidence(what="boot", at=event.at), follow)


def _evidence(event: StationEvent, body: StationEvidence, follow: Follow) -> NewRecord:
    return follow.request("transactions", StationEvidence.NAME, event.subject(), body, event.at)


def _record(event: StationEvent, state: StationState, follow: Follow) -> NewRecord:
    value = msgspec.to_builtins(state)
    return state_record(STATIONS_TOPIC, event.subject(), value, "/device", follow.id, event.at, follow.partitions)


def _boot(boot: LastBoot) -> dict[str, object]:
    return {
        "at": to_rfc3339(boot.at),
        "reason": boot.reason,
        "chargingStation": boot.charging_station,
        "status": boot.status,
        "interval": boot.interval_s,
    }


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
