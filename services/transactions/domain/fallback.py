"""What a station shows when it cannot ask: the tariff before and instead of a cost it does not know (I04, I05).

Set where `automatic.provisioning` allows it, as soon as a transaction shows that the station's own tariff is another
one than it was sent: the price for whoever comes without a tariff of his own, also while the station is offline. The
variables are device's to set: it is asked for the command.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import ClassVar, Final

import msgspec

from ocppcore.commands import ASK, Ask
from ocppcore.contracts.device import StationState
from ocppcore.contracts.transactions import FallbackMessagesAsked, TransactionEvent, TransactionStarted
from ocppcore.log import NewRecord
from ocppcore.service import Aggregate, Context, Follow, Need, Put, View
from ocppcore.tariff import Whose, read_index, shows_tariff, text_for
from ocppcore.topics import STATIONS, TARIFFS

QUEUE_MS: Final = 3600 * 1000
COMPONENT: Final = {"name": "TariffCostCtrlr"}


class Fallback(Aggregate, frozen=True, kw_only=True):
    """What a station was sent last; id = station."""

    KIND: ClassVar[str] = "Fallback"
    text: str
    currency: str


def needs(station: str) -> tuple[Need, ...]:
    return ((Fallback, station),)


def asked(event: TransactionEvent, view: View, context: Context) -> Iterable[FallbackMessagesAsked]:
    """At most one: where the station's own tariff is not what it was sent."""
    if event.offline or not event.agreed or not isinstance(event, TransactionStarted):
        return
    station = view.copy(STATIONS, StationState, event.station)
    if station is None or not station.automatic.provisioning or not shows_tariff(station.supports, station.reported):
        return
    tariff = view.whole(TARIFFS, read_index).choose(Whose("", "", event.station), context.now)
    if tariff is None:
        return
    wanted = Fallback(text=text_for(tariff).text, currency=tariff.currency)
    if view.get(Fallback, event.station) != wanted:
        yield FallbackMessagesAsked(
            at=context.now,
            station=event.station,
            text=wanted.text,
            currency=wanted.currency,
            identity=station.id,
        )


def event_needs(event: FallbackMessagesAsked) -> Sequence[Need]:
    return needs(event.station)


def evolve(event: FallbackMessagesAsked, _: View) -> Iterable[Put]:
    yield Put(event.station, Fallback(text=event.text, currency=event.currency))


def derive(event: FallbackMessagesAsked, follow: Follow) -> Iterable[NewRecord]:
    """I04.FR.02, I05.FR.01: and the currency that costs are told in."""
    values = {
        "TariffFallbackMessage": event.text,
        "TotalCostFallbackMessage": event.text,
        "Currency": event.currency,
    }
    variables = [
        {"component": COMPONENT, "variable": {"name": name}, "attributeValue": value} for name, value in values.items()
    ]
    ask = Ask(
        command_id=hashlib.blake2b(follow.id.encode(), digest_size=16).hexdigest(),
        action="SetVariables",
        payload=msgspec.Raw(msgspec.json.encode({"setVariableData": variables})),
        queue_for_ms=QUEUE_MS,
        repeat=True,
        identity=event.identity,
    )
    yield follow.request("device", ASK, event.station, ask, event.at)
