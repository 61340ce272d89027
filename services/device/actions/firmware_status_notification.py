"""FirmwareStatusNotification (L01, L02): kept; Idle comes without a requestId."""

from ocppcore.contracts.device import FirmwareStatusReported
from ocppcore.service import ActionHandler, Context, Outcome, View
from ocppcore.v201 import FirmwareStatusNotificationRequest, FirmwareStatusNotificationResponse
from services.device.domain import kept


def on_firmware_status_notification(_: FirmwareStatusNotificationRequest, view: View, context: Context) -> Outcome:
    heard = FirmwareStatusReported(at=context.now, station=context.identity, payload=kept.payload(context))
    return Outcome((heard,), reply=FirmwareStatusNotificationResponse())


ROUTE = ActionHandler(FirmwareStatusNotificationRequest, on_firmware_status_notification)
