"""SecurityEventNotification (A04): every one is kept, also one that comes late, and acknowledged."""

from ocppcore.contracts.device import SecurityEventReported
from ocppcore.service import ActionHandler, Context, Outcome, View
from ocppcore.v201 import SecurityEventNotificationRequest, SecurityEventNotificationResponse
from services.device.domain import kept
from services.device.domain.security_event import is_critical


def on_security_event_notification(request: SecurityEventNotificationRequest, view: View, context: Context) -> Outcome:
    heard = SecurityEventReported(
        at=context.now,
        station=context.identity,
        payload=kept.payload(context),
        type=request.type,
        timestamp=round(request.timestamp.timestamp() * 1000),
        critical=is_critical(request.type),
    )
    return Outcome((heard,), reply=SecurityEventNotificationResponse())


ROUTE = ActionHandler(SecurityEventNotificationRequest, on_security_event_notification)
