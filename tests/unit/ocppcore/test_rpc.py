"""Frames as Part 4, section 4 wants them read, refused and written."""

import base64
import time

import orjson
import pytest

from ocppcore import rpc
from ocppcore.rpc import Call, CallError, CallResult, ErrorCode, Malformed

UUID = "f0e1d2c3-b4a5-4697-8899-aabbccddeeff"


def jws(inner: bytes, **changes: object) -> bytes:
    fields: dict[str, object] = {
        "payload": base64.urlsafe_b64encode(inner).rstrip(b"=").decode(),
        "protected": "eyJhbGciOiJFUzI1NiJ9",
        "signature": "c2ln",
    }
    return orjson.dumps(fields | changes)


def test_call_keeps_the_payload_byte_for_byte() -> None:
    payload = b'{ "timestamp" : "2024-05-06T12:00:00.000+02:00","value":1.50 , "x":"\\u00e9\xc3\xa9" }'
    frame = b' [ 2 , "id 1" ,\t"MeterValues" , ' + payload + b" ] \r\n"
    assert rpc.parse(frame) == Call("id 1", "MeterValues", payload)


def test_text_and_bytes_are_read_alike() -> None:
    frame = '[2,"é","DataTransfer",{"vendorId":"ö"}]'
    assert rpc.parse(frame) == rpc.parse(frame.encode()) == Call("é", "DataTransfer", '{"vendorId":"ö"}'.encode())


def test_null_payload_is_the_empty_object() -> None:
    assert rpc.parse(b'[2,"1","Heartbeat",null]') == Call("1", "Heartbeat", b"{}")
    assert rpc.parse(b'[3,"1",null]') == CallResult("1", b"{}")
    assert rpc.parse(b'[4,"1","GenericError","",null]') == CallError("1", "GenericError")


def test_message_type_written_as_a_whole_float_is_that_integer() -> None:
    assert rpc.parse(b'[2.0,"1","Heartbeat",{}]') == Call("1", "Heartbeat", b"{}")


def test_id_of_36_characters_is_read_also_beyond_ascii() -> None:
    assert rpc.parse(f'[3,"{UUID}",{{}}]') == CallResult(UUID, b"{}")
    assert rpc.parse(f'[3,"{"ß" * 36}",{{}}]') == CallResult("ß" * 36, b"{}")


def test_duplicate_keys_are_left_to_the_payload() -> None:
    assert rpc.parse(b'[2,"1","Reset",{"a":1,"a":2}]') == Call("1", "Reset", b'{"a":1,"a":2}')


NOT_READABLE = {
    "empty": b"",
    "blank": b"  ",
    "text": b"hello",
    "cut": b'[2,"1","Heartbeat",{}',
    "trailing comma": b'[2,"1","Heartbeat",{},]',
    "two documents": b'[2,"1","Heartbeat",{}][]',
    "broken payload": b'[2,"1","Heartbeat",{a:1}]',
    "byte order mark": b'\xef\xbb\xbf[2,"1","Heartbeat",{}]',
    "UTF-16": '[2,"1","Heartbeat",{}]'.encode("utf-16-le"),
    "not UTF-8": b'[2,"1","Heartbeat",{"customData":{"vendorId":"\xff"}}]',
    "overlong UTF-8": b'[2,"1","Heartbeat",{"a":"\xc0\x80"}]',
    "surrogate in UTF-8": b'[2,"1","Heartbeat",{"a":"\xed\xa0\x80"}]',
    "lone surrogate": b'[2,"1","Heartbeat",{"a":"\\ud800 and more text"}]',
    "lone low surrogate": b'[2,"1","Heartbeat",{"a":"\\udc00 and more text"}]',
    "control character": b'[2,"1","Heartbeat",{"a":"\x00"}]',
    "NaN": b'[2,"1","Heartbeat",{"a":NaN}]',
    "Infinity": b'[2,"1","Heartbeat",{"a":-Infinity}]',
    "leading zero": b'[2,"1","Heartbeat",{"a":01}]',
    "single quotes": b"[2,'1','Heartbeat',{}]",
    "object": b'{"2":"1"}',
    "number": b"2",
    "string": b'"[2]"',
    "null": b"null",
    "empty array": b"[]",
    "type only": b"[2]",
    "id missing": b'[2,null,"Heartbeat",{}]',
    "id a number": b'[2,1,"Heartbeat",{}]',
    "id an array": b'[2,["1"],"Heartbeat",{}]',
    "id empty": b'[2,"","Heartbeat",{}]',
    "id of 37 characters": f'[2,"{UUID}x","Heartbeat",{{}}]'.encode(),
    "id with NUL": b'[2,"a\\u0000b","Heartbeat",{}]',
    "id with lone surrogate": b'[2,"\\ud8000","Heartbeat",{}]',
    "string type, no id": b'["2",7]',
}


