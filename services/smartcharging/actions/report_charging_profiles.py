"""ReportChargingProfiles (K09): kept."""

import msgspec

from ocppcore.contracts.smartcharging import ChargingProfilesReported
from ocppcore.service import ActionHandler, Context, Outcome, View
from ocppcore.v201 import ReportChargingProfilesRequest, ReportChargingProfilesResponse


def on_report_charging_profiles(_: ReportChargingProfilesRequest, view: View, context: Context) -> Outcome:
    heard = ChargingProfilesReported(at=context.now, station=context.identity, payload=msgspec.Raw(context.payload))
    return Outcome((heard,), reply=ReportChargingProfilesResponse())


ROUTE = ActionHandler(ReportChargingProfilesRequest, on_report_charging_profiles)
