"""Charge detail records: what is billed of a transaction, made once from what its station said, and never changed.

Nothing in a record depends on when anything was received. Energy in Wh, amounts in the currency, both as decimal text;
times in ms, by the station's clock, corrected where that was wrong (`clock_offset_ms`).
"""

from decimal import Decimal
from typing import ClassVar, Literal

import msgspec

from ocppcore.contracts.inquiries import Grade
from ocppcore.service import Event
from ocppcore.tariff import Dimension, Tariff

Why = Literal["made", "late", "rerated"]
"""The first record of a transaction; another one after late truth; another one by a changed tariff."""


class ChargePeriod(msgspec.Struct, frozen=True, array_like=True):
    """A part of the transaction, from one moment to the next (ms): `wh` flowed evenly.

    `tariff`: `version/id` (`0/`: none applied), "" before the first event that names one. `current`: in A over all
    phases, None: unknown.
    """

    start: int
    end: int
    charging: bool
    wh: Decimal
    tariff: str = ""
    current: Decimal | None = None


class ChargeLine(msgspec.Struct, frozen=True, kw_only=True):
    """What one price component brought. `tariff`: `version/id`; `element`: its place in that tariff.

    `volume` as measured and `billed` after the step, in `unit` (kWh, s, "" for FLAT); `price` per kWh, hour or
    transaction without VAT, `vat` in percent. The amounts are shown rounded to four places more than the currency has.
    """

    tariff: str
    element: int
    dimension: Dimension
    volume: Decimal
    billed: Decimal
    unit: str
    price: Decimal
    vat: Decimal | None
    step_size: int
    excl_vat: Decimal
    incl_vat: Decimal


class ChargeDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One record, written with all its members: its bytes are to be equal wherever it is made.

    `id` follows from station, transaction and `version`, which counts the transaction's records.

    A `credit` takes back the record `credits`: its energy and totals, negative, without periods and lines. `currency`
    "": no tariff applied, nothing is charged. `limit`: `min` or `max`, where a limit of the tariff set the total to
    what it is instead of `unlimited_excl_vat`. `zone`: IANA name of the place by whose clock the tariff was applied.
    """

    id: str
    version: int
    kind: Literal["charge", "credit"]
    why: Why
    station: str
    identity: str
    transaction_id: str
    grade: Grade
    credits: str = ""
    evse_id: int | None = None
    connector_id: int | None = None
    token: str = ""
    token_type: str = ""
    started_at: int | None = None
    ended_at: int | None = None
    clock_offset_ms: int = 0
    stopped_reason: str = ""
    remote_start_id: int | None = None
    meter_start_wh: str | None = None
    meter_stop_wh: str | None = None
    meter_drops: int = 0
    energy_wh: Decimal = Decimal(0)
    charging_ms: int = 0
    parking_ms: int = 0
    missing: int = 0
    conflicts: int = 0
    zone: str = "UTC"
    currency: str = ""
    excl_vat: Decimal = Decimal(0)
    incl_vat: Decimal = Decimal(0)
    limit: str = ""
    unlimited_excl_vat: Decimal | None = None
    periods: tuple[ChargePeriod, ...] = ()
    lines: tuple[ChargeLine, ...] = ()


class MakeChargeDetail(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Request: make the record of an ended transaction, or correct it."""

    NAME: ClassVar[str] = "transactions.MakeChargeDetail.v1"
    transaction_id: str


class ReRate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Request: rate the transaction of this record by another tariff, if it is still its newest. 404, 409."""

    NAME: ClassVar[str] = "transactions.ReRate.v1"
    transaction_id: str
    detail_id: str
    tariff: Tariff


class ChargeDetailDue(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The time for what is missing is over: the transaction is billed as it is known."""

    TYPE: ClassVar[str] = "transactions.ChargeDetailDue.v1"
    station: str
    transaction_id: str

    def subject(self) -> str:
        return self.station


class ChargeDetailMade(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A charge or a credit. `rerated`: the tariff that rates this transaction from now on; `actor`: who asked.
    `account`: whose balance it changes, a key of `transactions.open`; "": nobody's."""

    TYPE: ClassVar[str] = "transactions.ChargeDetailMade.v1"
    station: str
    detail: ChargeDetail
    digest: str
    rerated: Tariff | None = None
    actor: str = ""
    account: str = ""

    def subject(self) -> str:
        return self.station
