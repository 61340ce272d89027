"""NotifyEVChargingSchedule (K15, K16): no schedule is planned here, so Rejected; kept."""

import msgspec

from ocppcore.contracts.smartcharging import ChargingScheduleRefused
from ocppcore.service import ActionHandler, Context, Outcome, View
from ocppcore.v201 import NotifyEVChargingScheduleRequest, NotifyEVChargingScheduleResponse


def on_notify_ev_charging_schedule(_: NotifyEVChargingScheduleRequest, view: View, context: Context) -> Outcome:
    heard = ChargingScheduleRefused(at=context.now, station=context.identity, payload=msgspec.Raw(context.payload))
    return Outcome((heard,), reply=NotifyEVChargingScheduleResponse(status="Rejected"))


ROUTE = ActionHandler(NotifyEVChargingScheduleRequest, on_notify_ev_charging_schedule)
