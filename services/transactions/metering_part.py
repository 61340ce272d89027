"""Meter values over time (block J) as data for the engine: a part of the transactions service."""

from collections.abc import Awaitable, Callable, Mapping

from ocppcore.contracts.metering import (
    MeterGapFound,
    MeterHourBegun,
    MeterHourDue,
    MeterHourRolledUp,
    MeterKeyRegistered,
    MeterKeyRemoved,
    RegisterMeterKey,
    RemoveMeterKey,
    RollUp,
    SignedValueJudged,
    TransactionMetered,
)
from ocppcore.service import Effect, EffectResult, Event, Fold, Part, RequestHandler, TimerHandler
from services.transactions.domain import meter_gaps, meter_hours, signed_values

Roll = Callable[[MeterHourDue], Awaitable[EffectResult]]


def part(roll_up: Roll | None = None) -> Part:
    """`roll_up`: computes the figures of an hour; without it (a rebuild, the simulation) none are."""
    effects: Mapping[type[Event], Effect] = {MeterHourDue: roll_up} if roll_up else {}
    return Part(
        requests=(
            RequestHandler(RollUp.NAME, RollUp, meter_hours.rolled_up),
            RequestHandler(
                RegisterMeterKey.NAME,
                RegisterMeterKey,
                signed_values.register,
                needs=lambda _, station: signed_values.keys_needs(station),
            ),
            RequestHandler(
                RemoveMeterKey.NAME,
                RemoveMeterKey,
                signed_values.remove,
                needs=lambda _, station: signed_values.keys_needs(station),
            ),
        ),
        timers=(TimerHandler(meter_hours.ROLL_UP, meter_hours.due),),
        folds=(
            Fold(MeterHourBegun, meter_hours.event_needs, meter_hours.evolve_begun, meter_hours.project_begun),
            Fold(MeterHourDue, meter_hours.event_needs, meter_hours.evolve_due),
            Fold(MeterHourRolledUp, project=meter_hours.project_rolled_up),
            Fold(TransactionMetered, meter_gaps.event_needs, meter_gaps.evolve_metered),
            Fold(MeterGapFound, meter_gaps.event_needs, meter_gaps.evolve_gap, meter_gaps.project_gap),
            Fold(
                MeterKeyRegistered,
                signed_values.event_needs,
                signed_values.evolve_registered,
                signed_values.project_registered,
            ),
            Fold(
                MeterKeyRemoved, signed_values.event_needs, signed_values.evolve_removed, signed_values.project_removed
            ),
            Fold(SignedValueJudged, project=signed_values.project_judged),
        ),
        aggregates=(meter_hours.MeterClock, meter_gaps.StationMeter, signed_values.MeterKeys),
        tables=(
            meter_hours.ARRIVALS,
            meter_hours.ROLLED,
            meter_hours.HOURS,
            meter_gaps.GAPS,
            signed_values.KEYS,
            signed_values.SIGNED,
        ),
        effects=effects,
    )
