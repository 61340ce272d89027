"""What the API of charge detail records takes and shows. Energy and amounts are decimal text."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ocppcore.contracts.inquiries import Grade
from services.transactions.bodies import ChargeLineShown
from services.transactions.tariff_bodies import TariffBody


class ChargeDetailShown(BaseModel):
    """What is billed of a transaction; never changed. A `credit` takes back the record `credits`, with negative totals.

    `currency` null: no tariff applied, nothing is charged. `madeAt` is our clock, the other times the station's,
    corrected by `clockOffset` seconds where it was wrong.
    """

    id: str
    version: int
    kind: Literal["charge", "credit"]
    why: Literal["made", "late", "rerated"]
    credits: str | None
    completeness: Grade
    stationId: str
    transactionId: str
    evseId: int | None
    connectorId: int | None
    token: str | None = Field(description="Pseudonym of the idToken")
    tokenType: str | None
    startedAt: str | None
    endedAt: str | None
    clockOffset: float
    stoppedReason: str | None
    meterStartWh: str | None
    meterStopWh: str | None
    meterDrops: int
    energyWh: str
    chargingSeconds: float
    parkingSeconds: float
    missing: int
    conflicts: int
    zone: str
    currency: str | None
    exclVat: str
    inclVat: str
    limit: Literal["min", "max"] | None
    lines: list[ChargeLineShown]
    madeAt: str


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ByTariffBody(_Body):
    """By which tariff: one that was put, or (`tariff`) one that is tried under this id."""

    tariffId: str = Field(min_length=1, max_length=36)
    version: int | None = Field(None, ge=0, description="Of those that were put; without: the newest")
    tariff: TariffBody | None = None


class ReRateBody(ByTariffBody):
    """Which records, and by which tariff."""

    stationId: str | None = Field(None, max_length=48)
    token: str | None = Field(None, max_length=64, description="Pseudonym of the idToken")
    ratedBy: str | None = Field(None, max_length=36, description="Only those that this tariff (its id) rated")


class CauseShown(BaseModel):
    """A part of a difference: a dimension, LIMIT or ROUNDING."""

    what: str
    why: str
    exclVat: str
    inclVat: str


class DifferenceShown(BaseModel):
    """What a record would cost by another tariff; the causes add up to the difference."""

    id: str
    stationId: str
    transactionId: str
    oldCurrency: str
    oldExclVat: str
    oldInclVat: str
    newCurrency: str
    newExclVat: str
    newInclVat: str
    causes: list[CauseShown]


class ReRated(BaseModel):
    """A page: how many records were rated, those that would cost something else, and where the next page is."""

    rated: int
    items: list[DifferenceShown]
    next: str | None
