"""NotifyDisplayMessages (O03): kept."""

from ocppcore import results
from ocppcore.contracts.device import DisplayMessagesReported
from ocppcore.service import ActionHandler, Context, Outcome, View
from ocppcore.v201 import NotifyDisplayMessagesRequest, NotifyDisplayMessagesResponse
from services.device.domain import kept


def on_notify_display_messages(request: NotifyDisplayMessagesRequest, view: View, context: Context) -> Outcome:
    whose = results.origin("NotifyDisplayMessages", request.requestId, view, context)
    heard = DisplayMessagesReported(
        at=context.now,
        station=context.identity,
        payload=kept.payload(context),
        command_id=whose.command_id,
        unsolicited=whose.unsolicited,
    )
    return Outcome((heard,), reply=NotifyDisplayMessagesResponse())


ROUTE = ActionHandler(NotifyDisplayMessagesRequest, on_notify_display_messages, needs=results.needs)
