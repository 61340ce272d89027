"""What is doubtful about a payload that its schema lets pass: the limits of the station, the rules of the standard.

A command is sent verbatim all the same; its resource carries these warnings. Pure: payload and registration in, text
out. A warning names the field and the rule, never an idToken or a password.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Context, Decimal
from itertools import chain, islice, pairwise
from typing import Any, Final

import msgspec

from ocppcore.contracts.device import Limit
from ocppcore.topics import normalise
from ocppcore.wire import NUMBER_DECIMALS_TO_STATION_MAX, NUMBER_DIGITS_MAX, read_number

ITEMS: Final = {
    "GetVariables": "getVariableData",
    "SetVariables": "setVariableData",
    "GetReport": "componentVariable",
    "GetMonitoringReport": "componentVariable",
    "SetVariableMonitoring": "setMonitoringData",
    "ClearVariableMonitoring": "id",
    "SendLocalList": "localAuthorizationList",
}
"""Which list of an action ItemsPerMessage counts (B05.FR.11, B06.FR.05, B08.FR.06, D01.FR.11, N02.FR.07, N04.FR.09,
N06.FR.04)."""

UNFOLLOWED: Final[Mapping[str, str]] = {
    "ReserveNow": "the CSMS keeps no reservation of this; POST /transactions/stations/{id}/reservations does",
    "CancelReservation": "the CSMS does not note this; DELETE /transactions/stations/{id}/reservations/{reservationId} "
    "does",
    "RequestStartTransaction": "its effect is not waited for; POST /transactions/stations/{id}/remote-start does",
    "RequestStopTransaction": "its effect is not waited for; POST /transactions/stations/{id}/remote-stop does",
}
"""Said of an action that was sent by itself, while there is an operation that sends it and follows what comes of it."""

WARNINGS_MAX: Final = 20
PASSWORD_CHARACTERS: Final = (16, 40)
SEVERITY_MAX: Final = 9

Payload = Mapping[str, Any]
_DIGITS: Final = Context(prec=NUMBER_DIGITS_MAX)
_json = msgspec.json.Decoder(float_hook=Decimal)


def warnings(action: str, payload: bytes, limits: Mapping[str, Limit]) -> tuple[str, ...]:
    """About a payload that fits its schema, as it goes out; `limits`: the station's as registered. At most 20."""
    content = _json.decode(payload)
    doubts = chain(
        _beyond(action, content, len(payload), limits.get(action)),
        CHECKS.get(action, _nothing)(content),
        _fine(content, ""),
    )
    return tuple(islice(doubts, WARNINGS_MAX))


def _beyond(action: str, content: Payload, size: int, limit: Limit | None) -> Iterator[str]:
    if limit is None:
        return
    name = ITEMS.get(action)
    items = content.get(name) if name else None
    if limit.items is not None and isinstance(items, list) and len(items) > limit.items:
        yield f"{name}: {len(items)} items, this station takes {limit.items} in one {action}"
    if limit.bytes is not None and size > limit.bytes:
        yield f"{size} bytes, this station takes {limit.bytes} in one {action}"


def _nothing(_: Payload) -> Iterator[str]:
    yield from ()


def _variables(content: Payload) -> Iterator[str]:
    data = content["setVariableData"]
    for n, one in enumerate(data):
        low, high = PASSWORD_CHARACTERS
        is_password = normalise(one["variable"]["name"]) == "basicauthpassword"
        if is_password and not low <= len(one["attributeValue"]) <= high:
            yield f"setVariableData[{n}].attributeValue: a password has {low} to {high} characters (A00.FR.205)"
    if _repeats((_named(one), one.get("attributeType", "Actual")) for one in data):
        yield "setVariableData: the same variable and attribute more than once (B05.FR.13)"
    yield from _transaction_points(data)


def _named(one: Payload) -> tuple[object, ...]:
    component, variable = one["component"], one["variable"]
    evse = component.get("evse") or {}
    names = (component["name"], component.get("instance", ""), variable["name"], variable.get("instance", ""))
    return (*map(normalise, names), evse.get("id"), evse.get("connectorId"))


def _local_list(content: Payload) -> Iterator[str]:
    if content["versionNumber"] <= 0:
        yield "versionNumber: must be greater than 0 (D01.FR.18)"
    tokens = [one["idToken"] for one in content.get("localAuthorizationList", ())]
    if _repeats((token["type"], normalise(token["idToken"])) for token in tokens):
        yield "localAuthorizationList: the same idToken more than once (D01.FR.06)"


def _severity(content: Payload) -> Iterator[str]:
    if not 0 <= content["severity"] <= SEVERITY_MAX:
        yield f"severity: outside 0 to {SEVERITY_MAX} (N05.FR.02)"


def _monitors(content: Payload) -> Iterator[str]:
    for n, one in enumerate(content["setMonitoringData"]):
        if not 0 <= one["severity"] <= SEVERITY_MAX:
            yield f"setMonitoringData[{n}].severity: outside 0 to {SEVERITY_MAX}"


def _trigger(content: Payload) -> Iterator[str]:
    if content["requestedMessage"] == "StatusNotification" and "connectorId" not in content.get("evse", {}):
        yield "evse.connectorId: a StatusNotification is asked of one connector (F06.FR.13)"


