"""Any bytes in, always the right frame or the right error out: judged by a second, plain reading of Part 4.

The second reading uses the standard library's JSON parser and whole values instead of slices. `CSMS_TEST_SEED=n`
repeats a failing run of the mutator or tries another one.
"""

import json
import os
import random
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocppcore import rpc
from ocppcore.rpc import Call, CallError, CallResult, ErrorCode, Malformed

SEED = int(os.environ.get("CSMS_TEST_SEED", "201"))
MUTANTS = 200_000

REAL = (
    b'[2,"19223201","BootNotification",{"reason":"PowerUp","chargingStation":{"model":"M","vendorName":"V"}}]',
    b'[2,"3f5e","TransactionEvent",{"eventType":"Updated","timestamp":"2024-05-06T12:00:00.000Z","triggerReason":'
    b'"MeterValuePeriodic","seqNo":12,"transactionInfo":{"transactionId":"a3c1"},"meterValue":[{"timestamp":'
    b'"2024-05-06T12:00:00Z","sampledValue":[{"value":12345.6},{"value":-1e3,"unitOfMeasure":{"unit":"W"}}]}]}]',
    b'[2,"h","Heartbeat",{}]',
    b'[2,"h","Heartbeat",null]',
    b' [ 2 , "\\u00e9\\n" , "DataTransfer" , { "vendorId" : "\xc3\xa9\xf0\x9f\x94\x8c" , "data" : [ [ ] , { } ] } ]\n',
    b'[2,"s","Heartbeat-Signed",{"payload":"e30","protected":"e30","signature":"c2ln"}]',
    b'[2,"s",{},"Heartbeat-Signed",{"payload":"eyJhIjoxfQ","protected":"e30","signature":"c2ln"}]',
    b'[3,"19223201",{"status":"Accepted","currentTime":"2013-02-01T20:53:32.486Z","interval":300}]',
    b'[3,"s",{"payload":"e30","protected":"e30","signature":"c2ln"}]',
    b'[4,"162376037","NotSupported","SetDisplayMessageRequest not implemented",{}]',
    b'[5,"x","y",{"deep":[[[[[[[[[[]]]]]]]]]]}]',
    b'[2,"d","DataTransfer",{"data":' + b"[" * 30 + b"1" + b"]" * 30 + b"}]",
    b'[3,"d",{"data":' + b'{"a":' * 30 + b"1" + b"}" * 30 + b"}]",
    b'[2,"e","DataTransfer",{"data":' + b'[{"a":' * 15 + b"[1]" + b"}]" * 15 + b"}]",
)
SPLICES = (
    *(b"[", b"]", b"{", b"}", b",", b":", b'"', b"\\", b" ", b"\n", b"\x00", b"\xff", b"\xc3", b"\xed\xa0\x80"),
    *(b"2", b"3", b"4", b"5", b"-1", b"2.0", b"1e999", b"NaN", b"null", b"true", b"0", b"00"),
    *(b'"x",', b"{},", b"[],", b'"\\ud800"', b'"\\udc00\\ud800"', b"\\u0000", b'"-Signed"', b'"a":1,', b"[[[[[[[["),
    *(b'"' + b"i" * 36 + b'"', b'"' + b"i" * 37 + b'"', b'"' + "é".encode() * 36 + b'"', b'""', b"\xef\xbb\xbf"),
)
PLAIN_HEAD = re.compile(rb'\[2,"([^"\\]*)","([^"\\]*)",')
PLAINLY_AN_ANSWER = re.compile(rb'\s*\[\s*[34]\s*,\s*"[a-z0-9]{1,36}"')


class NotJson(Exception):
    pass


def refuse_constant(name: str) -> None:
    raise NotJson(name)


def plain_read(frame: bytes) -> Any:
    """The frame's value. Raises NotJson."""
    try:
        value = json.loads(frame.decode(), parse_constant=refuse_constant)
        json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate cannot be written
    except (ValueError, RecursionError) as error:
        raise NotJson(str(error)) from None
    return value


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


def readable_id(value: Any) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= 36 and "\0" not in value else None


