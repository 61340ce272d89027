"""ReservationStatusUpdate (H01.FR.16, H01.FR.17, H04): kept as an event, and the reservation that it is about ends."""

from collections.abc import Sequence

from ocppcore.contracts.transactions import ReservationStatusReported
from ocppcore.service import ActionHandler, Context, Need, Outcome, View
from ocppcore.v201 import ReservationStatusUpdateRequest, ReservationStatusUpdateResponse
from services.transactions.domain import reservation


def on_reservation_status_update(request: ReservationStatusUpdateRequest, view: View, context: Context) -> Outcome:
    """Of an unknown id, or one that has ended: kept, and that is all."""
    status = str(request.reservationUpdateStatus)
    event = ReservationStatusReported(
        at=context.now,
        station=context.station,
        reservation_id=request.reservationId,
        status=status,
    )
    ended = reservation.station_said(request.reservationId, status, view, context)
    return Outcome((event, *ended.events), reply=ReservationStatusUpdateResponse(), puts=ended.puts)


def _needs(request: ReservationStatusUpdateRequest, station: str) -> Sequence[Need]:
    return reservation.status_needs(station, request.reservationId)


HANDLER = ActionHandler(ReservationStatusUpdateRequest, on_reservation_status_update, _needs)