def _transaction_points(data: list[Any]) -> Iterator[str]:
    """Start and stop points that go together (E03.FR.05), as far as this message sets both of them."""
    points = {normalise(one["variable"]["name"]): one for one in data if _is_transaction_point(one)}
    start, stop = points.get("txstartpoint"), points.get("txstoppoint")
    if start is None or stop is None:
        return
    starts, stops = _members(start["attributeValue"]), _members(stop["attributeValue"])
    if not stops:
        yield "setVariableData: TxStopPoint is empty, a transaction would not end (E06)"
    if "authorized" in starts and "authorized" not in stops:
        yield (
            "setVariableData: TxStartPoint Authorized without TxStopPoint Authorized: a transaction whose cable is "
            "never plugged in would not end (E03.FR.05)"
        )


def _is_transaction_point(one: Payload) -> bool:
    return normalise(one["component"]["name"]) == "txctrlr" and one.get("attributeType", "Actual") == "Actual"


def _members(value: str) -> set[str]:
    return {normalise(part.strip()) for part in value.split(",") if part.strip()}


def _filters(content: Payload) -> Iterator[str]:
    criterion = content["chargingProfile"]
    if not {"chargingProfileId", "stackLevel", "chargingProfilePurpose", "chargingLimitSource"} & criterion.keys():
        yield "chargingProfile: ids, or at least one other filter (K09.FR.03)"


def _remote_start(content: Payload) -> Iterator[str]:
    profile = content.get("chargingProfile")
    if profile is None:
        return
    if profile["chargingProfilePurpose"] != "TxProfile":
        yield "chargingProfile.chargingProfilePurpose: must be TxProfile (F01.FR.09)"
    if "transactionId" in profile:
        yield "chargingProfile.transactionId: must be absent (F01.FR.11)"
    yield from _profile(profile)


def _set_profile(content: Payload) -> Iterator[str]:
    profile, evse = content["chargingProfile"], content["evseId"]
    match profile["chargingProfilePurpose"]:
        case "TxProfile":
            if "transactionId" not in profile:
                yield "chargingProfile.transactionId: a TxProfile names its transaction (K01.FR.03)"
            if evse == 0:
                yield "evseId: a TxProfile is for an EVSE above 0 (K01.FR.16)"
        case "ChargingStationMaxProfile" if evse != 0:
            yield "evseId: a ChargingStationMaxProfile is for EVSE 0 (K04.FR.03)"
        case "ChargingStationExternalConstraints":
            yield "chargingProfile.chargingProfilePurpose: external constraints are not set by a CSMS (K01.FR.22)"
    yield from _profile(profile)


def _profile(profile: Payload) -> Iterator[str]:
    kind = profile["chargingProfileKind"]
    if kind == "Relative" and profile["chargingProfilePurpose"] == "ChargingStationMaxProfile":
        yield "chargingProfile.chargingProfileKind: a ChargingStationMaxProfile is never Relative (K01.FR.38)"
    for n, schedule in enumerate(profile["chargingSchedule"]):
        at = f"chargingProfile.chargingSchedule[{n}]"
        if kind == "Relative" and "startSchedule" in schedule:
            yield f"{at}.startSchedule: must be absent where the profile is Relative (K01.FR.41)"
        if kind != "Relative" and "startSchedule" not in schedule:
            yield f"{at}.startSchedule: must be there where the profile is {kind} (K01.FR.40)"
        yield from _periods(f"{at}.chargingSchedulePeriod", schedule["chargingSchedulePeriod"])


def _periods(at: str, periods: list[Any]) -> Iterator[str]:
    starts = [period["startPeriod"] for period in periods]
    if starts[0] != 0:
        yield f"{at}[0].startPeriod: must be 0 (K01.FR.31)"
    if any(after <= before for before, after in pairwise(starts)):
        yield f"{at}: must be ordered by startPeriod (K01.FR.35)"
    for n, period in enumerate(periods):
        if _decimals(period["limit"]) > 1:
            yield f"{at}[{n}].limit: more than one digit after the point (ChargingSchedulePeriodType)"
        if "phaseToUse" in period and period.get("numberPhases") != 1:
            yield f"{at}[{n}].phaseToUse: only with numberPhases 1 (K01.FR.19)"


def _fine(value: object, at: str) -> Iterator[str]:
    """A decimal to a station has at most six decimal places (Part 2, 2.1.4); customData and data are vendors' own."""
    if isinstance(value, Decimal) and _decimals(value) > NUMBER_DECIMALS_TO_STATION_MAX:
        yield f"{at}: more than {NUMBER_DECIMALS_TO_STATION_MAX} digits after the point (Part 2, 2.1.4)"
    elif isinstance(value, list):
        for n, item in enumerate(value):
            yield from _fine(item, f"{at}[{n}]")
    elif isinstance(value, dict):
        for name, item in value.items():
            if name not in ("customData", "data"):
                yield from _fine(item, f"{at}.{name}" if at else name)


def _decimals(value: object) -> int:
    """How many digits after the point a number has, of the 36 that count."""
    _, digits, exponent = _DIGITS.normalize(read_number(value)).as_tuple()
    return max(0, -int(exponent)) if any(digits) else 0


def _repeats(values: Iterable[object]) -> bool:
    known = list(values)
    return len(set(known)) < len(known)


CHECKS: Final[Mapping[str, Callable[[Payload], Iterator[str]]]] = {
    "SetVariables": _variables,
    "SendLocalList": _local_list,
    "SetMonitoringLevel": _severity,
    "SetVariableMonitoring": _monitors,
    "GetChargingProfiles": _filters,
    "RequestStartTransaction": _remote_start,
    "TriggerMessage": _trigger,
    "SetChargingProfile": _set_profile,
}
"""Rules of the standard that the payload alone can break."""
