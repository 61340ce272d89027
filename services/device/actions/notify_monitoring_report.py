"""NotifyMonitoringReport (N02): kept."""

from ocppcore import results
from ocppcore.contracts.device import MonitoringReportReceived
from ocppcore.service import ActionHandler, Context, Outcome, View
from ocppcore.v201 import NotifyMonitoringReportRequest, NotifyMonitoringReportResponse
from services.device.domain import kept


def on_notify_monitoring_report(request: NotifyMonitoringReportRequest, view: View, context: Context) -> Outcome:
    whose = results.origin("NotifyMonitoringReport", request.requestId, view, context)
    heard = MonitoringReportReceived(
        at=context.now,
        station=context.identity,
        payload=kept.payload(context),
        command_id=whose.command_id,
        unsolicited=whose.unsolicited,
    )
    return Outcome((heard,), reply=NotifyMonitoringReportResponse())


ROUTE = ActionHandler(NotifyMonitoringReportRequest, on_notify_monitoring_report, needs=results.needs)
