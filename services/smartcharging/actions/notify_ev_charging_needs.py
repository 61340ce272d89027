"""NotifyEVChargingNeeds (K15): no schedule is planned here, so Rejected; kept."""

import msgspec

from ocppcore.contracts.smartcharging import ChargingNeedsRefused
from ocppcore.service import ActionHandler, Context, Outcome, View
from ocppcore.v201 import NotifyEVChargingNeedsRequest, NotifyEVChargingNeedsResponse


def on_notify_ev_charging_needs(_: NotifyEVChargingNeedsRequest, view: View, context: Context) -> Outcome:
    heard = ChargingNeedsRefused(at=context.now, station=context.identity, payload=msgspec.Raw(context.payload))
    return Outcome((heard,), reply=NotifyEVChargingNeedsResponse(status="Rejected"))


ROUTE = ActionHandler(NotifyEVChargingNeedsRequest, on_notify_ev_charging_needs)
