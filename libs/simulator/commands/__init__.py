"""What the CSMS can ask of a station: one handler per action, found by the action's name.

A handler takes the station and the request's payload and returns an `Answer`. A request that does not fit its
schema may raise KeyError, TypeError, ValueError or AttributeError: the station answers FormatViolation.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..evse import Evse
from ..frames import Json
from . import (
    availability,
    certificates,
    charging_profiles,
    display,
    firmware,
    local_list,
    monitoring,
    provisioning,
    remote,
)
from .answer import Answer, TooMany

if TYPE_CHECKING:
    from ..station import Station

__all__ = ["ROUTES", "Answer", "TooMany", "on_status", "on_timer", "on_transaction_ended"]

ROUTES: dict[str, Callable[["Station", Json], Answer]] = {
    "CancelReservation": availability.cancel_reservation,
    "CertificateSigned": certificates.certificate_signed,
    "ChangeAvailability": availability.change_availability,
    "ClearCache": local_list.clear_cache,
    "ClearChargingProfile": charging_profiles.clear_charging_profile,
    "ClearDisplayMessage": display.clear_display_message,
    "ClearVariableMonitoring": monitoring.clear_variable_monitoring,
    "CostUpdated": remote.cost_updated,
    "CustomerInformation": display.customer_information,
    "DataTransfer": display.data_transfer,
    "DeleteCertificate": certificates.delete_certificate,
    "GetBaseReport": provisioning.get_base_report,
    "GetChargingProfiles": charging_profiles.get_charging_profiles,
    "GetCompositeSchedule": charging_profiles.get_composite_schedule,
    "GetDisplayMessages": display.get_display_messages,
    "GetInstalledCertificateIds": certificates.get_installed_certificate_ids,
    "GetLocalListVersion": local_list.get_local_list_version,
    "GetLog": firmware.get_log,
    "GetMonitoringReport": monitoring.get_monitoring_report,
    "GetReport": provisioning.get_report,
    "GetTransactionStatus": remote.get_transaction_status,
    "GetVariables": provisioning.get_variables,
    "InstallCertificate": certificates.install_certificate,
    "PublishFirmware": firmware.publish_firmware,
    "RequestStartTransaction": remote.request_start_transaction,
    "RequestStopTransaction": remote.request_stop_transaction,
    "ReserveNow": availability.reserve_now,
    "Reset": provisioning.reset,
    "SendLocalList": local_list.send_local_list,
    "SetChargingProfile": charging_profiles.set_charging_profile,
    "SetDisplayMessage": display.set_display_message,
    "SetMonitoringBase": monitoring.set_monitoring_base,
    "SetMonitoringLevel": monitoring.set_monitoring_level,
    "SetNetworkProfile": provisioning.set_network_profile,
    "SetVariableMonitoring": monitoring.set_variable_monitoring,
    "SetVariables": provisioning.set_variables,
    "TriggerMessage": remote.trigger_message,
    "UnlockConnector": remote.unlock_connector,
    "UnpublishFirmware": firmware.unpublish_firmware,
    "UpdateFirmware": firmware.update_firmware,
}


def on_timer(station: "Station", name: str, number: int) -> None:
    """A timer that a handler set is due."""
    match name:
        case "reservation":
            availability.reservation_expired(station, station.evse(number))
        case "monitor":
            monitoring.periodic(station, number)
        case "aligned":
            for evse in station.evses:
                evse.clock_aligned_event()
            idle = [evse for evse in station.evses if evse.transaction is None]
            remote.meter_values(station, idle, "Sample.Clock")
            provisioning.schedule_aligned(station)
        case _ if name.startswith("job:"):
            firmware.advance(station, name.removeprefix("job:"))


def on_status(station: "Station", evse: Evse, connector_id: int, _status: str) -> None:
    """A connector's status changed and was reported."""
    monitoring.status_changed(station, evse, connector_id)


def on_transaction_ended(station: "Station", evse: Evse) -> None:
    """What waited for the end of a transaction."""
    charging_profiles.transaction_ended(station, evse)
    if station.books:
        availability.transaction_ended(station, evse)
        provisioning.transaction_ended(station)
