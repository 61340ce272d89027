"""No idToken stays in an event because a token reader reported it."""

import json
from typing import Any

import pytest

from services.device.service import PARTS
from tests.support.given import World


def said(outcome: Any) -> str:
    return "".join(bytes(event.payload).decode() for event in outcome.events if hasattr(event, "payload"))


@pytest.mark.parametrize("component", ["TokenReader", "tokenreader"])
def test_a_token_that_a_reader_reports_is_hidden(component: str) -> None:
    data = {
        "eventId": 1,
        "timestamp": "2026-01-01T10:00:00Z",
        "trigger": "Delta",
        "actualValue": "SECRET-TOKEN",
        "eventNotificationType": "HardWiredNotification",
        "component": {"name": component},
        "variable": {"name": "Token"},
    }
    payload = {"generatedAt": "2026-01-01T10:00:00Z", "seqNo": 0, "eventData": [data]}
    outcome = World("device", PARTS).call("NotifyEvent", payload)
    assert "SECRET-TOKEN" not in said(outcome) and json.loads(said(outcome))["eventData"][0]["eventId"] == 1


def test_a_report_of_it_is_hidden_too() -> None:
    data = {
        "component": {"name": "TokenReader"},
        "variable": {"name": "Token"},
        "variableAttribute": [{"value": "SECRET-TOKEN", "mutability": "ReadOnly"}],
    }
    payload = {"requestId": 1, "generatedAt": "2026-01-01T10:00:00Z", "seqNo": 0, "reportData": [data]}
    assert "SECRET-TOKEN" not in said(World("device", PARTS).call("NotifyReport", payload))
