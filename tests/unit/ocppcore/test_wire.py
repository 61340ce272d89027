"""Values that the wire types read and write, one by one; the schemas judge them in tests/property."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from pydantic import MISSING, ValidationError

from ocppcore import wire
from ocppcore.v201 import (
    CostUpdatedRequest,
    DataTransferRequest,
    GetVariablesRequest,
    HeartbeatRequest,
    HeartbeatResponse,
    UnlockConnectorRequest,
)
from ocppcore.wire import decode, dump_json, encode, load_json

ABSURD = b"1e99999999999999999999"
"""No Decimal holds it."""
SUMMER = timezone(timedelta(hours=2))


def cost(number: bytes) -> Decimal:
    return decode(CostUpdatedRequest, b'{"transactionId":"t","totalCost":%b}' % number).totalCost


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (b"1.50", "1.50"),
        (b"8.1", "8.1"),
        (b"-0", "0"),
        (b"12345678901234567.890123", "12345678901234567.890123"),
        (b"1e17", "1E+17"),
        (b"0." + b"3" * 20_000, "0." + "3" * 36),
    ],
)
def test_a_number_keeps_the_digits_it_was_written_with(written: bytes, text: str) -> None:
    assert str(cost(written)) == text


@pytest.mark.parametrize("written", [b"1e-999999999", b"0e-999999999", b"-1e-400"])
def test_a_number_too_small_to_store_is_zero(written: bytes) -> None:
    assert cost(written) == 0
    assert len(f"{cost(written):f}") < 110


@pytest.mark.parametrize("written", [b"1e18", b"-1e18", b"1e308", b"1e999", b"1e999999999", b"9" * 4000, ABSURD])
def test_a_number_too_large_to_store_is_refused(written: bytes) -> None:
    with pytest.raises(ValidationError, match="number_range"):
        cost(written)


@pytest.mark.parametrize("written", [b"1e999", ABSURD, b"-" + ABSURD, b"9" * 4000])
def test_an_integer_beyond_32_bits_is_refused(written: bytes) -> None:
    with pytest.raises(ValidationError, match="integer_range"):
        decode(UnlockConnectorRequest, b'{"evseId":%b,"connectorId":1}' % written)


@pytest.mark.parametrize("number", ["1E+999", "-1.50", "1E-999", "0.0", "9" * 400, ABSURD.decode()])
def test_a_number_in_a_place_without_a_type_keeps_its_digits(number: str) -> None:
    text = b'{"n":[%b]}' % number.encode()
    assert dump_json(load_json(text)) == text


@pytest.mark.parametrize("written", [b"1.0", b"1", b"1e0", b"10e-1"])
def test_an_integer_may_be_written_as_a_whole_number(written: bytes) -> None:
    request = decode(UnlockConnectorRequest, b'{"evseId":%b,"connectorId":1}' % written)
    assert encode(request) == b'{"evseId":1,"connectorId":1}'
    assert type(request.evseId) is int


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2024-05-06T12:00:00Z", datetime(2024, 5, 6, 12, tzinfo=UTC)),
        ("2024-05-06T12:00:00.5+02:00", datetime(2024, 5, 6, 10, 0, 0, 500_000, tzinfo=UTC)),
        ("2024-05-06t12:00:00.123456789z", datetime(2024, 5, 6, 12, 0, 0, 123_456, tzinfo=UTC)),
    ],
)
def test_a_date_time_is_read_into_utc(written: str, read: datetime) -> None:
    found = decode(HeartbeatResponse, b'{"currentTime":"%b"}' % written.encode()).currentTime
    assert found == read
    assert found.tzinfo is UTC


def test_a_date_time_is_written_in_utc_with_milliseconds() -> None:
    at = datetime(2024, 5, 6, 12, 0, 0, 1_999, tzinfo=SUMMER)
    assert encode(HeartbeatResponse(currentTime=at)) == b'{"currentTime":"2024-05-06T10:00:00.001Z"}'


def test_a_date_time_of_ours_needs_a_zone() -> None:
    with pytest.raises(ValidationError, match="timezone_aware"):
        HeartbeatResponse(currentTime=datetime(2024, 5, 6, 12))


@pytest.mark.requirement("P4.4.1.5.1")
def test_an_absent_field_is_missing_and_not_written() -> None:
    request = DataTransferRequest(vendorId="v")
    assert request.data is MISSING
    assert encode(request) == b'{"vendorId":"v"}'
    assert encode(DataTransferRequest(vendorId="v", data=None)) == b'{"data":null,"vendorId":"v"}'


@pytest.mark.requirement("P4.4.1.5.2")
def test_a_list_of_one_stays_a_list_and_nothing_is_an_empty_object() -> None:
    one = b'{"getVariableData":[{"component":{"name":"C"},"variable":{"name":"V"}}]}'
    assert encode(decode(GetVariablesRequest, one)) == one
    with pytest.raises(ValidationError):
        decode(GetVariablesRequest, one.replace(b"[", b"").replace(b"]", b""))
    assert encode(decode(HeartbeatRequest, b"{}")) == b"{}"
    with pytest.raises(ValidationError):
        decode(HeartbeatRequest, b"null")


def test_data_without_a_type_is_written_as_it_came() -> None:
    request = decode(DataTransferRequest, b'{"vendorId":"v","data":[1.50,{"a":1E+400}]}')
    assert request.data == [Decimal("1.50"), {"a": Decimal("1E+400")}]
    assert wire.dump_json(request.data) == b'[1.50,{"a":1E+400}]'


def test_a_message_cannot_be_changed() -> None:
    request = DataTransferRequest(vendorId="v")
    with pytest.raises(ValidationError, match="frozen"):
        request.vendorId = "w"


def test_what_is_sent_to_a_station_has_six_decimals_at_most() -> None:
    assert wire.to_station(Decimal("1.2345675")) == Decimal("1.234568")
    assert str(wire.to_station(Decimal("0E-95"))) == "0.000000"
