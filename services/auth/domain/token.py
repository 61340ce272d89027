"""An idToken as registered: put, remove, and the key of its driver.

A token's home is the cell of its pseudonym; stations ask in their own cells, so Authorize is decided on the copy of
`auth.tokens`, like every other service decides.
"""

from collections.abc import Iterable, Sequence
from typing import ClassVar

import msgspec

from ocppcore.authorization import TokenState
from ocppcore.clock import to_rfc3339
from ocppcore.contracts.auth import PutToken, RemoveToken, TokenChanged, TokenRegistered, TokenRemoved
from ocppcore.service import Aggregate, Context, Drop, Lookup, Need, Outcome, Put, Result, View, problem
from ocppcore.topics import STATIONS


class Token(Aggregate, frozen=True, kw_only=True):
    """id = pseudonym."""

    KIND: ClassVar[str] = "Token"
    state: TokenState


class DriverKey(Aggregate, frozen=True, kw_only=True):
    """The key that the values of a driver are encrypted under, sealed for auth; id = pseudonym.

    In no event, and never rebuilt: once it is gone, the values in all events are beyond reading.
    """

    KIND: ClassVar[str] = "DriverKey"
    REBUILT: ClassVar[bool] = False
    sealed: str


class _Known(msgspec.Struct):
    """Of a station only that it is there."""


def needs(pseudonym: str) -> Sequence[Need]:
    return ((Token, pseudonym), (DriverKey, pseudonym))


def lookups(wanted: PutToken, _: str) -> Sequence[Lookup]:
    """The stations it names must exist."""
    return [(STATIONS, station) for station in wanted.state.stations or ()]


def put(wanted: PutToken, view: View, context: Context) -> Outcome:
    """Register or replace: 201, 200; 422 when it names a station that is not registered."""
    missing = [station for station in wanted.state.stations or () if view.copy(STATIONS, _Known, station) is None]
    if missing:
        named = ", ".join(missing[:10])
        return Outcome(result=problem(422, "Unknown station", f"stations: not registered: {named}"))
    pseudonym = context.station
    old, key = view.get(Token, pseudonym), view.get(DriverKey, pseudonym)
    state, puts = wanted.state, []
    if old is not None and key is not None:
        state = msgspec.structs.replace(state, sealed=old.state.sealed)
    else:
        puts.append(Put(pseudonym, DriverKey(sealed=wanted.driver_key)))
    result = Result(200 if old else 201, represent(state))
    if old is None:
        registered = TokenRegistered(at=context.now, token=pseudonym, state=state, actor=context.actor)
        return Outcome((registered,), result=result, puts=puts)
    if old.state == state:
        return Outcome(result=result, puts=puts)
    changed = TokenChanged(at=context.now, token=pseudonym, state=state, actor=context.actor)
    return Outcome((changed,), result=result, puts=puts)


def remove(_: RemoveToken, view: View, context: Context) -> Outcome:
    """Forget a token and erase its driver: 204, 404."""
    pseudonym = context.station
    old = view.get(Token, pseudonym)
    if old is None:
        return Outcome(result=problem(404, "Unknown token", "no such token is registered"))
    removed = TokenRemoved(at=context.now, token=pseudonym, type=old.state.type, actor=context.actor)
    return Outcome((removed,), result=Result(204), puts=(Drop(DriverKey, pseudonym),))


def represent(state: TokenState) -> dict[str, object]:
    """A token as the API shows it, without its value."""
    group, message = state.group, state.personal_message
    return {
        "type": state.type,
        "status": state.status,
        "groupIdToken": {"idToken": group.id_token, "type": group.type} if group else None,
        "language1": state.language1,
        "language2": state.language2,
        "personalMessage": msgspec.to_builtins(message) if message else None,
        "cacheExpiryDateTime": _time(state.cache_expiry),
        "chargingPriority": state.charging_priority,
        "stations": _list(state.stations),
        "evses": _list(state.evses),
        "connectorTypes": _list(state.connector_types),
        "validFrom": _time(state.valid_from),
        "validTo": _time(state.valid_to),
        "tags": list(state.tags),
    }


def evolve(event: TokenRegistered | TokenChanged, _: View) -> Iterable[Put]:
    yield Put(event.token, Token(state=event.state))


def evolve_removed(event: TokenRemoved, _: View) -> Iterable[Drop]:
    yield Drop(Token, event.token)


def _time(ms: int | None) -> str | None:
    return None if ms is None else to_rfc3339(ms)


def _list(values: Sequence[object] | None) -> list[object] | None:
    return None if values is None else list(values)
