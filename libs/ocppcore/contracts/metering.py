"""Events and requests about meter values (block J), of the transactions service. Times in ms, decimals as text."""

from typing import ClassVar

import msgspec

from ocppcore.service import Event


class RolledSeries(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One series of an hour, in base units. `energy` and `drops` (how often the register fell): of registers."""

    evse_id: int
    kind: str
    measurand: str
    unit: str
    count: int
    min: str
    max: str
    sum: str
    first_at: int
    first: str
    last_at: int
    last: str
    phase: str = ""
    location: str = "Outlet"
    energy: str = "0"
    drops: int = 0


class RollUp(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Request: the figures of an hour, computed from the samples. `partial`: some of them are gone by now."""

    NAME: ClassVar[str] = "transactions.RollUp.v1"
    hour: int
    series: tuple[RolledSeries, ...] = ()
    partial: bool = False


class MeterEvent(Event, frozen=True, kw_only=True, omit_defaults=True):
    """About the meters of one station."""

    station: str

    def subject(self) -> str:
        return self.station


class MeterHourBegun(MeterEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Samples of the hour `hour` began to come in the hour `arrived`: there they are found on `transactions.meter`."""

    TYPE: ClassVar[str] = "transactions.MeterHourBegun.v1"
    hour: int
    arrived: int


class MeterHourDue(MeterEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The hour is over: its figures are wanted, from samples that came until now."""

    TYPE: ClassVar[str] = "transactions.MeterHourDue.v1"
    hour: int


class MeterHourRolledUp(MeterEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The figures of an hour; a later one replaces them (samples came late). They outlive the samples."""

    TYPE: ClassVar[str] = "transactions.MeterHourRolledUp.v1"
    hour: int
    series: tuple[RolledSeries, ...] = ()


class MeterGapFound(MeterEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Between two transactions at an EVSE the register moved (J02.FR.17): by `missing_wh`, negative where it fell.

    A later event about the same `after` replaces this one. `before`, `after`: transactionIds; `ended_wh`, `started_wh`:
    the register then, `ended_at`, `started_at`: the station's times.
    """

    TYPE: ClassVar[str] = "transactions.MeterGapFound.v1"
    evse_id: int
    before: str
    after: str
    ended_wh: str
    started_wh: str
    missing_wh: str
    ended_at: int
    started_at: int


class TransactionMetered(MeterEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Where the register of an EVSE stood at a transaction's begin and end (J02.FR.17); a later one amends it."""

    TYPE: ClassVar[str] = "transactions.TransactionMetered.v1"
    evse_id: int
    transaction_id: str
    first_at: int
    first_wh: str
    last_at: int
    last_wh: str


class RegisterMeterKey(msgspec.Struct, frozen=True, kw_only=True):
    """Request: signed values of this EVSE count where they verify under this key (base64 of its DER)."""

    NAME: ClassVar[str] = "transactions.RegisterMeterKey.v1"
    evse_id: int
    fingerprint: str
    public_key: str


class RemoveMeterKey(msgspec.Struct, frozen=True, kw_only=True):
    """Request: they do no longer; verdicts that were given stay."""

    NAME: ClassVar[str] = "transactions.RemoveMeterKey.v1"
    evse_id: int
    fingerprint: str


class MeterKeyRegistered(MeterEvent, frozen=True, kw_only=True, omit_defaults=True):
    """`public_key`: base64 of its SubjectPublicKeyInfo, `fingerprint` the SHA-256 of that."""

    TYPE: ClassVar[str] = "transactions.MeterKeyRegistered.v1"
    evse_id: int
    fingerprint: str
    public_key: str
    actor: str = ""


class MeterKeyRemoved(MeterEvent, frozen=True, kw_only=True, omit_defaults=True):
    TYPE: ClassVar[str] = "transactions.MeterKeyRemoved.v1"
    evse_id: int
    fingerprint: str
    actor: str = ""


class SignedValueJudged(MeterEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A signed value was verified, or could not be. It is told by the digest (SHA-256) of its signedMeterData, which
    may name a driver, and so stays with the samples on `transactions.meter`.

    `taken_at`: the sample's time; `place`: its index among the message's meter values. `wh`: what was signed last;
    `agrees`: whether the sample's own value is among what was signed (None: nothing to compare).
    """

    TYPE: ClassVar[str] = "transactions.SignedValueJudged.v1"
    digest: str
    verdict: str
    taken_at: int
    evse_id: int = -1
    transaction_id: str = ""
    seq_no: int = -1
    place: int = 0
    reason: str = ""
    fingerprint: str = ""
    claimed: str = ""
    meter: str = ""
    pagination: str = ""
    wh: str = ""
    status: str = ""
    agrees: bool | None = None
