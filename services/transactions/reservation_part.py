"""Reservations (block H) as data for the engine: a part of the transactions service."""

from ocppcore import topics
from ocppcore.authorization import Rules
from ocppcore.contracts.reservations import (
    CancelReservation,
    RepeatReservation,
    ReservationAsked,
    ReservationMoved,
    ReservationRepeatDue,
    Reserve,
)
from ocppcore.service import (
    ConnectionHandler,
    Context,
    EndedHandler,
    Fold,
    Outcome,
    Part,
    RequestHandler,
    TimerHandler,
    View,
)
from services.transactions.domain import reservation, reservation_conflicts


def part(rules: Rules) -> Part:
    """Reservations; by the same rules about idTokens as everything (a master pass reserves nothing, C16)."""

    def reserve(body: Reserve, view: View, context: Context) -> Outcome:
        refused = reservation_conflicts.refusal(body, view, context, rules)
        return reservation.reserve(body, refused, view, context)

    return Part(
        requests=(
            RequestHandler(Reserve.NAME, Reserve, reserve, reservation.reserve_needs, reservation_conflicts.lookups),
            RequestHandler(CancelReservation.NAME, CancelReservation, reservation.cancel, reservation.cancel_needs),
            RequestHandler(RepeatReservation.NAME, RepeatReservation, reservation.repeat, reservation.repeat_needs),
        ),
        ended=(EndedHandler(reservation.REFERENCE, reservation.command_ended, reservation.ended_needs),),
        timers=(TimerHandler(reservation.EXPIRY, reservation.expire, reservation.expire_needs),),
        connections=(ConnectionHandler(reservation.connected, reservation.connected_needs),),
        folds=(
            Fold(ReservationAsked, reservation.event_needs, reservation.evolve_asked, reservation.project),
            Fold(ReservationMoved, reservation.event_needs, reservation.evolve_moved, reservation.project),
            Fold(
                ReservationRepeatDue,
                reservation.event_needs,
                reservation.evolve_repeat_due,
                derive=reservation.derive_repeat_due,
            ),
        ),
        aggregates=(reservation.Reservations, reservation.Reservation, reservation.UnsentReservation),
        tables=(reservation.RESERVATIONS,),
        copies=(topics.CONNECTORS,),
    )
