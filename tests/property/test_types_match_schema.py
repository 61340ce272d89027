"""The generated types and the standard's JSON Schemas give the same verdict on every payload.

The oracle is `jsonschema` with a format checker, fed with the same bytes through the standard library's parser. For
each of the 128 schemas, valid payloads are generated and then changed in one place. `KNOWN` lists the few
changes where our types are knowingly stricter (docs/explanation/wire-types.md). `CSMS_TEST_SEED=n` tries others.
"""

import json
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import pytest
from jsonschema import Draft6Validator, FormatChecker  # type: ignore[import-untyped]
from pydantic import ValidationError

import ocppcore.v201
from ocppcore import errors, rpc
from ocppcore.wire import WireModel, decode, encode

SEED = os.environ.get("CSMS_TEST_SEED", "201")
VALID = 12

KNOWN = {
    "NaN": "is no JSON (RFC 8259); the oracle's parser takes it",
    "Infinity": "is no JSON (RFC 8259); the oracle's parser takes it",
    "lone surrogate": "is no Unicode text; the oracle's parser takes it",
    "NUL": "U+0000 cannot be stored as text",
    "integer of 33 bits": "an OCPP integer has 32 bits (Part 2, 2.1.4)",
    "huge integer": "an OCPP integer has 32 bits (Part 2, 2.1.4)",
    "number of 1e18": "no meter counts as far, tables and sums could not hold it",
    "number beyond a double": "no meter counts as far, tables and sums could not hold it",
    "date-time before year 1 in UTC": "has no point in time that a datetime can hold",
    "date-time after year 9999 in UTC": "has no point in time that a datetime can hold",
    "date-time and a newline": "is no RFC 3339; the oracle's pattern ends with $",
}

Payload = dict[str, object]
SCHEMAS = {
    entry.name.removesuffix(".json"): json.loads(entry.read_text(encoding="utf-8-sig"))
    for entry in files("ocpp.v201").joinpath("schemas").iterdir()
}
FORMATS = FormatChecker(["date-time"])


class Raw(str):
    """JSON to be written as it is."""


class Change(NamedTuple):
    label: str
    value: object


def oracle(name: str) -> Draft6Validator:
    return Draft6Validator(SCHEMAS[name], format_checker=FORMATS)


