"""What the API of transactions takes and shows."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class IdTokenBody(_Body):
    """An idToken as OCPP writes it."""

    idToken: str = Field(min_length=1, max_length=36)
    type: Literal["Central", "eMAID", "ISO14443", "ISO15693", "KeyCode", "Local", "MacAddress", "NoAuthorization"] = (
        "Central"
    )


class RemoteStartBody(_Body):
    """Start a transaction from here (F01, F02)."""

    idToken: IdTokenBody
    groupIdToken: IdTokenBody | None = None
    evseId: int | None = Field(None, ge=1, le=2**31 - 1)
    chargingProfile: dict[str, Any] | None = Field(None, description="A TxProfile without transactionId")
    effectWithin: int = Field(120, ge=1, le=3600, description="Seconds until a missing transaction counts as no effect")


class RemoteStopBody(_Body):
    """Stop a transaction from here (F03)."""

    transactionId: str = Field(max_length=36)
    effectWithin: int = Field(120, ge=1, le=3600, description="Seconds until a missing end counts as no effect")


class RemoteShown(BaseModel):
    """A remote start or stop. `state`: asked, accepted, seen (its effect), rejected, failed, no_effect."""

    operationId: str
    kind: Literal["start", "stop"]
    stationId: str
    state: str
    commandId: str
    remoteStartId: int | None
    transactionId: str | None
    evseId: int | None
    reason: str | None
    askedAt: str
    changedAt: str


class CostLine(BaseModel):
    """What one price component brought. `tariff`: `version/id`, `element`: its place in that tariff.

    `volume` as measured, `billed` after the step, in `unit` (kWh, s, "" for FLAT). `price` per kWh, hour or
    transaction without VAT. Amounts to four places more than the currency has; the totals are not their sum, they are
    rounded once.
    """

    tariff: str
    element: int
    dimension: Literal["ENERGY", "FLAT", "PARKING_TIME", "TIME"]
    volume: str
    billed: str
    unit: str
    price: str
    vat: str | None = None
    stepSize: int
    exclVat: str
    inclVat: str


class CostShown(BaseModel):
    """What a transaction costs by what is known of it. `limit`: `min` or `max` where a limit of the tariff counts.

    `lines` only for a transaction on its own, in the order in which the prices began to count.
    """

    currency: str
    exclVat: str
    inclVat: str
    limit: str | None = None
    lines: list[CostLine] | None = None


class TransactionShown(BaseModel):
    """A transaction. Energy in Wh as decimal text; `gaps`: seqNos that are missing, `missing` of them.

    Of `seqNos` and `gaps` a list shows the first 100, a transaction on its own the first 10000.

    `startedAt` and `endedAt` are the station's clock, `heardAt` (its first event came) and `changedAt` ours.
    """

    stationId: str
    transactionId: str
    state: Literal["open", "ended"]
    evseId: int | None
    connectorId: int | None
    startedAt: str | None
    endedAt: str | None
    chargingState: str | None
    stoppedReason: str | None
    remoteStartId: int | None
    token: str | None = Field(description="Pseudonym of the idToken")
    tokenType: str | None
    meterStartWh: str | None
    meterStopWh: str | None
    energyWh: str | None
    meterDrops: int = Field(description="Times that the register fell (a meter replaced): energyWh restarted there")
    seqNos: list[int]
    gaps: list[int]
    gapsExact: bool = Field(description="False: events left too many gaps; more may be missing than `missing` says")
    missing: int
    conflicts: int
    offline: bool
    timeSpentCharging: int | None
    cost: CostShown | None = Field(description="null: no tariff applied")
    heardAt: str
    changedAt: str
