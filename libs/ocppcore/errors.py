"""What can go wrong, and the one map from an invalid payload to the error code of OCPP.

The exception tree. Modules define theirs where they are raised; a new one starts from one of these bases:

- CsmsError: base of all
    - OperatorError: a person must put something right before the process can run; the text says what. No retry
    - Unavailable: the environment did not answer within bounded retries; crash and be started again

What is not an exception: a station's mistake is a `rpc.CallError`, a business refusal is a normal response, and
a mistake of our own is an `AssertionError`.

Which code (Part 4, table 8) an invalid payload gets depends on what is wrong, in this order when several things are:

1. FormatViolation: the payload is not JSON
2. ProtocolError: a field that the message does not have, or no object at all
3. OccurrenceConstraintViolation: a required field is absent, a list holds too few or too many
4. TypeConstraintViolation: another JSON type than the field's (null included)
5. PropertyConstraintViolation: the right JSON type with a value that is not allowed: not in the enumeration, too long,
   out of range, no date-time
"""

from typing import Final, NamedTuple

import orjson
from pydantic import ValidationError

from ocppcore.rpc import DESCRIPTION_CHARS_MAX, CallError, ErrorCode

PROBLEMS_MAX: Final = 10
"""How many fields an answer names."""

PATH_CHARS_MAX: Final = 200


class CsmsError(Exception):
    """Base of all exceptions of this project."""


class OperatorError(CsmsError):
    """A person must put something right before the process can run; the text says what and how."""


class Unavailable(CsmsError):
    """The environment did not answer within bounded retries; the process should stop and be started again."""


class Problem(NamedTuple):
    """One thing wrong with a payload. `path` is like `meterValue[0].timestamp`, empty for the payload itself."""

    path: str
    code: ErrorCode
    message: str


CODES: Final = {
    "json_invalid": ErrorCode.FORMAT_VIOLATION,
    "extra_forbidden": ErrorCode.PROTOCOL_ERROR,
    "missing": ErrorCode.OCCURRENCE_CONSTRAINT_VIOLATION,
    "too_short": ErrorCode.OCCURRENCE_CONSTRAINT_VIOLATION,
    "too_long": ErrorCode.OCCURRENCE_CONSTRAINT_VIOLATION,
    "string_type": ErrorCode.TYPE_CONSTRAINT_VIOLATION,
    "bool_type": ErrorCode.TYPE_CONSTRAINT_VIOLATION,
    "int_type": ErrorCode.TYPE_CONSTRAINT_VIOLATION,
    "decimal_type": ErrorCode.TYPE_CONSTRAINT_VIOLATION,
    "datetime_type": ErrorCode.TYPE_CONSTRAINT_VIOLATION,
    "list_type": ErrorCode.TYPE_CONSTRAINT_VIOLATION,
    "model_type": ErrorCode.TYPE_CONSTRAINT_VIOLATION,
    "literal_error": ErrorCode.PROPERTY_CONSTRAINT_VIOLATION,
    "string_too_long": ErrorCode.PROPERTY_CONSTRAINT_VIOLATION,
    "greater_than_equal": ErrorCode.PROPERTY_CONSTRAINT_VIOLATION,
    "less_than_equal": ErrorCode.PROPERTY_CONSTRAINT_VIOLATION,
    "integer_range": ErrorCode.PROPERTY_CONSTRAINT_VIOLATION,
    "number_range": ErrorCode.PROPERTY_CONSTRAINT_VIOLATION,
    "date_time": ErrorCode.PROPERTY_CONSTRAINT_VIOLATION,
    "nul_character": ErrorCode.PROPERTY_CONSTRAINT_VIOLATION,
}
"""Every error type that `wire.decode` can give, by pydantic's or our own name; any other is a GenericError."""

_ORDER: Final = (
    ErrorCode.FORMAT_VIOLATION,
    ErrorCode.PROTOCOL_ERROR,
    ErrorCode.OCCURRENCE_CONSTRAINT_VIOLATION,
    ErrorCode.TYPE_CONSTRAINT_VIOLATION,
    ErrorCode.PROPERTY_CONSTRAINT_VIOLATION,
    ErrorCode.GENERIC_ERROR,
)


def problems(error: ValidationError) -> tuple[Problem, ...]:
    """Everything wrong with a payload, the most fundamental first. Holds field names and rules, never a value."""
    found = [
        Problem(_path(each["loc"]), _code(each["type"], each["loc"], each["input"]), each["msg"])
        for each in error.errors(include_url=False, include_context=False)
    ]
    return tuple(sorted(found, key=lambda problem: _ORDER.index(problem.code)))


def to_call_error(message_id: str, error: ValidationError) -> CallError:
    """The CALLERROR for a CALL whose payload does not fit its schema; the details name the first fields (GEN.FR.03)."""
    found = problems(error)
    first = found[0]
    description = f"{first.path}: {first.message}" if first.path else first.message
    named = [problem._asdict() for problem in found[:PROBLEMS_MAX]]
    details = orjson.dumps({"count": len(found), "problems": named})
    return CallError(message_id, first.code, description[:DESCRIPTION_CHARS_MAX], details)


def _code(kind: str, loc: tuple[int | str, ...], value: object) -> ErrorCode:
    if kind == "model_type" and not loc:
        return ErrorCode.PROTOCOL_ERROR
    if kind == "literal_error" and not isinstance(value, str):
        return ErrorCode.TYPE_CONSTRAINT_VIOLATION
    return CODES.get(kind, ErrorCode.GENERIC_ERROR)


def _path(loc: tuple[int | str, ...]) -> str:
    """The place as a text; names of fields that strangers invented are cut."""
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).removeprefix(".")
    return path.replace("\0", "�")[:PATH_CHARS_MAX]
