"""The status of EVSEs and connectors (G01), said by StatusNotification or by NotifyEvent about AvailabilityState.

What a station shows is learned, whether or not it was registered. The newest message counts, not the newest timestamp:
a station's messages come in order, its clock may jump. A repeat (a resend of what was said lately) changes nothing.
"""

from collections.abc import Iterable, Sequence
from typing import ClassVar, Final, Literal, NamedTuple

import msgspec

from ocppcore.contracts.device import ConnectorStatusChanged, StationRemoved, Status
from ocppcore.contracts.device import connector_key as connector_id_of
from ocppcore.service import Aggregate, Context, Drop, Need, Put, View
from services.device.domain.station import Station, station_of

CONNECTORS_MAX: Final = 500
"""Connectors that one station may show; what it says of further ones is answered and left."""
REMEMBERED: Final = 8
"""How many messages about a connector are looked through for a repeat."""

Via = Literal["StatusNotification", "NotifyEvent"]


class Connector(Aggregate, frozen=True, kw_only=True):
    """id = `connector_key`. `said`: (timestamp, status) of the last messages, newest last."""

    KIND: ClassVar[str] = "Connector"
    said: tuple[tuple[int, Status], ...]


class Said(NamedTuple):
    """One status of one connector; `timestamp` in ms. connector 0: the EVSE, EVSE 0: the station."""

    evse_id: int
    connector_id: int
    status: Status
    timestamp: int


def needs(said: Iterable[Said], station: str) -> Sequence[Need]:
    """What deciding and folding look at."""
    about = [(Connector, connector_id_of(station, one.evse_id, one.connector_id)) for one in said]
    return ((Station, station), *about)


def report(said: Sequence[Said], via: Via, view: View, context: Context) -> tuple[ConnectorStatusChanged, ...]:
    """The events of one message, which may speak of several connectors, also of one repeatedly."""
    station = station_of(view, context.station)
    if station.state is None:
        return ()
    shown = set(station.connectors)
    lately: dict[tuple[int, int], tuple[tuple[int, Status], ...]] = {}
    events = []
    for one in said:
        place = (one.evse_id, one.connector_id)
        if place not in lately:
            known = view.get(Connector, connector_id_of(context.station, *place))
            lately[place] = known.said if known else ()
        if (one.timestamp, one.status) in lately[place]:
            continue
        if place not in shown and len(shown) >= CONNECTORS_MAX:
            continue
        shown.add(place)
        lately[place] = _remember(lately[place], one.timestamp, one.status)
        events.append(ConnectorStatusChanged(at=context.now, station=context.identity, via=via, **one._asdict()))
    return tuple(events)


def event_needs(event: ConnectorStatusChanged) -> Sequence[Need]:
    station = event.subject()
    return ((Station, station), (Connector, connector_id_of(station, event.evse_id, event.connector_id)))


def evolve(event: ConnectorStatusChanged, view: View) -> Iterable[Put]:
    station, place = event.subject(), (event.evse_id, event.connector_id)
    id_ = connector_id_of(station, *place)
    known = view.get(Connector, id_)
    yield Put(id_, Connector(said=_remember(known.said if known else (), event.timestamp, event.status)))
    owner = station_of(view, station)
    if place not in owner.connectors:
        connectors = tuple(sorted((*owner.connectors, place)))
        yield Put(station, msgspec.structs.replace(owner, connectors=connectors))


def forget(event: StationRemoved, view: View) -> Iterable[Drop]:
    """A removed station's connectors go with it."""
    for place in station_of(view, event.subject()).connectors:
        yield Drop(Connector, connector_id_of(event.subject(), *place))


def _remember(said: tuple[tuple[int, Status], ...], timestamp: int, status: Status) -> tuple[tuple[int, Status], ...]:
    return (*said, (timestamp, status))[-REMEMBERED:]
