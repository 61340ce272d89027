"""What the API of transactions takes and shows."""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from ocppcore.contracts.charge_details import ChargeLine
from ocppcore.contracts.inquiries import Grade

IdTokenType = Literal["Central", "eMAID", "ISO14443", "ISO15693", "KeyCode", "Local", "MacAddress", "NoAuthorization"]
QUEUE_S_MAX = 7 * 24 * 3600


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class IdTokenBody(_Body):
    """An idToken as OCPP writes it."""

    idToken: str = Field(min_length=1, max_length=36)
    type: IdTokenType = "Central"


class RemoteStartBody(_Body):
    """Start a transaction from here (F01, F02)."""

    idToken: IdTokenBody | None = Field(None, description="Required, unless one is issued")
    issueIdToken: bool = Field(
        False, description="The CSMS makes an id of type Central, accepted at this station for 24 hours"
    )
    groupIdToken: IdTokenBody | None = None
    evseId: int | None = Field(None, ge=1, le=2**31 - 1)
    chargingProfile: dict[str, Any] | None = Field(None, description="A TxProfile without transactionId")
    effectWithin: int = Field(120, ge=1, le=3600, description="Seconds until a missing transaction counts as no effect")


class RemoteStopBody(_Body):
    """Stop a transaction from here (F03)."""

    transactionId: str = Field(max_length=36)
    effectWithin: int = Field(120, ge=1, le=3600, description="Seconds until a missing end counts as no effect")
    queueFor: int = Field(
        24 * 3600, ge=0, le=QUEUE_S_MAX, description="Seconds to wait for a station that is away; 0: fail at once"
    )


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
    warnings: list[str] = Field(description="Doubts about what was asked: it was sent all the same")
    askedAt: str
    changedAt: str


class ChargeLineShown(BaseModel):
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
    vat: str | None
    stepSize: int
    exclVat: str
    inclVat: str

    @classmethod
    def of(cls, line: ChargeLine) -> Self:
        return cls(
            tariff=line.tariff,
            element=line.element,
            dimension=line.dimension,
            volume=format(line.volume, "f"),
            billed=format(line.billed, "f"),
            unit=line.unit,
            price=format(line.price, "f"),
            vat=None if line.vat is None else format(line.vat, "f"),
            stepSize=line.step_size,
            exclVat=format(line.excl_vat, "f"),
            inclVat=format(line.incl_vat, "f"),
        )


class CostShown(BaseModel):
    """What a transaction costs by what is known of it. `limit`: `min` or `max` where a limit of the tariff counts.

    `lines` only for a transaction on its own, in the order in which the prices began to count.
    """

    currency: str
    exclVat: str
    inclVat: str
    limit: str | None = None
    lines: list[ChargeLineShown] | None = None


class TransactionShown(BaseModel):
    """A transaction. Energy in Wh as decimal text; `gaps`: seqNos that are missing, `missing` of them.

    Of `seqNos` and `gaps` a list shows the first 100, a transaction on its own the first 10000.

    `startedAt` and `endedAt` are the station's clock, `heardAt` (its first event came) and `changedAt` ours.
    `completeness`: open; complete (Started to Ended without a gap); gaps (ended, events are missing); estimated (the
    CSMS concluded the end); disputed (a seqNo came with different contents).
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
    completeness: Grade
    closedAt: str | None = Field(description="When the CSMS concluded the end that the station never said")
    closedCause: str | None = Field(description="boot, available or replaced, or the doubt that led there")
    gapsFinal: bool = Field(description="The station has said that what is missing will not come, or will not say")
    clockOffset: float = Field(description="Seconds that the station's clock was behind ours (negative: ahead)")
    clockSteady: bool = Field(description="False: the clock was set meanwhile, its times are shown as they came")
    correctedStartedAt: str | None = Field(description="`startedAt` with `clockOffset` added")
    correctedEndedAt: str | None
    cost: CostShown | None = Field(description="null: no tariff applied")
    heardAt: str
    changedAt: str
