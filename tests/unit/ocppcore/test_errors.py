"""From an invalid payload to the CALLERROR that says what is wrong with it."""

import orjson
import pytest
from pydantic import ValidationError

from ocppcore import actions, errors, rpc
from ocppcore.rpc import ErrorCode
from ocppcore.wire import decode

SECRET = "04A2B3C4D5E6F7"


def refusal(action: str, payload: bytes) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        decode(actions.request_type(action), payload)
    return caught.value


def status(**changes: object) -> bytes:
    fields = {"timestamp": "2024-05-06T12:00:00Z", "connectorStatus": "Available", "evseId": 1, "connectorId": 1}
    return orjson.dumps(fields | changes)


def needs(**changes: object) -> bytes:
    dc = {"evMaxCurrent": 1, "evMaxVoltage": 1} | changes
    return orjson.dumps({"evseId": 1, "chargingNeeds": {"requestedEnergyTransfer": "DC", "dcChargingParameters": dc}})


TOKEN = {"idToken": "a", "type": "Local"}
OCSP = {
    "hashAlgorithm": "SHA256",
    "issuerNameHash": "a",
    "issuerKeyHash": "a",
    "serialNumber": "1",
    "responderURL": "http://a",
}
TRANSACTION = b'{"transactionId":"t","totalCost":%b}'

CASES = {
    "not JSON": ("Heartbeat", b"{", ErrorCode.FORMAT_VIOLATION, ""),
    "not UTF-8": ("Authorize", b'{"idToken":"\xff"}', ErrorCode.FORMAT_VIOLATION, ""),
    "lone surrogate": ("Authorize", b'{"idToken":"\\ud800"}', ErrorCode.FORMAT_VIOLATION, ""),
    "NaN": ("CostUpdated", TRANSACTION % b"NaN", ErrorCode.FORMAT_VIOLATION, ""),
    "deep": ("Heartbeat", b'{"customData":' + b"[" * 5000, ErrorCode.FORMAT_VIOLATION, ""),
    "a list": ("Heartbeat", b"[]", ErrorCode.PROTOCOL_ERROR, ""),
    "null": ("Heartbeat", b"null", ErrorCode.PROTOCOL_ERROR, ""),
    "extra": ("StatusNotification", status(more=1), ErrorCode.PROTOCOL_ERROR, "more"),
    "missing": ("Authorize", b"{}", ErrorCode.OCCURRENCE_CONSTRAINT_VIOLATION, "idToken"),
    "missing inside": (
        "Authorize",
        b'{"idToken":{"type":"Local"}}',
        ErrorCode.OCCURRENCE_CONSTRAINT_VIOLATION,
        "idToken.idToken",
    ),
    "empty list": (
        "GetVariables",
        b'{"getVariableData":[]}',
        ErrorCode.OCCURRENCE_CONSTRAINT_VIOLATION,
        "getVariableData",
    ),
    "long list": (
        "Authorize",
        orjson.dumps({"idToken": TOKEN, "iso15118CertificateHashData": [OCSP] * 5}),
        ErrorCode.OCCURRENCE_CONSTRAINT_VIOLATION,
        "iso15118CertificateHashData",
    ),
    "null for a required": (
        "DeleteCertificate",
        b'{"certificateHashData":null}',
        ErrorCode.TYPE_CONSTRAINT_VIOLATION,
        "certificateHashData",
    ),
    "string for an integer": ("StatusNotification", status(evseId="1"), ErrorCode.TYPE_CONSTRAINT_VIOLATION, "evseId"),
    "true for an integer": ("StatusNotification", status(evseId=True), ErrorCode.TYPE_CONSTRAINT_VIOLATION, "evseId"),
    "fraction for an integer": (
        "StatusNotification",
        status(evseId=1.5),
        ErrorCode.TYPE_CONSTRAINT_VIOLATION,
        "evseId",
    ),
    "number for a date-time": (
        "StatusNotification",
        status(timestamp=5),
        ErrorCode.TYPE_CONSTRAINT_VIOLATION,
        "timestamp",
    ),
    "number for an enumeration": (
        "StatusNotification",
        status(connectorStatus=5),
        ErrorCode.TYPE_CONSTRAINT_VIOLATION,
        "connectorStatus",
    ),
    "null for an optional": (
        "StatusNotification",
        status(customData=None),
        ErrorCode.TYPE_CONSTRAINT_VIOLATION,
        "customData",
    ),
    "string for a number": ("CostUpdated", TRANSACTION % b'"1"', ErrorCode.TYPE_CONSTRAINT_VIOLATION, "totalCost"),
    "object for a list": (
        "GetVariables",
        b'{"getVariableData":{}}',
        ErrorCode.TYPE_CONSTRAINT_VIOLATION,
        "getVariableData",
    ),
    "integer for a boolean": (
        "NotifyReport",
        b'{"requestId":1,"generatedAt":"2024-05-06T12:00:00Z","seqNo":0,"tbc":1}',
        ErrorCode.TYPE_CONSTRAINT_VIOLATION,
        "tbc",
    ),
    "not in the enumeration": (
        "StatusNotification",
        status(connectorStatus="Fine"),
        ErrorCode.PROPERTY_CONSTRAINT_VIOLATION,
        "connectorStatus",
    ),
    "too long": (
        "GetVariables",
        b'{"getVariableData":[{"component":{"name":"%b"},"variable":{"name":"v"}}]}' % (b"x" * 51),
        ErrorCode.PROPERTY_CONSTRAINT_VIOLATION,
        "getVariableData[0].component.name",
    ),
    "above the maximum": (
        "NotifyEVChargingNeeds",
        needs(stateOfCharge=101),
        ErrorCode.PROPERTY_CONSTRAINT_VIOLATION,
        "chargingNeeds.dcChargingParameters.stateOfCharge",
    ),
    "below the minimum": (
        "NotifyEVChargingNeeds",
        needs(stateOfCharge=-1),
        ErrorCode.PROPERTY_CONSTRAINT_VIOLATION,
        "chargingNeeds.dcChargingParameters.stateOfCharge",
    ),
    "33 bits": ("StatusNotification", status(evseId=2**31), ErrorCode.PROPERTY_CONSTRAINT_VIOLATION, "evseId"),
    "1e999 for an integer": (
        "ClearDisplayMessage",
        b'{"id":1e999}',
        ErrorCode.PROPERTY_CONSTRAINT_VIOLATION,
        "id",
    ),
    "1e999": ("CostUpdated", TRANSACTION % b"1e999", ErrorCode.PROPERTY_CONSTRAINT_VIOLATION, "totalCost"),
    "1e308": ("CostUpdated", TRANSACTION % b"1e308", ErrorCode.PROPERTY_CONSTRAINT_VIOLATION, "totalCost"),
    "year 222222017": (
        "StatusNotification",
        status(timestamp="222222017-05-06T12:00:00Z"),
        ErrorCode.PROPERTY_CONSTRAINT_VIOLATION,
        "timestamp",
    ),
    "no zone": (
        "StatusNotification",
        status(timestamp="2024-05-06T12:00:00"),
        ErrorCode.PROPERTY_CONSTRAINT_VIOLATION,
        "timestamp",
    ),
    "NUL": (
        "GetVariables",
        b'{"getVariableData":[{"component":{"name":"a\\u0000"},"variable":{"name":"v"}}]}',
        ErrorCode.PROPERTY_CONSTRAINT_VIOLATION,
        "getVariableData[0].component.name",
    ),
    "NUL in a key": (
        "DataTransfer",
        b'{"vendorId":"v","data":{"a":{"\\u0000":1}}}',
        ErrorCode.PROPERTY_CONSTRAINT_VIOLATION,
        "data.a",
    ),
}


