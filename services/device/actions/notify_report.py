"""NotifyReport (B07, B08): kept, without the values of write-only variables."""

from collections.abc import Sequence

from ocppcore import results
from ocppcore.contracts.device import ReportReceived
from ocppcore.service import ActionHandler, Context, Need, Outcome, View
from ocppcore.v201 import NotifyReportRequest, NotifyReportResponse
from services.device.domain import kept, reported
from services.device.domain.station import Station


def on_notify_report(request: NotifyReportRequest, view: View, context: Context) -> Outcome:
    whose = results.origin("NotifyReport", request.requestId, view, context)
    heard = ReportReceived(
        at=context.now,
        station=context.identity,
        payload=kept.report(context),
        command_id=whose.command_id,
        unsolicited=whose.unsolicited,
    )
    return Outcome((heard, *reported.heard(request, view, context)), reply=NotifyReportResponse())


def needs(request: NotifyReportRequest, station: str) -> Sequence[Need]:
    return (*results.needs(request, station), (Station, station))


ROUTE = ActionHandler(NotifyReportRequest, on_notify_report, needs=needs)
