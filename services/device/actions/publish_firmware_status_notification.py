"""PublishFirmwareStatusNotification (L03): kept."""

from pydantic import MISSING

from ocppcore import results
from ocppcore.contracts.device import PublishFirmwareStatusReported
from ocppcore.service import ActionHandler, Context, Outcome, View
from ocppcore.v201 import PublishFirmwareStatusNotificationRequest, PublishFirmwareStatusNotificationResponse
from services.device.domain import kept


def on_publish_firmware_status_notification(
    request: PublishFirmwareStatusNotificationRequest, view: View, context: Context
) -> Outcome:
    whose = results.origin(
        "PublishFirmwareStatusNotification", None if request.requestId is MISSING else request.requestId, view, context
    )
    heard = PublishFirmwareStatusReported(
        at=context.now,
        station=context.identity,
        payload=kept.payload(context),
        command_id=whose.command_id,
        unsolicited=whose.unsolicited,
    )
    return Outcome((heard,), reply=PublishFirmwareStatusNotificationResponse())


ROUTE = ActionHandler(
    PublishFirmwareStatusNotificationRequest, on_publish_firmware_status_notification, needs=results.needs
)