def judge(frame: bytes) -> None:
    """Assert that `parse` reads `frame` as the standard says."""
    found = rpc.parse(frame)
    assert rpc.parse(frame) == found
    judge_shortcut(frame, found)
    try:
        value = plain_read(frame)
    except NotJson:
        judge_unreadable(frame, found)
        return
    if depth(value) > 32:
        judge_unreadable(frame, found, deep=True)
    elif not isinstance(value, list) or not value:
        refused(found, None, ErrorCode.RPC_FRAMEWORK_ERROR)
    else:
        judge_array(frame, found, value)


def judge_shortcut(frame: bytes, found: rpc.Frame) -> None:
    """What `plain_call` cuts out of a CALL is what `parse` reads there, or no JSON object."""
    head = PLAIN_HEAD.match(frame)
    if head is None or not isinstance(found, Call) or found.signed:
        return
    call = rpc.plain_call(frame, head[1].decode(), head[2].decode())
    if call is not None and found.payload != b"{}":
        assert (call.message_id, call.action, call.payload.strip()) == (found.message_id, found.action, found.payload)


def judge_unreadable(frame: bytes, found: rpc.Frame, *, deep: bool = False) -> None:
    assert isinstance(found, Malformed)
    if found.reply is None:
        assert frame.strip()[1:].strip()[:1] in (b"3", b"4")
        return
    assert PLAINLY_AN_ANSWER.match(frame) is None
    assert found.reply.code == ErrorCode.RPC_FRAMEWORK_ERROR
    assert found.reply.message_id == (found.message_id or "-1")
    too_deep = "deeper" in found.reason
    assert deep is False or too_deep
    assert too_deep or found.message_id is None


def judge_array(frame: bytes, found: rpc.Frame, value: list[Any]) -> None:
    kind, message_id = value[0], readable_id(value[1]) if len(value) > 1 else None
    if isinstance(kind, bool) or not isinstance(kind, int | float) or abs(kind) == float("inf"):
        refused(found, message_id, ErrorCode.RPC_FRAMEWORK_ERROR)
    elif kind not in (2, 3, 4):
        refused(found, message_id, ErrorCode.MESSAGE_TYPE_NOT_SUPPORTED)
    elif kind == 2:
        judge_call(frame, found, value, message_id)
    elif isinstance(found, Malformed):
        assert found.reply is None
        assert (found.message_type, found.message_id) == (kind, message_id)
        assert not valid_answer(value, message_id)
    else:
        assert valid_answer(value, message_id)
        judge_answer(frame, found, value)


def judge_call(frame: bytes, found: rpc.Frame, value: list[Any], message_id: str | None) -> None:
    signed_form = len(value) == 5 and isinstance(value[2], dict) and str(value[3]).endswith("-Signed")
    if signed_form and isinstance(value[3], str):
        value = [*value[:2], *value[3:]]
    if message_id is None or len(value) != 4 or not isinstance(value[2], str):
        refused(found, message_id, ErrorCode.RPC_FRAMEWORK_ERROR)
    elif "\0" in value[2]:
        refused(found, message_id, ErrorCode.NOT_IMPLEMENTED)
    elif not isinstance(value[3], dict | None):
        refused(found, message_id, ErrorCode.PROTOCOL_ERROR)
    elif isinstance(found, Malformed):
        assert value[2].endswith("-Signed")
        refused(found, message_id, ErrorCode.FORMAT_VIOLATION)
    else:
        assert isinstance(found, Call)
        assert found.signed == value[2].endswith("-Signed")
        assert (found.message_id, found.action) == (message_id, value[2].removesuffix("-Signed"))
        judge_payload(frame, found.payload, value[3], signed=found.signed)


def valid_answer(value: list[Any], message_id: str | None) -> bool:
    if message_id is None or not isinstance(value[-1], dict | None):
        return False
    if value[0] == 3:
        return len(value) == 3
    return len(value) == 5 and isinstance(value[2], str) and isinstance(value[3], str)


def judge_answer(frame: bytes, found: rpc.Frame, value: list[Any]) -> None:
    if value[0] == 3:
        assert isinstance(found, CallResult)
        assert found.message_id == value[1]
        judge_payload(frame, found.payload, value[2], signed=found.signed)
    else:
        assert isinstance(found, CallError)
        assert found.message_id == value[1]
        assert (found.code, found.description) == tuple(text.replace("\0", "�")[:255] for text in value[2:4])
        assert found.details == b"{}" or json.loads(found.details) == value[4]


