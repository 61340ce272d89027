"""Commands over HTTP are sent as they were written, and refused by field where the schema says so."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from fastapi import APIRouter

from ocppcore import topics
from ocppcore.clock import system_clock
from ocppcore.commands import ENDED, VARIABLES
from ocppcore.contracts.device import Limit
from ocppcore.envelope import ConnectionChange, Frame, FrameKind, connection_record, frame_record, parse_outbound
from ocppcore.http.commands import CommandDesk, Registered
from ocppcore.http.commands import router as commands_router
from ocppcore.log import TopicPartition
from ocppcore.pseudonym import Pseudonyms
from ocppcore.rpc import Malformed, parse
from ocppcore.seal import Seal
from ocppcore.store import Store
from services.device.service import build
from tests.support.served import PARTITIONS, Served, served

SEAL = Seal(b"s" * 32, "outbound frames")
SLOT = 1
LIMITS = {"GetVariables": Limit(items=1), "DataTransfer": Limit(bytes=10)}


@pytest.fixture
async def api() -> AsyncIterator[Served]:
    """With CS-1 connected."""

    async def registered(station: str) -> Registered | None:
        return Registered(id="CS-1", limits=LIMITS) if station == "cs-1" else None

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


VENDOR = {"vendorId": "V"}
WANTED = {"component": {"name": "OCPPCommCtrlr"}, "variable": {"name": "HeartbeatInterval"}}


@pytest.mark.parametrize(
    ("action", "payload", "warned"),
    [
        ("GetVariables", {"getVariableData": [WANTED]}, []),
        (
            "GetVariables",
            {"getVariableData": [WANTED, WANTED]},
            ["getVariableData: 2 items, this station takes 1 in one GetVariables"],
        ),
        ("DataTransfer", {"vendorId": "V"}, ["16 bytes, this station takes 10 in one DataTransfer"]),
        ("SetMonitoringLevel", {"severity": 10}, ["severity: outside 0 to 9 (N05.FR.02)"]),
    ],
)
async def test_a_command_beyond_a_limit_is_sent_with_a_warning(
    api: Served, action: str, payload: dict[str, Any], warned: list[str]
) -> None:
    raw = json.dumps(payload, separators=(",", ":")).encode()
    headers = {"Prefer": "respond-async", "Content-Type": "application/json"}
    answer = await api.client.post(f"/stations/cs-1/commands/{action}", content=raw, headers=headers)
    assert answer.status_code == 202, answer.text
    reader = api.log.reader()
    reader.assign({TopicPartition(topics.OUTBOUND, SLOT): 0})
    (record,) = await reader.fetch(10, 5)
    assert json.loads(parse_outbound(record).frame)[3] == payload
    (event,) = [r for r in api.records(topics.events("device")) if r.headers["ce_type"] == "device.CommandAsked.v1"]
    command = (await api.client.get(f"/commands/{json.loads(event.value)['command_id']}")).json()
    assert (command["warnings"], command["stationId"], command["payload"]) == (warned, "CS-1", payload)


async def answered(api: Served, frame: str, action: str = "DataTransfer", payload: object = VENDOR) -> bytes:
    """What the API says of a command to CS-1 that the station answers with this, ID being the command's id."""
    asking = asyncio.create_task(api.client.post(f"/stations/CS-1/commands/{action}", json=payload))
    reader = api.log.reader()
    reader.assign({TopicPartition(topics.OUTBOUND, SLOT): 0})
    async with asyncio.timeout(5):
        while not (records := await reader.fetch(10, 5)):
            pass
    (record,) = records
    id_ = parse_outbound(record).message_id
    raw = frame.replace("ID", id_).encode()
    read = parse(raw)
    kind: FrameKind = "malformed" if isinstance(read, Malformed) else "result" if raw.startswith(b"[3") else "error"
    sent = Frame("cs-1", "CS-1", SLOT, 0, 1, "ocpp2.0.1", system_clock(), kind, id_, action, "", raw, "")
    await api.log.append([frame_record(sent, "device", PARTITIONS)])
    posted = await asking
    got = await api.client.get(f"/commands/{id_}")
    assert (posted.status_code, got.status_code) == (200, 200), posted.text
    assert posted.content == got.content
    return got.content


