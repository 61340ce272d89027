"""Guessing key codes (C04.FR.06): after some wrong ones, a station's key codes are all refused for a while that grows.

Counted per station, since a wrong code names nobody, and forgotten one by one with time, never because a right one
came: who has a code of his own could guess those of others between two uses of it.
"""

from collections.abc import Iterable
from typing import ClassVar, Final, NamedTuple

from ocppcore.contracts.auth import KeyCodeRefused
from ocppcore.service import Aggregate, Context, Need, Put, View

FORGOTTEN_MS: Final = 30 * 60_000
"""After so long without one, one wrong code less is held against the station."""
PAUSE_MAX_MS: Final = 60 * 60_000
_DOUBLINGS_MAX: Final = 32


class Guessing(NamedTuple):
    """How many wrong codes are free, and the first pause (ms) after the one that is too many; it doubles with each."""

    free: int = 5
    pause_ms: int = 10_000


NO_GUESSING: Final = Guessing()


class KeyCodes(Aggregate, frozen=True, kw_only=True):
    """Of a station: `wrong` codes that count since `at`; until `locked_until` all are refused."""

    KIND: ClassVar[str] = "KeyCodes"
    wrong: int
    at: int
    locked_until: int


def is_locked(held: KeyCodes | None, now: int) -> bool:
    """Whether no code is looked at."""
    return held is not None and now < held.locked_until


def wrong(held: KeyCodes | None, context: Context, rules: Guessing) -> KeyCodeRefused:
    """One more."""
    count = 1 + (max(0, held.wrong - (context.now - held.at) // FORGOTTEN_MS) if held else 0)
    beyond = count - rules.free
    pause = min(PAUSE_MAX_MS, rules.pause_ms << min(beyond - 1, _DOUBLINGS_MAX)) if beyond > 0 else 0
    return KeyCodeRefused(
        at=context.now, station=context.identity, wrong=count, locked_until=context.now + pause if pause else 0
    )


def needs(event: KeyCodeRefused) -> tuple[Need, ...]:
    return ((KeyCodes, event.subject()),)


def evolve(event: KeyCodeRefused, _: View) -> Iterable[Put]:
    yield Put(event.subject(), KeyCodes(wrong=event.wrong, at=event.at, locked_until=event.locked_until))
