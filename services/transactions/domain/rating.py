"""What a transaction costs: `rate(tariff, course) -> Bill`. Pure, and the same for the same tariff and course.

Which element counts. For each dimension, in each moment, the first element in the tariff's order whose restrictions
hold and that has a price for it (OCPI 2.2.1, tariffs module). A period of the course is cut where a restriction begins
or ends; its energy flows evenly, so the parts get energy by their length, rounded to a thousandth of a Wh, the last
part the rest. Power is the average over the period between two readings.

Steps. Energy is rounded up to the step of the last component that priced energy, once a transaction, and what that
adds is billed at that component's price. For time the same, once: parking time where there was any, else charging time.

Rounding. Volumes and prices are exact; every amount is a fraction with the denominator 3,600,000 that is never rounded
on the way. The two totals, without and with VAT, are rounded once, half up, to the currency's minor unit; the amounts
of the lines in the trace are shown rounded to four places more, and nothing is computed from them.

Limits. A total below the minimum or above the maximum becomes that limit, each of the totals on its own. Where the
limit says no amount with VAT, the VAT is scaled with the total.

When the tariff changes on the way (I06) each period is rated by the one that held then. The transaction's price (FLAT)
is that of the first, the limits are those of the last. A tariff in another currency does not take over.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal
from functools import lru_cache, reduce
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from ocppcore.contracts.charge_details import ChargeLine, ChargePeriod
from ocppcore.currency import MINOR_UNIT, QUANTUM
from ocppcore.tariff import DAYS, Dimension, Price, PriceComponent, Restrictions, Tariff
from services.transactions.domain.course import NO_TARIFF, Course, Totals, part
from services.transactions.domain.energy import EXACT, ZERO

UNIT: Final = Decimal(3_600_000)
"""Amounts are kept times this: ms of an hour, and thousandths of a Wh's kWh, without a rest."""
MORE_PLACES: Final = 4
_ROUND: Final = Context(prec=150, rounding=ROUND_HALF_UP)
DAY_MS: Final = 24 * 3600 * 1000


class Bill(msgspec.Struct, frozen=True, kw_only=True):
    """The cost, rounded to the currency's minor unit. `unlimited_excl_vat`: before a limit of the tariff changed it.

    `limit`: `min` or `max` where one did. `energy_wh`, `charging_ms`, `parking_ms`: what was rated, priced or not.
    """

    currency: str
    excl_vat: Decimal
    incl_vat: Decimal
    lines: tuple[ChargeLine, ...]
    energy_wh: Decimal
    charging_ms: int
    parking_ms: int
    limit: str = ""
    unlimited_excl_vat: Decimal | None = None


class Total(NamedTuple):
    """What a bill comes to: the two totals of `Bill`, without its lines."""

    currency: str
    excl_vat: Decimal
    incl_vat: Decimal


def rate(tariff: Tariff, course: Course, zone: str = "UTC") -> Bill:
    """The bill by one tariff all the way; `zone`: the station's, for times of day, weekdays and dates (IANA)."""
    return _bill(*_rate([(_compiled(tariff), course.periods)], course, zone))


def rate_along(tariffs: Mapping[str, Tariff], course: Course, zone: str = "UTC") -> Bill | None:
    """The bill by the tariffs that the periods name, None if none of them names one that is there.

    `tariffs`: by `Tariff.ref`. What comes before the first event that names a tariff is rated by that tariff; what
    came while none applied is not priced.
    """
    rated = _rate_along(tariffs, course, zone)
    return None if rated is None else _bill(*rated)


def total_along(tariffs: Mapping[str, Tariff], course: Course, zone: str = "UTC") -> Total | None:
    """The totals of `rate_along`, for the running cost."""
    rated = _rate_along(tariffs, course, zone)
    if rated is None:
        return None
    meter, first, last = rated
    found = _limited(*_sums(meter, _steps(meter) if meter.last else {}), last, QUANTUM[first.tariff.currency])
    return Total(first.tariff.currency, found.excl, found.incl)


