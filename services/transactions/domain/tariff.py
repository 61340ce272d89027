"""A tariff as registered: versions with their validity, whom it is for, and what is wrong with one.

A tariff's home is the cell of its id; transactions and Authorize are decided on the copy of `transactions.tariffs`.
A version never changes, but the one before it ends where it begins. Several may be planned; their validities must not
overlap. A version that has begun stays until another one takes its place, so nothing that is past changes.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from decimal import Decimal
from typing import ClassVar, Final

import msgspec

from ocppcore.clock import to_rfc3339
from ocppcore.contracts.tariffs import (
    AssignTariff,
    PutTariff,
    RemoveTariff,
    TariffAssigned,
    TariffRemoved,
    TariffVersionPut,
)
from ocppcore.currency import MINOR_UNIT
from ocppcore.envelope import state_record
from ocppcore.log import NewRecord
from ocppcore.service import Aggregate, Context, Follow, Lookup, Need, Outcome, Put, Result, View, problem
from ocppcore.store import Delete, Table, Upsert
from ocppcore.tariff import CONTENT_MAX, Assignments, Element, Price, PriceComponent, Restrictions, Tariff, TariffState
from ocppcore.topics import STATIONS, TARIFFS

PRICE_MAX: Final = Decimal(10) ** 9
PRICE_PLACES_MAX: Final = 6
VAT_MAX: Final = 100
STEP_MAX: Final = 1_000_000
ELEMENTS_MAX: Final = 100
TEXTS_MAX: Final = 50
AMOUNT_MAX: Final = Decimal(10) ** 9
DURATION_S_MAX: Final = 366 * 24 * 3600
PLANNED_MAX: Final = 20
PAST_MAX: Final = 5
"""Versions that are over and still in the copy: transactions that were offline then are rated by them."""
TARGETS_MAX: Final = 10_000

_TIME: Final = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,3}(-[0-9A-Za-z]{2,8})*")
LANGUAGE_MAX: Final = 8
"""MessageContentType.language, in characters."""


class TariffKept(Aggregate, frozen=True, kw_only=True):
    """id = the normalised tariff id. `versions`: how many there ever were; their numbers are never used again."""

    KIND: ClassVar[str] = "Tariff"
    state: TariffState
    versions: int


TARIFFS_TABLE: Final = Table(
    "tariffs", {"key": "text", "id": "text", "currency": "text", "entry": "jsonb", "changed_at": "bigint"}, key=("key",)
)
"""`entry`: the tariff's `TariffState`."""
VERSIONS_TABLE: Final = Table(
    "tariff_versions", {"ref": "text", "tariff": "text", "version": "bigint", "entry": "jsonb", "put_at": "bigint"},
    key=("ref",), indexes=(("tariff", "version"),),
)  # fmt: skip
"""Every version there ever was, under `Tariff.ref`; `entry`: the `Tariff`."""


def problems(tariff: Tariff) -> Iterator[str]:
    """What is wrong with a tariff: each says where, and why."""
    if tariff.currency not in MINOR_UNIT:
        yield f"currency: {tariff.currency!r} is not the code of a currency in ISO 4217"
    if not 1 <= len(tariff.elements) <= ELEMENTS_MAX:
        yield f"elements: there must be 1 to {ELEMENTS_MAX}"
    for place, element in enumerate(tariff.elements):
        yield from (f"elements.{place}.{found}" for found in _of_element(element))
    yield from _of_limits(tariff)
    if len(tariff.texts) > TEXTS_MAX:
        yield f"tariffAltText: at most {TEXTS_MAX}"
    tags = [text.language.casefold() for text in tariff.texts]
    if len(set(tags)) < len(tags):
        yield "tariffAltText: a language comes twice"
    for place, text in enumerate(tariff.texts):
        if not _LANGUAGE.fullmatch(text.language) or len(text.language) > LANGUAGE_MAX:
            yield f"tariffAltText.{place}.language: {text.language!r} is no language tag of at most 8 characters"
        if not 1 <= len(text.text) <= CONTENT_MAX:
            yield f"tariffAltText.{place}.text: must have 1 to {CONTENT_MAX} characters, so that a station can show it"
    if tariff.valid_from is not None and tariff.valid_to is not None and tariff.valid_to <= tariff.valid_from:
        yield "endDateTime: must be after startDateTime"


