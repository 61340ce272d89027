"""Events and requests about reservations (block H), of the transactions service. Times in ms."""

from typing import ClassVar, Literal

import msgspec

from ocppcore.commands import Ask
from ocppcore.service import Event

ReservationState = Literal[
    "asked", "active", "unsure", "cancelling", "rejected", "failed", "kept", "used", "cancelled", "expired", "removed"
]
"""asked: the station is being told. active: it accepted. unsure: it was told, and its answer is not known: it may hold
the reservation. cancelling: it is being told to forget it. rejected, failed: it said no, or was never told. kept: as it
was before the last change, which failed. used: a transaction began with it. removed: the station ended it, or does not
know it."""

OPEN: tuple[ReservationState, ...] = ("asked", "active", "unsure", "cancelling")


class Reserve(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Request: reserve at a station (H01). `ask`: the ReserveNow; `again`: the same for when the station comes back.

    `evse_id` None: any EVSE, or any with a connector of `connector_type`. `group`: the groupIdToken sent along,
    normalised, and `group_type`. `replace`: there may be a reservation of this id, which this one replaces (H01.FR.02).
    `evses`: the EVSEs and connectors whose status matters, as the registry has them.
    """

    NAME: ClassVar[str] = "transactions.Reserve.v1"
    reservation_id: int
    ask: Ask
    token: str
    token_type: str
    expires_at: int
    evse_id: int | None = None
    connector_type: str = ""
    group: str = ""
    group_type: str = ""
    replace: bool = False
    again: tuple[Ask, ...] = ()
    evses: tuple[tuple[int, tuple[int, ...]], ...] = ()


class CancelReservation(msgspec.Struct, frozen=True, kw_only=True):
    """Request: give a reservation up (H02). `ask`: the CancelReservation."""

    NAME: ClassVar[str] = "transactions.CancelReservation.v1"
    reservation_id: int
    ask: Ask


class RepeatReservation(msgspec.Struct, frozen=True, kw_only=True):
    """Request: tell a station that came back of a reservation again, by this command of those kept for it."""

    NAME: ClassVar[str] = "transactions.RepeatReservation.v1"
    reservation_id: int
    command_id: str


class ReservationEvent(Event, frozen=True, kw_only=True, omit_defaults=True):
    """About a reservation of one station."""

    station: str
    reservation_id: int

    def subject(self) -> str:
        return self.station


class ReservationAsked(ReservationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Fields as in `Reserve`; `token`: the pseudonym. `token_position` and `station_position`: of the records that the
    decision rested on. `identity`: the station's id as it spells it. `epoch`: of the connection then (-1: none).
    `repeats`: the commands by which the station may be told again."""

    TYPE: ClassVar[str] = "transactions.ReservationAsked.v1"
    command_id: str
    token: str
    token_type: str
    expires_at: int
    evse_id: int | None = None
    connector_type: str = ""
    group: str = ""
    group_type: str = ""
    actor: str = ""
    identity: str = ""
    token_position: int = -1
    station_position: int = -1
    epoch: int = -1
    repeats: tuple[str, ...] = ()


class ReservationMoved(ReservationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """It moved on. `epoch`: of the connection on which the station said so, -1: on none. `command_id`: the command of
    an `asked` or `cancelling`."""

    TYPE: ClassVar[str] = "transactions.ReservationMoved.v1"
    state: ReservationState
    reason: str = ""
    transaction_id: str = ""
    command_id: str = ""
    actor: str = ""
    epoch: int = -1


class ReservationRepeatDue(ReservationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The station has a new connection, and may have forgotten the reservation: it is told again."""

    TYPE: ClassVar[str] = "transactions.ReservationRepeatDue.v1"
    command_id: str
    epoch: int
