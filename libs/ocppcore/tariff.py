"""What a tariff is (block I), shaped as OCPI 2.2.1 shapes it, and which one applies: one pure choice for all services.

transactions rates by it, auth shows it to the driver (I01). Prices are without VAT, in the tariff's currency: per kWh
(ENERGY), per hour of charging (TIME) and of not charging (PARKING_TIME), once a transaction (FLAT).
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final, Literal, NamedTuple

import msgspec

Dimension = Literal["ENERGY", "FLAT", "PARKING_TIME", "TIME"]
Day = Literal["MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY"]
DAYS: Final[tuple[Day, ...]] = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")

CONTENT_MAX: Final = 512
"""MessageContentType.content, in characters."""


class _Shape(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Camel case in JSON, decimals as text."""


class PriceComponent(_Shape, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """`price` without VAT; `vat` in percent, None: none applies. `step_size`: Wh (ENERGY) or seconds (the times)."""

    type: Dimension
    price: Decimal
    vat: Decimal | None = None
    step_size: int = 1


class Restrictions(_Shape, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """When an element is active; all that are set must hold.

    `start_time`, `end_time` (`HH:MM`), `start_date`, `end_date` (`YYYY-MM-DD`, the end excluded) and `day_of_week` are
    the station's wall clock; an end time that is not after the start time is that of the next day. kWh since the
    transaction began: from `min_kwh` on, until `max_kwh` is reached. Power in kW and current in A (the sum over the
    phases): at least the minimum, below the maximum. Durations in seconds since the transaction began.
    """

    start_time: str | None = None
    end_time: str | None = None
    start_date: str | None = None
    end_date: str | None = None
    min_kwh: Decimal | None = None
    max_kwh: Decimal | None = None
    min_current: Decimal | None = None
    max_current: Decimal | None = None
    min_power: Decimal | None = None
    max_power: Decimal | None = None
    min_duration: int | None = None
    max_duration: int | None = None
    day_of_week: tuple[Day, ...] = ()


class Element(_Shape, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Prices that hold together; of all elements the first that is active counts, for each dimension on its own."""

    price_components: tuple[PriceComponent, ...]
    restrictions: Restrictions | None = None


class Price(_Shape, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A limit; `incl_vat` None: the bill's own VAT is scaled with it."""

    excl_vat: Decimal
    incl_vat: Decimal | None = None


class Text(_Shape, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """What a driver reads; `language`: a BCP 47 tag."""

    language: str
    text: str


class Tariff(_Shape, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A version of a tariff; it never changes. `valid_from` (included) and `valid_to` (excluded) in ms, None: open."""

    id: str
    version: int
    currency: str
    elements: tuple[Element, ...]
    min_price: Price | None = None
    max_price: Price | None = None
    texts: tuple[Text, ...] = ()
    valid_from: int | None = None
    valid_to: int | None = None

    @property
    def ref(self) -> str:
        """Under which a transaction names it: `version/id`."""
        return f"{self.version}/{self.id}"

    def is_valid(self, at: int) -> bool:
        """Whether it is in force at that moment (ms)."""
        return (self.valid_from is None or self.valid_from <= at) and (self.valid_to is None or at < self.valid_to)


class Assignments(_Shape, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Whom a tariff is for: ids normalised, groups as they compare, tokens by their pseudonyms."""

    default: bool = False
    stations: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()


class TariffState(_Shape, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A record of `transactions.tariffs`; its key is `id`. `versions`: those in force or planned, by `valid_from`.

    `assigned_at` (ms) decides between two tariffs that are assigned to the same: the one assigned last counts.
    """

    id: str
    versions: tuple[Tariff, ...] = ()
    assignments: Assignments = Assignments()
    assigned_at: int = 0
    deleted: bool = False

    def at(self, moment: int) -> Tariff | None:
        """The version in force at that moment (ms): of several the one that began last."""
        return next((version for version in reversed(self.versions) if version.is_valid(moment)), None)


class Whose(NamedTuple):
    """Who charges and where: the pseudonym ("" without a token), its group ("" without), the normalised station."""

    token: str
    group: str
    station: str


class Index(NamedTuple):
    """All tariffs by whom they are for. Values are in the order of precedence: the last assigned comes first."""

    tokens: Mapping[str, tuple[TariffState, ...]]
    groups: Mapping[str, tuple[TariffState, ...]]
    stations: Mapping[str, tuple[TariffState, ...]]
    default: tuple[TariffState, ...]

    def choose(self, whose: Whose, moment: int) -> Tariff | None:
        """The tariff in force at that moment: the token's own, else its group's, else the station's, else the default.

        One that has no version in force then is passed over, so that a tariff for a season covers another one.
        """
        for states in (
            self.tokens.get(whose.token, ()),
            self.groups.get(whose.group, ()),
            self.stations.get(whose.station, ()),
            self.default,
        ):
            for state in states:
                found = state.at(moment)
                if found is not None:
                    return found
        return None


EMPTY: Final = Index({}, {}, {}, ())


def index(states: Mapping[str, TariffState]) -> Index:
    """The tariffs by whom they are for, from all records of `transactions.tariffs`."""
    tokens: dict[str, list[TariffState]] = {}
    groups: dict[str, list[TariffState]] = {}
    stations: dict[str, list[TariffState]] = {}
    default: list[TariffState] = []
    for state in sorted(states.values(), key=lambda state: (-state.assigned_at, state.id)):
        if state.deleted or not state.versions:
            continue
        for names, found in (
            (state.assignments.tokens, tokens),
            (state.assignments.groups, groups),
            (state.assignments.stations, stations),
        ):
            for name in names:
                found.setdefault(name, []).append(state)
        if state.assignments.default:
            default.append(state)
    return Index(_tuples(tokens), _tuples(groups), _tuples(stations), tuple(default))


def _tuples(found: Mapping[str, list[TariffState]]) -> dict[str, tuple[TariffState, ...]]:
    return {name: tuple(states) for name, states in found.items()}


def text_for(tariff: Tariff, *languages: str | None) -> Text:
    """What to show of a tariff in the first of these languages that it has, `de-CH` being served by `de`; else its
    first text; a tariff without texts says its prices."""
    by_tag = {text.language.casefold(): text for text in reversed(tariff.texts)}
    by_base = {tag.partition("-")[0]: text for tag, text in reversed(list(by_tag.items()))}
    for language in languages:
        if language:
            tag = language.casefold()
            found = by_tag.get(tag) or by_tag.get(tag.partition("-")[0]) or by_base.get(tag.partition("-")[0])
            if found is not None:
                return found
    return tariff.texts[0] if tariff.texts else Text(language="", text=prices(tariff))


SHOWS: Final = ("tariffText", "tariff", "displayMessage")
"""Names under which a station's registration says whether it shows tariffs or messages."""


def shows_tariff(supports: Mapping[str, bool]) -> bool:
    """Whether a station may be sent a tariff's text (I01.FR.02): unless all that is known of it says no."""
    known = [supports[name] for name in SHOWS if name in supports]
    return any(known) or not known


_UNITS: Final[Mapping[Dimension, str]] = {"ENERGY": "/kWh", "TIME": "/h", "PARKING_TIME": "/h (P)", "FLAT": ""}


def prices(tariff: Tariff) -> str:
    """The prices with VAT, of each dimension from the lowest to the highest: `EUR 0.30-0.45/kWh + 1.00`."""
    parts = []
    for dimension, unit in _UNITS.items():
        found = [
            component.price * (100 + (component.vat or 0)) / 100
            for element in tariff.elements
            for component in element.price_components
            if component.type == dimension
        ]
        if any(found):
            low, high = _shown(min(found)), _shown(max(found))
            parts.append(f"{low if low == high else f'{low}-{high}'}{unit}")
    return f"{tariff.currency} {' + '.join(parts) or '0.00'}"


def _shown(price: Decimal) -> str:
    rounded = price.quantize(Decimal("0.0001"))
    text = format(rounded.normalize(), "f")
    return text if len(text.partition(".")[2]) >= 2 else format(rounded.quantize(Decimal("0.01")), "f")


def read_index(rows: Mapping[str, bytes]) -> Index:
    """The same from the whole copy of `transactions.tariffs`, as `View.whole` gives it."""
    return index({key: msgspec.json.decode(value, type=TariffState) for key, value in rows.items()})