def total_steady(tariff: Tariff, sums: Totals, zone: str = "UTC") -> Total | None:
    """The totals of `rate` where the same prices hold from the course's start to its end, None where they may change:
    then what it costs does not depend on when."""
    compiled = _compiled(tariff)
    prices = compiled.always if compiled.plain else _steady(compiled, sums.start, sums.end, zone)
    if prices is None:
        return None
    excl = incl = ZERO
    energy_wh, charging_ms, parking_ms = sums.energy_wh, sums.charging_ms, sums.parking_ms
    for dimension, component in prices.items():
        if dimension == "ENERGY":
            volume = _up(energy_wh, component.step_size)
        elif dimension == "FLAT":
            volume = _ONE
        elif dimension == "PARKING_TIME":
            volume = _up(Decimal(parking_ms), component.step_size * 1000)
        else:
            parked = parking_ms and "PARKING_TIME" in prices
            volume = Decimal(charging_ms) if parked else _up(Decimal(charging_ms), component.step_size * 1000)
        net = EXACT.multiply(EXACT.multiply(volume, component.price), _PER[dimension])
        excl = EXACT.add(excl, net)
        incl = EXACT.add(incl, net if component.vat is None else EXACT.multiply(net, (100 + component.vat) / 100))
    limited = _limited(excl, incl, tariff, QUANTUM[tariff.currency])
    return Total(tariff.currency, limited.excl, limited.incl)


def _steady(tariff: "_Compiled", start: int, end: int, zone: str) -> "Mapping[Dimension, PriceComponent] | None":
    """The prices between the two moments, None where a restriction may begin or end between them."""
    if not tariff.only_timed:
        return None
    begins, ends, prices = tariff.steady.get(zone, (0, 0, {}))
    if not begins <= start < ends:
        day = datetime.fromtimestamp(start / 1000, _zone(zone)).date()
        walls = sorted(
            at for number in (-1, 0, 1) for at in _walls(day + timedelta(days=number), tuple(tariff.minutes), zone)
        )
        place = bisect_right(walls, start)
        begins, ends = walls[place - 1], walls[place]
        here = _Moment(start, ZERO, 0, ChargePeriod(start, start, True, ZERO), zone)
        found = {dimension: _active(tariff, dimension, here) for dimension in tariff.by_dimension}
        prices = {dimension: piece.component for dimension, piece in found.items() if piece is not None}
        tariff.steady[zone] = (begins, ends, prices)
    return prices if end < ends else None  # what was read at that very moment is rated by what holds then


_ONE: Final = Decimal(1)


def _up(volume: Decimal, step: int) -> Decimal:
    """To the next multiple of the step."""
    rest = EXACT.remainder(volume, Decimal(step))
    return EXACT.add(volume, EXACT.subtract(Decimal(step), rest)) if rest else volume


_Legs = list[tuple["_Compiled | None", list[ChargePeriod]]]


def _rate_along(tariffs: Mapping[str, Tariff], course: Course, zone: str) -> "_Rated | None":
    legs: _Legs = []
    leading: list[ChargePeriod] = []
    current: _Compiled | None = None
    currency = ""
    for period in course.periods:
        if not period.tariff:
            leading.append(period)
            continue
        tariff = tariffs.get(period.tariff)
        if tariff is None:
            found = None if period.tariff == NO_TARIFF else current
        else:
            found = _compiled(tariff) if currency in ("", tariff.currency) else current
        if found is not None:
            currency = found.tariff.currency
        if not legs or found is not current:
            legs.append((found, []))
        current = found
        legs[-1][1].extend([*leading, period])
        leading = []
    if leading:
        legs.append((None, leading))
    if all(leg[0] is None for leg in legs):
        return None
    return _rate(legs, course, zone)


