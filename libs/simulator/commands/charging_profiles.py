"""Smart charging (block K): the profiles limit what the EVs get."""

from typing import TYPE_CHECKING

from ..evse import Evse
from ..frames import Json, rfc3339
from ..smart_charging import Installed, composite, replaces
from .answer import Answer, status

if TYPE_CHECKING:
    from ..station import Station

PROFILES_MAX = 100


def set_charging_profile(station: "Station", request: Json) -> Answer:
    """K01."""
    new = Installed(int(request["evseId"]), request["chargingProfile"])
    wrong = _wrong_with(station, new)
    if wrong is not None:
        return status("Rejected", wrong)
    kept = tuple(old for old in station.profiles if not replaces(new, old))
    if len(kept) >= PROFILES_MAX:
        return status("Rejected", "TooManyElements")
    return status("Accepted", then=lambda: _put(station, (*kept, new)))


def _wrong_with(station: "Station", new: Installed) -> str | None:
    """The reason code of a refusal, or None."""
    if not 0 <= new.evse_id <= len(station.evses):
        return "UnknownEvse"
    if not 0 <= new.stack_level <= station.model.integer("SmartChargingCtrlr", "ProfileStackLevel"):
        return "InvalidStackLevel"
    match new.purpose:
        case "TxProfile":
            running = station.evse(new.evse_id).transaction if new.evse_id else None
            if running is None or running.id != new.profile.get("transactionId"):
                return "TxNotFound"  # K01.FR.09
        case "ChargingStationMaxProfile" if new.evse_id != 0:
            return "InvalidProfile"
        case "ChargingStationExternalConstraints":
            return "InvalidProfile"
    periods = new.profile["chargingSchedule"][0]["chargingSchedulePeriod"]
    return None if periods[0]["startPeriod"] == 0 else "InvalidSchedule"


def _put(station: "Station", profiles: tuple[Installed, ...]) -> None:
    station.profiles = profiles
    for evse in station.evses:
        evse.limit_changed()


def clear_charging_profile(station: "Station", request: Json) -> Answer:
    """K10."""
    criteria = request.get("chargingProfileCriteria", {})
    wanted = {
        "id": request.get("chargingProfileId"),
        "evse_id": criteria.get("evseId"),
        "purpose": criteria.get("chargingProfilePurpose"),
        "stack_level": criteria.get("stackLevel"),
    }
    found = [p for p in station.profiles if _matches(p, wanted)]
    if not found:
        return status("Unknown")
    kept = tuple(p for p in station.profiles if p not in found)
    return status("Accepted", then=lambda: _put(station, kept))


def _matches(installed: Installed, wanted: Json) -> bool:
    return all(value is None or getattr(installed, name) == value for name, value in wanted.items())


def get_charging_profiles(station: "Station", request: Json) -> Answer:
    """K09."""
    request_id, criteria = int(request["requestId"]), request["chargingProfile"]
    wanted = {
        "evse_id": request.get("evseId"),
        "purpose": criteria.get("chargingProfilePurpose"),
        "stack_level": criteria.get("stackLevel"),
    }
    ids = criteria.get("chargingProfileId")
    found = [p for p in station.profiles if _matches(p, wanted) and (ids is None or p.id in ids)]
    if "CSO" not in criteria.get("chargingLimitSource", ["CSO"]) or not found:
        return status("NoProfiles")
    return status("Accepted", then=lambda: _report(station, request_id, found))


def _report(station: "Station", request_id: int, found: list[Installed]) -> None:
    evse_ids = sorted({p.evse_id for p in found})
    for evse_id in evse_ids:
        payload: Json = {
            "requestId": request_id,
            "chargingLimitSource": "CSO",
            "evseId": evse_id,
            "chargingProfile": [p.profile for p in found if p.evse_id == evse_id],
            "tbc": evse_id != evse_ids[-1],
        }
        station.send("ReportChargingProfiles", payload)


def get_composite_schedule(station: "Station", request: Json) -> Answer:
    """K08."""
    evse_id, duration_s = int(request["evseId"]), int(request["duration"])
    unit = request.get("chargingRateUnit", "W")
    if not 0 <= evse_id <= len(station.evses) or duration_s <= 0:
        return status("Rejected", "UnknownEvse" if duration_s > 0 else "InvalidValue")
    running = station.evse(evse_id).transaction if evse_id else None
    started_at, transaction_id = (running.started_at, running.id) if running else (station.now, None)
    most = station.config.max_power_w * (1 if evse_id else len(station.evses))
    periods = composite(station.profiles, evse_id, station.now, duration_s, unit, most, started_at, transaction_id)
    schedule = {
        "evseId": evse_id,
        "duration": duration_s,
        "scheduleStart": rfc3339(station.now),
        "chargingRateUnit": unit,
        "chargingSchedulePeriod": periods,
    }
    return Answer({"status": "Accepted", "schedule": schedule})


def transaction_ended(station: "Station", evse: Evse) -> None:
    """The TxProfiles of a transaction end with it (K01)."""
    station.profiles = tuple(p for p in station.profiles if p.purpose != "TxProfile" or p.evse_id != evse.id)
