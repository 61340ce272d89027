"""NotifyDisplayMessages (O03): kept."""

from ocppcore.contracts.device import DisplayMessagesReported
from ocppcore.service import ActionHandler, Context, Outcome, View
from ocppcore.v201 import NotifyDisplayMessagesRequest, NotifyDisplayMessagesResponse
from services.device.domain import kept


def on_notify_display_messages(_: NotifyDisplayMessagesRequest, view: View, context: Context) -> Outcome:
    heard = DisplayMessagesReported(at=context.now, station=context.identity, payload=kept.payload(context))
    return Outcome((heard,), reply=NotifyDisplayMessagesResponse())


ROUTE = ActionHandler(NotifyDisplayMessagesRequest, on_notify_display_messages)