class _Piece(NamedTuple):
    place: int
    component: PriceComponent
    restrictions: Restrictions | None


class _Compiled:
    """A tariff made ready: components by dimension, and where its restrictions can begin or end."""

    def __init__(self, tariff: Tariff) -> None:
        self.tariff = tariff
        self.by_dimension: dict[Dimension, tuple[_Piece, ...]] = {}
        times: set[str] = set()
        durations: set[int] = set()
        energies: set[Decimal] = set()
        self.daily = False
        for place, element in enumerate(tariff.elements):
            when = element.restrictions
            for component in element.price_components:
                held = self.by_dimension.get(component.type, ())
                if not held or held[-1].restrictions is not None:  # nothing counts behind what always does
                    self.by_dimension[component.type] = (*held, _Piece(place, component, when))
            if when is None:
                continue
            times |= {text for text in (when.start_time, when.end_time) if text}
            self.daily |= bool(when.day_of_week or when.start_date or when.end_date)
            durations |= {seconds * 1000 for seconds in (when.min_duration, when.max_duration) if seconds}
            energies |= {kwh * 1000 for kwh in (when.min_kwh, when.max_kwh) if kwh}
        self.minutes = sorted({0, *map(_minutes, times)} if times or self.daily else ())
        self.durations = sorted(durations)
        self.energies = sorted(energies)
        self.plain = all(pieces[0].restrictions is None for pieces in self.by_dimension.values())
        self.always = {dimension: pieces[0].component for dimension, pieces in self.by_dimension.items()}
        self.only_timed = bool(self.minutes) and all(
            _timed(element.restrictions) for element in tariff.elements if element.restrictions is not None
        )
        self.steady: dict[str, tuple[int, int, Mapping[Dimension, PriceComponent]]] = {}
        """By zone: from and until when which prices hold, of the time asked about last."""


def _timed(when: Restrictions) -> bool:
    """Whether nothing but the time of day, the weekday and the date decides."""
    only = Restrictions(
        start_time=when.start_time,
        end_time=when.end_time,
        start_date=when.start_date,
        end_date=when.end_date,
        day_of_week=when.day_of_week,
    )
    return only == when


_COMPILED_MAX: Final = 2000
_known: dict[int, _Compiled] = {}


def _compiled(tariff: Tariff) -> _Compiled:
    """By identity: tariffs never change, and hashing one takes longer than rating by it."""
    found = _known.get(id(tariff))
    if found is None or found.tariff is not tariff:
        if len(_known) >= _COMPILED_MAX:
            _known.clear()
        found = _known[id(tariff)] = _Compiled(tariff)
    return found


class _Volume:
    """So much of one price component: Wh, ms or 1."""

    __slots__ = ("amount", "component")

    def __init__(self, amount: Decimal, component: PriceComponent) -> None:
        self.amount = amount
        self.component = component


_Key = tuple[str, int, Dimension]
"""A price component: `Tariff.ref`, place of the element, dimension."""


class _Meter:
    """Volumes by price component while a course is gone through: Wh, ms or 1."""

    def __init__(self) -> None:
        self.volumes: dict[_Key, _Volume] = {}
        self.last: dict[Dimension, _Key] = {}
        self.energy_wh, self.charging_ms, self.parking_ms = ZERO, 0, 0

    def count(self, tariff: _Compiled, found: _Piece, volume: Decimal | int) -> None:
        key = (tariff.tariff.ref, found.place, found.component.type)
        held = self.volumes.get(key)
        if held is None:
            self.volumes[key] = _Volume(Decimal(volume), found.component)
        else:
            held.amount = EXACT.add(held.amount, Decimal(volume))
        self.last[found.component.type] = key


_Rated = tuple[_Meter, _Compiled, Tariff]
"""The volumes, the first tariff, and the last one with its limits."""


