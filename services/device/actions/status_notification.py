"""StatusNotification (G01)."""

from collections.abc import Sequence

from ocppcore.service import ActionHandler, Context, Need, Outcome, View
from ocppcore.v201 import StatusNotificationRequest, StatusNotificationResponse
from services.device.domain import connector
from services.device.domain.connector import Said


def on_status_notification(request: StatusNotificationRequest, view: View, context: Context) -> Outcome:
    events = connector.report(_said(request), "StatusNotification", view, context)
    return Outcome(events, reply=StatusNotificationResponse())


def _said(request: StatusNotificationRequest) -> Sequence[Said]:
    timestamp = round(request.timestamp.timestamp() * 1000)
    return (Said(request.evseId, request.connectorId, request.connectorStatus, timestamp),)


def _needs(request: StatusNotificationRequest, station: str) -> Sequence[Need]:
    return connector.needs(_said(request), station)


ROUTE = ActionHandler(StatusNotificationRequest, on_status_notification, needs=_needs)
