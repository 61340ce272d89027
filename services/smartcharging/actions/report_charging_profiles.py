"""ReportChargingProfiles (K09): kept."""

import msgspec

from ocppcore import results
from ocppcore.contracts.smartcharging import ChargingProfilesReported
from ocppcore.service import ActionHandler, Context, Outcome, View
from ocppcore.v201 import ReportChargingProfilesRequest, ReportChargingProfilesResponse


def on_report_charging_profiles(request: ReportChargingProfilesRequest, view: View, context: Context) -> Outcome:
    whose = results.origin("ReportChargingProfiles", request.requestId, view, context)
    heard = ChargingProfilesReported(
        at=context.now,
        station=context.identity,
        payload=msgspec.Raw(context.payload),
        command_id=whose.command_id,
        unsolicited=whose.unsolicited,
    )
    return Outcome((heard,), reply=ReportChargingProfilesResponse())


ROUTE = ActionHandler(ReportChargingProfilesRequest, on_report_charging_profiles, needs=results.needs)