def _of_element(element: Element) -> Iterator[str]:
    dimensions = [component.type for component in element.price_components]
    if not dimensions:
        yield "priceComponents: there must be at least one"
    if len(set(dimensions)) < len(dimensions):
        yield "priceComponents: a type comes twice, the second would never count"
    for place, component in enumerate(element.price_components):
        yield from (f"priceComponents.{place}.{found}" for found in _of_component(component))
    if element.restrictions is not None:
        yield from (f"restrictions.{found}" for found in _of_restrictions(element.restrictions))


def _of_component(component: PriceComponent) -> Iterator[str]:
    yield from _of_amount("price", component.price)
    if component.vat is not None and not 0 <= component.vat <= VAT_MAX:
        yield f"vat: {component.vat} is not a percentage from 0 to {VAT_MAX}"
    if not 1 <= component.step_size <= STEP_MAX:
        yield f"stepSize: must be 1 to {STEP_MAX}"


def _of_amount(field: str, amount: Decimal) -> Iterator[str]:
    if not amount.is_finite() or amount < 0:
        yield f"{field}: {amount} is negative" if amount.is_finite() else f"{field}: is no amount"
    elif amount > PRICE_MAX:
        yield f"{field}: {amount} is absurd, the most is {PRICE_MAX}"
    elif amount.quantize(Decimal(1).scaleb(-PRICE_PLACES_MAX)) != amount:
        yield f"{field}: has more than {PRICE_PLACES_MAX} decimal places"


def _of_restrictions(when: Restrictions) -> Iterator[str]:
    if when == Restrictions():
        yield "there is none: leave them out"
    for field, text in (("startTime", when.start_time), ("endTime", when.end_time)):
        if text is not None and not _TIME.fullmatch(text):
            yield f"{field}: {text!r} is no time of day as HH:MM"
    if when.start_time is not None and when.start_time == when.end_time:
        yield "endTime: equals startTime"
    days = [_day(text) for text in (when.start_date, when.end_date) if text is not None]
    if None in days:
        yield "startDate, endDate: must be dates as YYYY-MM-DD"
    elif when.start_date is not None and when.end_date is not None and when.end_date <= when.start_date:
        yield "endDate: must be after startDate, it is excluded"
    if len(set(when.day_of_week)) < len(when.day_of_week):
        yield "dayOfWeek: a day comes twice"
    for name, least, below in (
        ("Kwh", when.min_kwh, when.max_kwh),
        ("Current", when.min_current, when.max_current),
        ("Power", when.min_power, when.max_power),
        ("Duration", when.min_duration, when.max_duration),
    ):
        most = DURATION_S_MAX if name == "Duration" else AMOUNT_MAX
        for end, amount in (("min", least), ("max", below)):
            if amount is not None and not (Decimal(amount).is_finite() and 0 <= amount <= most):
                yield f"{end}{name}: must be 0 to {most}"
        if below is not None and (least or 0) >= below:
            yield f"max{name}: must be more than min{name}, it is excluded"


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if len(text) == 10 else None
    except ValueError:
        return None


def _of_limits(tariff: Tariff) -> Iterator[str]:
    for field, price in (("minPrice", tariff.min_price), ("maxPrice", tariff.max_price)):
        if price is not None:
            yield from _of_limit(field, price)
    low, high = tariff.min_price, tariff.max_price
    if low is not None and high is not None and low.excl_vat > high.excl_vat:
        yield "maxPrice.exclVat: is less than minPrice.exclVat"
    elif low and high and low.incl_vat is not None and high.incl_vat is not None and low.incl_vat > high.incl_vat:
        yield "maxPrice.inclVat: is less than minPrice.inclVat"


def _of_limit(field: str, price: Price) -> Iterator[str]:
    yield from _of_amount(f"{field}.exclVat", price.excl_vat)
    if price.incl_vat is not None:
        yield from _of_amount(f"{field}.inclVat", price.incl_vat)
        if price.incl_vat < price.excl_vat:
            yield f"{field}.inclVat: is less than exclVat"


def needs(key: str) -> Sequence[Need]:
    return ((TariffKept, key),)


