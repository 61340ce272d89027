"""PublishFirmwareStatusNotification (L03): kept."""

from ocppcore.contracts.device import PublishFirmwareStatusReported
from ocppcore.service import ActionHandler, Context, Outcome, View
from ocppcore.v201 import PublishFirmwareStatusNotificationRequest, PublishFirmwareStatusNotificationResponse
from services.device.domain import kept


def on_publish_firmware_status_notification(
    _: PublishFirmwareStatusNotificationRequest, view: View, context: Context
) -> Outcome:
    heard = PublishFirmwareStatusReported(at=context.now, station=context.identity, payload=kept.payload(context))
    return Outcome((heard,), reply=PublishFirmwareStatusNotificationResponse())


ROUTE = ActionHandler(PublishFirmwareStatusNotificationRequest, on_publish_firmware_status_notification)
