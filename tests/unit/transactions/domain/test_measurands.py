"""Sampled values in base units, and what counts in no sum."""

import json
from decimal import Decimal
from typing import Any, get_args

import pytest

from ocppcore.v201 import MeasurandEnumType
from services.transactions.domain.measurands import FITTING, Sample, samples

AT = "2026-01-01T10:00:00Z"


def one(value: float, measurand: str = "Energy.Active.Import.Register", unit: str | None = None, **more: Any) -> Sample:
    sampled: dict[str, Any] = {"value": value, "measurand": measurand} | more
    if unit is not None or "multiplier" in more:
        sampled["unitOfMeasure"] = {"unit": unit} if unit is not None else {}
        if "multiplier" in more:
            sampled["unitOfMeasure"]["multiplier"] = sampled.pop("multiplier")
    (sample,) = samples(json.dumps([{"timestamp": AT, "sampledValue": [sampled]}]).encode())
    return sample


@pytest.mark.parametrize(
    ("value", "measurand", "unit", "multiplier", "then"),
    [
        (1.5, "Energy.Active.Import.Register", None, None, ("1.5", "Wh")),
        (1.5, "Energy.Active.Import.Register", "kWh", None, ("1500.0", "Wh")),
        (15, "Energy.Active.Import.Register", "Wh", 2, ("1500", "Wh")),
        (15, "Energy.Active.Import.Register", "kWh", -2, ("150", "Wh")),
        (2, "Energy.Reactive.Import.Register", "kvarh", None, ("2000", "varh")),
        (2, "Energy.Apparent.Import", "kVAh", None, ("2000", "VAh")),
        (-7.4, "Power.Active.Export", "kW", None, ("-7400.0", "W")),
        (3, "Power.Reactive.Import", "kvar", None, ("3000", "var")),
        (11, "Power.Offered", "kVA", None, ("11000", "VA")),
        (16, "Current.Import", "A", None, ("16", "A")),
        (16, "Current.Import", None, None, ("16", "A")),
        (230, "Voltage", "v", None, ("230", "V")),
        (50, "Frequency", "Hz", None, ("50", "Hz")),
        (0.97, "Power.Factor", None, None, ("0.97", "")),
        (40, "SoC", "Percent", None, ("40", "Percent")),
    ],
)
def test_values_come_in_base_units(
    value: float, measurand: str, unit: str | None, multiplier: int | None, then: tuple[str, str]
) -> None:
    more = {} if multiplier is None else {"multiplier": multiplier}
    sample = one(value, measurand, unit, **more)
    assert (sample.value, sample.unit, sample.fault) == (Decimal(then[0]), then[1], "")


@pytest.mark.parametrize(
    ("value", "unit", "then"), [(293.15, "K", "20.00"), (68, "Fahrenheit", "20"), (20, "Celsius", "20")]
)
def test_temperatures_are_celsius(value: float, unit: str, then: str) -> None:
    """No measurand of the standard has one; a unit that does not fit is marked, and still normalised."""
    sample = one(value, "SoC", unit)
    assert (sample.value, sample.unit, sample.fault) == (Decimal(then), "Celsius", "measurand")


@pytest.mark.parametrize(
    ("value", "measurand", "unit", "multiplier", "fault"),
    [
        (5, "Voltage", "furlong", None, "unit"),
        (5, "Voltage", "", None, "unit"),
        (5, "Voltage", "Wh", None, "measurand"),
        (5, "Energy.Active.Import.Register", "varh", None, "measurand"),
        (-1, "Energy.Active.Import.Register", "Wh", None, "absurd"),
        (1, "Energy.Active.Import.Register", "Wh", 13, "absurd"),
        (1e16, "Energy.Active.Net", "Wh", None, "absurd"),
        (101, "SoC", "Percent", None, "absurd"),
        (-1, "SoC", "Percent", None, "absurd"),
        (20_000, "Current.Import", "A", None, "absurd"),
        (90, "Power.Active.Import", "kW", 9, "absurd"),
        (-5, "Frequency", "Hz", None, "absurd"),
    ],
)
def test_what_cannot_count_is_kept_and_marked(
    value: float, measurand: str, unit: str, multiplier: int | None, fault: str
) -> None:
    more = {} if multiplier is None else {"multiplier": multiplier}
    assert one(value, measurand, unit, **more).fault == fault


def test_an_unknown_unit_is_shown_as_it_was_sent() -> None:
    sample = one(5, "Voltage", "furlong", multiplier=1)
    assert (sample.value, sample.unit) == (Decimal(50), "furlong")


def test_every_measurand_has_units() -> None:
    for measurand in get_args(MeasurandEnumType):
        assert any(measurand.startswith(start) for start, _ in FITTING), measurand


def test_the_rest_is_kept() -> None:
    signed = {"signedMeterData": "", "signingMethod": "", "encodingMethod": "", "publicKey": ""}
    sample = one(
        5, "Current.Import", "A", phase="L2", location="Cable", context="Sample.Clock", signedMeterValue=signed
    )
    assert (sample.phase, sample.location, sample.kind, json.loads(sample.signed)) == ("L2", "Cable", "aligned", signed)
    assert one(5, context="Trigger").kind == "sampled"
    assert sample.at == 1_767_261_600_000


def test_digits_and_customdata_do_not_matter() -> None:
    raw = (
        b'[{"timestamp":"2026-01-01T10:00:00Z","customData":{"vendorId":"x"},"sampledValue":[{"value":1.10,'
        b'"customData":{"vendorId":"x","y":1e999},"unitOfMeasure":{"multiplier":1.0,"unit":"Wh"}}]}]'
    )
    (sample,) = samples(raw)
    assert (sample.value, sample.fault) == (Decimal("11.0"), "")