def judge_payload(frame: bytes, payload: bytes, value: Any, *, signed: bool) -> None:
    if signed:
        assert {"payload", "protected", "signature"} <= value.keys()
        assert isinstance(json.loads(payload), dict)
    elif value is None:
        assert payload == b"{}"
    else:
        assert payload in frame
        assert repr(json.loads(payload)) == repr(value)


def refused(found: rpc.Frame, message_id: str | None, code: ErrorCode) -> None:
    assert isinstance(found, Malformed)
    assert found.reply is not None
    assert (found.reply.message_id, found.reply.code) == (message_id or "-1", code)
    assert len(found.reply.description) <= 255
    assert isinstance(rpc.parse(rpc.build_error(found.reply)), CallError)


def mutant(rng: random.Random) -> bytes:
    """A real frame with one to four wounds."""
    frame = bytearray(rng.choice(REAL))
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        at, span = rng.randrange(len(frame) + 1), rng.choice((0, 0, 1, 1, 2, 5, 40))
        wound = rng.randrange(6)
        if wound == 0:
            frame[at : at + span] = rng.choice(SPLICES)
        elif wound == 1:
            frame[at : at + span] = b""
        elif wound == 2:
            frame[at : at + 1] = bytes((rng.randrange(256),))
        elif wound == 3:
            other = rng.choice(REAL)
            start = rng.randrange(len(other))
            frame[at:at] = other[start : start + rng.choice((1, 5, 20, 400))]
        elif wound == 4:
            frame[at:at] = frame[at : at + rng.choice((1, 3, 10, 60))]
        else:
            start = frame.find(b",", at)
            end = frame.find(b",", start + 1)
            frame[start + 1 : max(start + 1, end)] = rng.choice(SPLICES)
    return bytes(frame)


def test_mutated_frames_are_read_right_or_refused_right() -> None:
    rng = random.Random(SEED)
    outcomes = dict.fromkeys((Call, CallResult, CallError, Malformed), 0)
    number, frame = 0, b""
    try:
        for number in range(MUTANTS):  # noqa: B007
            frame = mutant(rng)
            judge(frame)
            outcomes[type(rpc.parse(frame))] += 1
    finally:
        print(f"CSMS_TEST_SEED={SEED} mutant {number}: {frame!r}")
    assert all(count > MUTANTS / 100 for count in outcomes.values()), outcomes


def test_real_frames_are_read_right() -> None:
    for frame in REAL:
        judge(frame)


@settings(max_examples=3000, deadline=None, database=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_right_or_refused_right(frame: bytes) -> None:
    judge(frame)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
KINDS = st.sampled_from((2, 3, 4)) | JSON_VALUES


@settings(max_examples=400, deadline=None, database=None)
@given(KINDS, st.lists(JSON_VALUES, max_size=6), st.booleans())
def test_any_json_is_read_right_or_refused_right(kind: object, rest: list[object], ascii_only: bool) -> None:
    judge(json.dumps([kind, *rest], ensure_ascii=ascii_only).encode(errors="surrogatepass"))


@settings(max_examples=1000, deadline=None, database=None)
@given(st.text())
def test_text_is_read_as_its_bytes(text: str) -> None:
    assert rpc.parse(text) == rpc.parse(text.encode())


@pytest.mark.requirement("P4.4.1.2.1")
@settings(max_examples=200, deadline=None, database=None)
@given(
    st.text(min_size=1, max_size=36).filter(lambda text: "\0" not in text),
    st.text(max_size=40).filter(lambda text: "\0" not in text and not text.endswith("-Signed")),
    st.dictionaries(st.text(), JSON_VALUES, max_size=3),
)
def test_what_is_built_is_read_back(message_id: str, action: str, content: dict[str, object]) -> None:
    payload = json.dumps(content).encode()
    assert rpc.parse(rpc.build_call(message_id, action, payload)) == Call(message_id, action, payload)
    assert rpc.parse(rpc.build_result(message_id, payload)) == CallResult(message_id, payload)
    error = CallError(message_id, ErrorCode.GENERIC_ERROR, action)
    assert rpc.parse(rpc.build_error(error)) == error
