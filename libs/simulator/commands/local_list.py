"""Local Authorization List (block D) and cache (C11)."""

import json
from typing import TYPE_CHECKING, Final

from ..authorization import LIST_MAX
from ..frames import Json
from .answer import Answer, status

if TYPE_CHECKING:
    from ..station import Station


COMPONENT: Final = "LocalAuthListCtrlr"


def send_local_list(station: "Station", request: Json) -> Answer:
    """D01: within the limits that the device model tells (D01.FR.11, D01.FR.12)."""
    model = station.model
    if not model.flag(COMPONENT, "Enabled"):
        return status("Failed", "NotEnabled")
    items = len(request.get("localAuthorizationList", ()))
    if items > model.integer(COMPONENT, "ItemsPerMessage"):
        return status("Failed", "TooManyElements")
    if len(json.dumps(request, separators=(",", ":"))) > model.integer(COMPONENT, "BytesPerMessage"):
        return status("Failed", "TooLargeElement")
    return status(station.desk.known.update_list(request, LIST_MAX))


def get_local_list_version(station: "Station", _request: Json) -> Answer:
    """D02; 0 where there is no list (D02.FR.02, D02.FR.03)."""
    enabled = station.model.flag(COMPONENT, "Enabled")
    return Answer({"versionNumber": station.desk.known.version if enabled else 0})


def clear_cache(station: "Station", _request: Json) -> Answer:
    """C11."""
    if not station.model.flag("AuthCacheCtrlr", "Enabled"):
        return status("Rejected", "NotEnabled")
    station.desk.known.clear_cache()
    return status("Accepted")
