"""Hours of meter values (block J): when samples of an hour began to come, and the figures that outlive them.

Nothing is written per sample but the record on `transactions.meter` itself. The first sample of an hour that comes in
an hour of our clock is an event (`MeterHourBegun`): it says where on the stream samples of that time are found, however
late they come, and sets a timer. When that passes, a worker reads the hour's samples, and its figures come back to be
an event (`MeterHourRolledUp`). Samples that come later begin the hour anew, and its figures are replaced.
"""

from collections.abc import Iterable, Sequence
from typing import ClassVar, Final

from ocppcore.contracts.metering import MeterHourBegun, MeterHourDue, MeterHourRolledUp, RollUp
from ocppcore.service import NOTHING, Aggregate, Context, Event, Need, Outcome, Put, Timer, View
from ocppcore.store import Table, Upsert
from ocppcore.topics import partition_of

HOUR_MS: Final = 3_600_000
AGE_MAX_MS: Final = 31 * 24 * HOUR_MS
AHEAD_MAX_MS: Final = 24 * HOUR_MS
"""Samples that claim to be older or newer than that are on the stream, and in no series: the station's clock is off."""
HOURS_MAX: Final = 1000
"""Hours of which samples may come within one hour."""
ROLL_UP: Final = "meter-rollup"
GRACE_MS: Final = 120_000
SPREAD_MS: Final = 900_000
"""Stations are rolled up over this time, not all at once."""

ARRIVALS = Table(
    "meter_arrivals", {"station": "text", "hour": "bigint", "arrived": "bigint"}, ("station", "hour", "arrived")
)
"""In which hours of our clock samples of an hour came."""

HOURS = Table(
    "meter_hours",
    {
        "station": "text",
        "evse_id": "bigint",
        "hour": "bigint",
        "measurand": "text",
        "phase": "text",
        "location": "text",
        "kind": "text",
        "unit": "text",
        "count": "bigint",
        "min": "numeric",
        "max": "numeric",
        "sum": "numeric",
        "first_at": "bigint",
        "first": "numeric",
        "last_at": "bigint",
        "last": "numeric",
        "energy": "numeric",
        "drops": "bigint",
    },
    ("station", "evse_id", "hour", "measurand", "phase", "location", "kind", "unit"),
)
"""The figures of an hour, one row a series, in base units. Days are made of these when they are read."""


ROLLED = Table("meter_rolled", {"station": "text", "hour": "bigint", "at": "bigint"}, ("station", "hour"))
"""Hours that have figures: an EVSE without a row in one of these had no samples then."""


class MeterClock(Aggregate, frozen=True, kw_only=True):
    """The hour of our clock in which samples came last, and the hours that these were of and that wait for their
    figures; id = station."""

    KIND: ClassVar[str] = "MeterClock"
    arrived: int
    hours: tuple[int, ...]


def hour_of(at: int) -> int:
    return at - at % HOUR_MS


def clock_needs(station: str) -> tuple[Need, ...]:
    return ((MeterClock, station),)


def begun(times: Iterable[int], view: View, context: Context) -> Sequence[Event]:
    """The hours that samples of these times (ms) are the first of, in this hour. Of nearly all messages none."""
    now = context.now
    arrived = hour_of(now)
    clock = view.get(MeterClock, context.station)
    known = clock.hours if clock is not None and clock.arrived == arrived else ()
    unknown = {hour_of(at) for at in times}.difference(known)
    if not unknown:
        return ()
    within = sorted(hour for hour in unknown if now - AGE_MAX_MS <= hour <= now + AHEAD_MAX_MS)
    fresh = within[: HOURS_MAX - len(known)]
    return [MeterHourBegun(at=now, station=context.station, hour=hour, arrived=arrived) for hour in fresh]


def event_needs(event: MeterHourBegun | MeterHourDue) -> tuple[Need, ...]:
    return clock_needs(event.station)


def evolve_begun(event: MeterHourBegun, view: View) -> Iterable[Put | Timer]:
    clock = view.get(MeterClock, event.station)
    hours = clock.hours if clock is not None and clock.arrived == event.arrived else ()
    yield Put(event.station, MeterClock(arrived=event.arrived, hours=(*hours, event.hour)))
    spread = partition_of(event.station, SPREAD_MS)
    due = max(event.at, event.hour + HOUR_MS) + GRACE_MS + spread
    yield Timer(ROLL_UP, f"{event.station}/{event.hour}", due)


def project_begun(event: MeterHourBegun, view: View) -> Iterable[Upsert]:
    yield Upsert(ARRIVALS, (event.station, event.hour, event.arrived))


def due(subject: str, view: View, context: Context) -> Outcome:
    """The hour's samples are there: have its figures computed."""
    station, _, hour = subject.rpartition("/")
    return Outcome((MeterHourDue(at=context.now, station=station, hour=int(hour)),))


def evolve_due(event: MeterHourDue, view: View) -> Iterable[Put | Timer]:
    """A sample that comes from here on begins the hour again."""
    yield Timer(ROLL_UP, f"{event.station}/{event.hour}", None)
    clock = view.get(MeterClock, event.station)
    if clock is not None and event.hour in clock.hours:
        hours = tuple(hour for hour in clock.hours if hour != event.hour)
        yield Put(event.station, MeterClock(arrived=clock.arrived, hours=hours))


def rolled_up(body: RollUp, view: View, context: Context) -> Outcome:
    """Figures of samples of which some are gone would say less than those there are."""
    if body.partial:
        return NOTHING
    return Outcome((MeterHourRolledUp(at=context.now, station=context.station, hour=body.hour, series=body.series),))


def project_rolled_up(event: MeterHourRolledUp, view: View) -> Iterable[Upsert]:
    yield Upsert(ROLLED, (event.station, event.hour, event.at))
    for one in event.series:
        yield Upsert(
            HOURS,
            (
                event.station,
                one.evse_id,
                event.hour,
                one.measurand,
                one.phase,
                one.location,
                one.kind,
                one.unit,
                one.count,
                one.min,
                one.max,
                one.sum,
                one.first_at,
                one.first,
                one.last_at,
                one.last,
                one.energy,
                one.drops,
            ),
        )
