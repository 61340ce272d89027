"""Commands over HTTP are sent as they were written, and refused by field where the schema says so."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from fastapi import APIRouter

from ocppcore import topics
from ocppcore.clock import system_clock
from ocppcore.envelope import ConnectionChange, connection_record, parse_outbound
from ocppcore.http.commands import CommandDesk
from ocppcore.http.commands import router as commands_router
from ocppcore.log import TopicPartition
from ocppcore.pseudonym import Pseudonyms
from ocppcore.seal import Seal
from ocppcore.store import Store
from services.device.service import build
from tests.support.served import PARTITIONS, Served, served

SEAL = Seal(b"s" * 32, "outbound frames")
SLOT = 1


@pytest.fixture
async def api() -> AsyncIterator[Served]:
    """With CS-1 connected."""

    async def registered(station: str) -> bool:
        return station == "cs-1"

    def routers(store: Store) -> Sequence[APIRouter]:
        return [commands_router(CommandDesk("device", store, registered, Pseudonyms(b"k"), SEAL))]

    async with served(build(), routers) as made:
        there = ConnectionChange(
            identity="CS-1", slot=SLOT, claim=0, connected=True, subprotocol="ocpp2.0.1", at=system_clock()
        )
        await made.log.append([connection_record(there, PARTITIONS)])
        async with asyncio.timeout(5):
            while "Connection" not in {key.kind for key in made.store.tables.states}:
                await asyncio.sleep(0.01)
        yield made


def setting(name: str, value: str) -> dict[str, Any]:
    variable = {"name": name, "instance": "TransactionEvent"}
    return {"component": {"name": "OCPPCommCtrlr"}, "variable": variable, "attributeValue": value}


@pytest.mark.parametrize(
    ("action", "payload"),
    [
        pytest.param(
            "SetVariables",
            {
                "setVariableData": [
                    setting("MessageAttempts", "5"),
                    setting("MessageAttemptInterval", "30"),
                ]
            },
            marks=pytest.mark.requirement("E13.FR.01"),
        ),
        pytest.param("TriggerMessage", {"requestedMessage": "MeterValues"}, marks=pytest.mark.requirement("F06.FR.01")),
        pytest.param(
            "TriggerMessage",
            {"requestedMessage": "StatusNotification", "evse": {"id": 1, "connectorId": 2}},
            marks=pytest.mark.requirement("F06.FR.02"),
        ),
        pytest.param(
            "DataTransfer",
            {"vendorId": "org.example", "messageId": "hello", "data": {"n": 1.50}},
            marks=pytest.mark.requirement("P01.FR.03"),
        ),
    ],
)
async def test_a_command_is_sent_verbatim(api: Served, action: str, payload: dict[str, Any]) -> None:
    answer = await api.client.post(
        f"/stations/CS-1/commands/{action}", json=payload, headers={"Prefer": "respond-async"}
    )
    assert answer.status_code == 202, answer.text
    reader = api.log.reader()
    reader.assign({TopicPartition(topics.OUTBOUND, SLOT): 0})
    (record,) = await reader.fetch(10, 5)
    kind, _, name, sent = json.loads(parse_outbound(record).frame)
    assert (kind, name, sent) == (2, action, payload)


@pytest.mark.requirement("F06.FR.01")
async def test_a_trigger_that_names_no_message_is_refused(api: Served) -> None:
    refused = await api.client.post("/stations/CS-1/commands/TriggerMessage", json={"evse": {"id": 1}})
    assert refused.status_code == 422
    assert "requestedMessage" in refused.json()["errors"][0]["field"]
    assert api.records(topics.requests("device")) == []
