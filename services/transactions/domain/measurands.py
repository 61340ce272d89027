"""Sampled values in base units (block J): every measurand, phase, location and context, of meter values as they came.

Wh, varh, VAh, W, var, VA, A, V, Hz, Percent, Celsius, RPM and the other units of Part 2, appendix 2, with `k` and
multipliers worked in. What cannot count is kept and marked with its `fault`; it is in no sum: an unknown unit, one that
does not fit the measurand, a value that nothing can have.
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta

from ocppcore.wire import read_number
from services.transactions.domain.energy import EXACT
from services.transactions.domain.said import milliseconds

Kind = Literal["sampled", "aligned"]
Fault = Literal["", "unit", "measurand", "absurd"]
"""unit: not one that is known. measurand: not a unit of this measurand. absurd: beyond what there can be."""

REGISTER: Final = ".Register"
EXPONENT_MAX: Final = 12
MAGNITUDE_MAX: Final = Decimal(10) ** 15
THOUSAND: Final = Decimal(1000)
ONE: Final = Decimal(1)
MICRO: Final = Decimal("0.000001")

UNITS: Final[dict[str, tuple[str, Decimal, Decimal]]] = {
    "wh": ("Wh", ONE, Decimal(0)),
    "kwh": ("Wh", THOUSAND, Decimal(0)),
    "varh": ("varh", ONE, Decimal(0)),
    "kvarh": ("varh", THOUSAND, Decimal(0)),
    "vah": ("VAh", ONE, Decimal(0)),
    "kvah": ("VAh", THOUSAND, Decimal(0)),
    "w": ("W", ONE, Decimal(0)),
    "kw": ("W", THOUSAND, Decimal(0)),
    "va": ("VA", ONE, Decimal(0)),
    "kva": ("VA", THOUSAND, Decimal(0)),
    "var": ("var", ONE, Decimal(0)),
    "kvar": ("var", THOUSAND, Decimal(0)),
    "a": ("A", ONE, Decimal(0)),
    "v": ("V", ONE, Decimal(0)),
    "hz": ("Hz", ONE, Decimal(0)),
    "percent": ("Percent", ONE, Decimal(0)),
    "celsius": ("Celsius", ONE, Decimal(0)),
    "k": ("Celsius", ONE, Decimal("-273.15")),
    "rpm": ("RPM", ONE, Decimal(0)),
    **{
        unit.casefold(): (unit, ONE, Decimal(0))
        for unit in ("ASU", "B", "dB", "dBm", "Deg", "kPa", "lx", "m", "ms2", "N", "Ohm", "RH", "s")
    },
}
"""Casefolded unit -> base unit, factor, offset."""

FITTING: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("Current.", ("A",)),
    ("Energy.Active.", ("Wh",)),
    ("Energy.Reactive.", ("varh",)),
    ("Energy.Apparent.", ("VAh",)),
    ("Frequency", ("Hz",)),
    ("Power.Active.", ("W",)),
    ("Power.Factor", ("", "Percent")),
    ("Power.Offered", ("W", "VA")),
    ("Power.Reactive.", ("var",)),
    ("SoC", ("Percent",)),
    ("Voltage", ("V",)),
)
"""Beginning of the measurand -> the units it may have; the first is meant where none is named."""

RANGES: Final[dict[str, tuple[Decimal, Decimal]]] = {
    "SoC": (Decimal(0), Decimal(100)),
    "Frequency": (Decimal(0), Decimal(1000)),
    "Voltage": (Decimal(-2000), Decimal(2000)),
    "Current.Offered": (Decimal(0), Decimal(10_000)),
    "Power.Offered": (Decimal(0), Decimal(10_000_000)),
}
"""Where more than MAGNITUDE_MAX is known of what there can be; registers are never negative."""
NAMED_RANGES: Final = (
    ("Current.", Decimal(10_000)),
    ("Power.Active.", Decimal(10_000_000)),
    ("Power.Reactive.", Decimal(10_000_000)),
)


class Sample(NamedTuple):
    """A sampled value. `value` is in `unit`; with a fault of the unit both are as they came (multiplier
    worked in). `signed`: its signedMeterValue as JSON, b"" for none."""

    at: int
    value: Decimal
    measurand: str
    phase: str
    location: str
    unit: str
    context: str
    fault: Fault = ""
    signed: bytes = b""

    @property
    def kind(self) -> Kind:
        return "aligned" if self.context == "Sample.Clock" else "sampled"

    @property
    def is_register(self) -> bool:
        return self.measurand.endswith(REGISTER)


class _Unit(msgspec.Struct):
    unit: str | None = None
    multiplier: Any = 0


class _Sampled(msgspec.Struct):
    """As in the standard; whatever the wire types take, and customData, which says nothing here."""

    value: Any
    context: str = "Sample.Periodic"
    measurand: str = "Energy.Active.Import.Register"
    phase: str = ""
    location: str = "Outlet"
    signedMeterValue: msgspec.Raw = msgspec.Raw(b"")
    unitOfMeasure: _Unit | None = None


class _MeterValue(msgspec.Struct):
    sampledValue: Annotated[list[_Sampled], Meta(min_length=1)]
    timestamp: str


_decoder = msgspec.json.Decoder(list[_MeterValue], float_hook=Decimal)


def samples(meter_values: bytes) -> Iterator[Sample]:
    """All of a `meterValue` list that the wire types took, in its order."""
    for meter_value in _decoder.decode(meter_values):
        at = milliseconds(meter_value.timestamp)
        for sampled in meter_value.sampledValue:
            yield _sample(at, sampled)


def _sample(at: int, sampled: _Sampled) -> Sample:
    value, unit, fault = _in_base(sampled)
    signed = bytes(sampled.signedMeterValue)
    return Sample(at, value, sampled.measurand, sampled.phase, sampled.location, unit, sampled.context, fault, signed)


def _in_base(sampled: _Sampled) -> tuple[Decimal, str, Fault]:
    value, of = read_number(sampled.value), sampled.unitOfMeasure
    fitting = next((units for start, units in FITTING if sampled.measurand.startswith(start)), ())
    named = of.unit if of is not None else None
    exponent = int(of.multiplier) if of is not None else 0
    if abs(exponent) > EXPONENT_MAX:
        return value, named or "", "absurd"
    if exponent:
        value = value.scaleb(exponent, EXACT)
    if named is None:
        unit = fitting[0] if fitting else ""
    elif named.casefold() == "fahrenheit":
        unit = "Celsius"
        value = ((value - 32) * 5 / 9).quantize(MICRO, context=EXACT)
    elif (known := UNITS.get(named.casefold())) is not None:
        unit, factor, offset = known
        value = EXACT.add(EXACT.multiply(value, factor), offset) if factor != 1 or offset else value
    elif named == "" and "" in fitting:
        unit = ""
    else:
        return value, named, "unit"
    if fitting and unit not in fitting:
        return value, unit, "measurand"
    return value, unit, "" if _possible(sampled.measurand, unit, value) else "absurd"


def _possible(measurand: str, unit: str, value: Decimal) -> bool:
    if not -MAGNITUDE_MAX < value < MAGNITUDE_MAX:
        return False
    if measurand.endswith(REGISTER) and value < 0:
        return False
    if unit == "Celsius" and value < Decimal("-273.15"):
        return False
    if measurand in RANGES:
        low, high = RANGES[measurand]
        return low <= value <= high
    return all(abs(value) <= most for start, most in NAMED_RANGES if measurand.startswith(start))
