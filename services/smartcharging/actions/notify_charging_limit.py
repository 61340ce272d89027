"""NotifyChargingLimit (K12): kept."""

import msgspec

from ocppcore.contracts.smartcharging import ChargingLimitReported
from ocppcore.service import ActionHandler, Context, Outcome, View
from ocppcore.v201 import NotifyChargingLimitRequest, NotifyChargingLimitResponse


def on_notify_charging_limit(_: NotifyChargingLimitRequest, view: View, context: Context) -> Outcome:
    heard = ChargingLimitReported(at=context.now, station=context.identity, payload=msgspec.Raw(context.payload))
    return Outcome((heard,), reply=NotifyChargingLimitResponse())


ROUTE = ActionHandler(NotifyChargingLimitRequest, on_notify_charging_limit)
