"""OCPP-J frames without IO: bytes in, one of four frozen types out, and the way back (Part 4, section 4).

`parse` never raises, whatever the bytes. A payload stays the exact bytes received: objects are views of it.
What is refused here is what every receiver must refuse before it knows the action's schema:

====================================================  ==========================================
frame                                                 answer
====================================================  ==========================================
not UTF-8, not JSON, not an array, no readable id     CALLERROR RpcFrameworkError, id "-1"
id longer than 36 characters, empty, or with NUL      CALLERROR RpcFrameworkError, id "-1"
unknown message type                                  CALLERROR MessageTypeNotSupported, rest ignored
CALL with the wrong number of elements                CALLERROR RpcFrameworkError
CALL deeper or larger than the limits                 CALLERROR RpcFrameworkError, its id if readable
CALL whose payload is no object (null counts as {})   CALLERROR ProtocolError
signed CALL whose payload cannot be extracted         CALLERROR FormatViolation
anything wrong with a CALLRESULT or CALLERROR         none: an answer is never answered
====================================================  ==========================================

Knowingly accepted: duplicate keys (RFC 8259 allows them; all parsers here take the last one) and numbers beyond
the range of a double (`1e999`): the frame is JSON, the field's type refuses the value (`ocppcore.wire`).
"""

import base64
import binascii
import re
from enum import StrEnum
from itertools import islice
from typing import Final, Literal

import msgspec
import orjson

from ocppcore import actions

MESSAGE_ID_CHARS_MAX: Final = 36
DESCRIPTION_CHARS_MAX: Final = 255
UNREADABLE_ID: Final = "-1"
FRAME_BYTES_MAX: Final = 1024 * 1024
DEPTH_MAX: Final = 32

CALL: Final = 2
CALLRESULT: Final = 3
CALLERROR: Final = 4


class ErrorCode(StrEnum):
    """The error codes of Part 4, table 8."""

    FORMAT_VIOLATION = "FormatViolation"
    GENERIC_ERROR = "GenericError"
    INTERNAL_ERROR = "InternalError"
    MESSAGE_TYPE_NOT_SUPPORTED = "MessageTypeNotSupported"
    NOT_IMPLEMENTED = "NotImplemented"
    NOT_SUPPORTED = "NotSupported"
    OCCURRENCE_CONSTRAINT_VIOLATION = "OccurrenceConstraintViolation"
    PROPERTY_CONSTRAINT_VIOLATION = "PropertyConstraintViolation"
    PROTOCOL_ERROR = "ProtocolError"
    RPC_FRAMEWORK_ERROR = "RpcFrameworkError"
    SECURITY_ERROR = "SecurityError"
    TYPE_CONSTRAINT_VIOLATION = "TypeConstraintViolation"


class Call(msgspec.Struct, frozen=True):
    """A request. `payload` is the JSON object as received; for a signed CALL the object that was signed."""

    message_id: str
    action: str
    payload: bytes
    signed: bool = False


class CallResult(msgspec.Struct, frozen=True):
    """The answer to a CALL, matched by `message_id`; which action it answers only the caller knows."""

    message_id: str
    payload: bytes
    signed: bool = False


class CallError(msgspec.Struct, frozen=True):
    """The refusal of a CALL. `code` is an `ErrorCode` when it is ours, any text when a station sent it.

    `details` is a JSON object as bytes.
    """

    message_id: str
    code: str
    description: str = ""
    details: bytes = b"{}"


class Malformed(msgspec.Struct, frozen=True):
    """A frame that is no valid RPC message. `reply` is what to send, None when nothing may be sent.

    `message_type` and `message_id` say what could still be read: a malformed answer with a readable id ends the
    CALL that waits for it.
    """

    reply: CallError | None
    reason: str
    message_type: int | None = None
    message_id: str | None = None


Frame = Call | CallResult | CallError | Malformed


class _FlattenedJws(msgspec.Struct):
    """RFC 7515, section 7.2.2; Part 4, section 7.1. The signature is not verified: that is optional (7.2)."""

    payload: str
    signature: str
    protected: str


_elements = msgspec.json.Decoder(list[msgspec.Raw])
_text = msgspec.json.Decoder(str)
_number = msgspec.json.Decoder(float)
_raw = msgspec.json.Decoder(msgspec.Raw)
_jws = msgspec.json.Decoder(_FlattenedJws)

# The closing quote is optional, so that a match begun always succeeds: one pass, however hostile the text.
_STRINGS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_SQUARE = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_HEAD = re.compile(rb'[ \t\r\n]*+\[[ \t\r\n]*+([234])[ \t\r\n]*+,[ \t\r\n]*+"([^"\\\x00-\x1f]{1,144})"')
_ESCAPED_NUL = re.compile(rb"(?<!\\)(?:\\\\)*+\\u0000")


