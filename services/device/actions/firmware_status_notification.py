"""FirmwareStatusNotification (L01, L02): kept; Idle comes without a requestId."""

from pydantic import MISSING

from ocppcore import results
from ocppcore.contracts.device import FirmwareStatusReported
from ocppcore.service import ActionHandler, Context, Outcome, View
from ocppcore.v201 import FirmwareStatusNotificationRequest, FirmwareStatusNotificationResponse
from services.device.domain import kept


def on_firmware_status_notification(
    request: FirmwareStatusNotificationRequest, view: View, context: Context
) -> Outcome:
    whose = results.origin(
        "FirmwareStatusNotification", None if request.requestId is MISSING else request.requestId, view, context
    )
    heard = FirmwareStatusReported(
        at=context.now,
        station=context.identity,
        payload=kept.payload(context),
        command_id=whose.command_id,
        unsolicited=whose.unsolicited,
    )
    return Outcome((heard,), reply=FirmwareStatusNotificationResponse())


ROUTE = ActionHandler(FirmwareStatusNotificationRequest, on_firmware_status_notification, needs=results.needs)
