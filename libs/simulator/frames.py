"""OCPP-J frames as a Charging Station reads and writes them (Part 4, section 4).

The simulator has its own few lines instead of the CSMS's codec: a mistake in one must not be hidden by the
same mistake in the other.
"""

from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson

Json = dict[str, Any]


class Call(NamedTuple):
    message_id: str
    action: str
    payload: Json


class CallResult(NamedTuple):
    message_id: str
    payload: Json


class CallError(NamedTuple):
    message_id: str
    code: str
    description: str


class Malformed(NamedTuple):
    """A frame that no Charging Station understands; `message_id` is "-1" where none could be read."""

    message_id: str
    code: str
    why: str


Frame = Call | CallResult | CallError | Malformed


def parse(data: bytes | str) -> Frame:
    """A received text frame. Never raises."""
    try:
        match orjson.loads(data):
            case [2, str(message_id), str(action), dict(payload)]:
                return Call(message_id, action, payload)
            case [3, str(message_id), dict(payload)]:
                return CallResult(message_id, payload)
            case [4, str(message_id), str(code), str(description), *_]:
                return CallError(message_id, code, description)
            case [int(kind), str(message_id), *_] if kind not in (2, 3, 4):
                return Malformed(message_id, "MessageTypeNotSupported", f"message type {kind}")
            case [_, str(message_id), *_]:
                return Malformed(message_id, "RpcFrameworkError", "fields are missing or of the wrong type")
            case _:
                return Malformed("-1", "RpcFrameworkError", "not an RPC message")
    except orjson.JSONDecodeError:
        return Malformed("-1", "RpcFrameworkError", "not JSON")


def call(message_id: str, action: str, payload: Json) -> bytes:
    return orjson.dumps([2, message_id, action, payload])


def result(message_id: str, payload: Json) -> bytes:
    return orjson.dumps([3, message_id, payload])


def error(message_id: str, code: str, description: str = "") -> bytes:
    return orjson.dumps([4, message_id, code, description[:255], {}])


def rfc3339(at_ms: int) -> str:
    """`at_ms` (ms since 1970 UTC) as OCPP writes a dateTime."""
    seconds, millis = divmod(at_ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{millis:03d}Z"


def milliseconds(text: str) -> int:
    """The opposite of `rfc3339`; raises ValueError on anything else. A time without zone is taken as UTC."""
    moment = datetime.fromisoformat(text)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
