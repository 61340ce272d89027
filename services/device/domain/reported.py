"""What a station says of itself, in reports and answers to GetVariables, that other services go by: whether it shows
tariffs and messages (I01.FR.02)."""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
from pydantic import MISSING

from ocppcore.command_end import Ended
from ocppcore.contracts.device import StationChanged, StationState
from ocppcore.service import NOTHING, Context, Outcome, View
from ocppcore.tariff import SHOWING_COMPONENTS
from ocppcore.v201 import GetVariablesResponse, NotifyReportRequest
from ocppcore.wire import decode
from services.device.domain.station import changes, station_of

AVAILABLE: Final = "available"
_TRUTH: Final = {"true": True, "false": False}


def heard(request: NotifyReportRequest, view: View, context: Context) -> Iterable[StationChanged]:
    """The registry entry with what this report adds; none where it says nothing new."""
    state = station_of(view, context.station).state
    if state is None or request.reportData is MISSING:
        return ()
    said = [
        (data.component.name, data.variable.name, str(attribute.value))
        for data in request.reportData
        for attribute in data.variableAttribute
    ]
    return _known(state, said, context)


def answered(body: Ended, view: View, context: Context) -> Outcome:
    """The same from an answer to GetVariables."""
    state = station_of(view, context.station).state
    if state is None or body.status != "answered":
        return NOTHING
    results = decode(GetVariablesResponse, bytes(body.response)).getVariableResult
    said = [
        (one.component.name, one.variable.name, str(one.attributeValue))
        for one in results
        if one.attributeStatus == "Accepted" and one.attributeType in (MISSING, "Actual")
    ]
    return Outcome(tuple(_known(state, said, context)))


def _known(state: StationState, said: Iterable[tuple[str, str, str]], context: Context) -> Sequence[StationChanged]:
    """`said`: component, variable, value."""
    found = dict(state.reported)
    for component, variable, value in said:
        name, truth = SHOWING_COMPONENTS.get(component.casefold()), _TRUTH.get(value.casefold())
        if name is not None and truth is not None and variable.casefold() == AVAILABLE:
            found[name] = truth
    return changes(state, msgspec.structs.replace(state, reported=found), context)  # type: ignore[return-value]
