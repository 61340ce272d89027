"""Weekly windows in a zone's local time: whether a moment lies in one, and when that ends. Pure, but for tzdata."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

DAY_MINUTES: Final = 24 * 60
_MINUTE_MS: Final = 60_000
_DAYS: Final = 7


class Window(msgspec.Struct, frozen=True, array_like=True):
    """On these `days` (0: Monday), from `start` until before `end` (minutes of the local day, `end` up to 1440).

    `end` <= `start`: over midnight, until the next day's `end`.
    """

    days: tuple[int, ...]
    start: int
    end: int


@lru_cache(maxsize=1024)
def zone(name: str) -> ZoneInfo:
    """The zone of this IANA name. Raises ZoneInfoNotFoundError."""
    return ZoneInfo(name)


def contains(windows: Sequence[Window], at: int, zone_name: str) -> bool:
    """Whether the moment (ms since 1970) lies in one of them."""
    local = datetime.fromtimestamp(at // 1000, zone(zone_name))
    return _left(windows, local.weekday(), local.hour * 60 + local.minute) > 0


def until(windows: Sequence[Window], at: int, zone_name: str) -> int | None:
    """When (ms since 1970) the windows end that the moment lies in: those that follow each other without a gap count as
    one. `at` if it lies in none; None if they never end."""
    local = datetime.fromtimestamp(at // 1000, zone(zone_name))
    minute = local.hour * 60 + local.minute
    ahead = 0
    while ahead <= _DAYS * DAY_MINUTES:
        day, of_day = divmod(minute + ahead, DAY_MINUTES)
        step = _left(windows, (local.weekday() + day) % _DAYS, of_day)
        if not step:
            break
        ahead += step
    else:
        return None
    if not ahead:
        return at
    midnight = datetime(local.year, local.month, local.day)
    end = (midnight + timedelta(minutes=minute + ahead)).replace(tzinfo=zone(zone_name))
    return round(end.astimezone(UTC).timestamp()) * 1000


def _left(windows: Sequence[Window], weekday: int, minute: int) -> int:
    """How many minutes from this minute on lie in one window; 0: it lies in none."""
    left = 0
    for window in windows:
        over = window.end <= window.start
        if weekday in window.days and minute >= window.start and (over or minute < window.end):
            left = max(left, (window.end + DAY_MINUTES if over else window.end) - minute)
        if over and (weekday - 1) % _DAYS in window.days and minute < window.end:
            left = max(left, window.end - minute)
    return left