@pytest.mark.requirement("GEN.FR.03", "P4.4.1.2.1", "P4.4.2.3.3")
@pytest.mark.parametrize("frame", NOT_READABLE.values(), ids=NOT_READABLE.keys())
def test_what_cannot_be_read_is_answered_without_its_id(frame: bytes) -> None:
    found = rpc.parse(frame)
    assert isinstance(found, Malformed)
    assert found.reply is not None
    assert (found.reply.message_id, found.reply.code) == ("-1", ErrorCode.RPC_FRAMEWORK_ERROR)
    assert found.message_id is None


def test_text_with_a_lone_surrogate_is_refused() -> None:
    found = rpc.parse('[2,"1","Heartbeat",{"a":"\ud800"}]')
    assert isinstance(found, Malformed)
    assert found.reply is not None
    assert found.reply.message_id == "-1"


REFUSED = {
    "three elements": (b'[2,"1","Heartbeat"]', ErrorCode.RPC_FRAMEWORK_ERROR),
    "five elements": (b'[2,"1","Heartbeat",{},{}]', ErrorCode.RPC_FRAMEWORK_ERROR),
    "five elements, unsigned": (b'[2,"1",{},"Heartbeat",{}]', ErrorCode.RPC_FRAMEWORK_ERROR),
    "two elements": (b'[2,"1"]', ErrorCode.RPC_FRAMEWORK_ERROR),
    "action a number": (b'[2,"1",5,{}]', ErrorCode.RPC_FRAMEWORK_ERROR),
    "action null": (b'[2,"1",null,{}]', ErrorCode.RPC_FRAMEWORK_ERROR),
    "action with NUL": (b'[2,"1","Heart\\u0000beat",{}]', ErrorCode.NOT_IMPLEMENTED),
    "payload a list": (b'[2,"1","Heartbeat",[]]', ErrorCode.PROTOCOL_ERROR),
    "payload a string": (b'[2,"1","Heartbeat","{}"]', ErrorCode.PROTOCOL_ERROR),
    "payload false": (b'[2,"1","Heartbeat",false]', ErrorCode.PROTOCOL_ERROR),
    "type 1": (b'[1,"1","Heartbeat",{}]', ErrorCode.MESSAGE_TYPE_NOT_SUPPORTED),
    "type 5, any payload": (b'[5,"1",17,[[]],null,"x"]', ErrorCode.MESSAGE_TYPE_NOT_SUPPORTED),
    "type 2.5": (b'[2.5,"1","Heartbeat",{}]', ErrorCode.MESSAGE_TYPE_NOT_SUPPORTED),
    "type -2": (b'[-2,"1","Heartbeat",{}]', ErrorCode.MESSAGE_TYPE_NOT_SUPPORTED),
    "type beyond a double": (b'[1e999,"1","Heartbeat",{}]', ErrorCode.RPC_FRAMEWORK_ERROR),
    "type a string": (b'["2","1","Heartbeat",{}]', ErrorCode.RPC_FRAMEWORK_ERROR),
    "type true": (b'[true,"1","Heartbeat",{}]', ErrorCode.RPC_FRAMEWORK_ERROR),
}


