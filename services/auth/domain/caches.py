"""What stations may hold in their Authorization Cache, and clearing it (C10, C11).

A station that was told Accepted may keep that. When a token is blocked or removed, the stations that may still hold it
are found (an effect: a query) and asked to clear their caches, where `automatic.localList` allows that anything is sent
unasked; a station that was asked since is not asked again. The caches fill by themselves.
"""

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import ClassVar, Final

import msgspec

from ocppcore import topics
from ocppcore.authorization import TokenState
from ocppcore.commands import Ask, ask_needs, commands
from ocppcore.contracts.auth import (
    AuthorizationDecided,
    CacheClearAsked,
    Cached,
    CachesFound,
    CachesStale,
    ClearCache,
    TokenWithdrawn,
)
from ocppcore.contracts.device import StationState
from ocppcore.log import NewRecord
from ocppcore.service import (
    NOTHING,
    Aggregate,
    Context,
    EffectResult,
    Event,
    Fold,
    Follow,
    Lookup,
    Need,
    Outcome,
    Part,
    Put,
    RequestHandler,
    View,
)
from ocppcore.store import Delete, Table, Upsert

CACHED = Table("cached", {"token": "text", "station": "text", "at": "bigint"}, key=("token", "station"))
"""Where a token was last told Accepted, and when: there it may be in the cache."""
STATIONS_MAX: Final = 1000
"""Stations that are asked because of one token: the first in the order of their ids."""
QUEUE_MS: Final = 24 * 3600 * 1000
"""How long a ClearCache that nobody asked for waits for a station that is away."""

FindCached = Callable[[str], Awaitable[Sequence[Cached]]]
"""Pseudonym -> where that token may be, at most STATIONS_MAX."""


class Cleared(Aggregate, frozen=True, kw_only=True):
    """When a station was last asked to clear its cache; id = station."""

    KIND: ClassVar[str] = "CacheCleared"
    at: int


def withdrawn(token: str, old: TokenState, new: TokenState | None, at: int) -> Iterable[Event]:
    """A token that was accepted is not any more."""
    if old.status == "Accepted" and (new is None or new.status != "Accepted"):
        yield TokenWithdrawn(at=at, token=token)


def finding(find: FindCached) -> Callable[[TokenWithdrawn], Awaitable[EffectResult]]:
    """The effect of a withdrawn token."""

    async def found(event: TokenWithdrawn) -> EffectResult:
        return EffectResult(CachesFound.NAME, CachesFound(caches=tuple(await find(event.token))))

    return found


def stale(body: CachesFound, _: View, context: Context) -> Outcome:
    """Where the token may be: each station is asked in its own cell."""
    if not body.caches:
        return NOTHING
    return Outcome((CachesStale(at=context.now, token=context.station, caches=body.caches),))


def derive_stale(event: CachesStale, follow: Follow) -> Iterable[NewRecord]:
    for cached in event.caches:
        id_ = f"{follow.id}/{cached.station}"
        command_id = hashlib.blake2b(id_.encode(), digest_size=16).hexdigest()
        ask = Ask(command_id=command_id, action="ClearCache", payload=msgspec.Raw(b"{}"), queue_for_ms=QUEUE_MS)
        body = ClearCache(ask=ask, cached_at=cached.at)
        yield follow.request("auth", ClearCache.NAME, cached.station, body, event.at, part=cached.station)


def needs(body: ClearCache, station: str) -> Sequence[Need]:
    return ((Cleared, station), *ask_needs(body.ask, station))


def lookups(body: ClearCache, station: str) -> Sequence[Lookup]:
    """Whether it takes what was not asked for."""
    return () if body.cached_at is None else ((topics.STATIONS, station),)


def clear(body: ClearCache, view: View, context: Context) -> Outcome:
    """Ask the station; where only a withdrawn token wants it, not without leave and not twice."""
    if body.cached_at is not None:
        station = view.copy(topics.STATIONS, StationState, context.station)
        last = view.get(Cleared, context.station)
        if station is None or not station.automatic.local_list or (last is not None and last.at > body.cached_at):
            return NOTHING
    asked = commands("auth").ask(body.ask, view, context)
    if not asked.events:
        return asked
    why = CacheClearAsked(at=context.now, station=context.station, command_id=body.ask.command_id)
    return Outcome((why, *asked.events), calls=asked.calls, puts=asked.puts, result=asked.result)


def evolve_asked(event: CacheClearAsked, _: View) -> Iterable[Put]:
    yield Put(event.subject(), Cleared(at=event.at))


def project_decided(event: AuthorizationDecided, _: View) -> Iterable[Upsert | Delete]:
    """A station keeps the last answer."""
    if event.token_position < 0:
        return
    if event.status == "Accepted":
        yield Upsert(CACHED, (event.token, event.subject(), event.at))
    else:
        yield Delete(CACHED, (event.token, event.subject()))


def part(find: FindCached | None) -> Part:
    """`find` None: nobody looks where a withdrawn token may be."""
    return Part(
        requests=(
            RequestHandler(CachesFound.NAME, CachesFound, stale),
            RequestHandler(ClearCache.NAME, ClearCache, clear, needs=needs, lookups=lookups),
        ),
        folds=(
            Fold(AuthorizationDecided, project=project_decided),
            Fold(TokenWithdrawn),
            Fold(CachesStale, derive=derive_stale),
            Fold(CacheClearAsked, evolve=evolve_asked),
        ),
        aggregates=(Cleared,),
        tables=(CACHED,),
        effects={TokenWithdrawn: finding(find)} if find else {},
    )
