"""An idToken as registered: put, remove, and the key of its driver.

A token's home is the cell of its pseudonym; stations ask in their own cells, so Authorize is decided on the copy of
`auth.tokens`, like every other service decides.
"""

from collections.abc import Iterable, Sequence
from typing import ClassVar, Final

import msgspec

from ocppcore.authorization import Credit, TokenState
from ocppcore.clock import to_rfc3339
from ocppcore.contracts.auth import (
    ChargeCredit,
    IssueToken,
    PatchToken,
    PutToken,
    RemoveToken,
    TokenChanged,
    TokenRegistered,
    TokenRemoved,
)
from ocppcore.service import (
    NOTHING,
    Aggregate,
    Context,
    Drop,
    Lookup,
    Need,
    Outcome,
    Put,
    Result,
    Timer,
    View,
    problem,
)
from ocppcore.topics import STATIONS
from ocppcore.weekly import Window
from services.auth.domain import caches

DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


OVER: Final = "issued-token-over"


class Token(Aggregate, frozen=True, kw_only=True):
    """id = pseudonym. `charged`: the number of the last charge detail record that changed its balance."""

    KIND: ClassVar[str] = "Token"
    state: TokenState
    charged: int = 0


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
    if refusal := _unregistered(wanted.state.stations or (), view):
        return Outcome(result=refusal)
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
    changed = TokenChanged(at=context.now, token=pseudonym, state=state, actor=context.actor, charged=old.charged)
    stale = caches.withdrawn(pseudonym, old.state, state, context.now)
    return Outcome((*stale, changed), result=result, puts=puts)


def patch_lookups(wanted: PatchToken, _: str) -> Sequence[Lookup]:
    """The stations it names must exist."""
    return [(STATIONS, station) for station in _stations(wanted)]


def _stations(wanted: PatchToken) -> Sequence[str]:
    return (wanted.state.stations or ()) if "stations" in wanted.fields else ()


def patch(wanted: PatchToken, view: View, context: Context) -> Outcome:
    """Change some fields: 200; 404; 422 when they do not fit the others, or name a station that is not registered."""
    old = view.get(Token, context.station)
    if old is None:
        return Outcome(result=problem(404, "Unknown token", "no such token is registered"))
    if refusal := _unregistered(_stations(wanted), view):
        return Outcome(result=refusal)
    fields = {name: getattr(wanted.state, name) for name in wanted.fields}
    state = msgspec.structs.replace(old.state, **fields)
    if fault := unsound(state):
        return Outcome(result=problem(422, "Invalid token", fault))
    result = Result(200, represent(state))
    if state == old.state:
        return Outcome(result=result)
    changed = TokenChanged(at=context.now, token=context.station, state=state, actor=context.actor, charged=old.charged)
    return Outcome((*caches.withdrawn(context.station, old.state, state, context.now), changed), result=result)


def charge(body: ChargeCredit, view: View, context: Context) -> Outcome:
    """What was billed is taken from the balance, once; nothing where there is no credit in this currency any more."""
    old = view.get(Token, context.station)
    if old is None or old.state.credit is None or body.number <= old.charged:
        return NOTHING
    credit = old.state.credit
    if credit.currency != body.currency:
        return NOTHING
    credit = msgspec.structs.replace(credit, balance=credit.balance - body.amount)
    state = msgspec.structs.replace(old.state, credit=credit)
    return Outcome((TokenChanged(at=context.now, token=context.station, state=state, charged=body.number),))


def issue(wanted: IssueToken, view: View, context: Context) -> Outcome:
    """Register an id for a remote start: 201; 409 for one that is there."""
    if view.get(Token, context.station) is not None:
        return Outcome(result=problem(409, "Registered", "this id is registered"))
    registered = TokenRegistered(at=context.now, token=context.station, state=wanted.state, actor=context.actor)
    return Outcome((registered,), result=Result(201, represent(wanted.state)))


def over(subject: str, view: View, context: Context) -> Outcome:
    """The time of an issued id has passed."""
    held = view.get(Token, subject)
    if held is None or not held.state.issued:
        return NOTHING
    return Outcome((TokenRemoved(at=context.now, token=subject, type=held.state.type),))


def _unregistered(stations: Sequence[str], view: View) -> Result | None:
    missing = [station for station in stations if view.copy(STATIONS, _Known, station) is None]
    named = ", ".join(missing[:10])
    return problem(422, "Unknown station", f"stations: not registered: {named}") if missing else None


def unsound(state: TokenState) -> str:
    """What is wrong with these fields together, "" if they fit."""
    if state.language2 is not None:
        if state.language1 is None:
            return "language2: only together with language1 (C01.FR.10)"
        if state.language2.casefold() == state.language1.casefold():
            return "language2: must differ from language1 (C01.FR.11)"
    languages = [one.language.casefold() if one.language else None for one in state.messages]
    if None in languages or len(set(languages)) < len(languages):
        return "personalMessages: each in a language of its own"
    if state.valid_from is not None and state.valid_to is not None and state.valid_to <= state.valid_from:
        return "validTo: must be later than validFrom"
    return ""


def remove(_: RemoveToken, view: View, context: Context) -> Outcome:
    """Forget a token and erase its driver: 204, 404."""
    pseudonym = context.station
    old = view.get(Token, pseudonym)
    if old is None:
        return Outcome(result=problem(404, "Unknown token", "no such token is registered"))
    removed = TokenRemoved(at=context.now, token=pseudonym, type=old.state.type, actor=context.actor)
    stale = caches.withdrawn(pseudonym, old.state, None, context.now)
    return Outcome((*stale, removed), result=Result(204), puts=(Drop(DriverKey, pseudonym),))


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
        "personalMessages": [msgspec.to_builtins(one) for one in state.messages],
        "cacheExpiryDateTime": _time(state.cache_expiry),
        "chargingPriority": state.charging_priority,
        "stations": _list(state.stations),
        "evses": _list(state.evses),
        "connectorTypes": _list(state.connector_types),
        "validFrom": _time(state.valid_from),
        "validTo": _time(state.valid_to),
        "windows": None if state.windows is None else [_window(one) for one in state.windows],
        "concurrentTransactions": state.concurrent,
        "groupConcurrentTransactions": state.group_concurrent,
        "credit": _credit(state.credit) if state.credit else None,
        "tags": list(state.tags),
    }


def evolve(event: TokenRegistered | TokenChanged, _: View) -> Iterable[Put | Timer]:
    yield Put(event.token, Token(state=event.state, charged=getattr(event, "charged", 0)))
    if event.state.issued:
        yield Timer(OVER, event.token, event.state.valid_to)


def evolve_removed(event: TokenRemoved, _: View) -> Iterable[Drop | Timer]:
    yield Drop(Token, event.token)
    yield Timer(OVER, event.token, None)


def _time(ms: int | None) -> str | None:
    return None if ms is None else to_rfc3339(ms)


def _window(window: Window) -> dict[str, object]:
    return {"days": [DAYS[day] for day in window.days], "from": _clock(window.start), "to": _clock(window.end)}


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"


def _credit(credit: Credit) -> dict[str, str]:
    return {"balance": format(credit.balance, "f"), "currency": credit.currency, "limit": format(credit.limit, "f")}


def _list(values: Sequence[object] | None) -> list[object] | None:
    return None if values is None else list(values)
