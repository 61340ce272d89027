"""Energy registers inside meter values: what counts for a transaction's energy (E, J02).

Counted is the whole-connector reading of Energy.Active.Import.Register at the outlet; where a meter value has none but
one for each of several phases, their sum. Digits stay decimal; kWh and multipliers become Wh.
"""

from collections.abc import Sequence
from decimal import Decimal

from ocppcore.contracts.transactions import Register
from ocppcore.wire import read_number
from services.transactions.domain.energy import along
from services.transactions.domain.said import MeterValue, SampledValue, milliseconds

MEASURAND = "Energy.Active.Import.Register"
RANKS = {"Transaction.Begin": 0, "Transaction.End": 2}
PER_UNIT = {"Wh": Decimal(1), "kWh": Decimal(1000)}
WH_MAX = Decimal(10) ** 15
EXPONENT_MAX = 12
"""Multipliers beyond ten to this power are absurd for an energy and leave the reading out of the sum."""


def registers(meter_values: Sequence[MeterValue]) -> list[Register]:
    """The energy readings of a `meterValue` list, in their order."""
    found = []
    for index, meter_value in enumerate(meter_values):
        wh, context = _energy(meter_value.sampledValue)
        if wh is not None:
            at = milliseconds(meter_value.timestamp)
            found.append(Register(RANKS.get(context, 1), index, at, format(wh, "f")))
    return found


def first_and_last(found: Sequence[Register]) -> tuple[Register | None, Register | None]:
    """The reading that opens and the one that closes what these say."""
    if len(found) < 2:
        return (found[0], found[0]) if found else (None, None)
    return min(found, key=_place), max(found, key=_place)


def fallen(found: Sequence[Register]) -> tuple[str, int]:
    """The energy along three or more readings and how often the register fell; ("", 0) where it did not."""
    if len(found) < 3:
        return "", 0
    energy, drops = along(sorted(found, key=_place))
    return (format(energy, "f"), drops) if drops else ("", 0)


CURRENT = "Current.Import"
LINES = ("L1", "L2", "L3")


def current(meter_values: Sequence[MeterValue]) -> str:
    """The newest Current.Import in A as decimal text: the sum over the phases, or the one value without a phase; "" for
    none."""
    for meter_value in reversed(meter_values):
        if len(meter_value.sampledValue) == 1 and meter_value.sampledValue[0].measurand != CURRENT:
            continue  # the usual one: an energy register alone
        lines: Decimal | None = None
        for sample in meter_value.sampledValue:
            if sample.measurand != CURRENT:
                continue
            if sample.phase is None:
                return format(_in_amperes(sample), "f")
            if sample.phase in LINES:
                lines = _in_amperes(sample) if lines is None else lines + _in_amperes(sample)
        if lines is not None:
            return format(lines, "f")
    return ""


def _in_amperes(sample: SampledValue) -> Decimal:
    value, unit = read_number(sample.value), sample.unitOfMeasure
    exponent = unit.multiplier if unit is not None else 0
    return value.scaleb(exponent) if 0 < abs(exponent) <= EXPONENT_MAX else value


def _place(register: Register) -> tuple[int, int]:
    return register.rank, register.index


def _energy(samples: Sequence[SampledValue]) -> tuple[Decimal | None, str]:
    phases, context = Decimal(0), ""
    any_phase = False
    for sample in samples:
        if sample.measurand != MEASURAND or sample.location != "Outlet":
            continue
        wh = _in_wh(sample)
        if wh is None:
            continue
        context = sample.context
        if sample.phase is None:
            return wh, context
        phases += wh
        any_phase = True
    return (phases if any_phase else None), context


def _in_wh(sample: SampledValue) -> Decimal | None:
    value, unit = read_number(sample.value), sample.unitOfMeasure
    if unit is None:
        return _counting(value)
    per_unit, exponent = PER_UNIT.get(unit.unit), unit.multiplier
    if per_unit is None or abs(exponent) > EXPONENT_MAX:
        return None
    return _counting(value if exponent == 0 and unit.unit == "Wh" else value.scaleb(exponent) * per_unit)


def _counting(wh: Decimal) -> Decimal | None:
    """No register is negative, or has counted a petawatt-hour: such a reading is faulty, and counts for nothing."""
    return wh if 0 <= wh < WH_MAX else None
