"""The device service as data for the engine."""

from collections.abc import Iterable, Sequence
from typing import Final

from ocppcore import standard
from ocppcore.contracts import device as contract
from ocppcore.service import ConnectionHandler, Drop, Event, Fold, Need, Part, Put, RequestHandler, Service, View
from services.device import projections
from services.device.actions import ROUTES
from services.device.domain import connector, station
from services.device.domain.contact import CONTACTS, Contact


def _station(id_: str) -> Sequence[Need]:
    return ((station.Station, id_),)


def _of_event(event: Event) -> Sequence[Need]:
    return _station(event.subject())


def _forget(event: contract.StationRemoved, view: View) -> Iterable[Put | Drop]:
    yield from connector.forget(event, view)
    yield from station.evolve_removed(event, view)


PARTS: Final = (
    Part(
        actions=ROUTES,
        requests=(
            RequestHandler(contract.PutStation.NAME, contract.PutStation, station.put, lambda _, id_: _station(id_)),
            RequestHandler(
                contract.PatchStation.NAME, contract.PatchStation, station.patch, lambda _, id_: _station(id_)
            ),
            RequestHandler(
                contract.RemoveStation.NAME, contract.RemoveStation, station.remove, lambda _, id_: _station(id_)
            ),
        ),
        connections=(ConnectionHandler(station.connection, _station),),
        folds=(
            Fold(
                contract.StationRegistered,
                _of_event,
                station.evolve_state,
                projections.project_station,
                projections.derive_state,
            ),
            Fold(
                contract.StationChanged,
                _of_event,
                station.evolve_state,
                projections.project_station,
                projections.derive_state,
            ),
            Fold(
                contract.StationRemoved,
                _of_event,
                _forget,
                projections.project_removed,
                projections.derive_removed,
                project_first=True,
            ),
            Fold(contract.StationBooted, _of_event, station.evolve_booted, projections.project_station),
            Fold(contract.StationConnected, _of_event, station.evolve_connected, projections.project_station),
            Fold(contract.StationDisconnected, _of_event, station.evolve_disconnected, projections.project_station),
            Fold(contract.ConnectorStatusChanged, connector.event_needs, connector.evolve, projections.project_status),
            Fold(contract.StationEventsReported),
            Fold(contract.ReportReceived),
            Fold(contract.MonitoringReportReceived),
            Fold(contract.SecurityEventReported),
            Fold(contract.FirmwareStatusReported),
            Fold(contract.PublishFirmwareStatusReported),
            Fold(contract.LogStatusReported),
            Fold(contract.DisplayMessagesReported),
            Fold(contract.CustomerInformationReceived),
            Fold(contract.DataTransferRefused),
        ),
        aggregates=(station.Station, connector.Connector, Contact),
        tables=(*projections.TABLES, CONTACTS),
    ),
)


def build() -> Service:
    """The whole service."""
    return standard.build("device", PARTS)
