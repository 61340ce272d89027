"""Availability (G03, G04) and reservations (block H)."""

from typing import TYPE_CHECKING

from ..evse import Evse, Reservation
from ..frames import Json, milliseconds
from ..inputs import IdToken
from .answer import Answer, book, status

if TYPE_CHECKING:
    from ..station import Station


def change_availability(station: "Station", request: Json) -> Answer:
    """G03, G04. What has a transaction changes when that has ended."""
    operative = {"Operative": True, "Inoperative": False}[request["operationalStatus"]]
    named = request.get("evse")
    evses = station.evses if named is None else [station.evse(named["id"])]
    connector_id = int(named.get("connectorId", 0)) if named is not None else 0
    if connector_id > station.config.connectors:
        return status("Rejected", "UnknownConnectorId")
    waiting = [e for e in evses if e.transaction is not None and _is(e, connector_id) != operative]

    def change() -> None:
        for evse in evses:
            if evse in waiting:
                book(station, "availability")[evse.id, connector_id] = operative
            else:
                book(station, "availability").pop((evse.id, connector_id), None)
                _change(station, evse, connector_id, operative)

    return status("Scheduled" if waiting else "Accepted", then=change)


def _is(evse: Evse, connector_id: int) -> bool:
    return evse.connector_operative[connector_id - 1] if connector_id else evse.operative


def _change(station: "Station", evse: Evse, connector_id: int, operative: bool) -> None:
    if connector_id:
        evse.connector_operative[connector_id - 1] = operative
    else:
        evse.operative = operative
    if not evse.available and evse.reservation is not None:
        _end_reservation(station, evse, "Removed")  # H01.FR.17
    station.report_status(evse)


def transaction_ended(station: "Station", evse: Evse) -> None:
    """A change that waited for the transaction is carried out (G03.FR.05)."""
    waiting = book(station, "availability")
    for evse_id, connector_id in [key for key in waiting if key[0] == evse.id]:
        _change(station, evse, connector_id, waiting.pop((evse_id, connector_id)))


def reserve_now(station: "Station", request: Json) -> Answer:
    """H01. A reservation without an EVSE is kept on the first free one, which so remains available
    (H01.FR.07)."""
    model = station.model
    if not model.flag("ReservationCtrlr", "Enabled"):
        return status("Rejected", "NotEnabled")  # H01.FR.01
    if "evseId" not in request and not model.flag("ReservationCtrlr", "NonEvseSpecific"):
        return status("Rejected", "UnsupportedParam")  # H01.FR.19
    reservation_id, wire = int(request["id"]), request["idToken"]
    expires_at = milliseconds(request["expiryDateTime"])
    group = request.get("groupIdToken")
    reservation = Reservation(
        reservation_id,
        IdToken(wire["idToken"], wire["type"]),
        IdToken(group["idToken"], group["type"]).key if group else None,
        expires_at,
    )
    evses = [station.evse(request["evseId"])] if "evseId" in request else station.evses
    replaced = _reserved(station, reservation_id)
    if replaced is not None:
        replaced.reservation = None  # H01.FR.02
        station.clear_timer("reservation", replaced.id)
        station.report_status(replaced)
    chosen = next((e for e in evses if e.free and e.reservation is None), None)
    if chosen is None:
        return status("Unavailable" if not any(e.available for e in evses) else "Occupied")
    if expires_at <= station.now:
        return status("Rejected", "InvalidValue")
    evse = chosen

    def reserve() -> None:
        evse.reservation = reservation
        station.set_timer("reservation", evse.id, expires_at - station.now)
        station.report_status(evse)

    return status("Accepted", then=reserve)


def cancel_reservation(station: "Station", request: Json) -> Answer:
    """H02."""
    reservation_id = int(request["reservationId"])
    evse = _reserved(station, reservation_id)
    if evse is None:
        return status("Rejected", "NotFound")
    evse.reservation = None
    station.clear_timer("reservation", evse.id)
    return status("Accepted", then=lambda: station.report_status(evse))


def _reserved(station: "Station", reservation_id: int) -> Evse | None:
    """The EVSE that is kept for this reservation."""
    return next((e for e in station.evses if e.reservation and e.reservation.id == reservation_id), None)


def reservation_expired(station: "Station", evse: Evse) -> None:
    """H04."""
    if evse.reservation is not None:
        _end_reservation(station, evse, "Expired")
        station.report_status(evse)


def _end_reservation(station: "Station", evse: Evse, how: str) -> None:
    assert evse.reservation is not None
    payload = {"reservationId": evse.reservation.id, "reservationUpdateStatus": how}
    evse.reservation = None
    station.clear_timer("reservation", evse.id)
    station.send("ReservationStatusUpdate", payload)
