"""ReservationStatusUpdate."""

from ocppcore.contracts.transactions import ReservationStatusReported
from ocppcore.pseudonym import Pseudonyms
from services.transactions.service import parts
from tests.support.given import World


def test_it_is_kept_and_acknowledged() -> None:
    world = World("transactions", parts(Pseudonyms(b"k")))
    outcome = world.call("ReservationStatusUpdate", {"reservationId": 7, "reservationUpdateStatus": "Expired"})
    (event,) = outcome.events
    assert isinstance(event, ReservationStatusReported)
    assert (event.reservation_id, event.status) == (7, "Expired")
    assert outcome.reply is not None
