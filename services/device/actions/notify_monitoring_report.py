"""NotifyMonitoringReport (N02): kept."""

from ocppcore.contracts.device import MonitoringReportReceived
from ocppcore.service import ActionHandler, Context, Outcome, View
from ocppcore.v201 import NotifyMonitoringReportRequest, NotifyMonitoringReportResponse
from services.device.domain import kept


def on_notify_monitoring_report(_: NotifyMonitoringReportRequest, view: View, context: Context) -> Outcome:
    heard = MonitoringReportReceived(at=context.now, station=context.identity, payload=kept.payload(context))
    return Outcome((heard,), reply=NotifyMonitoringReportResponse())


ROUTE = ActionHandler(NotifyMonitoringReportRequest, on_notify_monitoring_report)
