"""The smartcharging service as data for the engine."""

from typing import Final

from ocppcore import results, standard, topics
from ocppcore.contracts import smartcharging as contract
from ocppcore.service import Fold, Part, Service
from services.smartcharging.actions import ROUTES

PARTS: Final = (
    Part(
        actions=ROUTES,
        folds=(
            Fold(contract.ChargingLimitReported),
            Fold(contract.ChargingLimitCleared),
            Fold(contract.ChargingNeedsRefused),
            Fold(contract.ChargingScheduleRefused),
            Fold(contract.ChargingProfilesReported, results.event_needs, results.evolve, results.project),
        ),
        aggregates=(results.AwaitedResults,),
        tables=(results.TABLE,),
        copies=(topics.STATIONS,),
    ),
)


def build() -> Service:
    """The whole service."""
    return standard.build("smartcharging", PARTS)