def parse(frame: bytes | str, *, bytes_max: int = FRAME_BYTES_MAX, depth_max: int = DEPTH_MAX) -> Frame:
    """Read one frame. Never raises; `Malformed` says why a frame is none and what to answer.

    `depth_max` counts the frame's own array: a CALL with a flat payload has depth 2.
    """
    if isinstance(frame, str):
        try:
            frame = frame.encode()
        except UnicodeEncodeError:
            return _unreadable(b"", "frame is not valid Unicode")
    if len(frame) > bytes_max:
        return _over_limit(frame, f"frame is larger than {bytes_max} bytes")
    problem = _problem(frame)
    if problem is not None:
        return _unreadable(frame, problem)
    if deeper_than(frame, depth_max):
        return _over_limit(frame, f"frame is nested deeper than {depth_max}")
    try:
        elements = _elements.decode(frame)
    except (msgspec.DecodeError, RecursionError) as error:
        return _unreadable(frame, f"frame is not a JSON array: {error}")
    if not elements:
        return _refuse(None, None, "frame is an empty array")
    kind = _message_type(bytes(elements[0]))
    message_id = _read_id(bytes(elements[1])) if len(elements) > 1 else None
    if kind == CALL:
        return _call(message_id, elements, depth_max)
    if kind == CALLRESULT:
        return _result(message_id, elements, depth_max)
    if kind == CALLERROR:
        return _error(message_id, elements)
    if kind is None:
        return _refuse(None, message_id, "message type is not a number")
    return _refuse(None, message_id, "message type is not known", ErrorCode.MESSAGE_TYPE_NOT_SUPPORTED)


def plain_call(frame: bytes, message_id: str, action: str) -> Call | None:
    """The CALL in a frame that `parse` has read before, if it is written `[2,"id","Action",payload]` to the byte.

    `message_id` and `action` are what was read then. The payload is cut out, not judged: whoever decodes it finds
    anything but one JSON value there. None: parse it.
    """
    head = b'[2,"%b","%b",' % (message_id.encode(errors="replace"), action.encode(errors="replace"))
    if frame.startswith(head) and frame.endswith(b"]"):
        return Call(message_id, action, frame[len(head) : -1])
    return None


def judge_action(call: Call, receiver: Literal["csms", "station"] = "csms") -> CallError | None:
    """The CALLERROR for an unknown action or one that `receiver` does not take; None when it is theirs to handle."""
    action = actions.ACTIONS.get(call.action)
    if action is None:
        text = f"action {call.action[:50]!r} is not known"
        return CallError(call.message_id, ErrorCode.NOT_IMPLEMENTED, text)
    mine = actions.FROM_STATION if receiver == "csms" else actions.TO_STATION
    if call.action in mine:
        return None
    text = f"{call.action} is not sent to a {'CSMS' if receiver == 'csms' else 'Charging Station'}"
    return CallError(call.message_id, ErrorCode.NOT_SUPPORTED, text)


def build_call(message_id: str, action: str, payload: bytes) -> bytes:
    """The CALL frame; `payload` is a JSON object, put in as it is."""
    return b"[2,%b,%b,%b]" % (orjson.dumps(message_id), orjson.dumps(action), payload)


def build_result(message_id: str, payload: bytes) -> bytes:
    """The CALLRESULT frame; `payload` is a JSON object, put in as it is."""
    return b"[3,%b,%b]" % (orjson.dumps(message_id), payload)


def build_error(error: CallError) -> bytes:
    """The CALLERROR frame; the description is cut at 255 characters, and can always be written."""
    description = error.description[:DESCRIPTION_CHARS_MAX].encode(errors="replace").decode()
    parts = (orjson.dumps(error.message_id), orjson.dumps(error.code), orjson.dumps(description), error.details)
    return b"[4,%b,%b,%b,%b]" % parts


def deeper_than(text: bytes, depth_max: int) -> bool:
    """Whether JSON `text` nests deeper than `depth_max`, without recursion and in time linear in its length.

    Text that is no JSON may count as too deep; text that nests deeper is always found.
    """
    if text.count(b"{") + text.count(b"[") <= depth_max:
        return False
    brackets = _STRINGS.sub(b"", text).translate(_SQUARE, _NOT_BRACKETS)
    if b"[" * (depth_max + 1) in brackets:
        return True
    for _ in range(depth_max):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def has_escaped_nul(text: bytes) -> bool:
    r"""Whether JSON `text` holds the character U+0000, which can only be written as \u0000."""
    return b"\\u0000" in text and _ESCAPED_NUL.search(text) is not None


def _problem(frame: bytes) -> str | None:
    if frame.isascii():
        return None
    try:
        frame.decode()
    except UnicodeDecodeError:
        return "frame is not UTF-8"
    return None


def _message_type(raw: bytes) -> int | None:
    """2, 3, 4; 0 for any other number; None for what is no number. `2.0` is the integer 2, as in JSON Schema."""
    if raw in (b"2", b"3", b"4"):
        return raw[0] - ord("0")
    try:
        number = _number.decode(raw)
    except msgspec.DecodeError:
        return None
    return int(number) if number in (2.0, 3.0, 4.0) else 0


def _read_id(raw: bytes) -> str | None:
    try:
        text = _text.decode(raw)
    except msgspec.DecodeError:
        return None
    return text if 0 < len(text) <= MESSAGE_ID_CHARS_MAX and "\0" not in text else None


