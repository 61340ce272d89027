"""LogStatusNotification (N01): kept."""

from ocppcore.contracts.device import LogStatusReported
from ocppcore.service import ActionHandler, Context, Outcome, View
from ocppcore.v201 import LogStatusNotificationRequest, LogStatusNotificationResponse
from services.device.domain import kept


def on_log_status_notification(_: LogStatusNotificationRequest, view: View, context: Context) -> Outcome:
    heard = LogStatusReported(at=context.now, station=context.identity, payload=kept.payload(context))
    return Outcome((heard,), reply=LogStatusNotificationResponse())


ROUTE = ActionHandler(LogStatusNotificationRequest, on_log_status_notification)
