"""What speaks against a reservation, judged before anything is sent: every reason that the CSMS can know.

By the registry (EVSEs, connector types), the token, the open reservations of this station, and what it said last of
its connectors. Nothing is refused for what is not known.
"""

from collections.abc import Iterable
from typing import Final

from ocppcore import topics
from ocppcore.authorization import NO_RULES, Rules, TokenState, Where, decide
from ocppcore.contracts.device import ConnectorState, StationState, connector_key
from ocppcore.contracts.reservations import Reserve
from ocppcore.service import Context, Lookup, Result, View, problem
from ocppcore.topics import normalise
from services.transactions.domain.reservation import HELD_MAX, Held, Reservation, Reservations, reservation_key

AHEAD_MAX_MS: Final = 7 * 86_400_000
"""How long a reservation may be."""
GUESSED_CONNECTORS: Final = (0, 1, 2)
"""Looked at where the registry names none of an EVSE."""
PLACES_MAX: Final = 500

Places = tuple[tuple[int, int], ...]


def lookups(body: Reserve, station: str) -> tuple[Lookup, ...]:
    """The token, the station, and the connectors that matter."""
    about = ((topics.TOKENS, body.token), (topics.STATIONS, station))
    return (*about, *((topics.CONNECTORS, connector_key(station, *place)) for place in places(body)))


def places(body: Reserve) -> Places:
    """(EVSE, connector) of which the status matters; connector 0: the EVSE as such, (0, 0): the station."""
    listed = dict(body.evses)
    evses = [body.evse_id, 1] if body.evse_id is not None else list(listed)
    found = [(0, 0)]
    for evse in evses:
        found += [(evse, connector) for connector in sorted({*GUESSED_CONNECTORS, *listed.get(evse, ())})]
    return tuple(dict.fromkeys(found))[:PLACES_MAX]


def refusal(body: Reserve, view: View, context: Context, rules: Rules = NO_RULES) -> Result | None:
    """Why not, as a problem; None: ask the station."""
    station = view.copy(topics.STATIONS, StationState, context.station)
    token = view.copy(topics.TOKENS, TokenState, body.token)
    held = view.get(Reservations, context.station) or Reservations()
    others = [one for one in held.held if one.id != body.reservation_id]
    return (
        _time(body, context)
        or _identity(body, view, context, len(others))
        or _place(body, station, view, context)
        or _token(body, token, station, context, rules)
        or _reserved(body, station, others)
        or _status(body, station, others, view, context)
    )


def _time(body: Reserve, context: Context) -> Result | None:
    if body.expires_at <= context.now:
        return problem(422, "In the past", "expiryDateTime has passed")
    if body.expires_at > context.now + AHEAD_MAX_MS:
        return problem(422, "Too long", f"a reservation lasts at most {AHEAD_MAX_MS // 86_400_000} days")
    return None


def _identity(body: Reserve, view: View, context: Context, open_: int) -> Result | None:
    known = view.get(Reservation, reservation_key(context.station, body.reservation_id))
    if body.replace:
        if known is None:
            return problem(404, "Unknown reservation", f"the station has no reservation {body.reservation_id}")
        if known.state not in ("active", "unsure"):
            return problem(409, "Not active", f"reservation {body.reservation_id} is {known.state}")
    elif known is not None:
        return problem(409, "Id in use", f"{body.reservation_id} is the id of another reservation")
    if open_ >= HELD_MAX:
        return problem(409, "Too many", f"{HELD_MAX} reservations are open at this station")
    return None


def _place(body: Reserve, station: StationState | None, view: View, context: Context) -> Result | None:
    if station is None or station.deleted:
        return problem(404, "Unknown station", f"station {context.station} is not registered")
    if station.supports.get("reservation") is False:
        return problem(409, "No reservations", "the registry says that this station takes no reservations")
    evses = {evse.id for evse in station.evses}
    if body.evse_id is not None and not _is_there(body.evse_id, evses, view, context):
        return problem(422, "Unknown EVSE", f"the station has no EVSE {body.evse_id}")
    types = station.evse_types
    if body.connector_type and types and all(types.values()):
        of_type = {evse for evse, has in types.items() if body.connector_type in has}
        if not of_type or (body.evse_id is not None and body.evse_id not in of_type):
            return problem(422, "Unknown connector type", f"there is no connector of the type {body.connector_type}")
    return None


