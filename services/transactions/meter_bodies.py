"""What the API of meter values shows."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Kind = Literal["sampled", "aligned"]


class PointShown(BaseModel):
    """A sample as it came, in base units. `fault`: why it counts in no sum (`unit` is not known, does not fit the
    `measurand`, or the value is `absurd`); such a value is shown as it was sent."""

    at: str
    value: str
    context: str
    transactionId: str | None
    seqNo: int | None
    signedMeterValue: dict[str, Any] | None
    fault: Literal["unit", "measurand", "absurd"] | None


class StepShown(BaseModel):
    """Figures of one step, which begins at `at`. Of registers also `energy`: what flowed since the last reading before
    this step, and `drops`: how often the register fell (a meter replaced, or rolled over). Of energies of an interval
    `energy` is their sum."""

    at: str
    count: int
    min: str
    max: str
    avg: str
    first: str
    last: str
    energy: str | None
    drops: int | None


class SeriesShown(BaseModel):
    """One line: samples in their order, or steps. `kind` aligned: taken on the clock (Sample.Clock)."""

    measurand: str
    phase: str | None
    location: str
    unit: str
    kind: Kind
    points: list[PointShown] | None = None
    steps: list[StepShown] | None = None


class MeterShown(BaseModel):
    """Meter values of an EVSE in [from, to); EVSE 0 is the whole station. `step` in seconds, null: samples as they
    came. `next`: there are more than were shown, ask again from there."""

    stationId: str
    evseId: int
    from_: str = Field(alias="from")
    to: str
    step: int | None
    next: str | None
    series: list[SeriesShown]


class GapShown(BaseModel):
    """Between two transactions at an EVSE the register moved by `missingWh` (J02.FR.17): energy that no transaction
    has, or, where it is negative, a meter that was replaced. `endedAt` and `startedAt` are the station's times."""

    stationId: str
    evseId: int
    before: str = Field(description="transactionId")
    after: str = Field(description="transactionId")
    endedWh: str
    startedWh: str
    missingWh: str
    endedAt: str
    startedAt: str
    noticedAt: str


class MeterKeyBody(BaseModel):
    """A public key of the meter: PEM, or SubjectPublicKeyInfo in hexadecimal or base64."""

    model_config = ConfigDict(extra="forbid")

    publicKey: str = Field(min_length=1, max_length=2500)


class MeterKeyShown(BaseModel):
    """`fingerprint`: SHA-256 of the key's SubjectPublicKeyInfo; `publicKey`: base64 of that."""

    evseId: int
    fingerprint: str
    publicKey: str


class SignedShown(BaseModel):
    """The verdict on a signed value. valid: signed by a key registered for the EVSE (`fingerprint`). invalid: by none
    of them. unverified: none is registered. unsupported: not OCMF, or an algorithm not known here. malformed:
    unreadable.

    `claimed`: the key that came with it, which proves nothing. `agrees`: whether the sample's own value is what was
    signed. `digest`: SHA-256 of signedMeterData, which itself is with the samples while these are kept.
    """

    stationId: str
    evseId: int | None
    takenAt: str
    transactionId: str | None
    seqNo: int | None
    verdict: Literal["valid", "invalid", "unverified", "unsupported", "malformed"]
    reason: str | None
    fingerprint: str | None
    claimed: str | None
    meter: str | None = Field(description="Serial number of the meter, as it was signed")
    pagination: str | None
    wh: str | None = Field(description="The last reading that was signed, in Wh")
    status: str | None = Field(description="As OCMF has it; G: the meter says that it is good")
    agrees: bool | None
    digest: str
    judgedAt: str
