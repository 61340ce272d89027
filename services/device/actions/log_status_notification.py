"""LogStatusNotification (N01): kept."""

from pydantic import MISSING

from ocppcore import results
from ocppcore.contracts.device import LogStatusReported
from ocppcore.service import ActionHandler, Context, Outcome, View
from ocppcore.v201 import LogStatusNotificationRequest, LogStatusNotificationResponse
from services.device.domain import kept


def on_log_status_notification(request: LogStatusNotificationRequest, view: View, context: Context) -> Outcome:
    whose = results.origin(
        "LogStatusNotification", None if request.requestId is MISSING else request.requestId, view, context
    )
    heard = LogStatusReported(
        at=context.now,
        station=context.identity,
        payload=kept.payload(context),
        command_id=whose.command_id,
        unsolicited=whose.unsolicited,
    )
    return Outcome((heard,), reply=LogStatusNotificationResponse())


ROUTE = ActionHandler(LogStatusNotificationRequest, on_log_status_notification, needs=results.needs)