@pytest.mark.parametrize("number", ["1e999", "-1E+400", "9" * 400, "1e99999999999999999999", "1.50"])
async def test_an_answer_is_shown_with_the_numbers_it_came_with(api: Served, number: str) -> None:
    result = await answered(api, '[3,"ID",{"status":"Accepted","data":{"n":NUMBER}}]'.replace("NUMBER", number))
    assert b'"response":{"status":"Accepted","data":{"n":%s}}' % number.encode() in result


async def test_the_details_of_a_call_error_are_shown_with_the_numbers_they_came_with(api: Served) -> None:
    result = await answered(api, '[4,"ID","InternalError","broken",{"n":1e999}]')
    assert b'"details":{"n":1e999}' in result


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        ('[3,"ID"]', "CALLRESULT is not [3, id, object]"),
        ('[3,"ID",7]', "CALLRESULT is not [3, id, object]"),
        ('[4,"ID","",null,null]', "CALLERROR is not [4, id, code, description, object]"),
    ],
)
async def test_an_answer_that_is_no_message_ends_the_command_and_says_why(api: Served, frame: str, reason: str) -> None:
    shown = json.loads(await answered(api, frame))
    assert shown["status"] == "error"
    assert shown["error"] == {"code": "FormatViolation", "description": f"the answer is malformed: {reason}"}
    assert shown["response"] == frame.replace("ID", shown["commandId"])


@pytest.mark.requirement("GEN.FR.05")
async def test_results_that_come_later_are_shown_with_the_command(api: Served) -> None:
    wanted = {"requestId": 5, "reportBase": "FullInventory"}
    shown = json.loads(await answered(api, '[3,"ID",{"status":"Accepted"}]', "GetBaseReport", wanted))
    results = shown["results"]
    assert results.pop("changedAt") == shown["endedAt"]
    assert results == {"action": "NotifyReport", "requestId": 5, "messages": 0, "status": None, "complete": False}

    for n, number in enumerate((6, 5)):  # the first is of a request that nobody knows
        report = {"requestId": number, "generatedAt": "2026-01-01T00:00:00Z", "seqNo": 0}
        raw = json.dumps([2, f"r{n}", "NotifyReport", report]).encode()
        frame = Frame(
            "cs-1", "CS-1", SLOT, 0, 2 + n, "ocpp2.0.1", system_clock(), "call", f"r{n}", "NotifyReport", "", raw, ""
        )
        await api.log.append([frame_record(frame, "device", PARTITIONS)])
    async with asyncio.timeout(10):
        while not shown["results"].get("complete"):
            await asyncio.sleep(0.01)
            shown = (await api.client.get(f"/commands/{shown['commandId']}")).json()
        while len(kept := _kept(api, "ReportReceived")) < 2:  # rows are there a moment before the log has the events
            await asyncio.sleep(0.01)
    assert shown["results"]["messages"] == 1
    assert [(one.get("command_id"), one.get("unsolicited")) for one in kept] == [
        (None, True),
        (shown["commandId"], None),
    ]


def _kept(api: Served, event: str) -> list[dict[str, object]]:
    """The events of this type that are in the log."""
    return [json.loads(r.value) for r in api.records(topics.events("device")) if event in r.headers["ce_type"]]


async def test_a_command_that_has_no_later_results_shows_none(api: Served) -> None:
    assert "results" not in json.loads(await answered(api, '[3,"ID",{"status":"Accepted"}]'))


@pytest.mark.requirement("I01.FR.02")
async def test_the_answer_to_get_variables_reaches_the_registry_too(api: Served) -> None:
    said = (
        '{"getVariableResult":[{"attributeStatus":"UnknownVariable","component":{"name":"C"},"variable":{"name":"V"}}]}'
    )
    shown = json.loads(await answered(api, f'[3,"ID",{said}]', "GetVariables", {"getVariableData": [WANTED]}))
    reader = api.log.reader()
    reader.assign({TopicPartition(topics.requests("device"), n): 0 for n in range(PARTITIONS)})
    told: list[dict[str, Any]] = []
    async with asyncio.timeout(5):
        while not told:
            told = [json.loads(one.value) for one in await reader.fetch(50, 5) if one.headers["ce_type"] == ENDED]
    assert (told[0]["command_id"], told[0]["reference"]) == (shown["commandId"], VARIABLES)
