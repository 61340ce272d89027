"""Who calls, what he may do, and which stations he reaches. Pure.

Stations are named by patterns: an id, in any case, or the beginning of ids with a `*` behind it. `*` is a letter like
others in OCPP's ids, so only the last one stands for something else.
"""

from collections.abc import Iterable
from typing import Any, Final, NamedTuple, get_args

from ocppcore.contracts.auth import Scope
from ocppcore.store import Among
from ocppcore.topics import normalise

SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
"""In rising order: each includes those before it."""
PATTERNS_MAX: Final = 200
PATTERN_CHARACTERS_MAX: Final = 49
ANYTHING: Final = "*"


class InvalidPattern(ValueError):
    """What names no stations; the message says why."""


class Caller(NamedTuple):
    """Who a request comes from: `id` is an API key's, or `issuer#subject` of a token. It is no secret and stands in
    events as the actor. `stations`: patterns, normalised; None: all, and what belongs to no station."""

    id: str
    scope: Scope
    stations: tuple[str, ...] | None = None

    def may(self, scope: Scope) -> bool:
        return SCOPES.index(self.scope) >= SCOPES.index(scope)

    def reaches(self, station_id: str) -> bool:
        """Whether the station is within his stations, whether or not there is one of that id."""
        if self.stations is None:
            return True
        station = normalise(station_id)
        return any(
            station.startswith(pattern[:-1]) if pattern.endswith(ANYTHING) else station == pattern
            for pattern in self.stations
        )

    def among(self, column: str) -> Among | None:
        """For lists: the rows whose `column` is a station that he reaches; None: all rows."""
        if self.stations is None:
            return None
        prefixes = tuple(pattern[:-1] for pattern in self.stations if pattern.endswith(ANYTHING))
        return Among(column, tuple(one for one in self.stations if not one.endswith(ANYTHING)), prefixes)


def read_patterns(given: Iterable[Any]) -> tuple[str, ...] | None:
    """Patterns in their normal form, sorted; None if one of them is `*` alone: all. Raises InvalidPattern."""
    found: set[str] = set()
    for one in given:
        pattern = normalise(one.strip()) if isinstance(one, str) else ""
        if not 0 < len(pattern) <= PATTERN_CHARACTERS_MAX or not pattern.isprintable():
            raise InvalidPattern(f"names stations by texts of 1 to {PATTERN_CHARACTERS_MAX} characters")
        found.add(pattern)
        if len(found) > PATTERNS_MAX:
            raise InvalidPattern(f"names stations by more than {PATTERNS_MAX} patterns")
    return None if ANYTHING in found else tuple(sorted(found))