def _call(message_id: str | None, elements: list[msgspec.Raw], depth_max: int) -> Call | Malformed:
    if message_id is None:
        return _refuse(CALL, None, "message id is not a string of 1 to 36 characters")
    if len(elements) == 5:
        # Section 7.1 writes a signed message with an extension object before the action.
        if not _is_object(bytes(elements[2])) or not bytes(elements[3]).endswith(b'-Signed"'):
            return _refuse(CALL, message_id, "CALL has 5 elements instead of 4")
        del elements[2]
    if len(elements) != 4:
        return _refuse(CALL, message_id, f"CALL has {len(elements)} elements instead of 4")
    try:
        action = _text.decode(elements[2])
    except msgspec.DecodeError:
        return _refuse(CALL, message_id, "action is not a string")
    if "\0" in action:
        return _refuse(CALL, message_id, "action is not known", ErrorCode.NOT_IMPLEMENTED)
    payload = _payload(bytes(elements[3]))
    if payload is None:
        return _refuse(CALL, message_id, "payload is not a JSON object", ErrorCode.PROTOCOL_ERROR)
    if not action.endswith("-Signed"):
        return Call(message_id, action, payload)
    inner = _signed_payload(payload, depth_max)
    if inner is None:
        reason = "signed payload is not a flattened JWS of a JSON object"
        return _refuse(CALL, message_id, reason, ErrorCode.FORMAT_VIOLATION)
    return Call(message_id, action.removesuffix("-Signed"), inner, signed=True)


def _result(message_id: str | None, elements: list[msgspec.Raw], depth_max: int) -> CallResult | Malformed:
    payload = _payload(bytes(elements[2])) if len(elements) == 3 else None
    if message_id is None or payload is None:
        return Malformed(None, "CALLRESULT is not [3, id, object]", CALLRESULT, message_id)
    if b'"signature"' in payload and b'"protected"' in payload:
        # No response of OCPP has these fields at its top: a CALLRESULT carries no action that could say "-Signed".
        inner = _signed_payload(payload, depth_max)
        if inner is not None:
            return CallResult(message_id, inner, signed=True)
    return CallResult(message_id, payload)


def _error(message_id: str | None, elements: list[msgspec.Raw]) -> CallError | Malformed:
    malformed = Malformed(None, "CALLERROR is not [4, id, code, description, object]", CALLERROR, message_id)
    if message_id is None or len(elements) != 5:
        return malformed
    details = _payload(bytes(elements[4]))
    if details is None:
        return malformed
    try:
        code, description = (_text.decode(element) for element in islice(elements, 2, 4))
    except msgspec.DecodeError:
        return malformed
    # Text of strangers that ends in events and tables: bounded and storable. The log has the frame as it came.
    if has_escaped_nul(details):
        details = b"{}"
    return CallError(message_id, _storable(code), _storable(description), details)


def _storable(text: str) -> str:
    return text[:DESCRIPTION_CHARS_MAX].replace("\0", "�")


def _payload(raw: bytes) -> bytes | None:
    """The object as received, `{}` for null (section 4.1.5), None for anything else."""
    return raw if raw[:1] == b"{" else b"{}" if raw == b"null" else None


def _is_object(raw: bytes) -> bool:
    return raw[:1] == b"{"


def _signed_payload(wrapper: bytes, depth_max: int) -> bytes | None:
    """The JSON object inside a flattened JWS, or None when there is none. Judged like a frame."""
    try:
        encoded = _jws.decode(wrapper).payload
        inner = base64.b64decode(encoded.encode() + b"=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
        if _problem(inner) is not None or deeper_than(inner, depth_max):
            return None
        return _payload(bytes(_raw.decode(inner)))
    except (msgspec.DecodeError, binascii.Error, RecursionError):
        return None


def _scrape(frame: bytes) -> tuple[int | None, str | None]:
    """Message type and id from the first bytes of a frame that cannot or must not be parsed."""
    head = _HEAD.match(frame[:512])
    if head is None:
        return None, None
    message_id = head[2].decode(errors="replace")
    return int(head[1]), message_id if len(message_id) <= MESSAGE_ID_CHARS_MAX else None


def _unreadable(frame: bytes, reason: str) -> Malformed:
    kind, message_id = _scrape(frame)
    if kind in (CALLRESULT, CALLERROR):
        return Malformed(None, reason, kind, message_id)
    return Malformed(CallError(UNREADABLE_ID, ErrorCode.RPC_FRAMEWORK_ERROR, reason), reason, kind, None)


def _over_limit(frame: bytes, reason: str) -> Malformed:
    kind, message_id = _scrape(frame)
    if kind in (CALLRESULT, CALLERROR):
        return Malformed(None, reason, kind, message_id)
    return _refuse(kind, message_id, reason)


def _refuse(
    kind: int | None, message_id: str | None, reason: str, code: ErrorCode = ErrorCode.RPC_FRAMEWORK_ERROR
) -> Malformed:
    return Malformed(CallError(message_id or UNREADABLE_ID, code, reason), reason, kind, message_id)
