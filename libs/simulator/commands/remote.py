"""Remote control (block F), transaction status (E14) and running cost (I02)."""

from typing import TYPE_CHECKING

from ..evse import Evse
from ..frames import Json
from ..inputs import IdToken
from ..outbox import Registration
from ..smart_charging import Installed
from . import certificates, firmware
from .answer import Answer, status

if TYPE_CHECKING:
    from ..station import Station


def _token(wire: Json) -> IdToken:
    return IdToken(wire["idToken"], wire["type"])


def _start_at(station: "Station", request: Json, token: IdToken) -> Evse | None:
    """The EVSE for a remote start: the one named, else the first that has an EV waiting, else the first free
    one."""
    group = request.get("groupIdToken")
    group_key = _token(group).key if group else None

    def fits(evse: Evse) -> bool:
        idle = not evse.authorized and not evse.authorizing and evse.available
        return idle and station.desk.fits_reservation(evse, token, group_key)

    if "evseId" in request:
        evse = station.evse(request["evseId"]) if 1 <= request["evseId"] <= len(station.evses) else None
        return evse if evse is not None and fits(evse) else None
    return next((e for e in sorted(station.evses, key=lambda e: not e.plugged) if fits(e)), None)


def request_start_transaction(station: "Station", request: Json) -> Answer:
    """F01, F02."""
    token, remote_start_id = _token(request["idToken"]), int(request["remoteStartId"])
    if station.registration is not Registration.ACCEPTED:
        return status("Rejected", "CSNotAccepted")  # B02.FR.05
    evse = _start_at(station, request, token)
    if evse is None or not station.may_start():
        return status("Rejected", "NotFound" if "evseId" not in request else "Unspecified")
    profile = request.get("chargingProfile")
    if profile is not None and profile["chargingProfilePurpose"] != "TxProfile":
        return status("Rejected", "InvalidProfile")
    payload: Json = {"status": "Accepted"}
    if evse.transaction is not None:
        payload["transactionId"] = evse.transaction.id  # F01.FR.13

    def start() -> None:
        if profile is not None:
            station.profiles = (*station.profiles, Installed(evse.id, profile))
        if station.model.flag("AuthCtrlr", "AuthorizeRemoteStart"):
            station.desk.ask(evse, token, remote_start_id)
        else:
            evse.authorize(token, None, "RemoteStart", remote_start_id)

    return Answer(payload, start)


def request_stop_transaction(station: "Station", request: Json) -> Answer:
    """F03."""
    if station.registration is not Registration.ACCEPTED:
        return status("Rejected", "CSNotAccepted")
    wanted = str(request["transactionId"]).casefold()
    running = (e for e in station.evses if e.transaction and e.transaction.id.casefold() == wanted)
    evse = next(running, None)
    if evse is None:
        return status("Rejected", "TxNotFound")
    return status("Accepted", then=lambda: evse.stop("RemoteStop", "Remote"))


def get_transaction_status(station: "Station", request: Json) -> Answer:
    """E14."""
    transaction_id = request.get("transactionId")
    payload: Json = {"messagesInQueue": station.outbox.concerns(transaction_id)}
    if transaction_id is not None:
        running = (e.transaction.id for e in station.evses if e.transaction is not None)
        payload["ongoingIndicator"] = transaction_id in running
    return Answer(payload)


def unlock_connector(station: "Station", request: Json) -> Answer:
    """F05."""
    evse_id, connector_id = int(request["evseId"]), int(request["connectorId"])
    if not (1 <= evse_id <= len(station.evses) and 1 <= connector_id <= station.config.connectors):
        return status("UnknownConnector")
    evse = station.evse(evse_id)
    if evse.authorized and evse.transaction is not None:
        return status("OngoingAuthorizedTransaction")
    return status("Unlocked")


def trigger_message(station: "Station", request: Json) -> Answer:
    """F06."""
    named = request.get("evse")
    evses = station.evses if named is None else [station.evse(named["id"])]
    match request["requestedMessage"]:
        case "BootNotification":
            if station.registration is Registration.ACCEPTED:
                return status("Rejected")  # F06.FR.17
            return status("Accepted", then=station.boot.triggered)
        case "Heartbeat":
            return status("Accepted", then=lambda: station.send("Heartbeat", {}, triggered=True))
        case "StatusNotification":
            if named is None or not 1 <= named.get("connectorId", 0) <= station.config.connectors:
                return status("Rejected")  # F06.FR.12
            connector_id = named["connectorId"]
            return status("Accepted", then=lambda: station.send_status(evses[0], connector_id, triggered=True))
        case "TransactionEvent":
            running = [evse for evse in evses if evse.transaction is not None]
            return status("Accepted", then=lambda: _each_event(running)) if running else status("Rejected")
        case "MeterValues":
            return status("Accepted", then=lambda: meter_values(station, evses, "Trigger", triggered=True))
        case "LogStatusNotification":
            return status("Accepted", then=lambda: firmware.report_job(station, "log"))
        case "FirmwareStatusNotification":
            return status("Accepted", then=lambda: firmware.report_job(station, "firmware"))
        case "PublishFirmwareStatusNotification":
            return status("Accepted", then=lambda: firmware.report_job(station, "publish"))
        case "SignChargingStationCertificate":
            kind = "ChargingStationCertificate"
            return status("Accepted", then=lambda: certificates.sign(station, kind))
        case "SignV2GCertificate":
            return status("Accepted", then=lambda: certificates.sign(station, "V2GCertificate"))
        case "SignCombinedCertificate":
            return status("Accepted", then=lambda: certificates.sign(station, None))
        case _:
            return status("NotImplemented")


def _each_event(evses: list[Evse]) -> None:
    for evse in evses:
        evse.triggered_event()


def meter_values(station: "Station", evses: list[Evse], context: str, *, triggered: bool = False) -> None:
    """MeterValues of the EVSEs as AlignedDataMeasurands says (F06.FR.06, J01)."""
    measurands = station.model.text("AlignedDataCtrlr", "Measurands")
    for evse in evses:
        values = [evse.reading(context, measurands)]
        station.send("MeterValues", {"evseId": evse.id, "meterValue": values}, triggered=triggered)


def cost_updated(station: "Station", request: Json) -> Answer:
    """I02: the station shows it, and that is all."""
    station.books["shown-cost"] = (str(request["transactionId"]), float(request["totalCost"]))
    return Answer({})
