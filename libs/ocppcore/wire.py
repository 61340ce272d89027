"""What the generated wire types (`ocppcore.v201`) are made of, and the way between them and payload bytes.

Pydantic strays from the JSON Schemas of the standard in a few places; the own types here do not: an integer may be
written `1.0`, date-times are RFC 3339 with a zone and nothing else, numbers are finite and keep the digits of the
bytes received as `Decimal`. Where they are knowingly stricter than the schema is listed in
docs/explanation/wire-types.md, a test holds them to that list.
"""

import decimal
import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Never, TypeVar

import msgspec
from pydantic import BaseModel, ConfigDict, PlainSerializer, PlainValidator, ValidationError, WithJsonSchema
from pydantic_core import InitErrorDetails, PydanticCustomError, PydanticKnownError

from ocppcore.rpc import has_escaped_nul

INTEGER_MIN: Final = -(2**31)
INTEGER_MAX: Final = 2**31 - 1
"""An OCPP integer has 32 bits (Part 2, section 2.1.4)."""

NUMBER_DIGITS_MAX: Final = 36
NUMBER_EXPONENT_MAX: Final = 17
"""Numbers are below 10**18 in size: no meter counts further, and tables and sums can hold them."""

NUMBER_DECIMALS_TO_STATION_MAX: Final = 6
"""A decimal sent to a station has at most six decimal places (Part 2, section 2.1.4)."""

