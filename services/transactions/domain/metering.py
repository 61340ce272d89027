"""Energy registers inside meter values: what counts for a transaction's energy (E, J02).

Counted is the whole-connector reading of Energy.Active.Import.Register at the outlet; where a meter value has none but
one for each of several phases, their sum. Digits stay decimal; kWh and multipliers become Wh.
"""

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

from ocppcore.clock import from_rfc3339
from ocppcore.contracts.transactions import Register

MEASURAND = "Energy.Active.Import.Register"
RANKS = {"Transaction.Begin": 0, "Transaction.End": 2}
PER_UNIT = {"Wh": Decimal(1), "kWh": Decimal(1000)}
EXPONENT_MAX = 12
"""Multipliers beyond ten to this power are absurd for an energy and leave the reading out of the sum."""


def registers(meter_values: Sequence[dict[str, object]]) -> list[Register]:
    """The energy readings of a `meterValue` list (plain JSON, numbers as Decimal), in their order."""
    found = []
    for index, meter_value in enumerate(meter_values):
        wh, context = _energy(meter_value)
        if wh is not None:
            at = from_rfc3339(str(meter_value["timestamp"]))
            found.append(Register(RANKS.get(context, 1), index, at, format(wh, "f")))
    return found


def first_and_last(found: Sequence[Register]) -> tuple[Register | None, Register | None]:
    """The reading that opens and the one that closes what these say."""
    if not found:
        return None, None
    return min(found, key=_place), max(found, key=_place)


def _place(register: Register) -> tuple[int, int]:
    return register.rank, register.index


def _energy(meter_value: dict[str, object]) -> tuple[Decimal | None, str]:
    phases, context = Decimal(0), ""
    any_phase = False
    samples = meter_value["sampledValue"]
    assert isinstance(samples, list)
    for sample in samples:
        if sample.get("measurand", MEASURAND) != MEASURAND or sample.get("location", "Outlet") != "Outlet":
            continue
        wh = _in_wh(sample)
        if wh is None:
            continue
        context = sample.get("context", "Sample.Periodic")
        if "phase" not in sample:
            return wh, context
        phases += wh
        any_phase = True
    return (phases if any_phase else None), context


def _in_wh(sample: dict[str, object]) -> Decimal | None:
    unit = sample.get("unitOfMeasure", {})
    assert isinstance(unit, dict)
    per_unit, exponent = PER_UNIT.get(unit.get("unit", "Wh")), unit.get("multiplier", 0)
    if per_unit is None or abs(exponent) > EXPONENT_MAX:
        return None
    try:
        return Decimal(str(sample["value"])).scaleb(int(exponent)) * per_unit
    except InvalidOperation:
        return None
