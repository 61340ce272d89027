"""What the API of tariffs takes and shows. Fields are named as in OCPI 2.2.1, in camel case or as OCPI spells them."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StringConstraints
from pydantic.alias_generators import to_camel

from ocppcore import tariff as shape
from ocppcore.pseudonym import Pseudonyms
from ocppcore.topics import normalise
from ocppcore.wire import DateTime
from services.transactions.bodies import IdTokenBody
from services.transactions.domain.tariff import ELEMENTS_MAX, TARGETS_MAX, TEXTS_MAX

TariffId = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z._-]{1,36}$")]
StationId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9*\-_=+|@. ]{1,48}$")]
GroupId = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,36}$")]


class _Ocpi(BaseModel):
    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, populate_by_name=True)


class PriceComponentBody(_Ocpi):
    """`price` without VAT, per kWh (ENERGY), per hour (TIME, PARKING_TIME) or once (FLAT); `vat` in percent."""

    type: Literal["ENERGY", "FLAT", "PARKING_TIME", "TIME"]
    price: Decimal
    vat: Decimal | None = None
    step_size: int = Field(1, description="Billed in steps of so many Wh or seconds, once a transaction")


class RestrictionsBody(_Ocpi):
    """When the element is active: all that is set must hold. Times of day, dates and weekdays are the station's."""

    start_time: str | None = Field(None, description="HH:MM")
    end_time: str | None = Field(None, description="HH:MM, excluded; not after startTime: the next day's")
    start_date: str | None = Field(None, description="YYYY-MM-DD")
    end_date: str | None = Field(None, description="YYYY-MM-DD, excluded")
    min_kwh: Decimal | None = None
    max_kwh: Decimal | None = None
    min_current: Decimal | None = Field(None, description="A, over all phases; only where the station reports it")
    max_current: Decimal | None = None
    min_power: Decimal | None = Field(None, description="kW, the average between two readings")
    max_power: Decimal | None = None
    min_duration: int | None = Field(None, description="Seconds since the transaction began")
    max_duration: int | None = None
    day_of_week: tuple[shape.Day, ...] = Field((), max_length=7)


class ElementBody(_Ocpi):
    price_components: list[PriceComponentBody] = Field(max_length=4)
    restrictions: RestrictionsBody | None = None


class PriceBody(_Ocpi):
    excl_vat: Decimal
    incl_vat: Decimal | None = Field(None, description="Without it the bill's own VAT is scaled with the limit")


class TextBody(_Ocpi):
    language: str
    text: str


class TariffBody(_Ocpi):
    """A tariff as OCPI 2.2.1 shapes it. Of `elements` the first that is active counts, for each type on its own."""

    currency: str = Field(description="ISO 4217")
    elements: list[ElementBody] = Field(max_length=ELEMENTS_MAX)
    min_price: PriceBody | None = None
    max_price: PriceBody | None = None
    tariff_alt_text: list[TextBody] = Field([], max_length=TEXTS_MAX, description="What drivers read, by language")
    start_date_time: DateTime | None = Field(None, description="In force from then on; another version: from now on")
    end_date_time: DateTime | None = Field(None, description="Not in force from then on")

    def tariff(self, id_: str) -> shape.Tariff:
        """As the service takes it."""
        made = self.model_dump(by_alias=True, exclude_none=True, exclude={"start_date_time", "end_date_time"})
        made["texts"] = made.pop("tariffAltText")
        made |= {"id": id_, "version": 0, "validFrom": _ms(self.start_date_time), "validTo": _ms(self.end_date_time)}
        return msgspec.convert(made, type=shape.Tariff)


def _listed(given: Any) -> Any:
    return given if isinstance(given, list) else [given]


def _group(given: Any) -> Any:
    return given.get("idToken", given) if isinstance(given, dict) else given


def _many(plural: str, singular: str) -> Any:
    return Field([], max_length=TARGETS_MAX, validation_alias=AliasChoices(plural, singular))


class AssignmentsBody(BaseModel):
    """Whom a tariff is for. A token's own comes before its group's, before the station's, before the default."""

    model_config = ConfigDict(extra="forbid")
    default: StrictBool = False
    stations: Annotated[list[StationId], BeforeValidator(_listed)] = _many("stations", "station")
    groups: Annotated[list[Annotated[GroupId, BeforeValidator(_group)]], BeforeValidator(_listed)] = _many(
        "groups", "group"
    )
    tokens: Annotated[list[IdTokenBody], BeforeValidator(_listed)] = _many("tokens", "token")

    def assignments(self, pseudonyms: Pseudonyms) -> shape.Assignments:
        """As the service takes it."""
        return shape.Assignments(
            default=self.default,
            stations=tuple(sorted({normalise(station) for station in self.stations})),
            groups=tuple(sorted({normalise(group) for group in self.groups})),
            tokens=tuple(sorted({pseudonyms.of(token.type, token.idToken) for token in self.tokens})),
        )


def _ms(moment: datetime | None) -> int | None:
    return None if moment is None else round(moment.timestamp() * 1000)


class AssignmentsShown(BaseModel):
    """Stations and groups as they compare, tokens by their pseudonyms."""

    default: bool
    stations: list[str]
    groups: list[str]
    tokens: list[str]


class VersionShown(BaseModel):
    """A version of a tariff as it was put; amounts are decimal text."""

    model_config = ConfigDict(extra="allow")
    version: int
    currency: str
    elements: list[dict[str, Any]]
    tariffAltText: list[dict[str, Any]]
    startDateTime: str | None
    endDateTime: str | None


class TariffShown(BaseModel):
    """A tariff: the versions that are in force, planned or have just ended, the oldest first."""

    id: str
    versions: list[VersionShown]
    assignments: AssignmentsShown