# Rounds to 36 digits, takes what is nearer to zero than 1e-60 as zero, and turns what is too large into infinity.
_NUMBER = decimal.Context(
    prec=NUMBER_DIGITS_MAX, Emin=-60, Emax=NUMBER_EXPONENT_MAX, rounding=decimal.ROUND_HALF_EVEN, traps=[]
)
_INFINITE = Decimal("Infinity")
_RFC3339 = re.compile(
    r"\d{4}-(?:0[1-9]|1[0-2])-\d{2}[Tt](?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d+)?(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)


class WireModel(BaseModel):
    """Base of every generated type: no field but the declared ones, values never changed, inputs never in errors.

    An optional field that is absent is `pydantic.MISSING`, never None. Types are built on first use.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True, hide_input_in_errors=True)


class OpenWireModel(WireModel):
    """Base of CustomDataType: whatever else is in it is kept (Part 4, section 9)."""

    model_config = ConfigDict(extra="allow")


def _integer(value: object) -> int:
    kind = type(value)
    if kind is int:
        number: int = value  # type: ignore[assignment]
    elif kind is Decimal or kind is float:
        # Compared before converted: int(Decimal("1e999999999")) would not end.
        if not INTEGER_MIN <= value <= INTEGER_MAX:  # type: ignore[operator]
            raise PydanticCustomError("integer_range", "Input should be a 32 bit integer")
        number = int(value)  # type: ignore[call-overload]
        if number != value:
            raise PydanticKnownError("int_type")
    elif kind is msgspec.Raw:
        raise PydanticCustomError("integer_range", "Input should be a 32 bit integer")
    else:
        raise PydanticKnownError("int_type")
    if INTEGER_MIN <= number <= INTEGER_MAX:
        return number
    raise PydanticCustomError("integer_range", "Input should be a 32 bit integer")


def read_number(value: object) -> Decimal:
    """A JSON number with its digits, at most 36; raises ValueError (pydantic's) for what no field of OCPP takes."""
    kind = type(value)
    if kind is Decimal or kind is int:
        number = _NUMBER.create_decimal(value)  # type: ignore[arg-type]
    elif kind is float:
        number = _NUMBER.create_decimal(repr(value))
    elif kind is msgspec.Raw:
        number = _INFINITE
    else:
        raise PydanticKnownError("decimal_type")
    if number.is_finite():
        return number
    raise PydanticCustomError("number_range", "Input should be a finite number below 1e18")


def read_date_time(value: object) -> datetime:
    """A date-time of RFC 3339 in UTC; raises ValueError (pydantic's) for anything else."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise PydanticKnownError("timezone_aware")
        return value
    if type(value) is not str:
        raise PydanticKnownError("datetime_type")
    if _RFC3339.fullmatch(value) is not None:
        try:
            return datetime.fromisoformat(value.upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise PydanticCustomError("date_time", "Input should be a date-time of RFC 3339 with a time zone")


def _write_date_time(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="milliseconds")[:23] + "Z"


Integer = Annotated[
    int,
    PlainValidator(_integer),
    WithJsonSchema({"type": "integer", "minimum": INTEGER_MIN, "maximum": INTEGER_MAX}),
]
"""A 32 bit integer, also written `1.0` or `1e2`; never a boolean or a string."""

Number = Annotated[
    Decimal,
    PlainValidator(read_number),
    PlainSerializer(float, return_type=float, when_used="json"),
    WithJsonSchema({"type": "number"}),
]
"""A finite number below 1e18 in size, with the digits it was written with (at most 36). Written as a JSON number."""

DateTime = Annotated[
    datetime,
    PlainValidator(read_date_time),
    PlainSerializer(_write_date_time, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A point in time, read into UTC; written with milliseconds and `Z` (Part 2, section 2.1.4: at most three decimals)."""


def _decimal(text: str) -> Decimal | msgspec.Raw:
    """A number as it was written, also one like `1e99999999999999999999`, whose exponent no Decimal holds."""
    try:
        return Decimal(text)
    except decimal.InvalidOperation:
        return msgspec.Raw(text)


_json = msgspec.json.Decoder(float_hook=Decimal)
_any_json = msgspec.json.Decoder(float_hook=_decimal)
_encoder = msgspec.json.Encoder(decimal_format="number")

Model = TypeVar("Model", bound=WireModel)


def decode(model: type[Model], payload: bytes) -> Model:
    """Read a payload as `model`. Raises pydantic's ValidationError, whatever is wrong with the bytes.

    In places without a type (customData, the data of DataTransfer) numbers are as `load_json` gives them.
    """
    try:
        value = load_json(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        _refuse(model, InitErrorDetails(type="json_invalid", loc=(), input=None, ctx={"error": str(error)}))
    if has_escaped_nul(payload):
        problem = PydanticCustomError("nul_character", "Input should not hold the character U+0000")
        _refuse(model, InitErrorDetails(type=problem, loc=_path_of_nul(value), input=None))
    found: Model = model.__pydantic_validator__.validate_python(value)
    return found


def encode(model: WireModel) -> bytes:
    """The payload of `model`, without the absent fields."""
    if not model.model_fields_set:
        return b"{}"
    return _encoder.encode(model.__pydantic_serializer__.to_python(model))


def load_json(text: bytes | str) -> Any:
    """Any JSON that was received, as plain values; raises msgspec.DecodeError, UnicodeDecodeError, RecursionError.

    Other parsers refuse numbers beyond a double (`1e999`), which customData may hold. Here a number with a fraction or
    an exponent is a Decimal, and one that no Decimal can hold is a `msgspec.Raw` of its digits; `dump_json` writes all
    of them with the digits they came with.
    """
    try:
        return _json.decode(text)
    except decimal.InvalidOperation:
        return _any_json.decode(text)


def dump_json(value: object) -> bytes:
    """JSON of plain values as `load_json` gives them, and `decode` in places without a type: Decimals are numbers."""
    return _encoder.encode(value)


def to_station(value: Decimal) -> Decimal:
    """`value` rounded half-even to the six decimal places that a station may be sent."""
    return round(value, NUMBER_DECIMALS_TO_STATION_MAX)


def _refuse(model: type[WireModel], error: InitErrorDetails) -> Never:
    raise ValidationError.from_exception_data(model.__name__, [error], "json", hide_input=True) from None


def _path_of_nul(value: object) -> tuple[int | str, ...]:
    """Where the first text with U+0000 is; a key that holds it names its object."""
    todo: list[tuple[tuple[int | str, ...], object]] = [((), value)]
    while todo:
        path, item = todo.pop()
        if isinstance(item, str) and "\0" in item:
            return path
        if isinstance(item, dict):
            if any("\0" in key for key in item):
                return path
            todo.extend(((*path, key), child) for key, child in item.items())
        elif isinstance(item, list):
            todo.extend(((*path, index), child) for index, child in enumerate(item))
    return ()
