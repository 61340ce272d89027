"""Variable monitoring (block N): monitors are kept; periodic ones and those on a connector's state report
events."""

from typing import TYPE_CHECKING, Any

from ..device_model import Key
from ..evse import Evse
from ..frames import Json, rfc3339
from .answer import Answer, TooMany, book, parts, status

if TYPE_CHECKING:
    from ..station import Station

MONITORS_MAX = 200
_CRITERIA = {
    "UpperThreshold": "ThresholdMonitoring",
    "LowerThreshold": "ThresholdMonitoring",
    "Delta": "DeltaMonitoring",
    "Periodic": "PeriodicMonitoring",
    "PeriodicClockAligned": "PeriodicMonitoring",
}


def set_monitoring_base(station: "Station", request: Json) -> Answer:
    """N05. There are no hard-wired or factory monitors: All keeps the custom ones, the other bases remove
    them."""
    base = request["monitoringBase"]
    return status("Accepted", then=lambda: None if base == "All" else _remove_all(station))


def _remove_all(station: "Station") -> None:
    for monitor_id in list(book(station, "monitors")):
        _remove(station, monitor_id)


def _remove(station: "Station", monitor_id: int) -> None:
    del book(station, "monitors")[monitor_id]
    station.clear_timer("monitor", monitor_id)


def set_monitoring_level(station: "Station", request: Json) -> Answer:
    """N06."""
    severity = int(request["severity"])
    if not 0 <= severity <= 9:
        return status("Rejected", "ValueOutOfRange")
    station.books["severity"] = severity
    return status("Accepted")


def set_variable_monitoring(station: "Station", request: Json) -> Answer:
    """N04."""
    wanted: list[Json] = request["setMonitoringData"]
    if len(wanted) > station.model.integer("MonitoringCtrlr", "ItemsPerMessage", "SetVariableMonitoring"):
        raise TooMany(f"SetVariableMonitoring with {len(wanted)} items")
    return Answer({"setMonitoringResult": [_set(station, item) for item in wanted]})


def _set(station: "Station", item: Json) -> Json:
    monitors = book(station, "monitors")
    key = Key.read(item["component"], item["variable"])
    result: Json = {name: item[name] for name in ("component", "variable", "type", "severity")}
    if station.model.find(key) is None:
        known = station.model.has_component(key)
        result["status"] = "UnknownVariable" if known else "UnknownComponent"
        return result
    replaced = item.get("id")
    same = [i for i, m in monitors.items() if _slot(m) == _slot(item) and i != replaced]
    if same:
        result["status"] = "Duplicate"
    elif (
        not 0 <= item["severity"] <= 9
        or len(monitors) >= MONITORS_MAX
        or (replaced is not None and replaced not in monitors)
        or (item["type"] == "Delta" and item["value"] < 0)
    ):
        result["status"] = "Rejected"
    else:
        monitor_id = replaced if replaced is not None else max(monitors, default=0) + 1
        monitors[monitor_id] = {**item, "id": monitor_id}
        result |= {"status": "Accepted", "id": monitor_id}
        _schedule(station, monitor_id)
    return result


def _slot(item: Json) -> tuple[Any, ...]:
    """What may exist once: a variable, a type and a severity."""
    return (Key.read(item["component"], item["variable"]).folded(), item["type"], item["severity"])


def _schedule(station: "Station", monitor_id: int) -> None:
    monitor = book(station, "monitors")[monitor_id]
    if monitor["type"] in ("Periodic", "PeriodicClockAligned"):
        station.set_timer("monitor", monitor_id, max(1000, int(monitor["value"] * 1000)))


def clear_variable_monitoring(station: "Station", request: Json) -> Answer:
    """N07."""
    results: list[Json] = []
    for monitor_id in map(int, request["id"]):
        known = monitor_id in book(station, "monitors")
        if known:
            _remove(station, monitor_id)
        results.append({"id": monitor_id, "status": "Accepted" if known else "NotFound"})
    return Answer({"clearMonitoringResult": results})


def get_monitoring_report(station: "Station", request: Json) -> Answer:
    """N02, N03."""
    criteria = request.get("monitoringCriteria")
    names = request.get("componentVariable")
    request_id = int(request["requestId"])
    found = [
        m
        for m in book(station, "monitors").values()
        if (criteria is None or _CRITERIA[m["type"]] in criteria)
        and (names is None or any(_names(item, m) for item in names))
    ]
    if not found:
        return status("EmptyResultSet")
    return status("Accepted", then=lambda: _report(station, request_id, found))


def _names(item: Json, monitor: Json) -> bool:
    variable = item.get("variable")
    return bool(item["component"] == monitor["component"] and variable in (None, monitor["variable"]))


def _report(station: "Station", request_id: int, found: list[Json]) -> None:
    items: list[Json] = []
    for monitor in found:
        setting = {name: monitor[name] for name in ("id", "value", "type", "severity")}
        setting["transaction"] = monitor.get("transaction", False)
        items.append(
            {
                "component": monitor["component"],
                "variable": monitor["variable"],
                "variableMonitoring": [setting],
            }
        )
    for seq_no, more, part in parts(items):
        payload: Json = {
            "requestId": request_id,
            "generatedAt": rfc3339(station.now),
            "seqNo": seq_no,
            "tbc": more,
            "monitor": part,
        }
        station.send("NotifyMonitoringReport", payload)


def periodic(station: "Station", monitor_id: int) -> None:
    """A periodic monitor is due (N08)."""
    monitor = book(station, "monitors").get(monitor_id)
    if monitor is not None:
        _notify(station, monitor, "Periodic")
        _schedule(station, monitor_id)


def status_changed(station: "Station", evse: Evse, connector_id: int) -> None:
    """A connector's AvailabilityState changed: Delta monitors on it report (N07, G01)."""
    if "monitors" not in station.books:
        return
    keys = (
        Key("Connector", "AvailabilityState", None, None, evse.id, connector_id).folded(),
        Key("EVSE", "AvailabilityState", None, None, evse.id).folded(),
    )
    for monitor in list(book(station, "monitors").values()):
        if monitor["type"] == "Delta" and _slot(monitor)[0] in keys:
            _notify(station, monitor, "Delta")


def _notify(station: "Station", monitor: Json, trigger: str) -> None:
    if monitor["severity"] > station.books.get("severity", 9):
        return
    found = station.model.find(Key.read(monitor["component"], monitor["variable"]))
    assert found is not None, "a monitor is only kept on a known variable"
    station.books["event-id"] = event_id = station.books.get("event-id", 0) + 1
    event: Json = {
        "eventId": event_id,
        "timestamp": rfc3339(station.now),
        "trigger": trigger,
        "actualValue": station.model.value(found),
        "eventNotificationType": "CustomMonitor",
        "variableMonitoringId": monitor["id"],
        "component": monitor["component"],
        "variable": monitor["variable"],
    }
    payload: Json = {
        "generatedAt": rfc3339(station.now),
        "seqNo": 0,
        "tbc": False,
        "eventData": [event],
    }
    station.send("NotifyEvent", payload)
