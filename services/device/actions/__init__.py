"""What stations send to device: one module an action."""

from collections.abc import Mapping
from typing import Any

from ocppcore.service import ActionHandler
from services.device.actions import (
    boot_notification,
    data_transfer,
    firmware_status_notification,
    heartbeat,
    log_status_notification,
    notify_customer_information,
    notify_display_messages,
    notify_event,
    notify_monitoring_report,
    notify_report,
    publish_firmware_status_notification,
    security_event_notification,
    status_notification,
)
from services.device.domain.contact import alive

ROUTES: Mapping[str, ActionHandler[Any]] = {
    "BootNotification": alive(boot_notification.ROUTE),
    "DataTransfer": alive(data_transfer.ROUTE),
    "FirmwareStatusNotification": alive(firmware_status_notification.ROUTE),
    "Heartbeat": alive(heartbeat.ROUTE),
    "LogStatusNotification": alive(log_status_notification.ROUTE),
    "NotifyCustomerInformation": alive(notify_customer_information.ROUTE),
    "NotifyDisplayMessages": alive(notify_display_messages.ROUTE),
    "NotifyEvent": alive(notify_event.ROUTE),
    "NotifyMonitoringReport": alive(notify_monitoring_report.ROUTE),
    "NotifyReport": alive(notify_report.ROUTE),
    "PublishFirmwareStatusNotification": alive(publish_firmware_status_notification.ROUTE),
    "SecurityEventNotification": alive(security_event_notification.ROUTE),
    "StatusNotification": alive(status_notification.ROUTE),
}