def put(wanted: PutTariff, view: View, context: Context) -> Outcome:
    """A new tariff: 201; another version, or nothing new: 200. 409: it overlaps a planned one, 422: it is over."""
    held = view.get(TariffKept, context.station)
    known = held.state if held and not held.state.deleted else None
    if wanted.tariff.valid_to is not None and wanted.tariff.valid_to <= context.now:
        return Outcome(result=problem(422, "Invalid request", "endDateTime: is over already"))
    number = (held.versions if held else 0) + 1
    spelled = held.state.id if held else wanted.tariff.id
    version = msgspec.structs.replace(wanted.tariff, id=spelled, version=number)
    before = known.versions if known else ()
    if before:
        version = msgspec.structs.replace(version, valid_from=max(version.valid_from or context.now, context.now))
    if known is not None and any(_same(one, wanted.tariff, context.now) for one in before):
        return Outcome(result=Result(200, represent(known)))
    overlapped = next((one for one in before if _overlaps(one, version, context.now)), None)
    if overlapped is not None:
        return Outcome(result=problem(409, "Overlapping validity", _which(overlapped)))
    versions = _with(before, version, context.now)
    if sum(one.valid_from is not None and one.valid_from > context.now for one in versions) > PLANNED_MAX:
        return Outcome(
            result=problem(409, "Too many planned versions", f"at most {PLANNED_MAX} versions may be planned")
        )
    state = TariffState(id=spelled) if known is None else known
    state = msgspec.structs.replace(state, versions=versions)
    happened = TariffVersionPut(at=context.now, tariff=spelled, version=version, state=state, actor=context.actor)
    return Outcome((happened,), result=Result(200 if known else 201, represent(state)))


def _same(one: Tariff, wanted: Tariff, now: int) -> bool:
    """Whether a version that counts from now on says just that already."""
    if one.valid_to is not None and one.valid_to <= now:
        return False
    begun = one.valid_from is None or one.valid_from <= now
    like = msgspec.structs.replace(wanted, id=one.id, version=one.version)
    if begun and (wanted.valid_from is None or wanted.valid_from <= now):
        like = msgspec.structs.replace(like, valid_from=one.valid_from)
    return one == like


def _overlaps(one: Tariff, version: Tariff, now: int) -> bool:
    """Whether a planned version begins within the new one; one that begins at the same moment is replaced by it."""
    if one.valid_from is None or one.valid_from <= now:
        return False
    begins = version.valid_from or now
    if one.valid_from == begins:
        return False
    within = one.valid_from > begins and (version.valid_to is None or one.valid_from < version.valid_to)
    return within or (one.valid_from < begins and one.valid_to is not None and begins < one.valid_to)


def _which(one: Tariff) -> str:
    begins = to_rfc3339(one.valid_from or 0)
    ends = "" if one.valid_to is None else f" to {to_rfc3339(one.valid_to)}"
    return f"version {one.version} is planned from {begins}{ends}: end before it begins, or begin when it begins"


def _with(before: Sequence[Tariff], version: Tariff, now: int) -> tuple[Tariff, ...]:
    """The versions by their beginning; the one that the new one follows ends there. Few of those that are over stay."""
    begins = version.valid_from
    kept = []
    for one in before:
        assert begins is not None, "another version has a beginning"
        if one.valid_from is not None and one.valid_from >= begins and one.valid_from > now:
            if one.valid_from > begins:
                kept.append(one)
            continue  # one that was planned for the same moment gives way
        ends = begins if one.valid_to is None else min(one.valid_to, begins)
        if one.valid_from is None or one.valid_from < ends:
            kept.append(msgspec.structs.replace(one, valid_to=ends))
    made = sorted([*kept, version], key=lambda one: one.valid_from if one.valid_from is not None else -1)
    over = [one for one in made if one.valid_to is not None and one.valid_to <= now]
    return tuple(one for one in made if one not in over[:-PAST_MAX])


class _Known(msgspec.Struct):
    """Of a station only that it is there."""


def assign_lookups(wanted: AssignTariff, _: str) -> Sequence[Lookup]:
    """The stations it names must exist."""
    return [(STATIONS, station) for station in wanted.assignments.stations]