def _rate(legs: Sequence[tuple[_Compiled | None, Sequence[ChargePeriod]]], course: Course, zone: str) -> _Rated:
    meter = _Meter()
    rated = [tariff for tariff, _ in legs if tariff is not None]
    _flat(meter, rated[0], course, zone)
    for tariff, periods in legs:
        for period in periods:
            if tariff is None or tariff.plain:
                _count(meter, tariff, period, None)
            else:
                _cut(meter, tariff, period, course.start, zone)
    return meter, rated[0], rated[-1].tariff


def _flat(meter: _Meter, tariff: _Compiled, course: Course, zone: str) -> None:
    if "FLAT" in tariff.by_dimension:
        power = course.periods[0] if course.periods else ChargePeriod(course.start, course.start, True, ZERO)
        found = _active(tariff, "FLAT", _Moment(course.start, ZERO, 0, power, zone))
        if found is not None:
            meter.count(tariff, found, 1)


class _Moment(NamedTuple):
    """Where in a transaction: the moment, energy (Wh) and time (ms) since it began, the period with its power."""

    at: int
    wh: Decimal
    lasted: int
    period: ChargePeriod
    zone: str


def _cut(meter: _Meter, tariff: _Compiled, period: ChargePeriod, start: int, zone: str) -> None:
    """Count a period in parts, each with the same elements from its beginning to its end."""
    ends = _boundaries(tariff, period, start, zone)
    at, left = period.start, period.wh
    while True:
        end = next((moment for moment in ends if moment > at), period.end)
        wh = part(left, end - at, period.end - at) if end < period.end else left
        limit = bisect_right(tariff.energies, meter.energy_wh)
        if limit < len(tariff.energies) and meter.energy_wh + wh > tariff.energies[limit]:
            room = EXACT.subtract(tariff.energies[limit], meter.energy_wh)
            end = at + int(_ROUND.divide(room * (end - at), wh).to_integral_value())
            wh = room
        here = _Moment(at, meter.energy_wh, at - start, period, zone)
        _count(meter, tariff, ChargePeriod(at, end, period.charging, wh), here)
        left, at = EXACT.subtract(left, wh), end
        if at >= period.end and left <= 0:
            return


def _count(meter: _Meter, tariff: _Compiled | None, period: ChargePeriod, here: _Moment | None) -> None:
    lasted = period.end - period.start
    if tariff is not None:
        for dimension, volume in (
            ("ENERGY", period.wh),
            ("TIME" if period.charging else "PARKING_TIME", lasted),
        ):
            if volume:
                found = _active(tariff, dimension, here)  # type: ignore[arg-type]
                if found is not None:
                    meter.count(tariff, found, volume)
    meter.energy_wh = EXACT.add(meter.energy_wh, period.wh)
    if period.charging:
        meter.charging_ms += lasted
    else:
        meter.parking_ms += lasted


def _active(tariff: _Compiled, dimension: Dimension, here: _Moment | None) -> _Piece | None:
    for found in tariff.by_dimension.get(dimension, ()):
        if found.restrictions is None or (here is not None and _holds(found.restrictions, here)):
            return found
    return None


def _holds(when: Restrictions, here: _Moment) -> bool:
    lasted_s = Decimal(here.lasted) / 1000
    if not _between(here.wh / 1000, when.min_kwh, when.max_kwh):
        return False
    if not _between(lasted_s, when.min_duration, when.max_duration):
        return False
    return _holds_for_power(when, here.period) and _holds_at(when, here.at, here.zone)


def _between(value: Decimal, least: Decimal | int | None, below: Decimal | int | None) -> bool:
    return (least is None or value >= least) and (below is None or value < below)


def _holds_for_power(when: Restrictions, period: ChargePeriod) -> bool:
    if (when.min_current, when.max_current) != (None, None) and (
        period.current is None or not _between(period.current, when.min_current, when.max_current)
    ):
        return False
    if when.min_power is None and when.max_power is None:
        return True
    lasted = period.end - period.start
    return lasted > 0 and _between(period.wh * 3600 / lasted, when.min_power, when.max_power)


