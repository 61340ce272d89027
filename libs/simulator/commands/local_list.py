"""Local Authorization List (block D) and cache (C11)."""

from typing import TYPE_CHECKING

from ..frames import Json
from .answer import Answer, status

if TYPE_CHECKING:
    from ..station import Station


def send_local_list(station: "Station", request: Json) -> Answer:
    """D01."""
    return status(station.desk.known.update_list(request))


def get_local_list_version(station: "Station", _request: Json) -> Answer:
    """D02."""
    return Answer({"versionNumber": station.desk.known.version})


def clear_cache(station: "Station", _request: Json) -> Answer:
    """C11."""
    if not station.model.flag("AuthCacheCtrlr", "Enabled"):
        return status("Rejected", "NotEnabled")
    station.desk.known.clear_cache()
    return status("Accepted")
