"""Who asked for what over HTTP, when, from where, and what came of it: events beside those that follow from it. Pure.

A request that a service decided leaves `RequestDecided` in the same commit as its outcome: none is missing, none is
there twice. Those that were turned away before (no or wrong credentials, a role or a station that is not theirs, a body
that is none) are counted by the process that turned them away, and come as `RequestRefused`: so many of a kind, bounded
in number, whatever is thrown at the API. No part of a path or a body is kept: they may hold idTokens and secrets.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import msgspec

from ocppcore.service import Context, Event, Fold, Outcome, Part, RequestHandler, Result, View
from ocppcore.store import Table, Upsert
from ocppcore.topics import normalise

REFUSED = "csms.requests_refused.v1"
REFUSALS = "refusals"
"""The key under which a service notes what was turned away."""
NOBODY = ""

TABLE = Table(
    "audit",
    {
        "at": "bigint",
        "id": "text",
        "actor": "text",
        "method": "text",
        "route": "text",
        "address": "text",
        "target": "text",
        "status": "bigint",
        "times": "bigint",
    },
    ("at", "id"),
    indexes=(("actor", "at"), ("target", "at")),
)


class RequestDecided(Event, frozen=True, kw_only=True):
    """A request over HTTP that this service decided. `id`: the request's; `actor`: an API key's id, or issuer#subject.

    `route`: a template; `target`: the normalised key that it is about (station id, pseudonym, API key's id);
    `address`: where it came from; `status`: the HTTP status of its outcome.
    """

    TYPE: ClassVar[str] = "RequestDecided"
    id: str
    actor: str
    method: str
    route: str
    address: str
    target: str
    status: int

    def subject(self) -> str:
        return normalise(self.target)


class RequestRefused(Event, frozen=True, kw_only=True):
    """Requests that were turned away, alike in all these: `times` since `since` (ms). `actor` "": nobody we know.

    `route` and `address` "": of any; there were too many to name each.
    """

    TYPE: ClassVar[str] = "RequestRefused"
    id: str
    actor: str
    method: str
    route: str
    address: str
    status: int
    times: int
    since: int

    def subject(self) -> str:
        return REFUSALS


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of requests that were turned away, as in `RequestRefused`."""

    actor: str
    method: str
    route: str
    address: str
    status: int
    times: int
    since: int


class NoteRefused(msgspec.Struct, frozen=True, kw_only=True):
    """The request body that brings them; its key is REFUSALS."""

    refused: tuple[Refused, ...]


def _decided_row(event: RequestDecided, _: View) -> Iterable[Upsert]:
    row = (event.at, event.id, event.actor, event.method, event.route, event.address, event.target, event.status, 1)
    yield Upsert(TABLE, row)


def _refused_row(event: RequestRefused, _: View) -> Iterable[Upsert]:
    row = (event.at, event.id, event.actor, event.method, event.route, event.address, "", event.status, event.times)
    yield Upsert(TABLE, row)


def audited(service: str, parts: Sequence[Part]) -> list[Part]:
    """The same parts, whose decisions about requests over HTTP are noted, and the part that notes them."""

    class Decided(RequestDecided, frozen=True, kw_only=True):
        TYPE: ClassVar[str] = f"{service}.RequestDecided.v1"

    class TurnedAway(RequestRefused, frozen=True, kw_only=True):
        TYPE: ClassVar[str] = f"{service}.RequestRefused.v1"

    def watched(handler: RequestHandler[Any]) -> RequestHandler[Any]:
        def handle(body: Any, view: View, context: Context) -> Outcome:
            outcome = handler.handle(body, view, context)
            asked = context.asked
            if asked is None:
                return outcome
            decided = Decided(
                at=context.now,
                id=context.source,
                actor=context.actor,
                method=asked.method,
                route=asked.route,
                address=asked.address,
                target=context.station,
                status=(outcome.result or Result(204)).status,
            )
            return msgspec.structs.replace(outcome, events=(*outcome.events, decided))

        return replace(handler, handle=handle)

    def note(body: NoteRefused, _: View, context: Context) -> Outcome:
        return Outcome(
            tuple(
                TurnedAway(at=context.now, id=f"{context.source}/{number}", **msgspec.structs.asdict(one))
                for number, one in enumerate(body.refused)
            )
        )

    noting = Part(
        requests=(RequestHandler(REFUSED, NoteRefused, note),),
        folds=(Fold(Decided, project=_decided_row), Fold(TurnedAway, project=_refused_row)),
        tables=(TABLE,),
    )
    return [*(replace(part, requests=tuple(map(watched, part.requests))) for part in parts), noting]