def _holds_at(when: Restrictions, at: int, zone: str) -> bool:
    if not (when.start_time or when.end_time or when.start_date or when.end_date or when.day_of_week):
        return True
    wall = datetime.fromtimestamp(at / 1000, _zone(zone))
    day = wall.date().isoformat()
    if (when.start_date and day < when.start_date) or (when.end_date and day >= when.end_date):
        return False
    if when.day_of_week and DAYS[wall.weekday()] not in when.day_of_week:
        return False
    now = wall.hour * 60 + wall.minute
    start = _minutes(when.start_time) if when.start_time else 0
    end = _minutes(when.end_time) if when.end_time else 0
    return start <= now < end if start < end else now >= start or now < end


def _boundaries(tariff: _Compiled, period: ChargePeriod, start: int, zone: str) -> list[int]:
    """The moments within a period at which a restriction may begin or end, in order."""
    if period.end <= period.start:
        return []
    found = {start + duration for duration in tariff.durations}
    if tariff.minutes:
        first, last = (datetime.fromtimestamp(at / 1000, _zone(zone)).date() for at in (period.start, period.end))
        for number in range((last - first).days + 1):
            found |= _walls(first + timedelta(days=number), tuple(tariff.minutes), zone)
    return sorted(at for at in found if period.start < at < period.end)


