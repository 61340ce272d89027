"""What stations send to smartcharging: one module an action."""

from collections.abc import Mapping
from typing import Any

from ocppcore.service import ActionHandler
from services.smartcharging.actions import (
    cleared_charging_limit,
    notify_charging_limit,
    notify_ev_charging_needs,
    notify_ev_charging_schedule,
    report_charging_profiles,
)

ROUTES: Mapping[str, ActionHandler[Any]] = {
    "ClearedChargingLimit": cleared_charging_limit.ROUTE,
    "NotifyChargingLimit": notify_charging_limit.ROUTE,
    "NotifyEVChargingNeeds": notify_ev_charging_needs.ROUTE,
    "NotifyEVChargingSchedule": notify_ev_charging_schedule.ROUTE,
    "ReportChargingProfiles": report_charging_profiles.ROUTE,
}
