"""What other messages of stations leave behind: their answer, and an event without secrets or people."""

import json

import pytest

from ocppcore.v201 import DataTransferResponse
from services.device.service import PARTS
from tests.support.given import World

AT = "2023-11-14T22:00:00Z"

KEPT: list[tuple[str, str, dict[str, object]]] = [
    ("FirmwareStatusNotification", "FirmwareStatusReported", {"status": "Installing", "requestId": 4}),
    ("FirmwareStatusNotification", "FirmwareStatusReported", {"status": "Idle"}),
    ("PublishFirmwareStatusNotification", "PublishFirmwareStatusReported", {"status": "Downloading", "requestId": 4}),
    ("LogStatusNotification", "LogStatusReported", {"status": "Uploaded", "requestId": 1}),
    ("NotifyReport", "ReportReceived", {"requestId": 1, "generatedAt": AT, "seqNo": 0}),
    ("NotifyMonitoringReport", "MonitoringReportReceived", {"requestId": 1, "generatedAt": AT, "seqNo": 0}),
    ("NotifyDisplayMessages", "DisplayMessagesReported", {"requestId": 1, "tbc": False}),
    (
        "NotifyReport",
        "ReportReceived",
        {"requestId": 1, "generatedAt": AT, "seqNo": 0, "customData": {"vendorId": "v", "x": 1}},
    ),
]


@pytest.mark.requirement("L01.FR.20")
@pytest.mark.parametrize(("action", "event", "payload"), KEPT)
def test_the_message_is_answered_empty_and_kept(action: str, event: str, payload: dict[str, object]) -> None:
    outcome = World("device", PARTS).call(action, payload)
    (kept,) = outcome.events
    assert f"device.{event}.v1" == kept.TYPE
    assert json.loads(bytes(kept.payload)) == payload  # type: ignore[attr-defined]
    assert json.loads(outcome.reply.model_dump_json()) == {}  # type: ignore[union-attr]


def test_a_report_hides_the_values_of_write_only_variables() -> None:
    variable = {
        "component": {"name": "SecurityCtrlr"},
        "variable": {"name": "BasicAuthPassword"},
        "variableAttribute": [
            {"value": "hush", "mutability": "WriteOnly"},
            {"value": "seen", "mutability": "ReadOnly"},
        ],
    }
    payload = {"requestId": 1, "generatedAt": AT, "seqNo": 0, "reportData": [variable]}
    (event,) = World("device", PARTS).call("NotifyReport", payload).events
    text = bytes(event.payload).decode()  # type: ignore[attr-defined]
    assert "hush" not in text
    assert "seen" in text


def test_information_about_a_customer_is_not_kept() -> None:
    payload = {"data": "Jane Doe, card 123", "seqNo": 0, "generatedAt": AT, "requestId": 9}
    (event,) = World("device", PARTS).call("NotifyCustomerInformation", payload).events
    kept = json.loads(bytes(event.payload))  # type: ignore[attr-defined]
    assert kept == {"requestId": 9, "seqNo": 0, "tbc": False}


@pytest.mark.requirement("P02.FR.06")
def test_data_transfer_of_an_unknown_vendor_is_refused_and_its_data_left() -> None:
    outcome = World("device", PARTS).call("DataTransfer", {"vendorId": "org.x", "messageId": "m", "data": {"a": "b"}})
    assert outcome.reply == DataTransferResponse(status="UnknownVendorId")
    (event,) = outcome.events
    assert json.loads(bytes(event.payload)) == {"vendorId": "org.x", "messageId": "m"}  # type: ignore[attr-defined]