def write(value: object) -> str:
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{write(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(write, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


# ---------------------------------------------------------------- valid payloads


class Valid:
    """Makes valid payloads of a schema; `fullness` is the chance of an optional field."""

    def __init__(self, root: dict[str, Any], rng: random.Random) -> None:
        self.root, self.rng = root, rng

    def resolve(self, schema: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in schema:
            schema = self.root["definitions"][schema["$ref"].removeprefix("#/definitions/")]
        return schema

    def make(self, schema: dict[str, Any], fullness: float) -> object:
        schema = self.resolve(schema)
        makers: dict[str | None, Callable[[], object]] = {
            "object": lambda: self.message(schema, fullness),
            "array": lambda: self.array(schema, fullness),
            "string": lambda: self.string(schema),
            "integer": lambda: self.integer(schema),
            "number": lambda: self.rng.choice((0, 1, -5, 1.5, Raw("16.10"), Raw("1E3"), Raw("-0.0"), 99999.999)),
            "boolean": lambda: self.rng.random() < 0.5,
            None: lambda: self.anything(2),
        }
        return makers[schema.get("type")]()

    def message(self, schema: dict[str, Any], fullness: float) -> Payload:
        required = schema.get("required", ())
        made = {
            name: self.make(part, fullness**1.5)
            for name, part in schema["properties"].items()
            if name in required or self.rng.random() < fullness
        }
        if schema.get("additionalProperties") is not False:
            made |= {f"vendor{n}": self.anything(2) for n in range(self.rng.randrange(3))}
        return made

    def array(self, schema: dict[str, Any], fullness: float) -> list[object]:
        least = schema.get("minItems", 0)
        length = min(schema.get("maxItems", 2), self.rng.choice((least, least, least, least + 1)))
        return [self.make(schema["items"], fullness**1.5) for _ in range(length)]

    def string(self, schema: dict[str, Any]) -> str:
        if "enum" in schema:
            return str(self.rng.choice(schema["enum"]))
        if schema.get("format") == "date-time":
            return self.rng.choice(GOOD_DATE_TIMES)
        most = schema.get("maxLength", 40)
        return text(self.rng, self.rng.choice((0, 1, min(8, most), min(most, 60), most)))

    def integer(self, schema: dict[str, Any]) -> object:
        least, most = int(schema.get("minimum", -(2**31))), int(schema.get("maximum", 2**31 - 1))
        number = self.rng.choice((least, most, max(least, 0), min(most, 7)))
        return self.rng.choice((number, number, number, Raw(f"{number}.0"), Raw(f"{number}e0")))

    def anything(self, depth: int) -> object:
        plain: tuple[object, ...] = (None, True, 0, 1.5, Raw("2.50"), Raw("1e999"), 10**30, "", "x" * 2000, "é", [], {})
        if not depth or self.rng.random() < 0.6:
            return self.rng.choice(plain)
        return {"vendorId": self.anything(depth - 1), "list": [self.anything(depth - 1), self.anything(0)]}


def text(rng: random.Random, length: int) -> str:
    return "".join(rng.choices("aZ09 -_'\"\\é漢🔌\t", k=length))


GOOD_DATE_TIMES = (
    *("2024-05-06T12:00:00Z", "2024-05-06T12:00:00.5Z", "2024-05-06T12:00:00.123+02:00", "0001-01-01T00:00:00Z"),
    *("2024-02-29T23:59:59.999999999-23:59", "9999-12-31T23:59:59Z", "1969-07-20t20:17:40.1z"),
)
BAD_DATE_TIMES = (
    *("", "2024", "2024-05-06", "12:00:00Z", "2024-05-06T12:00:00", "2024-05-06 12:00:00Z", "2024-05-06T12:00Z"),
    *("2024-05-06_12:00:00Z", "2024-05-06T12:00:00y", "2024-13-06T12:00:00Z", "2024-02-30T12:00:00Z", "1714996800"),
    *("2023-02-29T12:00:00Z", "2024-05-06T24:00:00Z", "2024-05-06T12:60:00Z", "2016-12-31T23:59:60Z"),
    *("2024-05-06T12:00:00+24:00", "2024-05-06T12:00:00+0200", "2024-05-06T12:00:00.Z", "2024-05-06T12:00:00,5Z"),
    *("222222017-05-06T12:00:00Z", "0000-01-01T00:00:00Z", "-2024-05-06T12:00:00Z", "2024-W19-1T12:00:00Z"),
    *(
        "\uff12\uff10\uff12\uff14-05-06T12:00:00Z",
        " 2024-05-06T12:00:00Z",
        "2024-05-06T12:00:00ZZ",
        "20240506T120000Z",
        "now",
    ),
)
OTHERS: tuple[object, ...] = (
    None,
    True,
    1,
    1.5,
    "text",
    [],
    ["a"],
    {},
    {"a": 1},
    Raw("1e2"),
    "Accepted",
    "1",
    "true",
    0,
)


# ---------------------------------------------------------------- one change


def changes(valid: Valid, schema: dict[str, Any], value: object) -> Iterator[Change]:
    """Every value that `value` may be changed into, with what was done; some are still valid."""
    rng = valid.rng
    yield from (Change("another type", other) for other in OTHERS)
    kind = schema.get("type")
    if kind == "object" and isinstance(value, dict):
        yield from object_changes(rng, schema, value)
    elif kind == "array" and isinstance(value, list):
        yield Change("empty list", [])
        yield Change("one for a list", value[0])
        yield Change("null in a list", [*value, None])
        if "maxItems" in schema:
            yield Change("list at its limit", (value * schema["maxItems"])[: schema["maxItems"]])
            yield Change("list too long", (value * (schema["maxItems"] + 1))[: schema["maxItems"] + 1])
    elif kind == "integer":
        yield from integer_changes(rng, schema)
    elif kind == "number":
        yield Change("number", rng.choice((Raw("123456789012345678.00"), Raw("-1e-400"), Raw("0e99"), 12.5)))
        yield Change("number of 1e18", rng.choice((Raw("1e18"), Raw("-1e308"), 10**18)))
        yield Change("number beyond a double", Raw(rng.choice(("1e999", "-1e999999999"))))
        yield Change("NaN", Raw("NaN"))
        yield Change("Infinity", Raw(rng.choice(("Infinity", "-Infinity"))))
        yield Change("number as text", "1.5")
    elif kind == "string":
        yield from string_changes(rng, schema, str(value))


def object_changes(rng: random.Random, schema: dict[str, Any], value: dict[str, object]) -> Iterator[Change]:
    yield Change("extra field", {**value, "unknown": rng.choice(OTHERS)})
    yield Change("emptied", {})
    for name in value:
        yield Change("dropped field", {key: item for key, item in value.items() if key != name})
    if value:
        name = rng.choice(sorted(value))
        renamed = {(key.upper() if key == name else key): item for key, item in value.items()}
        yield Change("renamed field", renamed)
        twice = write(value)[:-1] + f",{json.dumps(name)}:" + write(rng.choice((value[name], None))) + "}"
        yield Change("field twice", Raw(twice))
    for name in sorted(schema["properties"].keys() - value.keys()):
        yield Change("null for an absent field", {**value, name: None})


def integer_changes(rng: random.Random, schema: dict[str, Any]) -> Iterator[Change]:
    yield Change("integer as a float", Raw(rng.choice(("1.0", "10e-1", "1E1", "-0.0", "0.5e1"))))
    yield Change("integer beyond a double", Raw("1e400"))
    yield Change("fraction", Raw(rng.choice(("1.5", "0.1", "1e-5", "-1.00001"))))
    yield Change("integer as text", "1")
    if "minimum" not in schema:
        yield Change("integer of 33 bits", rng.choice((2**31, -(2**31) - 1, Raw("2147483648.0"), 2**53 + 1)))
        yield Change("huge integer", Raw(rng.choice(("1e19", "1e300", "1" * 400))))
    else:
        yield Change("below the minimum", int(schema["minimum"]) - 1)
    if "maximum" in schema:
        yield Change("above the maximum", int(schema["maximum"]) + 1)


def string_changes(rng: random.Random, schema: dict[str, Any], value: str) -> Iterator[Change]:
    if "enum" in schema:
        bad = ("", value.lower(), value + " ", "Nonsense", value[:-1])
        yield Change("outside the enumeration", rng.choice(bad))
    elif schema.get("format") == "date-time":
        yield Change("date-time", rng.choice(GOOD_DATE_TIMES))
        yield Change("no date-time", rng.choice(BAD_DATE_TIMES))
        yield Change("no date-time", rng.choice(BAD_DATE_TIMES))
        yield Change("date-time before year 1 in UTC", "0001-01-01T00:00:00+00:01")
        yield Change("date-time after year 9999 in UTC", "9999-12-31T23:59:59-00:01")
        yield Change("date-time and a newline", "2024-05-06T12:00:00Z\n")
    else:
        if "maxLength" in schema:
            yield Change("text at its limit", text(rng, schema["maxLength"]))
            yield Change("text too long", text(rng, schema["maxLength"] + 1))
        yield Change("NUL", Raw('"\\u0000"'))
        yield Change("lone surrogate", Raw(rng.choice(('"\\ud800"', '"\\udc00x"', '"\\ud800\\ud800"'))))


def places(valid: Valid, schema: dict[str, Any], value: object) -> Iterator[tuple[dict[str, Any], object, list[Any]]]:
    """Every place in a payload whose schema is known: (schema, value, path)."""
    schema = valid.resolve(schema)
    yield schema, value, []
    if isinstance(value, dict):
        for name, part in schema.get("properties", {}).items():
            if name in value:
                yield from ((s, v, [name, *path]) for s, v, path in places(valid, part, value[name]))
    elif isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            yield from ((s, v, [index, *path]) for s, v, path in places(valid, schema["items"], item))


def put(valid: Valid, schema: dict[str, Any], value: Any, path: list[Any], new: object) -> object:
    """`value` with `new` at `path`; beside the path only what is required is kept."""
    if not path:
        return new
    schema, (step, *rest) = valid.resolve(schema), path
    if isinstance(value, list):
        return [put(valid, schema["items"], value[step], rest, new)]
    kept = {name: item for name, item in value.items() if name in schema.get("required", ())}
    return kept | {step: put(valid, schema["properties"][step], value[step], rest, new)}


# ---------------------------------------------------------------- the verdicts


@cache
def model_of(name: str) -> type[WireModel]:
    found: type[WireModel] = getattr(ocppcore.v201, name)
    return found


def ours(name: str, payload: bytes) -> WireModel | ValidationError:
    try:
        return decode(model_of(name), payload)
    except ValidationError as error:
        return error


def check(name: str, validator: Draft6Validator, label: str, payload: bytes) -> None:
    theirs = validator.is_valid(json.loads(payload))
    found = ours(name, payload)
    accepted = isinstance(found, WireModel)
    case = f"CSMS_TEST_SEED={SEED} {name}, {label}: {payload.decode()}"
    if label in KNOWN:
        assert (theirs, accepted) == (True, False), case
    else:
        assert theirs == accepted, f"{case}: schema {theirs}, ours {found}"
    if isinstance(found, ValidationError):
        answer = errors.to_call_error("1", found)
        assert answer.code in ERROR_CODES, case
        assert isinstance(rpc.parse(rpc.build_error(answer)), rpc.CallError), case


def shape(value: object) -> object:
    """A payload with its date-times reduced to whether there is one."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value]
    return (isinstance(value, str) and FORMATS.conforms(value, "date-time")) or value


ERROR_CODES = set(errors.CODES.values())


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_type_and_schema_give_the_same_verdict(name: str) -> None:
    rng = random.Random(f"{SEED}/{name}")
    valid, validator, schema = Valid(SCHEMAS[name], rng), oracle(name), SCHEMAS[name]
    bases = [valid.message(schema, fullness) for fullness in (0, 1, *(rng.random() for _ in range(VALID - 2)))]
    for base in bases:
        payload = write(base).encode()
        check(name, validator, "valid", payload)
        written = encode(decode(model_of(name), payload))
        assert validator.is_valid(json.loads(written)), payload
        assert encode(decode(model_of(name), written)) == written
        assert shape(json.loads(written)) == shape(json.loads(payload))
    for label, payload in changed(valid, schema, bases[1:4]):
        check(name, validator, label, payload)


def changed(valid: Valid, schema: dict[str, Any], bases: list[Payload]) -> Iterator[tuple[str, bytes]]:
    """Payloads with one change: every change of every field, each of them once, in one of the `bases`."""
    options: dict[tuple[str, int], list[tuple[Payload, list[Any], Change]]] = {}
    for base in bases:
        for part, value, path in places(valid, schema, base):
            field = ".".join(name if isinstance(name, str) else "[]" for name in path)
            for number, change in enumerate(changes(valid, part, value)):
                options.setdefault((field, number), []).append((base, path, change))
    for found in options.values():
        base, path, change = valid.rng.choice(found)
        yield change.label, write(put(valid, schema, base, path, change.value)).encode()


def test_every_kind_of_change_is_tried_and_most_are_refused() -> None:
    seen: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    for name in ("TransactionEventRequest", "NotifyEVChargingNeedsRequest", "SetVariablesRequest"):
        valid = Valid(SCHEMAS[name], random.Random(SEED))
        bases = [valid.message(SCHEMAS[name], 1) for _ in range(5)]
        for label, payload in changed(valid, SCHEMAS[name], bases):
            seen[label] += 1
            refused[label] += isinstance(ours(name, payload), ValidationError)
    labels = KNOWN.keys() | {"dropped field", "empty list", "extra field", "fraction", "no date-time"}
    assert labels <= seen.keys()
    accepted = {label for label in seen if refused[label] == 0}
    assert accepted == {"date-time", "integer as a float", "number", "text at its limit"}


GARBAGE = {
    "date-time": {"timestamp": "garbage", "connectorStatus": "Available", "evseId": 1, "connectorId": 1},
    "enumeration": {"timestamp": "2024-05-06T12:00:00Z", "connectorStatus": "Fine", "evseId": 1, "connectorId": 1},
    "type": {"timestamp": "2024-05-06T12:00:00Z", "connectorStatus": "Available", "evseId": "1", "connectorId": 1},
    "required": {},
    "extra": {"timestamp": "2024-05-06T12:00:00Z", "connectorStatus": "Faulted", "evseId": 1, "connectorId": 1, "x": 1},
}


@pytest.mark.parametrize("payload", GARBAGE.values(), ids=GARBAGE.keys())
def test_the_oracle_itself_refuses_garbage(payload: dict[str, object]) -> None:
    assert not oracle("StatusNotificationRequest").is_valid(payload)
    good = {"timestamp": "2024-05-06T12:00:00Z", "connectorStatus": "Available", "evseId": 1, "connectorId": 1}
    assert oracle("StatusNotificationRequest").is_valid(good)


@pytest.mark.parametrize("value", BAD_DATE_TIMES)
def test_the_oracle_itself_refuses_what_is_no_date_time(value: str) -> None:
    assert not oracle("HeartbeatResponse").is_valid({"currentTime": value})


@pytest.mark.requirement("P4.9.1")
def test_custom_data_is_kept_whatever_is_in_it() -> None:
    payload = b'{"customData":{"vendorId":"v","a":[1.50,{"b":null}],"big":123456789012345678901,"n":1E+999}}'
    assert encode(decode(model_of("HeartbeatRequest"), payload)) == payload


def test_the_digits_of_a_number_are_kept() -> None:
    payload = b'{"totalCost":12345678901234567.890123,"transactionId":"t"}'
    assert encode(decode(model_of("CostUpdatedRequest"), payload)) == payload