@lru_cache(maxsize=4096)
def _walls(day: date, minutes: tuple[int, ...], zone: str) -> frozenset[int]:
    """When the wall clock shows these minutes of a day, all times that it does, and when it is put forward or back."""
    place = _zone(zone)
    midnight = datetime(day.year, day.month, day.day, tzinfo=place)
    found = {
        round(midnight.replace(hour=minute // 60, minute=minute % 60, fold=fold).astimezone(UTC).timestamp() * 1000)
        for minute in minutes
        for fold in (0, 1)
    }
    begin = round(midnight.timestamp() * 1000)
    end = round((midnight + timedelta(days=1)).timestamp() * 1000)
    if end - begin != DAY_MS:
        found.add(_change(begin, end, place))
    return frozenset(found)


def _change(low: int, high: int, place: ZoneInfo) -> int:
    """The moment (ms, to the minute) in (low, high] at which the offset of a zone is another one."""
    before = datetime.fromtimestamp(low / 1000, place).utcoffset()
    while high - low > 60_000:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle / 1000, place).utcoffset() == before:
            low = middle
        else:
            high = middle
    return high - high % 60_000


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


@lru_cache(maxsize=2048)
def _minutes(text: str) -> int:
    """`HH:MM` as minutes since midnight."""
    return int(text[:2]) * 60 + int(text[3:])


def _steps(meter: _Meter) -> dict[_Key, Decimal]:
    """What the steps add, by component: Wh or ms."""
    found: dict[_Key, Decimal] = {}
    timed: Dimension = "PARKING_TIME" if "PARKING_TIME" in meter.last else "TIME"
    for dimension, unit in (("ENERGY", 1), (timed, 1000)):
        key = meter.last.get(dimension)  # type: ignore[call-overload]
        if key is None:
            continue
        step = meter.volumes[key].component.step_size * unit
        total = reduce(EXACT.add, (held.amount for at, held in meter.volumes.items() if at[2] == dimension), ZERO)
        rest = EXACT.remainder(total, Decimal(step))
        if rest:
            found[key] = EXACT.subtract(Decimal(step), rest)
    return found


_PER: Final[Mapping[Dimension, Decimal]] = {
    "ENERGY": Decimal(3600),
    "TIME": Decimal(1),
    "PARKING_TIME": Decimal(1),
    "FLAT": UNIT,
}
"""An amount times UNIT, per Wh, ms or transaction at a price of 1."""
_SHOWN: Final[Mapping[Dimension, tuple[str, int]]] = {
    "ENERGY": ("kWh", 1000),
    "TIME": ("s", 1000),
    "PARKING_TIME": ("s", 1000),
    "FLAT": ("", 1),
}


def _amounts(key: _Key, held: _Volume, added: Mapping[_Key, Decimal]) -> tuple[Decimal, Decimal, Decimal]:
    """What is billed of a component, and its amounts without and with VAT, times UNIT."""
    component = held.component
    billed = EXACT.add(held.amount, added[key]) if key in added else held.amount
    net = EXACT.multiply(EXACT.multiply(billed, component.price), _PER[key[2]])
    return billed, net, net if component.vat is None else EXACT.multiply(net, (100 + component.vat) / 100)


def _sums(meter: _Meter, added: Mapping[_Key, Decimal]) -> tuple[Decimal, Decimal]:
    excl = incl = ZERO
    for key, held in meter.volumes.items():
        _, net, gross = _amounts(key, held, added)
        excl, incl = EXACT.add(excl, net), EXACT.add(incl, gross)
    return excl, incl


def _bill(meter: _Meter, first: _Compiled, last: Tariff) -> Bill:
    currency, added = first.tariff.currency, _steps(meter) if meter.last else {}
    fine = Decimal(1).scaleb(-MINOR_UNIT[currency] - MORE_PLACES)
    excl, incl = _sums(meter, added)
    total = _limited(excl, incl, last, QUANTUM[currency])
    return Bill(
        currency=currency,
        excl_vat=total.excl,
        incl_vat=total.incl,
        lines=tuple(_line(key, held, added, fine) for key, held in meter.volumes.items()),
        energy_wh=meter.energy_wh,
        charging_ms=meter.charging_ms,
        parking_ms=meter.parking_ms,
        limit=total.limit,
        unlimited_excl_vat=_rounded(excl, QUANTUM[currency]) if total.limit else None,
    )


def _line(key: _Key, held: _Volume, added: Mapping[_Key, Decimal], fine: Decimal) -> ChargeLine:
    ref, element, dimension = key
    billed, net, gross = _amounts(key, held, added)
    unit, per = _SHOWN[dimension]
    return ChargeLine(
        tariff=ref,
        element=element,
        dimension=dimension,
        volume=held.amount / per,
        billed=billed / per,
        unit=unit,
        price=held.component.price,
        vat=held.component.vat,
        step_size=held.component.step_size,
        excl_vat=_rounded(net, fine),
        incl_vat=_rounded(gross, fine),
    )


def _rounded(amount: Decimal, quantum: Decimal) -> Decimal:
    return _ROUND.divide(amount, UNIT).quantize(quantum, context=_ROUND)


class _Total(NamedTuple):
    excl: Decimal
    incl: Decimal
    limit: str


def _limited(excl: Decimal, incl: Decimal, tariff: Tariff, quantum: Decimal) -> _Total:
    """The totals within the tariff's limits; `excl` and `incl` are times UNIT."""
    limit = ""
    for name, price in (("min", tariff.min_price), ("max", tariff.max_price)):
        if price is None:
            continue
        net, gross = _limit(excl, incl, price, name == "min")
        if net != excl or gross != incl:
            excl, incl, limit = net, gross, name
    return _Total(_rounded(excl, quantum), _rounded(incl, quantum), limit)


def _limit(excl: Decimal, incl: Decimal, price: Price, least: bool) -> tuple[Decimal, Decimal]:
    bound = EXACT.multiply(price.excl_vat, UNIT)
    net = EXACT.max(excl, bound) if least else EXACT.min(excl, bound)
    if price.incl_vat is not None:
        bound = EXACT.multiply(price.incl_vat, UNIT)
        return net, EXACT.max(incl, bound) if least else EXACT.min(incl, bound)
    if net == excl:
        return net, incl
    return net, EXACT.divide(EXACT.multiply(net, incl), excl) if excl else net