@pytest.mark.requirement("GEN.FR.03", "P4.4.1.7.1")
@pytest.mark.parametrize(("action", "payload", "code", "path"), CASES.values(), ids=CASES.keys())
def test_code_and_field_say_what_is_wrong(action: str, payload: bytes, code: ErrorCode, path: str) -> None:
    answer = errors.to_call_error("7", refusal(action, payload))
    details = orjson.loads(answer.details)
    assert (answer.message_id, answer.code) == ("7", code)
    assert (details["count"], details["problems"][0]["path"]) == (1, path)
    assert answer.description.startswith(path)
    assert answer == rpc.parse(rpc.build_error(answer))


def test_the_most_fundamental_problem_gives_the_code_and_all_are_named() -> None:
    payload = orjson.dumps({"connectorStatus": "Fine", "evseId": "1", "connectorId": 1, "zzz": 1})
    answer = errors.to_call_error("7", refusal("StatusNotification", payload))
    details = orjson.loads(answer.details)
    assert answer.code == ErrorCode.PROTOCOL_ERROR
    assert [problem["path"] for problem in details["problems"]] == ["zzz", "timestamp", "evseId", "connectorStatus"]
    assert details["count"] == 4


def test_at_most_ten_fields_are_named_however_many_are_wrong() -> None:
    payload = orjson.dumps({"x" * 5000 + str(number): "y" * 5000 for number in range(500)})
    answer = errors.to_call_error("7", refusal("Heartbeat", payload))
    details = orjson.loads(answer.details)
    assert (details["count"], len(details["problems"])) == (500, 10)
    assert len(answer.details) < 4000
    assert len(answer.description) <= 255


@pytest.mark.requirement("P4.4.2.3.2")
@pytest.mark.parametrize(
    "payload",
    [
        b'{"idToken":{"idToken":"%b","type":"Card"}}',
        b'{"idToken":{"idToken":["%b"],"type":"Local"}}',
        b'{"idToken":"%b"}',
        b'{"idToken":{"idToken":"%b\\u0000","type":"Local"}}',
        b'{"idToken":{"idToken":"%b' + b"x" * 40 + b'","type":"Local"}}',
        b'{"idToken":{"idToken":"x","type":"%b"}}',
        b'{"certificate":"%b"}',
        b'{"idToken":{"idToken":"%b","type":"Local"}',
    ],
)
def test_no_value_is_ever_echoed(payload: bytes) -> None:
    error = refusal("Authorize", payload % SECRET.encode())
    answer = errors.to_call_error("7", error)
    assert SECRET not in answer.description
    assert SECRET.encode() not in answer.details
    assert SECRET not in str(error)
    assert SECRET not in repr(error)


def test_names_that_strangers_invent_are_cut_and_storable() -> None:
    answer = errors.to_call_error("7", refusal("Heartbeat", b'{"%b":1}' % (b"z" * 1000)))
    assert orjson.loads(answer.details)["problems"][0]["path"] == "z" * 200
