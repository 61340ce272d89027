"""What a station's reports say of it that other services go by: whether it shows tariffs and messages (I01.FR.02)."""

from collections.abc import Iterable
from typing import Final

import msgspec
from pydantic import MISSING

from ocppcore.contracts.device import StationChanged
from ocppcore.service import Context, View
from ocppcore.tariff import SHOWING_COMPONENTS
from ocppcore.v201 import NotifyReportRequest
from services.device.domain.station import changes, station_of

AVAILABLE: Final = "available"
_TRUTH: Final = {"true": True, "false": False}


def heard(request: NotifyReportRequest, view: View, context: Context) -> Iterable[StationChanged]:
    """The registry entry with what this report adds; none where it says nothing new."""
    state = station_of(view, context.station).state
    if state is None or request.reportData is MISSING:
        return ()
    found = dict(state.reported)
    for data in request.reportData:
        name = SHOWING_COMPONENTS.get(data.component.name.casefold())
        if name is None or data.variable.name.casefold() != AVAILABLE:
            continue
        for attribute in data.variableAttribute:
            truth = _TRUTH.get(str(attribute.value).casefold())
            if truth is not None:
                found[name] = truth
    return changes(state, msgspec.structs.replace(state, reported=found), context)  # type: ignore[return-value]
