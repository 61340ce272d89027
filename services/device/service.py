"""The device service as data for the engine."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from ocppcore import results, standard, topics
from ocppcore.commands import VARIABLES
from ocppcore.contracts import device as contract
from ocppcore.service import (
    ConnectionHandler,
    Drop,
    Effect,
    EndedHandler,
    Event,
    Fold,
    Need,
    Part,
    Put,
    RefusalHandler,
    RequestHandler,
    Service,
    TimerHandler,
    View,
)
from ocppcore.store import Upsert
from services.device import projections
from services.device.actions import ROUTES
from services.device.domain import connector, reported, rotation, security_event, station, upgrade
from services.device.domain.changes import CHANGES
from services.device.domain.contact import CONTACTS, Contact


def _station(id_: str) -> Sequence[Need]:
    return ((station.Station, id_),)


def _of_event(event: Event) -> Sequence[Need]:
    return _station(event.subject())


def _forget(event: contract.StationRemoved, view: View) -> Iterable[Put | Drop]:
    yield from connector.forget(event, view)
    yield from station.evolve_removed(event, view)


def _result(event: type[contract.StationResult]) -> Fold[Any]:
    return Fold(event, results.event_needs, results.evolve, results.project)


def _report_needs(event: contract.ReportReceived) -> Sequence[Need]:
    return (*_of_event(event), *results.event_needs(event))


def _evolve_report(event: contract.ReportReceived, view: View) -> Iterable[Put]:
    yield from rotation.evolve_report(event, view)
    yield from results.evolve(event, view)


def _project_report(event: contract.ReportReceived, view: View) -> Iterable[Upsert]:
    yield from projections.project_report(event, view)
    yield from results.project(event, view)


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
        refusals=RefusalHandler(security_event.refused, _station),
        # What was seen comes first: it is told from the station's line, which the other one moves on.
        connections=(
            ConnectionHandler(security_event.connected, _station),
            ConnectionHandler(station.connection, _station),
        ),
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
            Fold(
                contract.StationBooted,
                _of_event,
                station.evolve_booted,
                projections.project_station,
                projections.derive_booted,
            ),
            Fold(contract.StationConnected, _of_event, station.evolve_connected, projections.project_station),
            Fold(contract.StationDisconnected, _of_event, station.evolve_disconnected, projections.project_station),
            Fold(
                contract.ConnectorStatusChanged,
                connector.event_needs,
                connector.evolve,
                projections.project_status,
                projections.derive_status,
            ),
            Fold(contract.StationEventsReported),
            Fold(contract.ReportReceived, _report_needs, _evolve_report, _project_report),
            _result(contract.MonitoringReportReceived),
            Fold(
                contract.SecurityEventReported,
                security_event.event_needs,
                security_event.evolve,
                security_event.project,
            ),
            Fold(
                contract.SecurityEventObserved,
                security_event.event_needs,
                security_event.evolve,
                security_event.project_observed,
            ),
            _result(contract.FirmwareStatusReported),
            _result(contract.PublishFirmwareStatusReported),
            _result(contract.LogStatusReported),
            _result(contract.DisplayMessagesReported),
            _result(contract.CustomerInformationReceived),
            Fold(contract.DataTransferRefused),
        ),
        aggregates=(station.Station, connector.Connector, Contact, security_event.SecurityLog, results.AwaitedResults),
        tables=(*projections.TABLES, CONTACTS, security_event.SECURITY_EVENTS, results.TABLE),
        copies=(topics.STATIONS, topics.CONNECTORS),
    ),
    Part(
        requests=(
            RequestHandler(
                contract.RotatePassword.NAME, contract.RotatePassword, rotation.rotate, lambda _, id_: _station(id_)
            ),
            RequestHandler(contract.SendPassword.NAME, contract.SendPassword, rotation.send, rotation.send_needs),
            RequestHandler(
                contract.UpgradeProfile.NAME, contract.UpgradeProfile, upgrade.upgrade, upgrade.upgrade_needs
            ),
        ),
        ended=(
            EndedHandler(rotation.REFERENCE, rotation.ended, lambda _, id_: _station(id_)),
            EndedHandler(VARIABLES, reported.answered, lambda _, id_: _station(id_)),
            EndedHandler(upgrade.REFERENCE, upgrade.ended, upgrade.ended_needs),
        ),
        timers=(
            TimerHandler(rotation.EVIDENCE, rotation.press, _station),
            TimerHandler(rotation.END, rotation.end, _station),
            TimerHandler(upgrade.DUE, upgrade.expire, _station),
        ),
        connections=(
            ConnectionHandler(rotation.connected, _station),
            ConnectionHandler(upgrade.connected, _station),
        ),
        folds=(
            Fold(contract.FactoryPasswordDue),
            Fold(
                contract.PasswordRotationStarted,
                _of_event,
                rotation.evolve_started,
                rotation.project_started,
                rotation.derive_started,
            ),
            Fold(
                contract.PasswordRotationMoved,
                _of_event,
                rotation.evolve_moved,
                rotation.project_moved,
                rotation.derive_moved,
                project_first=True,
            ),
            Fold(contract.ProfileUpgradeStarted, _of_event, upgrade.evolve_started, upgrade.project_started),
            Fold(
                contract.ProfileUpgradeMoved,
                _of_event,
                upgrade.evolve_moved,
                upgrade.project_moved,
                upgrade.derive_moved,
                project_first=True,
            ),
        ),
        aggregates=(rotation.UntoldPassword,),
        tables=(CHANGES,),
    ),
)


def build(effects: Mapping[type[Event], Effect] = MappingProxyType({})) -> Service:
    """The whole service; `effects`: what its events ask for, none where they are only read."""
    return standard.build("device", (*PARTS, Part(effects=effects)))
