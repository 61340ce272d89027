"""Variables, reports, network profiles and resets (block B)."""

from typing import TYPE_CHECKING

from ..device_model import Key, Variable
from ..frames import Json, rfc3339
from ..networks import PRIORITY
from .answer import Answer, TooMany, parts, status

if TYPE_CHECKING:
    from ..station import Station


def _at_most(station: "Station", action: str, items: list[Json]) -> None:
    limit = station.model.integer("DeviceDataCtrlr", "ItemsPerMessage", action)
    if len(items) > limit:
        raise TooMany(f"{action} takes at most {limit} items, not {len(items)}")


def get_variables(station: "Station", request: Json) -> Answer:
    """B06."""
    wanted: list[Json] = request["getVariableData"]
    _at_most(station, "GetVariables", wanted)
    return Answer({"getVariableResult": [_got(station, item) for item in wanted]})


def _got(station: "Station", item: Json) -> Json:
    result: Json = {"component": item["component"], "variable": item["variable"]}
    if "attributeType" in item:
        result["attributeType"] = item["attributeType"]
    verdict, variable = _find(station, item)
    if variable is not None and variable.mutability == "WriteOnly":
        verdict = "Rejected"  # B06.FR.09
    result["attributeStatus"] = verdict
    if verdict == "Accepted" and variable is not None:
        result["attributeValue"] = station.model.value(variable)
    return result


def _find(station: "Station", item: Json) -> tuple[str, Variable | None]:
    """The GetVariable/SetVariableStatus of a look-up, and what was found."""
    key = Key.read(item["component"], item["variable"])
    variable = station.model.find(key)
    if variable is None:
        return ("UnknownVariable" if station.model.has_component(key) else "UnknownComponent"), None
    if item.get("attributeType", "Actual") != "Actual":
        return "NotSupportedAttributeType", None
    return "Accepted", variable


def set_variables(station: "Station", request: Json) -> Answer:
    """B05, A01 (BasicAuthPassword)."""
    wanted: list[Json] = request["setVariableData"]
    _at_most(station, "SetVariables", wanted)
    results: list[Json] = []
    changed: list[tuple[Variable, str]] = []
    for item in wanted:
        verdict, variable = _find(station, item)
        value = str(item["attributeValue"])
        if variable is not None and (variable.mutability == "ReadOnly" or not _takes(station, variable, value)):
            verdict = "Rejected"
        elif variable is not None:
            station.model.put(variable.key, value)
            changed.append((variable, value))
        result: Json = {
            "attributeStatus": verdict,
            "component": item["component"],
            "variable": item["variable"],
        }
        if "attributeType" in item:
            result["attributeType"] = item["attributeType"]
        results.append(result)
    return Answer({"setVariableResult": results}, lambda: _take_effect(station, changed))


def _takes(station: "Station", variable: Variable, value: str) -> bool:
    return variable.allows(value) and (variable.key != PRIORITY or station.networks.allows(value))


def _take_effect(station: "Station", changed: list[tuple[Variable, str]]) -> None:
    for variable, value in changed:
        match variable.key.component, variable.key.variable:
            case "SecurityCtrlr", "BasicAuthPassword":
                station.password = value
                station.hang_up()  # reconnect with the new credentials (A01)
                station.set_timer("dial", 0, 100)
            case "OCPPCommCtrlr", "HeartbeatInterval":
                station.boot.schedule_heartbeat()
            case "SampledDataCtrlr", "TxUpdatedInterval":
                for evse in station.evses:
                    if evse.transaction is not None:
                        evse.schedule_sample()
            case "AlignedDataCtrlr", "Interval":
                schedule_aligned(station)


def schedule_aligned(station: "Station") -> None:
    """The next clock-aligned reading, counted from midnight UTC (J01)."""
    interval_ms = station.model.integer("AlignedDataCtrlr", "Interval") * 1000
    if interval_ms:
        station.set_timer("aligned", 0, interval_ms - station.now % interval_ms)
    else:
        station.clear_timer("aligned", 0)


def get_base_report(station: "Station", request: Json) -> Answer:
    """B07."""
    request_id = int(request["requestId"])
    match request["reportBase"]:
        case "FullInventory":
            found = list(station.model)
        case "ConfigurationInventory":
            found = [v for v in station.model if v.mutability != "ReadOnly"]
        case "SummaryInventory":
            found = [v for v in station.model if v.key.variable in ("AvailabilityState", "Problem")]
        case _:
            return status("NotSupported")
    return status("Accepted", then=lambda: _notify_report(station, request_id, found))


def get_report(station: "Station", request: Json) -> Answer:
    """B08."""
    request_id = int(request["requestId"])
    found = [v for v in station.model if _selected(v, request.get("componentVariable"))]
    criteria = request.get("componentCriteria")
    if criteria is not None:
        found = [v for v in found if v.key.variable in criteria and station.model.value(v) == "true"]
    if not found:
        return status("EmptyResultSet")
    return status("Accepted", then=lambda: _notify_report(station, request_id, found))


def _selected(variable: Variable, wanted: list[Json] | None) -> bool:
    if wanted is None:
        return True
    own = variable.key.folded()
    for item in wanted:
        name = item.get("variable") or {"name": variable.key.variable, "instance": variable.key.instance}
        key = Key.read(item["component"], name).folded()
        evse_fits = key.evse_id in (None, own.evse_id) and key.connector_id in (None, own.connector_id)
        if evse_fits and (key.component, key.variable) == (own.component, own.variable):
            return True
    return False


def _notify_report(station: "Station", request_id: int, found: list[Variable]) -> None:
    reports = [station.model.report(variable) for variable in found]
    for seq_no, more, part in parts(reports):
        payload: Json = {
            "requestId": request_id,
            "generatedAt": rfc3339(station.now),
            "seqNo": seq_no,
            "tbc": more,
            "reportData": part,
        }
        station.send("NotifyReport", payload, triggered=True)


def set_network_profile(station: "Station", request: Json) -> Answer:
    """B09: kept, and used once NetworkConfigurationPriority names its slot, after a reboot."""
    data = request["connectionData"]
    slot, url = int(request["configurationSlot"]), str(data["ocppCsmsUrl"])
    reason = station.networks.put(slot, url, int(data["securityProfile"]))
    return status("Accepted") if reason is None else status("Rejected", reason)


def reset(station: "Station", request: Json) -> Answer:
    """B11, B12."""
    evse_id = request.get("evseId")
    evses = station.evses if evse_id is None else [station.evse(evse_id)]
    busy = [evse for evse in evses if evse.transaction is not None]
    if request["type"] == "OnIdle" and busy:
        station.books["reset"] = evse_id or 0
        return status("Scheduled")

    def restart() -> None:
        for evse in busy:
            evse.abort("ResetCommand", "ImmediateReset")
        finish_reset(station, evse_id or 0)

    return status("Accepted", then=restart)


def finish_reset(station: "Station", evse_id: int) -> None:
    """Restarts the station (0), or one EVSE, whose connectors are reported again."""
    if evse_id:
        station.evse(evse_id).reported.clear()
        station.report_status(station.evse(evse_id))
    else:
        station.boot.reboot("RemoteReset")


def transaction_ended(station: "Station") -> None:
    """A reset that waited for idleness may be due (B12.FR.03)."""
    scheduled = station.books.get("reset")
    if scheduled is None:
        return
    evses = [station.evse(scheduled)] if scheduled else station.evses
    if all(evse.transaction is None for evse in evses):
        del station.books["reset"]
        finish_reset(station, scheduled)
