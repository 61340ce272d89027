"""Figures over samples: count, least, most, sum, and for registers the energy by differences. Pure, exact, mergeable.

A register's energy is the sum of its positive differences along the readings; where it falls, the meter was replaced or
rolled over, and counting restarts there (J02.FR.16). Merging neighbours adds the difference between them, so figures of
hours merged give the figures of the day.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

import msgspec

from services.transactions.domain.energy import EXACT, ZERO, step
from services.transactions.domain.measurands import REGISTER, Sample


class SeriesKey(NamedTuple):
    """What is one line: figures are never mixed over any of these."""

    kind: str
    measurand: str
    phase: str
    location: str
    unit: str


class Figures(msgspec.Struct, frozen=True, array_like=True):
    """Of one series in one span of time. `energy` and `drops` (how often it fell): of registers only.

    `first` and `last`: by their time, of equal times the one that came last. Decimals are text in JSON.
    """

    count: int
    min: Decimal
    max: Decimal
    sum: Decimal
    first_at: int
    first: Decimal
    last_at: int
    last: Decimal
    energy: Decimal = ZERO
    drops: int = 0

    @property
    def average(self) -> Decimal:
        return EXACT.divide(self.sum, Decimal(self.count))


def key_of(sample: Sample) -> SeriesKey:
    return SeriesKey(sample.kind, sample.measurand, sample.phase, sample.location, sample.unit)


def of_one(sample: Sample) -> Figures:
    value = sample.value
    return Figures(1, value, value, value, sample.at, value, sample.at, value)


def merged(one: Figures, other: Figures, *, register: bool) -> Figures:
    """Two neighbours in time, the earlier one first."""
    energy, drops = step(one.last, other.first) if register else (ZERO, 0)
    return Figures(
        one.count + other.count,
        min(one.min, other.min),
        max(one.max, other.max),
        EXACT.add(one.sum, other.sum),
        one.first_at,
        one.first,
        other.last_at,
        other.last,
        EXACT.add(EXACT.add(one.energy, energy), other.energy),
        one.drops + drops + other.drops,
    )


def over(samples: Iterable[Sample], step_ms: int) -> dict[SeriesKey, dict[int, Figures]]:
    """Per series and span (its begin, a multiple of `step_ms`) the figures; faulty samples are left out.

    The same reading that came twice (stations send Ended with all samples since the beginning, E06.FR.11) counts once.
    """
    ordered: dict[SeriesKey, dict[int, Sample]] = {}
    for sample in samples:
        if not sample.fault:
            ordered.setdefault(key_of(sample), {})[sample.at] = sample
    return {key: _spans(found, step_ms) for key, found in ordered.items()}


def _spans(found: dict[int, Sample], step_ms: int) -> dict[int, Figures]:
    spans: dict[int, Figures] = {}
    for at in sorted(found):
        begin, one = at - at % step_ms, of_one(found[at])
        before = spans.get(begin)
        spans[begin] = merged(before, one, register=found[at].is_register) if before else one
    return spans


def coarser(key: SeriesKey, spans: dict[int, Figures], step_ms: int) -> dict[int, Figures]:
    """The same in longer spans."""
    found: dict[int, Figures] = {}
    for at in sorted(spans):
        begin = at - at % step_ms
        before = found.get(begin)
        found[begin] = merged(before, spans[at], register=is_register(key)) if before else spans[at]
    return found


def linked(key: SeriesKey, spans: dict[int, Figures]) -> dict[int, Figures]:
    """Each span's energy with what flowed since the last reading before it."""
    if not is_register(key):
        return spans
    found: dict[int, Figures] = {}
    before: Figures | None = None
    for at in sorted(spans):
        now = spans[at]
        energy, drops = step(before.last, now.first) if before is not None else (ZERO, 0)
        found[at] = msgspec.structs.replace(now, energy=EXACT.add(energy, now.energy), drops=now.drops + drops)
        before = now
    return found


def is_register(key: SeriesKey) -> bool:
    return key.measurand.endswith(REGISTER)
