"""MeterValues (J01): values outside of a transaction, kept as sent and acknowledged; EVSE 0 is the whole station."""

from collections.abc import Sequence

import msgspec

from ocppcore.contracts.transactions import MeterValuesReceived
from ocppcore.service import ActionHandler, Context, Need, Outcome, View
from ocppcore.v201 import MeterValuesRequest, MeterValuesResponse
from services.transactions.domain import meter_hours, signed_values


class _Wire(msgspec.Struct):
    meterValue: msgspec.Raw


_wire = msgspec.json.Decoder(_Wire)


def on_meter_values(request: MeterValuesRequest, view: View, context: Context) -> Outcome:
    """J01.FR.18: whatever they say, they are acknowledged."""
    event = MeterValuesReceived(
        at=context.now,
        station=context.station,
        evse_id=request.evseId,
        meter_values=_wire.decode(context.payload).meterValue,
    )
    times = {round(one.timestamp.timestamp() * 1000) for one in request.meterValue}
    events = [event, *meter_hours.begun(times, view, context)]
    if signed_values.MENTION in context.payload:
        events += signed_values.judged(bytes(event.meter_values), request.evseId, "", None, view, context)
    return Outcome(events, reply=MeterValuesResponse())


def _needs(request: MeterValuesRequest, station: str) -> Sequence[Need]:
    return (*meter_hours.clock_needs(station), *signed_values.keys_needs(station))


HANDLER = ActionHandler(MeterValuesRequest, on_meter_values, _needs)
