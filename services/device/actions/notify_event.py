"""NotifyEvent (N07; G01's alternative scenario): kept, and AvailabilityState counts as a status."""

from collections.abc import Sequence
from typing import Final, cast, get_args

from pydantic import MISSING

from ocppcore.contracts.device import StationEventsReported, Status
from ocppcore.service import ActionHandler, Context, Need, Outcome, View
from ocppcore.v201 import EventDataType, NotifyEventRequest, NotifyEventResponse
from services.device.domain import connector, kept
from services.device.domain.connector import Said

STATUSES: Final = frozenset(get_args(Status))


def on_notify_event(request: NotifyEventRequest, view: View, context: Context) -> Outcome:
    heard = StationEventsReported(at=context.now, station=context.identity, payload=kept.events(context))
    changes = connector.report(_said(request), "NotifyEvent", view, context)
    return Outcome((heard, *changes), reply=NotifyEventResponse())  # N07.FR.03


def _said(request: NotifyEventRequest) -> Sequence[Said]:
    return [
        said
        for data in request.eventData
        if data.variable.name.casefold() == "availabilitystate" and (said := _status(data)) is not None
    ]


def _status(data: EventDataType) -> Said | None:
    """Names of components compare case-insensitively; a value that is no status is left."""
    evse = data.component.evse
    evse_id = 0 if evse is MISSING else evse.id
    connector_id = 0 if evse is MISSING or evse.connectorId is MISSING else evse.connectorId
    places = {"chargingstation": (0, 0), "evse": (evse_id, 0), "connector": (evse_id, connector_id)}
    place = places.get(data.component.name.casefold())
    if place is None or data.actualValue not in STATUSES:
        return None
    return Said(*place, cast(Status, data.actualValue), round(data.timestamp.timestamp() * 1000))


def _needs(request: NotifyEventRequest, station: str) -> Sequence[Need]:
    return connector.needs(_said(request), station)


ROUTE = ActionHandler(NotifyEventRequest, on_notify_event, needs=_needs)
