"""Tariffs and courses of tests."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from ocppcore.contracts.charge_details import ChargePeriod
from ocppcore.tariff import Tariff
from services.transactions.domain.course import Course


def tariff(*elements: Mapping[str, Any], **more: Any) -> Tariff:
    """A tariff in euros; an element: `{"ENERGY": "0.30", "TIME": ("2.00", step, vat), "when": {restrictions}}`."""
    made = []
    for element in elements:
        components = []
        for dimension, price in element.items():
            if dimension == "when":
                continue
            price, step, vat = price if isinstance(price, tuple) else (price, 1, None)
            component = {"type": dimension, "price": price, "stepSize": step}
            components.append(component if vat is None else component | {"vat": vat})
        made.append({"priceComponents": components} | ({"restrictions": element["when"]} if "when" in element else {}))
    shape = {"id": "t", "version": 1, "currency": "EUR", "elements": made} | more
    return msgspec.convert(shape, type=Tariff)


def at(text: str) -> int:
    """`2026-06-01T16:55+02:00` in ms."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def course(begin: str, *parts: Sequence[Any]) -> Course:
    """From `begin` on: (minutes, kWh or None where it does not charge, current in A?)."""
    start = now = at(begin)
    periods = []
    for minutes, kwh, *more in parts:
        end = now + round(float(minutes) * 60_000)
        current = Decimal(str(more[0])) if more else None
        periods.append(ChargePeriod(now, end, kwh is not None, Decimal(str(kwh or 0)) * 1000, "", current))
        now = end
    return Course(start, tuple(periods))
