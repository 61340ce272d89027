"""ClearedChargingLimit (K13): kept."""

import msgspec

from ocppcore.contracts.smartcharging import ChargingLimitCleared
from ocppcore.service import ActionHandler, Context, Outcome, View
from ocppcore.v201 import ClearedChargingLimitRequest, ClearedChargingLimitResponse


def on_cleared_charging_limit(_: ClearedChargingLimitRequest, view: View, context: Context) -> Outcome:
    heard = ChargingLimitCleared(at=context.now, station=context.identity, payload=msgspec.Raw(context.payload))
    return Outcome((heard,), reply=ClearedChargingLimitResponse())


ROUTE = ActionHandler(ClearedChargingLimitRequest, on_cleared_charging_limit)
