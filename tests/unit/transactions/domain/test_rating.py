"""Rating: tariffs and courses, then the bill. The cases of steps and elements follow the examples of OCPI 2.2.1."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from ocppcore.contracts.charge_details import ChargePeriod
from services.transactions.domain.course import Course, Totals
from services.transactions.domain.rating import rate, rate_along, total_steady
from tests.support.tariffs import at, course, tariff

NOON = "2026-06-01T12:00+02:00"
"""A Monday."""
BERLIN = "Europe/Berlin"


def cost(made: Any, found: Course, zone: str = BERLIN) -> tuple[str, str]:
    bill = rate(made, found, zone)
    return str(bill.excl_vat), str(bill.incl_vat)


def billed(made: Any, found: Course, zone: str = BERLIN) -> list[tuple[int, str, Decimal, Decimal]]:
    """(element, dimension, volume, billed) of each line."""
    return [(line.element, line.dimension, line.volume, line.billed) for line in rate(made, found, zone).lines]


def test_energy_with_vat() -> None:
    made = tariff({"ENERGY": ("0.25", 1, "10.0")})
    assert cost(made, course(NOON, (60, 10))) == ("2.50", "2.75")


@pytest.mark.requirement("I03.FR.04")
def test_free_is_zero_with_its_minor_unit() -> None:
    assert cost(tariff({"ENERGY": "0"}), course(NOON, (60, 10))) == ("0.00", "0.00")
    assert rate(tariff({"ENERGY": "0"}, currency="JPY"), course(NOON, (60, 10))).incl_vat == Decimal("0")


def test_time_is_exact_and_rounded_once() -> None:
    made = tariff({"TIME": "1.00"})
    thirds = Course(0, tuple(ChargePeriod(n * 1000, (n + 1) * 1000, True, Decimal(0)) for n in range(18)))
    assert cost(made, thirds) == ("0.01", "0.01")  # 18 s are 0.005: half up, once
    (line,) = rate(made, thirds).lines
    assert (line.volume, line.excl_vat) == (Decimal(18), Decimal("0.005000"))


def test_charging_and_parking_time() -> None:
    made = tariff({"FLAT": ("0.50", 1, "20"), "TIME": ("1.00", 900, "20"), "PARKING_TIME": ("2.00", 900, "10")})
    # 2.5 h of charging, 42 min of parking: parked time is billed as 45 min
    found = course(NOON, (150, 20), (42, None))
    assert billed(made, found) == [
        (0, "FLAT", 1, 1),
        (0, "TIME", 9000, 9000),
        (0, "PARKING_TIME", 2520, 2700),
    ]
    assert cost(made, found) == ("4.50", "5.25")


def test_a_step_counts_once_with_the_last_price() -> None:
    made = tariff(
        {"TIME": ("1.20", 1800, None), "when": {"startTime": "00:00", "endTime": "17:00"}},
        {"TIME": ("2.40", 900, None)},
    )
    found = course("2026-06-01T16:55+02:00", (10, 1))
    # ten minutes, rounded up to fifteen: five at the first price, ten at the second
    assert billed(made, found) == [(0, "TIME", 300, 300), (1, "TIME", 300, 600)]
    assert cost(made, found) == ("0.50", "0.50")


def test_charging_time_is_not_rounded_where_there_was_parking() -> None:
    made = tariff({"TIME": ("1.00", 1200, None), "PARKING_TIME": ("2.00", 600, None)})
    found = course(NOON, (25, 5), (1, None))
    assert billed(made, found) == [(0, "TIME", 1500, 1500), (0, "PARKING_TIME", 60, 600)]
    assert billed(made, course(NOON, (25, 5))) == [(0, "TIME", 1500, 2400)]


def test_a_step_of_energy() -> None:
    made = tariff({"ENERGY": ("0.20", 500, None)})
    assert billed(made, course(NOON, (60, "4.3"))) == [(0, "ENERGY", Decimal("4.3"), Decimal("4.5"))]
    assert billed(made, course(NOON, (60, "4.5"))) == [(0, "ENERGY", Decimal("4.5"), Decimal("4.5"))]


def test_the_first_element_counts_for_each_dimension_on_its_own() -> None:
    made = tariff(
        {"ENERGY": "0.10", "when": {"maxKwh": "10"}},
        {"ENERGY": "0.20", "TIME": "1.00"},
        {"TIME": "9.00", "FLAT": "0.70"},
    )
    found = course(NOON, (60, 15))
    assert billed(made, found) == [
        (2, "FLAT", 1, 1),
        (0, "ENERGY", 10, 10),
        (1, "TIME", 3600, 3600),
        (1, "ENERGY", 5, 5),
    ]


@pytest.mark.parametrize("pieces", [1, 2, 7, 60])
def test_energy_limits_cut_exactly_however_the_course_is_reported(pieces: int) -> None:
    made = tariff({"ENERGY": "0.10", "when": {"maxKwh": "10"}}, {"ENERGY": "0.20"})
    found = course(NOON, *[(Decimal(60) / pieces, Decimal(15) / pieces)] * pieces)
    assert cost(made, found) == ("2.00", "2.00")


def test_weekdays_and_times_of_day_are_the_stations() -> None:
    made = tariff(
        {"ENERGY": "0.10", "when": {"startTime": "22:00", "endTime": "06:00", "dayOfWeek": ["MONDAY", "TUESDAY"]}},
        {"ENERGY": "0.30"},
    )
    evening = course("2026-06-01T21:00+02:00", (120, 20))
    assert cost(made, evening) == ("4.00", "4.00")
    assert cost(made, evening, "UTC") == ("6.00", "6.00")  # 19 to 21 o'clock there
    # over midnight into Wednesday: the weekday is that of the moment
    assert cost(made, course("2026-06-02T23:00+02:00", (120, 20))) == ("4.00", "4.00")


def test_dates_exclude_their_end() -> None:
    made = tariff({"ENERGY": "0.10", "when": {"startDate": "2026-06-01", "endDate": "2026-06-02"}}, {"ENERGY": "0.30"})
    assert cost(made, course("2026-06-01T23:00+02:00", (120, 20))) == ("4.00", "4.00")
    assert cost(made, course("2026-05-31T23:00+02:00", (120, 20))) == ("4.00", "4.00")


def test_clocks_that_are_put_back_and_forward() -> None:
    made = tariff({"TIME": "6.00", "when": {"startTime": "02:00", "endTime": "03:00"}}, {"TIME": "0"})
    # 25 October 2026: from two to three o'clock comes twice
    assert cost(made, course("2026-10-25T00:00+02:00", (6 * 60, 1))) == ("12.00", "12.00")
    # 29 March 2026: it does not come at all
    assert cost(made, course("2026-03-29T00:00+01:00", (6 * 60, 1))) == ("0.00", "0.00")
    half = tariff({"TIME": "6.00", "when": {"startTime": "02:30", "endTime": "04:00"}}, {"TIME": "0"})
    assert cost(half, course("2026-10-25T00:00+02:00", (6 * 60, 1))) == ("12.00", "12.00")  # half an hour, then 1.5
    assert cost(half, course("2026-03-29T00:00+01:00", (6 * 60, 1))) == ("6.00", "6.00")


def test_power_is_the_average_between_two_readings() -> None:
    made = tariff({"ENERGY": "0.50", "when": {"minPower": "50"}}, {"ENERGY": "0.30"})
    assert cost(made, course(NOON, (6, 5))) == ("2.50", "2.50")
    assert cost(made, course(NOON, (6, "4.999"))) == ("1.50", "1.50")
    slow = tariff({"TIME": "1.00", "when": {"maxPower": "16"}}, {"TIME": "2.00"})
    assert cost(slow, course(NOON, (60, 11), (60, 16))) == ("3.00", "3.00")


def test_current_counts_where_the_station_reports_it() -> None:
    made = tariff({"ENERGY": "0.50", "when": {"minCurrent": "32"}}, {"ENERGY": "0.30"})
    assert cost(made, course(NOON, (60, 10, 32))) == ("5.00", "5.00")
    assert cost(made, course(NOON, (60, 10, 31))) == ("3.00", "3.00")
    assert cost(made, course(NOON, (60, 10))) == ("3.00", "3.00")


def test_durations_run_from_the_beginning() -> None:
    made = tariff({"PARKING_TIME": "6.00", "when": {"minDuration": 3600}}, {"ENERGY": "0"})
    assert cost(made, course(NOON, (30, 5), (90, None))) == ("6.00", "6.00")


def test_minimum_and_maximum() -> None:
    made = tariff(
        {"ENERGY": ("0.25", 1, "20")},
        minPrice={"exclVat": "0.50"},
        maxPrice={"exclVat": "10.00", "inclVat": "11.00"},
    )
    assert cost(made, course(NOON, (60, 1))) == ("0.50", "0.60")
    assert cost(made, course(NOON, (60, 0))) == ("0.50", "0.50")
    assert cost(made, course(NOON, (60, 100))) == ("10.00", "11.00")
    bill = rate(made, course(NOON, (60, 100)))
    assert (bill.limit, bill.unlimited_excl_vat) == ("max", Decimal("25.00"))
    assert cost(made, course(NOON, (60, 10))) == ("2.50", "3.00")


def test_a_transaction_without_time_costs_what_it_costs_to_begin() -> None:
    made = tariff({"FLAT": "1.00", "TIME": ("1.00", 60, None)})
    assert cost(made, Course(at(NOON), ())) == ("1.00", "1.00")


@pytest.mark.requirement("I06.FR.01")
def test_a_change_on_the_way_counts_from_then_on() -> None:
    old, new = tariff({"ENERGY": "0.30", "FLAT": "1.00"}), tariff({"ENERGY": "0.50", "FLAT": "7.00"}, version=2)
    found = course(NOON, (60, 10), (60, 10), (60, 10))
    legs = [
        msgspec.structs.replace(period, tariff=ref)
        for period, ref in zip(found.periods, ("", "1/t", "2/t"), strict=True)
    ]
    bill = rate_along({"1/t": old, "2/t": new}, Course(found.start, tuple(legs)))
    assert bill is not None and str(bill.excl_vat) == "12.00"
    assert [line.tariff for line in bill.lines] == ["1/t", "1/t", "2/t"]
    dollars = tariff({"ENERGY": "0.50"}, version=2, currency="USD")
    bill = rate_along({"1/t": old, "2/t": dollars}, Course(found.start, tuple(legs)))
    assert bill is not None and (bill.currency, str(bill.excl_vat)) == ("EUR", "10.00")


def test_what_no_tariff_was_there_for_costs_nothing() -> None:
    found = course(NOON, (60, 10), (60, 10))
    legs = tuple(msgspec.structs.replace(p, tariff=ref) for p, ref in zip(found.periods, ("0/", "1/t"), strict=True))
    bill = rate_along({"1/t": tariff({"ENERGY": "0.30"})}, Course(found.start, legs))
    assert bill is not None and (str(bill.incl_vat), bill.energy_wh) == ("3.00", 20_000)
    assert rate_along({}, found) is None
    assert rate_along({}, Course(found.start, legs[:1])) is None


def test_prices_that_do_not_change_on_the_way_need_no_course() -> None:
    night = {"startTime": "22:00", "endTime": "06:00"}
    made = tariff({"ENERGY": ("0.10", 1, "19"), "when": night}, {"ENERGY": ("0.30", 500, "19"), "FLAT": "1.00"})
    day = Totals("1/t", Decimal(1234), 3_600_000, 0, at(NOON), at(NOON) + 3_600_000)
    assert total_steady(made, day, BERLIN) == ("EUR", Decimal("1.45"), Decimal("1.54"))
    late = day._replace(end=at("2026-06-01T22:00+02:00"))
    assert total_steady(made, late._replace(end=late.end - 1), BERLIN) is not None
    assert total_steady(made, late, BERLIN) is None, "energy that is read at that very moment costs what holds then"
    assert total_steady(made, day._replace(start=late.end, end=late.end + 1), BERLIN) == (
        "EUR", Decimal("1.12"), Decimal("1.15"),
    )  # fmt: skip
    fast = tariff({"ENERGY": "0.10", "when": {"minPower": "50"}}, {"ENERGY": "0.30"})
    assert total_steady(fast, day, BERLIN) is None
