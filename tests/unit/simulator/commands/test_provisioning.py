from typing import Any

import pytest

from simulator.inputs import PlugIn, PresentToken, Unplug

from ..bench import TOKEN, Bench, booted
from .samples import HEARTBEAT, NOWHERE, STATE


def got(bench: Bench, *what: dict[str, Any]) -> list[tuple[str, str | None]]:
    results = bench.ask("GetVariables", {"getVariableData": list(what)})["getVariableResult"]
    return [(r["attributeStatus"], r.get("attributeValue")) for r in results]


def test_variables_are_read_with_the_status_the_standard_asks_for() -> None:
    password = {"component": {"name": "SecurityCtrlr"}, "variable": {"name": "BasicAuthPassword"}}
    no_variable = {"component": {"name": "securityctrlr"}, "variable": {"name": "Heat"}}
    assert got(
        booted(), HEARTBEAT, STATE, NOWHERE, no_variable, {**HEARTBEAT, "attributeType": "Target"}, password
    ) == [
        ("Accepted", "300"),
        ("Accepted", "Available"),
        ("UnknownComponent", None),
        ("UnknownVariable", None),
        ("NotSupportedAttributeType", None),
        ("Rejected", None),
    ]


def test_what_is_set_is_read_again_and_takes_effect() -> None:
    bench = booted()
    data = [
        {**HEARTBEAT, "attributeValue": "10"},
        {**HEARTBEAT, "attributeValue": "soon"},
        {**STATE, "attributeValue": "Faulted"},
    ]
    results = bench.ask("SetVariables", {"setVariableData": data})["setVariableResult"]
    assert [r["attributeStatus"] for r in results] == ["Accepted", "Rejected", "Rejected"]
    assert got(bench, HEARTBEAT) == [("Accepted", "10")]
    bench.run(101)
    assert len(bench.sent("Heartbeat")) == 10


def test_too_many_items_are_refused_as_a_whole() -> None:
    answer = booted().ask("GetVariables", {"getVariableData": [HEARTBEAT] * 51})
    assert answer == {"error": "OccurrenceConstraintViolation"}


def test_a_new_password_makes_it_reconnect_with_it() -> None:
    bench = booted(password="old-password-0123456789")
    variable = {"component": {"name": "SecurityCtrlr"}, "variable": {"name": "BasicAuthPassword"}}
    data = [{**variable, "attributeValue": "new-password-0123456789"}]
    assert bench.ask("SetVariables", {"setVariableData": data})["setVariableResult"][0]["attributeStatus"] == "Accepted"
    bench.run(2)
    assert bench.station.password == "new-password-0123456789"
    assert len(bench.dialled_at) == 2
    assert bench.station.online


@pytest.mark.parametrize("base", ["FullInventory", "ConfigurationInventory", "SummaryInventory"])
def test_a_report_comes_in_numbered_parts(base: str) -> None:
    bench = booted(evses=2)
    assert bench.ask("GetBaseReport", {"requestId": 5, "reportBase": base}) == {"status": "Accepted"}
    bench.run(2)
    parts = bench.sent("NotifyReport")
    assert [p["seqNo"] for p in parts] == list(range(len(parts)))
    assert [p["tbc"] for p in parts] == [True] * (len(parts) - 1) + [False]
    assert {p["requestId"] for p in parts} == {5}
    names = [(r["component"]["name"], r["variable"]["name"]) for p in parts for r in p["reportData"]]
    assert (("TxCtrlr", "TxStartPoint") in names) == (base != "SummaryInventory")
    assert (("EVSE", "AvailabilityState") in names) == (base != "ConfigurationInventory")


def test_a_report_about_nothing_is_empty() -> None:
    answer = booted().ask("GetReport", {"requestId": 1, "componentVariable": [NOWHERE]})
    assert answer == {"status": "EmptyResultSet"}


def test_an_immediate_reset_ends_transactions_and_reboots() -> None:
    bench = booted()
    bench.do(PlugIn(1))
    bench.do(PresentToken(1, TOKEN))
    bench.run(10)
    assert bench.ask("Reset", {"type": "Immediate"}) == {"status": "Accepted"}
    bench.run(60)
    ended = bench.events[-1]
    assert (ended["triggerReason"], ended["transactionInfo"]["stoppedReason"]) == ("ResetCommand", "ImmediateReset")
    assert bench.sent("BootNotification")[-1]["reason"] == "RemoteReset"
    assert [a for a, _ in bench.calls].index("TransactionEvent") < len(bench.calls)
    last_boot = len(bench.calls) - 1 - [a for a, _ in bench.calls][::-1].index("BootNotification")
    assert last_boot > max(i for i, (a, _) in enumerate(bench.calls) if a == "TransactionEvent")


def test_a_reset_on_idle_waits_for_the_transaction() -> None:
    bench = booted()
    bench.do(PlugIn(1))
    bench.do(PresentToken(1, TOKEN))
    bench.run(10)
    assert bench.ask("Reset", {"type": "OnIdle"}) == {"status": "Scheduled"}
    bench.run(100)
    assert len(bench.sent("BootNotification")) == 1
    bench.do(PresentToken(1, TOKEN))
    bench.do(Unplug(1))
    bench.run(60)
    assert len(bench.sent("BootNotification")) == 2


def test_clock_aligned_values_come_on_the_clock() -> None:
    bench = booted(evses=2)
    bench.do(PlugIn(1))
    bench.do(PresentToken(1, TOKEN))
    bench.run(5)
    interval = {"component": {"name": "AlignedDataCtrlr"}, "variable": {"name": "Interval"}}
    bench.ask("SetVariables", {"setVariableData": [{**interval, "attributeValue": "900"}]})
    bench.run(1801)
    assert len(bench.sent("MeterValues")) == 2
    assert {m["evseId"] for m in bench.sent("MeterValues")} == {2}
    assert all(m["meterValue"][0]["timestamp"][14:16] in ("00", "15", "30", "45") for m in bench.sent("MeterValues"))
    assert sum(e["triggerReason"] == "MeterValueClock" for e in bench.events) == 2
