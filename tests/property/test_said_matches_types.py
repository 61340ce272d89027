"""The fast way to read a TransactionEvent never accepts what the wire types refuse, and says what they would say."""

import random

import msgspec
import pytest
from pydantic import ValidationError

from ocppcore.v201 import TransactionEventRequest
from ocppcore.wire import decode
from services.transactions.domain import said
from tests.property.test_types_match_schema import SCHEMAS, SEED, Valid, changed, write

NAME = "TransactionEventRequest"
ROUNDS = 40


def accepted(payload: bytes) -> bool:
    try:
        decode(TransactionEventRequest, payload)
    except ValidationError:
        return False
    return True


def shown(found: said.Said) -> str:
    """With the bytes of the meter values, and with types that `==` would not tell apart."""
    without = msgspec.structs.replace(found.request, meterValue=msgspec.Raw(b""))
    fields = {name: getattr(without, name) for name in without.__struct_fields__ if name != "meterValue"}
    return repr((fields, bytes(found.request.meterValue), found.at, found.meter_values))


def check(payload: bytes) -> bool:
    """Both ways agree; returns whether the fast one took it."""
    plain = said._plain(payload)
    if not accepted(payload):
        assert plain is None, payload
        with pytest.raises(ValidationError):
            said.read(payload)
        return False
    judged = said._judged(payload)
    assert shown(said.read(payload)) == shown(plain or judged)
    assert plain is None or shown(plain) == shown(judged), payload
    return plain is not None


def test_both_ways_to_read_a_transaction_event_agree() -> None:
    rng = random.Random(f"{SEED}/said")
    valid = Valid(SCHEMAS[NAME], rng)
    fast = 0
    for _ in range(ROUNDS):
        bases = [valid.message(SCHEMAS[NAME], fullness) for fullness in (0, rng.random(), 1)]
        payloads = [write(base).encode() for base in bases]
        payloads += [payload for _, payload in changed(valid, SCHEMAS[NAME], bases)]
        fast += sum(map(check, payloads))
    assert fast > ROUNDS


@pytest.mark.parametrize("spelling", ["1.0", "1e0", "10e-1"])
def test_an_integer_may_be_spelled_otherwise(spelling: str) -> None:
    payload = (
        b'{"eventType":"Updated","timestamp":"2026-01-01T00:00:00+01:00","triggerReason":"Trigger","seqNo":%b,'
        b'"transactionInfo":{"transactionId":"T"},"customData":{"vendorId":"v","seqNo":1.5}}' % spelling.encode()
    )
    found = said.read(payload)
    assert (found.request.seqNo, type(found.request.seqNo), found.at) == (1, int, 1767222000000)


def test_meter_values_are_kept_as_sent_both_ways() -> None:
    values = b'[ {"timestamp": "2026-01-01T00:00:00Z", "sampledValue": [{"value": 1.50}]} ]'
    payload = (
        b'{"eventType":"Updated","timestamp":"2026-01-01T00:00:00Z","triggerReason":"Trigger","seqNo":1,'
        b'"transactionInfo":{"transactionId":"T"},"meterValue":' + values + b"%b}"
    )
    for extra in (b"", b',"customData":{"vendorId":"v"}'):
        found = said.read(payload % extra)
        assert bytes(found.request.meterValue) == values
        assert str(found.meter_values[0].sampledValue[0].value) == "1.50"
