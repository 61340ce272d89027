"""Every CSMS-initiated action has a valid answer (the bench judges each frame), whatever the station is doing."""

from importlib import resources
from typing import Any

import pytest

from simulator.commands import ROUTES
from simulator.inputs import PlugIn, PresentToken
from simulator.outbox import Registration

from ..bench import TOKEN, booted, judge
from .samples import REQUESTS

STATION_TO_CSMS = {
    "Authorize",
    "BootNotification",
    "ClearedChargingLimit",
    "FirmwareStatusNotification",
    "Get15118EVCertificate",
    "GetCertificateStatus",
    "Heartbeat",
    "LogStatusNotification",
    "MeterValues",
    "NotifyChargingLimit",
    "NotifyCustomerInformation",
    "NotifyDisplayMessages",
    "NotifyEVChargingNeeds",
    "NotifyEVChargingSchedule",
    "NotifyEvent",
    "NotifyMonitoringReport",
    "NotifyReport",
    "PublishFirmwareStatusNotification",
    "ReportChargingProfiles",
    "ReservationStatusUpdate",
    "SecurityEventNotification",
    "SignCertificate",
    "StatusNotification",
    "TransactionEvent",
}


def test_every_action_that_a_csms_may_send_has_a_handler_and_a_sample() -> None:
    schemas = resources.files("ocpp") / "v201" / "schemas"
    actions = {f.name.removesuffix("Request.json") for f in schemas.iterdir() if f.name.endswith("Request.json")}
    assert set(ROUTES) == actions - STATION_TO_CSMS
    assert {action for action, _ in REQUESTS} == set(ROUTES)


@pytest.mark.parametrize(("action", "payload"), REQUESTS)
@pytest.mark.parametrize("busy", [False, True])
def test_every_request_gets_a_valid_answer_and_what_follows_is_valid(
    action: str, payload: dict[str, Any], busy: bool
) -> None:
    bench = booted(evses=2, connectors=2)
    if busy:
        bench.do(PlugIn(1))
        bench.do(PresentToken(1, TOKEN))
        bench.run(10)
    answer = bench.ask(action, payload)
    assert "error" not in answer
    judge(f"{action}Response", answer)
    bench.run(300)


def test_an_unknown_action_is_not_implemented() -> None:
    assert booted().ask("MakeCoffee", {}) == {"error": "NotImplemented"}


@pytest.mark.parametrize("action", sorted(ROUTES))
def test_a_payload_that_fits_no_schema_gets_an_error_or_an_answer_and_harms_nothing(action: str) -> None:
    for payload in ({"idToken": 3, "evse": "x", "id": "x"}, {"evseId": 99, "chargingProfile": {}, "message": []}):
        bench = booted()
        bench.ask(action, payload, valid=False)
        assert bench.station.registration is Registration.ACCEPTED
        bench.run(30)