@pytest.mark.requirement("GEN.FR.03", "P4.4.1.4.2", "P4.4.4.1")
@pytest.mark.parametrize(("frame", "code"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_valid_call_is_answered_under_its_id(frame: bytes, code: ErrorCode) -> None:
    found = rpc.parse(frame)
    assert isinstance(found, Malformed)
    assert found.reply is not None
    assert (found.reply.message_id, found.reply.code) == ("1", code)
    assert found.message_id == "1"


@pytest.mark.requirement("P4.4.2.3.3", "P4.4.4.1")
def test_unknown_message_type_without_id_is_answered_too() -> None:
    found = rpc.parse(b"[6,{}]")
    assert isinstance(found, Malformed)
    assert found.reply is not None
    assert (found.reply.message_id, found.reply.code) == ("-1", ErrorCode.MESSAGE_TYPE_NOT_SUPPORTED)


@pytest.mark.requirement("P4.4.1.3.2")
@pytest.mark.parametrize(
    "rest",
    [
        b"",
        b",null",
        b',"BootNotification",{"reason":7}',
        b",[[[]]],{},1.5,false",
        b',"Heartbeat-Signed",{"payload":"!"}',
    ],
)
def test_the_payload_of_an_unknown_message_type_does_not_matter(rest: bytes) -> None:
    found = rpc.parse(b'[7,"1"%b]' % rest)
    assert isinstance(found, Malformed)
    assert found.reply is not None
    assert (found.reply.message_id, found.reply.code) == ("1", ErrorCode.MESSAGE_TYPE_NOT_SUPPORTED)


@pytest.mark.requirement("P4.4.2.3.2")
@pytest.mark.parametrize("frame", NOT_READABLE.values(), ids=NOT_READABLE.keys())
def test_an_error_echoes_nothing_of_what_cannot_be_read(frame: bytes) -> None:
    marked = frame.replace(b"Heartbeat", b"Zebra")
    found = rpc.parse(marked)
    assert isinstance(found, Malformed)
    assert found.reply is not None
    said = rpc.build_error(found.reply)
    assert orjson.loads(said)[1] == "-1"
    assert b"Zebra" not in said and (len(marked) < 9 or marked not in said)


CODES = {
    "FormatViolation", "GenericError", "InternalError", "MessageTypeNotSupported", "NotImplemented", "NotSupported",
    "OccurrenceConstraintViolation", "PropertyConstraintViolation", "ProtocolError", "RpcFrameworkError",
    "SecurityError", "TypeConstraintViolation",
}  # fmt: skip


@pytest.mark.requirement("P4.4.2.3.4")
def test_an_error_has_five_elements_a_code_of_the_table_and_an_object() -> None:
    assert {str(code) for code in ErrorCode} == CODES
    for code in ErrorCode:
        assert orjson.loads(rpc.build_error(CallError("1", code, "d" * 256))) == [4, "1", code, "d" * 255, {}]


BAD_ANSWERS = {
    "result of two": (b'[3,"1"]', "1"),
    "result of four": (b'[3,"1",{},{}]', "1"),
    "result with a list": (b'[3,"1",[]]', "1"),
    "result without id": (b"[3,null,{}]", None),
    "result with a long id": (f'[3,"{UUID}x",{{}}]'.encode(), None),
    "result that is not JSON": (b'[3,"1",{"status":}]', "1"),
    "result that is not UTF-8": (b'[3,"1",{"a":"\xff"}]', "1"),
    "result too deep": (b'[3,"1",' + b"[" * 50 + b"]" * 50 + b"]", "1"),
    "result cut": (b'[3,"1"', "1"),
    "error of four": (b'[4,"1","GenericError",""]', "1"),
    "error of six": (b'[4,"1","GenericError","",{},{}]', "1"),
    "error with a number": (b'[4,"1",5,"",{}]', "1"),
    "error with null text": (b'[4,"1","GenericError",null,{}]', "1"),
    "error with a list": (b'[4,"1","GenericError","",[]]', "1"),
    "error without id": (b"[4]", None),
    "result of nothing": (b"[3]", None),
}


@pytest.mark.parametrize(("frame", "message_id"), BAD_ANSWERS.values(), ids=BAD_ANSWERS.keys())
def test_an_answer_is_never_answered_but_names_the_call_it_ends(frame: bytes, message_id: str | None) -> None:
    found = rpc.parse(frame)
    assert isinstance(found, Malformed)
    assert found.reply is None
    assert found.message_type in (3, 4)
    assert found.message_id == message_id


def test_error_is_read_and_its_text_made_storable() -> None:
    frame = b'[4,"1","NotSup\\u0000ported","%b",{"a":"\\u0000"}]' % (b"d" * 300)
    assert rpc.parse(frame) == CallError("1", "NotSup�ported", "d" * 255, b"{}")
    plain = b'[4,"1","NotSupported","no",{"a":"\\\\u0000"}]'
    assert rpc.parse(plain) == CallError("1", "NotSupported", "no", b'{"a":"\\\\u0000"}')


def test_depth_is_judged_at_the_limit_and_not_by_brackets_in_text() -> None:
    def frame(levels: int) -> bytes:
        return b'[2,"1","DataTransfer",{"data":' + b"[" * levels + b"]" * levels + b"}]"

    assert isinstance(rpc.parse(frame(30)), Call)
    assert isinstance(rpc.parse(frame(31)), Malformed)
    assert isinstance(rpc.parse(frame(31), depth_max=33), Call)
    text = b'[2,"1","DataTransfer",{"data":"%b\\"["}]' % (b"[{" * 500)
    assert isinstance(rpc.parse(text), Call)
    wide = b'[2,"1","DataTransfer",{"data":[%b{}]}]' % (b"[{}],{}," * 500)
    assert isinstance(rpc.parse(wide), Call)
    zigzag = b'[2,"1","DataTransfer",{"data":%b1%b}]' % (b"[[],[],{},[" * 29, b"]]" * 29)
    assert isinstance(rpc.parse(zigzag), Malformed)


def test_refusal_over_a_limit_carries_the_id_when_it_can_be_read() -> None:
    deep = rpc.parse(b'[2, "a1", "Heartbeat", ' + b"[" * 10_000 + b"]" * 10_000 + b"]")
    assert isinstance(deep, Malformed)
    assert deep.reply == CallError("a1", ErrorCode.RPC_FRAMEWORK_ERROR, "frame is nested deeper than 32")
    large = rpc.parse(b'[2,"a2","DataTransfer",{"data":"' + b"x" * 1000 + b'"}]', bytes_max=1000)
    assert isinstance(large, Malformed)
    assert large.reply == CallError("a2", ErrorCode.RPC_FRAMEWORK_ERROR, "frame is larger than 1000 bytes")


HOSTILE = {
    "deep": b"[" * 500_000 + b"]" * 500_000,
    "deep objects": b'[2,"1","X",' + b'{"a":' * 160_000 + b"1" + b"}" * 160_000 + b"]",
    "open quote": b'[2,"1","X",{"a' + b'\\"[' * 300_000,
    "quotes": b'[2,"1","X",[' + b'"["' * 300_000,
    "backslashes": b"[" * 33 + b'"' + b"\\" * 900_000,
    "wide": b'[2,"1","X",{"a":[' + b"[]," * 300_000 + b"1]}]",
    "zigzag": b'[2,"1","X",{"a":' + b"[[],{}," * 140_000,
    "signed backslashes": b'[4,"1","X","",{"a":"' + b"\\\\" * 450_000 + b'\\u0000"}]',
}


@pytest.mark.parametrize("frame", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_megabyte_of_malice_costs_less_than_a_second(frame: bytes) -> None:
    assert len(frame) <= rpc.FRAME_BYTES_MAX
    started = time.thread_time()
    rpc.parse(frame)
    assert time.thread_time() - started < 1  # measured: at most 0.06 s


@pytest.mark.requirement("P4.7.2.1", "P4.7.4.1")
def test_signed_call_is_the_plain_call() -> None:
    inner = b'{"reason":"PowerUp", "chargingStation":{"model":"m","vendorName":"v"}}'
    frame = b'[2,"1","BootNotification-Signed",%b]' % jws(inner)
    assert rpc.parse(frame) == Call("1", "BootNotification", inner, signed=True)
    extended = b'[2,"1",{},"BootNotification-Signed",%b]' % jws(inner, header={"kid": "k"})
    assert rpc.parse(extended) == Call("1", "BootNotification", inner, signed=True)
    empty = b'[2,"1","Heartbeat-Signed",%b]' % jws(b"null")
    assert rpc.parse(empty) == Call("1", "Heartbeat", b"{}", signed=True)


BAD_SIGNED = {
    "no payload": b'{"protected":"e30","signature":"c2ln"}',
    "no signature": b'{"protected":"e30","payload":"e30"}',
    "payload an object": jws(b"{}", payload={}),
    "not base64url": jws(b"{}", payload="e!30"),
    "not ASCII": jws(b"{}", payload="é"),
    "bad length": jws(b"{}", payload="e30aa"),
    "not JSON": jws(b"{a}"),
    "not UTF-8": jws(b'{"a":"\xff"}'),
    "a list": jws(b"[]"),
    "too deep": jws(b'{"a":' * 40 + b"1" + b"}" * 40),
    "plain payload": b"{}",
}


@pytest.mark.parametrize("wrapper", BAD_SIGNED.values(), ids=BAD_SIGNED.keys())
def test_signed_call_without_a_payload_inside_is_refused(wrapper: bytes) -> None:
    found = rpc.parse(b'[2,"1","Heartbeat-Signed",%b]' % wrapper)
    assert isinstance(found, Malformed)
    assert found.reply is not None
    assert (found.reply.message_id, found.reply.code) == ("1", ErrorCode.FORMAT_VIOLATION)


@pytest.mark.requirement("P4.7.2.1")
def test_signed_result_is_the_plain_result() -> None:
    assert rpc.parse(b'[3,"1",%b]' % jws(b'{"status":"Accepted"}')) == CallResult(
        "1", b'{"status":"Accepted"}', signed=True
    )
    vendor = b'{"status":"Accepted","customData":{"vendorId":"v","protected":"e30","signature":"c2ln"}}'
    assert rpc.parse(b'[3,"1",%b]' % vendor) == CallResult("1", vendor)


def test_known_actions_in_the_right_direction_pass() -> None:
    assert rpc.judge_action(Call("1", "BootNotification", b"{}")) is None
    assert rpc.judge_action(Call("1", "DataTransfer", b"{}")) is None
    assert rpc.judge_action(Call("1", "Reset", b"{}"), receiver="station") is None
    assert rpc.judge_action(Call("1", "DataTransfer", b"{}"), receiver="station") is None


@pytest.mark.requirement("P4.4.1.6.1")
@pytest.mark.parametrize("name", ["Nonsense", "", "heartbeat", "HeartbeatRequest", "Heartbeat ", "StartTransaction"])
def test_unknown_action_is_not_implemented(name: str) -> None:
    error = rpc.judge_action(Call("1", name, b"{}"))
    assert error is not None
    assert (error.message_id, error.code) == ("1", ErrorCode.NOT_IMPLEMENTED)


def test_known_action_in_the_wrong_direction_is_not_supported() -> None:
    error = rpc.judge_action(Call("1", "Reset", b"{}"))
    assert error is not None
    assert (error.message_id, error.code) == ("1", ErrorCode.NOT_SUPPORTED)
    error = rpc.judge_action(Call("1", "Heartbeat", b"{}"), receiver="station")
    assert error is not None
    assert error.code == ErrorCode.NOT_SUPPORTED


@pytest.mark.requirement("P4.4.1.3.1")
def test_built_frames_are_read_back() -> None:
    assert rpc.build_call("a", "Reset", b'{"type":"OnIdle"}') == b'[2,"a","Reset",{"type":"OnIdle"}]'
    assert rpc.build_result('"', b"{}") == b'[3,"\\"",{}]'
    error = CallError("a", ErrorCode.SECURITY_ERROR, "é" * 300, b'{"field":"x"}')
    assert rpc.parse(rpc.build_error(error)) == CallError("a", "SecurityError", "é" * 255, b'{"field":"x"}')


@pytest.mark.requirement("P4.4.1.2.1")
def test_description_that_is_not_unicode_can_be_sent() -> None:
    assert rpc.build_error(CallError("a", ErrorCode.GENERIC_ERROR, "\ud800")) == b'[4,"a","GenericError","?",{}]'


def test_frames_are_frozen() -> None:
    with pytest.raises(AttributeError):
        Call("1", "Reset", b"{}").action = "Heartbeat"  # type: ignore[misc]


def test_a_call_in_plain_spelling_is_cut_out_without_parsing() -> None:
    frame = b'[2,"id 1","Heartbeat",{"a":[1, 2]}]'
    assert rpc.plain_call(frame, "id 1", "Heartbeat") == rpc.parse(frame)


@pytest.mark.parametrize(
    "frame",
    [
        b'[2, "1","Heartbeat",{}]',
        b'[2,"1","Heartbeat",{}] ',
        b'[2,"\\u0031","Heartbeat",{}]',
        b'[2,"2","Heartbeat",{}]',
        b'[2,"1","Heartbeat2",{}]',
        b'[2.0,"1","Heartbeat",{}]',
        b'[2,"1",{},"Heartbeat",{}]',
    ],
)
def test_any_other_spelling_is_to_be_parsed(frame: bytes) -> None:
    assert rpc.plain_call(frame, "1", "Heartbeat") is None
