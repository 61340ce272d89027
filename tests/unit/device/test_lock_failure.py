"""NotifyEvent about a connector lock that failed (G05), and from a monitor (N08)."""

import json

import pytest

from services.device.service import PARTS
from tests.support.given import World

AT = "2023-11-14T22:00:00Z"


def notify(component: str, variable: str, **more: object) -> dict[str, object]:
    data = {
        "eventId": 1,
        "timestamp": AT,
        "trigger": "Alerting",
        "actualValue": "true",
        "eventNotificationType": "HardWiredNotification",
        "component": {"name": component, "evse": {"id": 1, "connectorId": 1}},
        "variable": {"name": variable},
    }
    return {"generatedAt": AT, "seqNo": 0, "eventData": [data | more]}


@pytest.mark.requirement("G05.FR.03")
def test_a_lock_failure_is_kept_and_answered_empty() -> None:
    payload = notify("ConnectorPlugRetentionLock", "Problem")
    outcome = World("device", PARTS).call("NotifyEvent", payload)
    assert json.loads(outcome.reply.model_dump_json()) == {}  # type: ignore[union-attr]
    assert [json.loads(bytes(event.payload)) for event in outcome.events] == [payload]  # type: ignore[attr-defined]


@pytest.mark.requirement("N08.FR.02")
def test_a_periodic_monitor_is_kept_and_answered_empty() -> None:
    payload = notify("EVSE", "Power", trigger="Periodic", eventNotificationType="CustomMonitor", variableMonitoringId=4)
    outcome = World("device", PARTS).call("NotifyEvent", payload)
    assert json.loads(outcome.reply.model_dump_json()) == {}  # type: ignore[union-attr]
    assert len(outcome.events) == 1
