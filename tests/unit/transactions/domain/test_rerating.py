"""A record rated by another tariff: every difference is explained to the last digit."""

from decimal import Decimal
from itertools import product
from typing import Any

import msgspec
import pytest

from ocppcore.contracts.charge_details import ChargeDetail
from ocppcore.tariff import Tariff
from services.transactions.domain.rerating import difference
from tests.support.charge_details import ZERO, detail
from tests.support.tariffs import course, tariff

CHARGED = course("2026-06-01T16:55+02:00", (20, 3.5), (37, 4.123), (15, 0), (41.5, None))
TARIFFS: dict[str, Tariff] = {
    "plain": tariff({"ENERGY": "0.30"}),
    "dearer": tariff({"ENERGY": ("0.333", 1, "19"), "FLAT": "1.00"}, version=2),
    "stepped": tariff({"ENERGY": ("0.30", 1000, "19"), "PARKING_TIME": ("3.00", 900, "7")}, version=3),
    "hourly": tariff(
        {"TIME": "4.00", "when": {"startTime": "17:30", "endTime": "18:00"}}, {"TIME": "2.10", "ENERGY": "0.1"}
    ),
    "least": tariff({"ENERGY": "0.30"}, minPrice={"exclVat": "5.00"}),
    "most": tariff({"ENERGY": ("0.30", 1, "19")}, maxPrice={"exclVat": "1.00"}),
    "free": tariff({"ENERGY": "0"}),
}


@pytest.mark.parametrize(("old", "new"), [(old, new) for old, new in product(TARIFFS, TARIFFS) if old != new])
def test_the_causes_add_up_to_the_difference(old: str, new: str) -> None:
    found = difference(detail(CHARGED, TARIFFS[old]), TARIFFS[new])
    assert found is not None
    assert sum((one.excl_vat for one in found.causes), ZERO) == found.new_excl_vat - found.old_excl_vat
    assert sum((one.incl_vat for one in found.causes), ZERO) == found.new_incl_vat - found.old_incl_vat


@pytest.mark.parametrize("name", TARIFFS)
def test_the_same_tariff_makes_no_difference(name: str) -> None:
    assert difference(detail(CHARGED, TARIFFS[name]), TARIFFS[name]) is None


def causes(old: ChargeDetail, new: Tariff) -> list[tuple[Any, ...]]:
    found = difference(old, new)
    assert found is not None
    return [(one.what, one.why, one.excl_vat) for one in found.causes]


def test_what_changed_is_said() -> None:
    tenth = course("2026-06-01T16:55+02:00", (60, 10))
    assert causes(detail(tenth, TARIFFS["plain"]), tariff({"ENERGY": "0.45"})) == [
        ("ENERGY", "10 kWh at 0.30 became 10 kWh at 0.45", Decimal("1.500000"))
    ]
    assert causes(detail(tenth, TARIFFS["plain"]), TARIFFS["least"]) == [
        ("LIMIT", "no limit became the minimum price", Decimal("2.00"))
    ]
    assert causes(detail(tenth), TARIFFS["plain"]) == [("ENERGY", "nothing became 10 kWh at 0.30", Decimal("3.000000"))]
    eleventh = course("2026-06-01T16:55+02:00", (60, 10.1))
    assert causes(detail(eleventh, TARIFFS["plain"]), tariff({"ENERGY": ("0.30", 1000, None)}))[0][1] == (
        "10.1 kWh at 0.30 became 11 kWh (from 10.1 by steps of 1000) at 0.30"
    )


def test_another_currency_is_no_difference_of_amounts() -> None:
    found = difference(detail(CHARGED, TARIFFS["plain"]), tariff({"ENERGY": "0.30"}, currency="CHF"))
    assert found is not None
    assert (found.old_currency, found.new_currency, found.causes) == ("EUR", "CHF", ())


def test_credits_and_records_without_a_course_are_not_rated() -> None:
    made = detail(CHARGED, TARIFFS["plain"])
    assert difference(msgspec.structs.replace(made, kind="credit"), TARIFFS["dearer"]) is None
    assert difference(msgspec.structs.replace(made, periods=()), TARIFFS["dearer"]) is None
