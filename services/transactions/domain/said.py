"""What a TransactionEvent says, as plain structs: read in one pass where the payload is plain, else by the wire types.

TransactionEvent is most of what a CSMS hears, and the wire types take five times as long for it. So `read` first tries
structs that are never more lenient: whatever they refuse (also customData, `1.0` for an integer and other rare but
valid spellings) the wire types judge. Both ways give the same value; a property test holds them to that.
"""

from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from msgspec import Meta

from ocppcore.v201 import (
    ChargingStateEnumType,
    IdTokenEnumType,
    LocationEnumType,
    MeasurandEnumType,
    PhaseEnumType,
    ReadingContextEnumType,
    ReasonEnumType,
    TransactionEventEnumType,
    TransactionEventRequest,
    TriggerReasonEnumType,
)
from ocppcore.wire import INTEGER_MAX, INTEGER_MIN, decode, load_json, read_date_time

Integer = Annotated[int, Meta(ge=INTEGER_MIN, le=INTEGER_MAX)]
Text20 = Annotated[str, Meta(max_length=20)]
Text36 = Annotated[str, Meta(max_length=36)]
Text50 = Annotated[str, Meta(max_length=50)]
Text2500 = Annotated[str, Meta(max_length=2500)]

PLAIN_NUMBER_BELOW: Final = 10**17
"""Well within what the wire types take, so that rounding cannot matter."""


class _Plain(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Fields as in the standard. None stands for an absent field; a written `null` is for the wire types to refuse."""


class Evse(_Plain, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: Integer
    connectorId: Integer | None = None


class AdditionalInfo(_Plain, frozen=True, kw_only=True, forbid_unknown_fields=True):
    additionalIdToken: Text36
    type: Text50


class IdToken(_Plain, frozen=True, kw_only=True, forbid_unknown_fields=True):
    idToken: Text36
    type: IdTokenEnumType
    additionalInfo: Annotated[list[AdditionalInfo], Meta(min_length=1)] | None = None


class Info(_Plain, frozen=True, kw_only=True, forbid_unknown_fields=True):
    transactionId: Text36
    chargingState: ChargingStateEnumType | None = None
    timeSpentCharging: Integer | None = None
    stoppedReason: ReasonEnumType | None = None
    remoteStartId: Integer | None = None


class UnitOfMeasure(_Plain, frozen=True, kw_only=True, forbid_unknown_fields=True):
    unit: Text20 = "Wh"
    multiplier: Integer = 0


class SignedMeterValue(_Plain, frozen=True, kw_only=True, forbid_unknown_fields=True):
    signedMeterData: Text2500
    signingMethod: Text50
    encodingMethod: Text50
    publicKey: Text2500


class SampledValue(_Plain, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`value` is an int, or a Decimal with the digits it was written with."""

    value: Any
    context: ReadingContextEnumType = "Sample.Periodic"
    measurand: MeasurandEnumType = "Energy.Active.Import.Register"
    phase: PhaseEnumType | None = None
    location: LocationEnumType = "Outlet"
    signedMeterValue: SignedMeterValue | None = None
    unitOfMeasure: UnitOfMeasure | None = None


class MeterValue(_Plain, frozen=True, kw_only=True, forbid_unknown_fields=True):
    sampledValue: Annotated[list[SampledValue], Meta(min_length=1)]
    timestamp: str


class Request(_Plain, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """TransactionEventRequest; `meterValue` as the bytes that came."""

    eventType: TransactionEventEnumType
    timestamp: str
    triggerReason: TriggerReasonEnumType
    seqNo: Integer
    transactionInfo: Info
    offline: bool = False
    numberOfPhasesUsed: Integer | None = None
    cableMaxCurrent: Integer | None = None
    reservationId: Integer | None = None
    evse: Evse | None = None
    idToken: IdToken | None = None
    meterValue: msgspec.Raw = msgspec.Raw(b"")


class Said(NamedTuple):
    """A valid TransactionEvent: `at` is its timestamp (ms), `meter_values` is what `request.meterValue` holds."""

    request: Request
    at: int
    meter_values: list[MeterValue]


MeterValues = Annotated[list[MeterValue], Meta(min_length=1)]
_request = msgspec.json.Decoder(Request)
_meter_values = msgspec.json.Decoder(MeterValues, float_hook=Decimal)
_raw_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def read(payload: bytes) -> Said:
    """Read and judge a TransactionEvent. Raises pydantic's ValidationError as `wire.decode` does."""
    return _plain(payload) or _judged(payload)


def _plain(payload: bytes) -> Said | None:
    """None: for the wire types to judge."""
    if b"null" in payload or b"\\u0000" in payload:
        return None
    try:
        request = _request.decode(payload)
        at = milliseconds(request.timestamp)
        if not request.meterValue:
            return Said(request, at, [])
        meter_values = _meter_values.decode(request.meterValue)
        for meter_value in meter_values:
            milliseconds(meter_value.timestamp)
            for sample in meter_value.sampledValue:
                kind = type(sample.value)
                if kind is not int and kind is not Decimal:
                    return None
                if not -PLAIN_NUMBER_BELOW < sample.value < PLAIN_NUMBER_BELOW:
                    return None
    except (ValueError, ArithmeticError, RecursionError):  # msgspec's, that of a date-time, that of a Decimal
        return None
    return Said(request, at, meter_values)


def _judged(payload: bytes) -> Said:
    """By the wire types; then what they allow beyond the plain structs is taken out."""
    decode(TransactionEventRequest, payload)
    members = _without_custom_data(load_json(payload))
    assert isinstance(members, dict)
    meter_values = members.pop("meterValue", None)
    request = msgspec.convert(members, Request)
    if meter_values is None:
        return Said(request, milliseconds(request.timestamp), [])
    as_sent = _raw_members.decode(payload)["meterValue"]
    return Said(
        msgspec.structs.replace(request, meterValue=as_sent),
        milliseconds(request.timestamp),
        msgspec.convert(meter_values, MeterValues),
    )


def _without_custom_data(value: object) -> object:
    """Without customData, and with integers as int however they were written; sampled values keep their digits."""
    if isinstance(value, dict):
        return {
            key: item if key == "value" else _without_custom_data(item)
            for key, item in value.items()
            if key != "customData"
        }
    if isinstance(value, list):
        return [_without_custom_data(item) for item in value]
    return int(value) if isinstance(value, Decimal) else value


@lru_cache(maxsize=1024)
def milliseconds(text: str) -> int:
    """A date-time of RFC 3339 as ms since 1970; ValueError for any other text."""
    moment: datetime = read_date_time(text)
    return round(moment.timestamp() * 1000)
