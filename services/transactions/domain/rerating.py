"""Rating a charge detail record by another tariff, and saying where every difference comes from. Pure."""

from collections.abc import Iterator, Sequence
from decimal import Decimal

import msgspec

from ocppcore.contracts.charge_details import ChargeDetail, ChargeLine
from ocppcore.tariff import Dimension, Tariff
from services.transactions.domain.course import Course
from services.transactions.domain.energy import ZERO
from services.transactions.domain.rating import Bill, rate


class Cause(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A part of a difference: `excl_vat` and `incl_vat` are what it adds (in the currency, finer than it has)."""

    what: str
    why: str
    excl_vat: Decimal
    incl_vat: Decimal


class Difference(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a record would cost by another tariff. The causes add up to the difference of the totals, to the last digit.

    Where the currency is another one there is no difference of amounts: the causes are empty.
    """

    id: str
    station_id: str
    transaction_id: str
    old_currency: str
    old_excl_vat: Decimal
    old_incl_vat: Decimal
    new_currency: str
    new_excl_vat: Decimal
    new_incl_vat: Decimal
    causes: tuple[Cause, ...]


def course_of(detail: ChargeDetail) -> Course | None:
    """The course that a record was rated from; None where it has none."""
    if not detail.periods:
        return None
    return Course(detail.periods[0].start, detail.periods)


def difference(detail: ChargeDetail, tariff: Tariff) -> Difference | None:
    """What the record would cost by this tariff; None where that is what it costs, or it has nothing to rate."""
    course = course_of(detail)
    if course is None or detail.kind != "charge":
        return None
    bill = rate(tariff, course, detail.zone)
    same = (detail.currency, detail.excl_vat, detail.incl_vat) == (bill.currency, bill.excl_vat, bill.incl_vat)
    if same and detail.limit == bill.limit:
        return None
    comparable = detail.currency in ("", bill.currency)
    return Difference(
        id=detail.id,
        station_id=detail.identity,
        transaction_id=detail.transaction_id,
        old_currency=detail.currency,
        old_excl_vat=detail.excl_vat,
        old_incl_vat=detail.incl_vat,
        new_currency=bill.currency,
        new_excl_vat=bill.excl_vat,
        new_incl_vat=bill.incl_vat,
        causes=tuple(_causes(detail, bill)) if comparable else (),
    )


def _causes(old: ChargeDetail, new: Bill) -> Iterator[Cause]:
    excl, incl = new.excl_vat - old.excl_vat, new.incl_vat - old.incl_vat
    dimensions: list[Dimension] = ["ENERGY", "TIME", "PARKING_TIME", "FLAT"]
    for dimension in dimensions:
        before = [line for line in old.lines if line.dimension == dimension]
        after = [line for line in new.lines if line.dimension == dimension]
        net, gross = _sum(after) - _sum(before), _gross(after) - _gross(before)
        if net or gross:
            yield Cause(what=dimension, why=f"{_said(before)} became {_said(after)}", excl_vat=net, incl_vat=gross)
            excl, incl = excl - net, incl - gross
    if old.limit or new.limit:
        yield Cause(what="LIMIT", why=f"{_limit(old)} became {_limit(new)}", excl_vat=excl, incl_vat=incl)
    elif excl or incl:
        yield Cause(what="ROUNDING", why="totals are rounded once, lines are not", excl_vat=excl, incl_vat=incl)


def _sum(lines: Sequence[ChargeLine]) -> Decimal:
    return sum((line.excl_vat for line in lines), ZERO)


def _gross(lines: Sequence[ChargeLine]) -> Decimal:
    return sum((line.incl_vat for line in lines), ZERO)


def _said(lines: Sequence[ChargeLine]) -> str:
    """`10 kWh at 0.30 + 19 % VAT`; `nothing` without a line."""
    return " and ".join(map(_one, lines)) or "nothing"


def _one(line: ChargeLine) -> str:
    volume = f"{_plain(line.billed)} {line.unit}".strip()
    step = "" if line.billed == line.volume else f" (from {_plain(line.volume)} by steps of {line.step_size})"
    vat = "" if line.vat is None else f" + {_plain(line.vat)} % VAT"
    return f"{volume}{step} at {line.price}{vat}"


def _limit(one: ChargeDetail | Bill) -> str:
    return f"the {one.limit}imum price" if one.limit else "no limit"


def _plain(number: Decimal) -> str:
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
