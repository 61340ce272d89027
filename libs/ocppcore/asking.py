"""What a decision about an idToken looks at: the same copies in auth and in transactions (block C)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from ocppcore import topics
from ocppcore.authorization import (
    NO_RULES,
    NOTHING_HELD,
    NOTHING_OPEN,
    Group,
    HeldState,
    OpenState,
    Rules,
    TokenState,
    Where,
    group_key,
    limits,
    station_key,
    token_key,
)
from ocppcore.contracts.device import StationState
from ocppcore.pseudonym import Pseudonyms
from ocppcore.service import Lookup, View


class Asker(NamedTuple):
    """What the installation sets: the key of pseudonyms and the rules about idTokens."""

    pseudonyms: Pseudonyms
    rules: Rules = NO_RULES

    def group_key(self, group: Group) -> str:
        """The key of a group in `transactions.open`: events hold it for ever, so it is a pseudonym."""
        return group_key(self.pseudonyms.of(group.type, group.id_token))


class Found(NamedTuple):
    """The token (None: nobody registered it) and all else that `decide` takes."""

    token: TokenState | None
    where: Where


class Positions(NamedTuple):
    """Of the records that a decision rested on, for its event; -1: there was none."""

    token: int = -1
    station: int = -1
    open: int = -1
    group_open: int = -1
    held: int = -1


NOWHERE = Positions()


def lookups(pseudonym: str, station: str) -> tuple[Lookup, ...]:
    """The token, what it has open, and the station for the types of its connectors and its zone."""
    return (topics.TOKENS, pseudonym), (topics.STATIONS, station), (topics.OPEN, token_key(pseudonym))


def held_lookups(station: str) -> tuple[Lookup, ...]:
    """What of the station is occupied: an Authorize is about it too (C01.FR.24)."""
    return ((topics.OPEN, station_key(station)),)


def further(view: View, pseudonym: str, asker: Asker) -> Sequence[Lookup]:
    """What the token's group has open, where that is limited."""
    token = view.copy(topics.TOKENS, TokenState, pseudonym)
    return () if token is None else _group_lookup(token, asker)


def _group_lookup(token: TokenState, asker: Asker) -> tuple[Lookup, ...]:
    if token.group is None or not limits(token, asker.rules)[1]:
        return ()
    return ((topics.OPEN, asker.group_key(token.group)),)


def found(view: View, pseudonym: str, where: Where, asker: Asker) -> Found:
    """The token, and `where` with what the copies say."""
    token = view.copy(topics.TOKENS, TokenState, pseudonym)
    station = view.copy(topics.STATIONS, StationState, where.station)
    more: dict[str, Any] = {"token": pseudonym}
    if station is not None:
        more |= {"evse_types": station.evse_types, "zone": station.zone}
    if where.purpose == "authorize":
        more["held"] = view.copy(topics.OPEN, HeldState, station_key(where.station)) or NOTHING_HELD
    if token is not None and where.purpose != "other":
        more["open"] = view.copy(topics.OPEN, OpenState, token_key(pseudonym)) or NOTHING_OPEN
        for _, key in _group_lookup(token, asker):
            more["group_open"] = view.copy(topics.OPEN, OpenState, key) or NOTHING_OPEN
    return Found(token, where._replace(**more))


def positions(view: View, pseudonym: str, asked: Found, asker: Asker) -> Positions:
    """Which records that was."""
    where, open_, group, held = asked.where, -1, -1, -1
    if where.open.open or where.open.spending:
        open_ = view.copy_position(topics.OPEN, token_key(pseudonym))
    if where.group_open.open and asked.token is not None:
        for lookup in _group_lookup(asked.token, asker):
            group = view.copy_position(*lookup)
    if where.held.held:
        held = view.copy_position(topics.OPEN, station_key(where.station))
    token = view.copy_position(topics.TOKENS, pseudonym)
    return Positions(token, view.copy_position(topics.STATIONS, where.station), open_, group, held)
