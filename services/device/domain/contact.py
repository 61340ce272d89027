"""When a station was last heard (G02.FR.04): too frequent for events, so noted at most once a minute, outside them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Final

import msgspec

from ocppcore.service import ActionHandler, Aggregate, Context, Need, Outcome, Put, View
from ocppcore.store import Table, Upsert

NOTED_EVERY_MS: Final = 60_000

CONTACTS: Final = Table("contacts", {"station": "text", "last_contact_at": "bigint"}, key=("station",), volatile=True)


class Contact(Aggregate, frozen=True, kw_only=True):
    """id = normalised station id."""

    KIND: ClassVar[str] = "Contact"
    REBUILT: ClassVar[bool] = False
    at: int


def alive(handler: ActionHandler[Any]) -> ActionHandler[Any]:
    """The handler of a station's CALL, which shows beside all else that the station is there."""

    def handle(request: Any, view: View, context: Context) -> Outcome:
        outcome = handler.handle(request, view, context)
        last = view.get(Contact, context.station)
        if last is not None and context.now - last.at < NOTED_EVERY_MS:
            return outcome
        return msgspec.structs.replace(
            outcome,
            puts=(*outcome.puts, Put(context.station, Contact(at=context.now))),
            writes=(*outcome.writes, Upsert(CONTACTS, (context.station, context.now))),
        )

    def needs(request: Any, station: str) -> Sequence[Need]:
        return ((Contact, station), *handler.needs(request, station))

    return replace(handler, handle=handle, needs=needs)
