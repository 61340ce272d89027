"""ReservationStatusUpdate (H04): the station's word on a reservation, kept as an event and acknowledged."""

from ocppcore.contracts.transactions import ReservationStatusReported
from ocppcore.service import ActionHandler, Context, Outcome, View
from ocppcore.v201 import ReservationStatusUpdateRequest, ReservationStatusUpdateResponse


def on_reservation_status_update(request: ReservationStatusUpdateRequest, view: View, context: Context) -> Outcome:
    """Kept for whoever holds reservations."""
    event = ReservationStatusReported(
        at=context.now,
        station=context.station,
        reservation_id=request.reservationId,
        status=str(request.reservationUpdateStatus),
    )
    return Outcome((event,), reply=ReservationStatusUpdateResponse())


HANDLER = ActionHandler(ReservationStatusUpdateRequest, on_reservation_status_update)
