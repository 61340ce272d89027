"""Who is killed when, drawn from a seed. Pure."""

import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

AT_ONCE = 0.3
"""Share of the kills that do not wait until the system has come back from the one before."""


class Kill(NamedTuple):
    """Wait `pause_s`, and, with `recovered`, until a station was answered since the last kill; then kill `target`.

    `dead_s`: how long it stays dead.
    """

    target: str
    pause_s: float
    recovered: bool
    dead_s: float


def plan(seed: int, kills: int, targets: Sequence[str], gap_s: float) -> list[Kill]:
    """`kills` kills, `gap_s` apart on average; every target is killed before any is killed once more."""
    rng = random.Random(seed)
    order = _rounds(rng, targets)
    return [
        Kill(next(order), rng.uniform(0, 2 * gap_s), rng.random() >= AT_ONCE, rng.uniform(0, 2.0)) for _ in range(kills)
    ]


def _rounds(rng: random.Random, targets: Sequence[str]) -> Iterator[str]:
    while True:
        yield from rng.sample(targets, len(targets))
