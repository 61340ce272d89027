"""NotifyReport (B07, B08): kept, without the values of write-only variables."""

from ocppcore import results
from ocppcore.contracts.device import ReportReceived
from ocppcore.service import ActionHandler, Context, Outcome, View
from ocppcore.v201 import NotifyReportRequest, NotifyReportResponse
from services.device.domain import kept


def on_notify_report(request: NotifyReportRequest, view: View, context: Context) -> Outcome:
    whose = results.origin("NotifyReport", request.requestId, view, context)
    heard = ReportReceived(
        at=context.now,
        station=context.identity,
        payload=kept.report(context),
        command_id=whose.command_id,
        unsolicited=whose.unsolicited,
    )
    return Outcome((heard,), reply=NotifyReportResponse())


ROUTE = ActionHandler(NotifyReportRequest, on_notify_report, needs=results.needs)
