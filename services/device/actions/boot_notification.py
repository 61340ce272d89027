"""BootNotification (B01, B02, B03): the registry's answer, the time, and when to beat or to ask again."""

from datetime import UTC, datetime

import msgspec

from ocppcore.contracts.device import StationChanged
from ocppcore.service import ActionHandler, Context, Outcome, View
from ocppcore.v201 import BootNotificationRequest, BootNotificationResponse
from services.device.domain import rotation, station


class _Boot(msgspec.Struct, rename="camel"):
    charging_station: msgspec.Raw


def on_boot_notification(request: BootNotificationRequest, view: View, context: Context) -> Outcome:
    about = msgspec.json.decode(context.payload, type=_Boot).charging_station
    booted, events = station.boot(request.reason, bytes(about), view, context)
    reply = BootNotificationResponse(
        currentTime=datetime.fromtimestamp(context.now / 1000, UTC),
        interval=booted.interval_s,
        status=booted.status,
    )
    known = station.station_of(view, context.station)
    if isinstance(events[-1], StationChanged):
        known = msgspec.structs.replace(known, state=events[-1].state)
    shown = rotation.booted(known, context).events
    events = (*events, *shown, *(() if shown else rotation.factory(known, booted.status, context)))
    # B01.FR.12
    wrong = booted.cause == "serialNumber"
    calls = (station.close(context, station.SERIAL_NUMBER_DIFFERS),) if wrong else ()
    return Outcome(events, reply=reply, registration=booted.status, calls=calls)


ROUTE = ActionHandler(BootNotificationRequest, on_boot_notification, needs=lambda _, id_: ((station.Station, id_),))
