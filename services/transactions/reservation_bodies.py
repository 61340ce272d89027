"""What the API of reservations takes and shows."""

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from ocppcore.v201 import ConnectorEnumType
from services.transactions.bodies import IdTokenBody

ID_MAX = 2**31 - 1
Shown = Literal[
    "asked", "active", "unsure", "cancelling", "rejected", "failed", "used", "cancelled", "expired", "removed"
]


class ReserveBody(BaseModel):
    """Reserve for an idToken until a time (H01): an EVSE, or any, or any with a connector of a type."""

    model_config = ConfigDict(extra="forbid")

    idToken: IdTokenBody
    groupIdToken: IdTokenBody | None = Field(None, description="The token's group, whose members may use it too")
    expiryDateTime: AwareDatetime
    evseId: int | None = Field(None, ge=1, le=ID_MAX)
    connectorType: ConnectorEnumType | None = None
    reservationId: int | None = Field(
        None, ge=1, le=ID_MAX, description="Of an active reservation of the station, which this one replaces"
    )
    queueFor: int = Field(0, ge=0, le=7 * 24 * 3600, description="Seconds to wait for a station that is away")


class ReserveAtBody(ReserveBody):
    """The same, naming the station."""

    stationId: str = Field(min_length=1, max_length=48)


class ReservationShown(BaseModel):
    """A reservation. `state`: asked (the station is being told), active, unsure (told, no answer), cancelling; then
    rejected or failed (`reason`), used (`transactionId`), cancelled, expired, or removed (by the station).

    `shown`: whether the station shows the EVSE as Reserved; null where no EVSE is named or it is not active.
    """

    stationId: str
    reservationId: int
    state: Shown
    evseId: int | None
    connectorType: str | None
    token: str = Field(description="Pseudonym of the idToken")
    tokenType: str
    group: str | None
    expiryDateTime: str
    reason: str | None
    transactionId: str | None
    shown: bool | None
    commandId: str
    askedAt: str
    changedAt: str
