"""Charging profiles as a station applies them (block K): which limit holds when. Pure."""

from dataclasses import dataclass

from .frames import Json, milliseconds

DAY_MS = 86_400_000
VOLTS = 230.0
_PURPOSES = (
    "ChargingStationExternalConstraints",
    "ChargingStationMaxProfile",
    "TxDefaultProfile",
    "TxProfile",
)


@dataclass(frozen=True, slots=True)
class Installed:
    """A ChargingProfileType as received, for an EVSE (0: the whole station)."""

    evse_id: int
    profile: Json

    @property
    def id(self) -> int:
        return int(self.profile["id"])

    @property
    def purpose(self) -> str:
        return str(self.profile["chargingProfilePurpose"])

    @property
    def stack_level(self) -> int:
        return int(self.profile["stackLevel"])


def replaces(new: Installed, old: Installed) -> bool:
    """A profile takes the place of one with its id, or with its purpose, level and EVSE (K01.FR.05)."""
    same_slot = (new.purpose, new.stack_level, new.evse_id) == (old.purpose, old.stack_level, old.evse_id)
    return new.id == old.id or (same_slot and new.profile.get("transactionId") == old.profile.get("transactionId"))


def limit_w(
    installed: tuple[Installed, ...],
    evse_id: int,
    now_ms: int,
    started_at: int | None,
    transaction_id: str | None,
) -> float | None:
    """The power in W that the profiles allow this EVSE now; None if none says anything. `started_at`: when
    the transaction began, for Relative profiles."""
    limits: list[float] = []
    transaction_limit: float | None = None
    for purpose in _PURPOSES:
        found = _highest(installed, purpose, evse_id, now_ms, started_at, transaction_id)
        if found is None:
            continue
        if purpose.startswith("Tx"):
            transaction_limit = found  # TxProfile comes after, and overrules, TxDefaultProfile (K01.FR.38)
        else:
            limits.append(found)
    if transaction_limit is not None:
        limits.append(transaction_limit)
    return min(limits, default=None)


def _highest(
    installed: tuple[Installed, ...],
    purpose: str,
    evse_id: int,
    now_ms: int,
    started_at: int | None,
    transaction_id: str | None,
) -> float | None:
    """The limit of the highest stack level of this purpose that has one now."""
    best: tuple[int, float] | None = None
    for item in installed:
        if item.purpose != purpose or item.evse_id not in (0, evse_id):
            continue
        if purpose == "TxProfile" and item.profile.get("transactionId") not in (None, transaction_id):
            continue
        limit = _of_profile(item.profile, now_ms, started_at)
        if limit is not None and (best is None or item.stack_level > best[0]):
            best = item.stack_level, limit
    return best[1] if best else None


def _of_profile(profile: Json, now_ms: int, started_at: int | None) -> float | None:
    if "validFrom" in profile and now_ms < milliseconds(profile["validFrom"]):
        return None
    if "validTo" in profile and now_ms >= milliseconds(profile["validTo"]):
        return None
    schedule = profile["chargingSchedule"][0]
    offset_s = _offset_s(profile, schedule, now_ms, started_at)
    if offset_s is None or offset_s < 0 or offset_s >= schedule.get("duration", float("inf")):
        return None
    limit = None
    for period in schedule["chargingSchedulePeriod"]:
        if period["startPeriod"] <= offset_s:
            phases = period.get("numberPhases", 3)
            limit = float(period["limit"]) * (1 if schedule["chargingRateUnit"] == "W" else VOLTS * phases)
    return limit


def _offset_s(profile: Json, schedule: Json, now_ms: int, started_at: int | None) -> float | None:
    """Seconds since the schedule began; None if it has no beginning yet."""
    start_ms = milliseconds(schedule["startSchedule"]) if "startSchedule" in schedule else started_at
    match profile["chargingProfileKind"]:
        case "Recurring" if start_ms is not None:
            cycle_ms = DAY_MS * (7 if profile.get("recurrencyKind") == "Weekly" else 1)
            return ((now_ms - start_ms) % cycle_ms) / 1000 if now_ms >= start_ms else None
        case "Relative":
            start_ms = started_at
    return None if start_ms is None else (now_ms - start_ms) / 1000


def composite(
    installed: tuple[Installed, ...],
    evse_id: int,
    now_ms: int,
    duration_s: int,
    unit: str,
    max_power_w: float,
    started_at: int | None,
    transaction_id: str | None,
) -> list[Json]:
    """The ChargingSchedulePeriods that GetCompositeSchedule answers, from now on (K08)."""
    periods: list[Json] = []
    previous: float | None = None
    for offset_s in sorted(_boundaries(installed, now_ms, duration_s, started_at)):
        limit = limit_w(installed, evse_id, now_ms + offset_s * 1000, started_at, transaction_id)
        watts = max_power_w if limit is None else min(limit, max_power_w)
        if watts != previous:
            value = watts if unit == "W" else watts / (VOLTS * 3)
            periods.append({"startPeriod": offset_s, "limit": round(value, 1)})
            previous = watts
    return periods


def _boundaries(installed: tuple[Installed, ...], now_ms: int, duration_s: int, started_at: int | None) -> set[int]:
    """Seconds from now at which a limit may change, within the duration; at most 1000."""
    found = {0}
    for item in installed:
        schedule = item.profile["chargingSchedule"][0]
        offset_s = _offset_s(item.profile, schedule, now_ms, started_at)
        starts = [p["startPeriod"] for p in schedule["chargingSchedulePeriod"]]
        starts += [schedule["duration"]] if "duration" in schedule else []
        found |= {int(s - offset_s) for s in starts} if offset_s is not None else set()
        if "startSchedule" in schedule:
            begins_s = (milliseconds(schedule["startSchedule"]) - now_ms) // 1000
            found |= {begins_s + s for s in starts}
            if item.profile["chargingProfileKind"] == "Recurring":
                found |= {(begins_s + s) % (DAY_MS // 1000) for s in starts}
        for edge in ("validFrom", "validTo"):
            if edge in item.profile:
                found.add((milliseconds(item.profile[edge]) - now_ms) // 1000)
    return set(sorted(s for s in found if 0 <= s < duration_s)[:1000])