def assign(wanted: AssignTariff, view: View, context: Context) -> Outcome:
    """200; 404 without such a tariff, 422 when it names a station that is not registered.

    Of two tariffs for the same the one assigned last counts.
    """
    held = view.get(TariffKept, context.station)
    if held is None or held.state.deleted:
        return Outcome(result=problem(404, "Unknown tariff", "no such tariff is registered"))
    missing = [one for one in wanted.assignments.stations if view.copy(STATIONS, _Known, one) is None]
    if missing:
        return Outcome(
            result=problem(422, "Unknown station", f"stations: not registered: {', '.join(missing[:10])}")
        )  # fmt: skip
    if held.state.assignments == wanted.assignments:
        return Outcome(result=Result(200, represent_assignments(wanted.assignments)))
    state = msgspec.structs.replace(held.state, assignments=wanted.assignments, assigned_at=context.now)
    assigned = TariffAssigned(at=context.now, tariff=state.id, state=state, actor=context.actor)
    return Outcome((assigned,), result=Result(200, represent_assignments(wanted.assignments)))


def remove(_: RemoveTariff, view: View, context: Context) -> Outcome:
    """204, 404."""
    held = view.get(TariffKept, context.station)
    if held is None or held.state.deleted:
        return Outcome(result=problem(404, "Unknown tariff", "no such tariff is registered"))
    removed = TariffRemoved(at=context.now, tariff=held.state.id, actor=context.actor)
    return Outcome((removed,), result=Result(204))


def represent(state: TariffState) -> dict[str, object]:
    """A tariff as the API shows it."""
    return {
        "id": state.id,
        "versions": [represent_version(version) for version in state.versions],
        "assignments": represent_assignments(state.assignments),
    }


def represent_version(version: Tariff) -> dict[str, object]:
    """A version as the API shows it."""
    shown = dict(msgspec.to_builtins(version))
    texts = shown.pop("texts", [])
    for field in ("id", "validFrom", "validTo"):
        shown.pop(field, None)
    return shown | {
        "tariffAltText": texts,
        "startDateTime": None if version.valid_from is None else to_rfc3339(version.valid_from),
        "endDateTime": None if version.valid_to is None else to_rfc3339(version.valid_to),
    }


def represent_assignments(assignments: Assignments) -> dict[str, object]:
    """Whom it is for, tokens by their pseudonyms."""
    return {
        "default": assignments.default,
        "stations": list(assignments.stations),
        "groups": list(assignments.groups),
        "tokens": list(assignments.tokens),
    }


def evolve_put(event: TariffVersionPut, _: View) -> Iterable[Put]:
    yield Put(event.subject(), TariffKept(state=event.state, versions=event.version.version))


def evolve_assigned(event: TariffAssigned, view: View) -> Iterable[Put]:
    yield Put(event.subject(), msgspec.structs.replace(_kept(event, view), state=event.state))


def evolve_removed(event: TariffRemoved, view: View) -> Iterable[Put]:
    gone = TariffState(id=event.tariff, deleted=True)
    yield Put(event.subject(), msgspec.structs.replace(_kept(event, view), state=gone))


def event_needs(event: TariffVersionPut | TariffAssigned | TariffRemoved) -> Sequence[Need]:
    return ((TariffKept, event.subject()),)


def _kept(event: TariffAssigned | TariffRemoved, view: View) -> TariffKept:
    held = view.get(TariffKept, event.subject())
    assert held is not None, f"no tariff {event.tariff}"
    return held


def project_put(event: TariffVersionPut, view: View) -> Iterable[Upsert]:
    yield from project_assigned(event, view)
    version = event.version
    entry = msgspec.json.encode(version).decode()
    yield Upsert(VERSIONS_TABLE, (version.ref, event.subject(), version.version, entry, event.at))


def project_assigned(event: TariffVersionPut | TariffAssigned, _: View) -> Iterable[Upsert]:
    entry = msgspec.json.encode(event.state).decode()
    currency = event.state.versions[-1].currency
    yield Upsert(TARIFFS_TABLE, (event.subject(), event.state.id, currency, entry, event.at))


def project_removed(event: TariffRemoved, _: View) -> Iterable[Delete]:
    yield Delete(TARIFFS_TABLE, (event.subject(),))


def derive(event: TariffVersionPut | TariffAssigned, follow: Follow) -> Iterable[NewRecord]:
    yield _record(event.subject(), event.state, event.at, follow)


def derive_removed(event: TariffRemoved, follow: Follow) -> Iterable[NewRecord]:
    yield _record(event.subject(), TariffState(id=event.tariff, deleted=True), event.at, follow)


def _record(key: str, state: TariffState, at: int, follow: Follow) -> NewRecord:
    value = msgspec.to_builtins(state)
    return state_record(TARIFFS, key, value, "/transactions", follow.id, at, follow.partitions)