def _is_there(evse_id: int, registered: set[int], view: View, context: Context) -> bool:
    """By the registry; where it lists none, an EVSE of which nothing was heard while EVSE 1 was: there is none."""
    if registered:
        return evse_id in registered
    shown = {evse: bool(_said(evse, (), view, context)) for evse in (1, evse_id)}
    return shown[evse_id] or not shown[1]


def _token(
    body: Reserve, token: TokenState | None, station: StationState | None, context: Context, rules: Rules
) -> Result | None:
    where = Where(
        context.station,
        context.now,
        evse=body.evse_id,
        evse_types=station.evse_types if station else {},
        purpose="start",
    )
    status = decide(body.token_type, token, where, rules).status
    if status != "Accepted":
        return problem(409, "Token refused", f"the idToken may not charge there: {status}")
    group = token.group if token is not None else None
    if body.group and (group is None or normalise(group.id_token) != body.group):
        return problem(409, "Not in the group", "the idToken is not in the group groupIdToken")
    return None


def _reserved(body: Reserve, station: StationState | None, others: Iterable[Held]) -> Result | None:
    """Open reservations of ours: of this EVSE, or as many as the station has EVSEs."""
    of_evse = [one for one in others if body.evse_id is not None and one.evse_id == body.evse_id]
    if of_evse:
        return problem(409, "Occupied", f"EVSE {body.evse_id} is reserved by reservation {of_evse[0].id}")
    if station is not None and station.evses and len(list(others)) >= len(station.evses):
        return problem(409, "Occupied", "as many reservations are open as the station has EVSEs")
    return None


def _status(
    body: Reserve, station: StationState | None, others: Iterable[Held], view: View, context: Context
) -> Result | None:
    """What the station said of itself: faulted, out of order, in use."""
    whole = view.copy(topics.CONNECTORS, ConnectorState, connector_key(context.station, 0, 0))
    if whole is not None and whole.status in ("Faulted", "Unavailable"):
        return problem(409, whole.status, f"the station is {whole.status}")
    listed = dict(body.evses)
    targets = [body.evse_id] if body.evse_id is not None else _of_type(body, station, listed)
    if not targets:
        return None
    taken = {one.evse_id for one in others if one.evse_id is not None}
    blocked = {evse: _blocked(evse, listed.get(evse, ()), view, context) for evse in targets}
    free = [evse for evse in targets if not blocked[evse] and evse not in taken]
    if body.evse_id is not None and not free:
        return problem(409, blocked[body.evse_id], f"EVSE {body.evse_id} is {blocked[body.evse_id]}")
    anywhere = [one for one in others if one.evse_id is None and _same(one, body)]
    if body.evse_id is None and len(free) <= len(anywhere):
        said = {status for status in blocked.values() if status}
        status = said.pop() if len(said) == 1 and len(free) == 0 and not taken else "Occupied"
        return problem(409, status, "no EVSE that it could be is free")
    return None


def _same(one: Held, body: Reserve) -> bool:
    """Whether another reservation without an EVSE may want the same EVSEs."""
    return not body.connector_type or not one.connector_type or one.connector_type == body.connector_type


def _of_type(body: Reserve, station: StationState | None, listed: dict[int, tuple[int, ...]]) -> list[int]:
    if not body.connector_type or station is None:
        return list(listed)
    types = station.evse_types
    return [evse for evse in listed if not types.get(evse) or body.connector_type in types[evse]]


def _said(evse: int, connectors: Iterable[int], view: View, context: Context) -> dict[int, str]:
    """Connector -> what was said of it last."""
    found = {}
    for connector in sorted({*GUESSED_CONNECTORS, *connectors}):
        state = view.copy(topics.CONNECTORS, ConnectorState, connector_key(context.station, evse, connector))
        if state is not None and not state.deleted:
            found[connector] = str(state.status)
    return found


def _blocked(evse: int, connectors: Iterable[int], view: View, context: Context) -> str:
    """Why this EVSE cannot be reserved, "" where nothing is known against it.

    One connector in use takes the EVSE; faulted or unavailable it is when all of its connectors are (H01.FR.11,
    H01.FR.12, H01.FR.14). `Reserved` is judged by our own reservations: what the station shows may be one of them.
    """
    said = _said(evse, connectors, view, context)
    as_such = said.pop(0, "")
    if as_such in ("Faulted", "Unavailable", "Occupied"):
        return as_such
    if "Occupied" in said.values():
        return "Occupied"
    down = {status for status in said.values() if status in ("Faulted", "Unavailable")}
    if said and all(status in down for status in said.values()):
        return "Faulted" if "Faulted" in down else "Unavailable"
    return ""
