"""Time: integers, milliseconds since 1970 UTC, and their RFC 3339 spelling with milliseconds.

Records of one batch share their times, and each carries several: the last spellings are remembered.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache

Clock = Callable[[], int]
"""Returns the present time in ms since 1970 UTC. The simulation hands in its own."""


def system_clock() -> int:
    """The machine's clock in ms since 1970 UTC."""
    return time.time_ns() // 1_000_000


@lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@lru_cache(maxsize=256)
def to_rfc3339(ms: int) -> str:
    """`1700000000123` -> `2023-11-14T22:13:20.123Z`."""
    seconds, rest = divmod(ms, 1000)
    return f"{_second(seconds)}.{rest:03d}Z"


@lru_cache(maxsize=256)
def from_rfc3339(text: str) -> int:
    """The inverse of `to_rfc3339`, for any RFC 3339 date-time with a zone; ValueError for anything else."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"date-time without a zone: {text!r}")
    return round(moment.timestamp() * 1000)
