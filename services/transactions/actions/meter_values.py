"""MeterValues (J01): values outside of a transaction, kept as sent and acknowledged."""

import msgspec

from ocppcore.contracts.transactions import MeterValuesReceived
from ocppcore.service import ActionHandler, Context, Outcome, View
from ocppcore.v201 import MeterValuesRequest, MeterValuesResponse


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
    return Outcome((event,), reply=MeterValuesResponse())


HANDLER = ActionHandler(MeterValuesRequest, on_meter_values)
