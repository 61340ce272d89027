"""A station of somebody else charges: whole sessions against real processes, embedded and on Kafka."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
from ocpp.v201 import call
from websockets.exceptions import InvalidStatus

from csms.harness import System
from tests.support.third_party import PASSWORD, Station, connected, eventually, getting, register

pytest_plugins = ["tests.support.kafka_broker", "tests.support.system"]

OPEN = ("waiting", "queued", "sending")
GROUP = {"idToken": "FLEET-7", "type": "Central"}


async def put_token(api: httpx.AsyncClient, id_token: str, **more: Any) -> None:
    answer = await api.put(f"/auth/tokens/ISO14443/{id_token}", json={"status": "Accepted", **more})
    assert answer.status_code in (200, 201), answer.text


@pytest.mark.requirement("B01.FR.02", "B01.FR.06", "G02.FR.03", "C01.FR.06", "C01.FR.07", "C09.FR.09", "C09.FR.10")
@pytest.mark.requirement("E01.FR.11", "E01.FR.12", "E02.FR.02", "E02.FR.07", "C09.FR.12", "J02.FR.19")
async def test_whole_session(system: System, api: httpx.AsyncClient) -> None:
    await register(api, "Whole-1", bootInterval=120)
    await put_token(api, "04AA11", groupIdToken=GROUP)
    async with connected(system, "Whole-1") as station:
        booted = await station.boot()
        assert (booted.status, booted.interval) == ("Accepted", 120)
        assert abs(datetime.fromisoformat(booted.current_time) - datetime.now(UTC)) < timedelta(seconds=5)
        await station.status("Available")
        beat = await station.call(call.Heartbeat())
        assert abs(datetime.fromisoformat(beat.current_time) - datetime.now(UTC)) < timedelta(seconds=5)

        accepted = (await station.authorize("04aa11")).id_token_info
        assert accepted["status"] == "Accepted"
        assert accepted["group_id_token"] == {"id_token": "FLEET-7", "type": "Central"}
        assert (await station.authorize("04FFFF")).id_token_info["status"] == "Unknown"

        await station.status("Occupied")
        started = (await station.begin("Tx-1", "04AA11", charging_state="EVConnected")).id_token_info
        assert started["status"] == "Accepted"
        assert started["group_id_token"] == {"id_token": "FLEET-7", "type": "Central"}
        await station.charge(1500.5)
        await station.charge(499.5)

        running = (await api.get("/transactions/transactions/whole-1/tx-1")).json()
        assert (running["state"], running["chargingState"]) == ("open", "Charging")
        assert Decimal(running["energyWh"]) == 2000
        await station.end(10)
        await station.status("Available")

        ended = (await api.get("/transactions/transactions/Whole-1/Tx-1")).json()
        assert (ended["stationId"], ended["transactionId"], ended["state"]) == ("Whole-1", "Tx-1", "ended")
        assert (ended["seqNos"], ended["gaps"], ended["missing"], ended["conflicts"]) == ([0, 1, 2, 3], [], 0, 0)
        assert (ended["evseId"], ended["connectorId"], ended["stoppedReason"]) == (1, 1, "Local")
        assert Decimal(ended["energyWh"]) == 2010
        listed = (await api.get("/transactions/transactions", params={"stationId": "whole-1", "state": "ended"})).json()
        assert [one["transactionId"] for one in listed["items"]] == ["Tx-1"]

        look = getting(api, "/device/stations/Whole-1")
        shown = await eventually(look, lambda found: found["connection"]["connected"])
        assert shown["connection"]["subprotocol"] == "ocpp2.0.1"
        assert shown["lastBoot"]["status"] == "Accepted"
        assert shown["lastBoot"]["chargingStation"]["vendorName"] == "Third Party"
        assert [(evse["id"], evse["connectors"][0]["status"]) for evse in shown["evses"]] == [(1, "Available")]
        history = (await api.get("/device/stations/Whole-1/status-history")).json()["items"]
        assert [one["status"] for one in history] == ["Available", "Occupied", "Available"]
    await eventually(look, lambda found: not found["connection"]["connected"])


async def test_frames_of_both_directions_are_shown_without_id_tokens(system: System, api: httpx.AsyncClient) -> None:
    await register(api, "Frames-1")
    await put_token(api, "04SECRET99")
    async with connected(system, "Frames-1") as station:
        await station.boot()
        await station.authorize("04SECRET99")
        await api.post("/device/stations/Frames-1/commands/Reset", json={"type": "Immediate"})
    page = await eventually(
        getting(api, "/gateway/stations/Frames-1/frames"),
        lambda found: {"BootNotification", "Authorize", "Reset"} <= {item["action"] for item in found["items"]},
    )
    seen = {(item["direction"], item["kind"], item["action"]) for item in page["items"]}
    assert {
        ("from", "call", "BootNotification"),
        ("to", "reply", "BootNotification"),
        ("to", "reply", "Authorize"),
        ("to", "command", "Reset"),
        ("from", "result", "Reset"),
        ("receipt", "sending", "Reset"),
    } <= seen
    assert "04SECRET99" not in json.dumps(page)
    later = (await api.get("/gateway/stations/Frames-1/frames", params={"since": page["cursor"]})).json()
    assert later["items"] == []


@pytest.mark.requirement("E02.FR.04", "C01.FR.07")
async def test_token_that_was_blocked_meanwhile_stops_being_accepted(system: System, api: httpx.AsyncClient) -> None:
    await register(api, "Blocked-1")
    await put_token(api, "04BB22")
    async with connected(system, "Blocked-1") as station:
        await station.boot()
        assert (await station.authorize("04BB22")).id_token_info["status"] == "Accepted"
        await api.put("/auth/tokens/ISO14443/04BB22", json={"status": "Blocked"})
        assert (await station.authorize("04BB22")).id_token_info["status"] == "Blocked"
        started = await eventually(lambda: station.begin("Tx-B", "04BB22"), lambda answer: answer.id_token_info)
        assert started.id_token_info["status"] == "Blocked"


@pytest.mark.requirement("F01.FR.03", "F01.FR.04", "F01.FR.06", "F02.FR.12", "F03.FR.01")
async def test_remote_start_and_stop_with_their_effects(system: System, api: httpx.AsyncClient) -> None:
    await register(api, "Remote-1")
    await put_token(api, "04CC33")
    async with connected(system, "Remote-1") as station:
        await station.boot()
        asked = {"idToken": {"idToken": "04CC33", "type": "ISO14443"}, "evseId": 1}
        start = await api.post("/transactions/stations/Remote-1/remote-start", json=asked)
        assert start.status_code == 200, start.text
        assert (start.json()["state"], start.json()["transactionId"]) == ("seen", station.transaction_id)
        shown = (await api.get(f"/transactions/transactions/Remote-1/{station.transaction_id}")).json()
        assert (shown["state"], shown["remoteStartId"]) == ("open", start.json()["remoteStartId"])

        stop = await api.post(
            "/transactions/stations/Remote-1/remote-stop", json={"transactionId": station.transaction_id}
        )
        assert (stop.status_code, stop.json()["state"]) == (200, "seen")
        ended = await eventually(
            getting(api, f"/transactions/transactions/Remote-1/{station.transaction_id}"),
            lambda found: found["state"] == "ended",
        )
        assert (ended["stoppedReason"], Decimal(ended["energyWh"])) == ("Remote", Decimal(250))
        again = await api.get(start.headers["Location"])
        assert again.json() == start.json()


@pytest.mark.requirement("B02.FR.05", "B02.FR.06", "B02.FR.09", "B01.FR.10")
async def test_pending_station_is_served_once_it_is_accepted(system: System, api: httpx.AsyncClient) -> None:
    await register(api, "Pending-1", boot="pending", bootInterval=7)
    async with connected(system, "Pending-1") as station:
        booted = await station.boot()
        assert (booted.status, booted.interval) == ("Pending", 7)
        assert await refused(station) == "SecurityError"
        asked = {"idToken": {"idToken": "04CC33", "type": "ISO14443"}, "evseId": 1, "effectWithin": 1}
        start = await api.post("/transactions/stations/Pending-1/remote-start", json=asked)
        assert start.json()["state"] == "failed", start.text
        assert (await api.patch("/device/stations/Pending-1", json={"boot": "accepted"})).status_code == 200
        assert (await station.boot()).status == "Accepted"
        assert (await station.call(call.Heartbeat())).current_time


async def refused(station: Station) -> str:
    """The code of the CALLERROR that a Heartbeat is answered with."""
    with pytest.raises(Exception) as error:
        await station.call(call.Heartbeat(), suppress=False)
    return str(getattr(error.value, "code", error.value))


# Commands


async def test_command_is_answered(system: System, api: httpx.AsyncClient) -> None:
    await register(api, "Command-1")
    wanted = {"component": {"name": "OCPPCommCtrlr"}, "variable": {"name": "HeartbeatInterval"}}
    async with connected(system, "Command-1") as station:
        await station.boot()
        answer = await api.post("/device/stations/Command-1/commands/GetVariables", json={"getVariableData": [wanted]})
        assert answer.status_code == 200, answer.text
        command = answer.json()
        assert command["status"] == "answered"
        assert command["response"]["getVariableResult"] == [
            {"attributeStatus": "Accepted", "attributeValue": "60", **wanted}
        ]
        assert (await api.get(f"/device/commands/{command['commandId']}")).json() == command

        refused = await api.post("/device/stations/Command-1/commands/Reset", json={"type": "OnIdle"})
        assert (refused.status_code, refused.json()["status"]) == (200, "answered")
        assert refused.json()["response"] == {"status": "Rejected"}


@pytest.mark.requirement("GEN.FR.05")
async def test_what_comes_of_a_command_later_is_shown_with_it(system: System, api: httpx.AsyncClient) -> None:
    await register(api, "Command-5")
    wanted = {"requestId": 9, "logType": "SecurityLog", "log": {"remoteLocation": "https://files.example/"}}
    async with connected(system, "Command-5") as station:
        await station.boot()
        asked = await api.post("/device/stations/Command-5/commands/GetLog", json=wanted)
        assert asked.json()["results"]["messages"] == 0, asked.text
        for number, status in ((8, "UploadFailure"), (9, "Uploading"), (9, "Uploaded")):
            await station.call(call.LogStatusNotification(status=status, request_id=number), suppress=False)
        found = await eventually(
            getting(api, f"/device/commands/{asked.json()['commandId']}"), lambda one: one["results"]["complete"]
        )
    assert (found["results"]["messages"], found["results"]["status"]) == (2, "Uploaded")


async def test_command_that_the_station_does_not_know(system: System, api: httpx.AsyncClient) -> None:
    await register(api, "Command-2")
    async with connected(system, "Command-2") as station:
        await station.boot()
        answer = await api.post("/device/stations/Command-2/commands/GetDisplayMessages", json={"requestId": 1})
        assert (answer.status_code, answer.json()["status"]) == (200, "error"), answer.text
        assert answer.json()["error"]["code"] in ("NotImplemented", "NotSupported")


async def test_command_that_is_never_answered(system: System, api: httpx.AsyncClient) -> None:
    await register(api, "Command-3")
    async with connected(system, "Command-3") as station:
        await station.boot()
        answer = await api.post("/auth/stations/Command-3/commands/ClearCache?answerWithin=1", json={})
        assert (answer.status_code, answer.json()["status"]) == (200, "timeout"), answer.text


async def test_command_to_a_station_that_is_away(system: System, api: httpx.AsyncClient) -> None:
    await register(api, "Command-4")
    path = "/device/stations/Command-4/commands/Reset"
    away = await api.post(path, json={"type": "Immediate"})
    assert (away.status_code, away.json()["status"]) == (200, "not_connected"), away.text
    queued = await api.post(f"{path}?queueFor=60", json={"type": "Immediate"}, headers={"Prefer": "wait=0"})
    assert queued.status_code == 202, queued.text
    waiting = await api.post(f"{path}?queueFor=60", json={"type": "OnIdle"}, headers={"Prefer": "wait=1"})
    assert (waiting.status_code, waiting.json()["status"]) == (202, "waiting"), waiting.text
    async with connected(system, "Command-4") as station:
        await station.boot()
        done = await eventually(
            getting(api, waiting.headers["Location"]),
            lambda found: found["status"] not in ("waiting", "queued", "sending"),
        )
    assert (done["status"], done["response"]) == ("answered", {"status": "Rejected"})


# At the door


@pytest.mark.parametrize(
    ("identity", "password", "status"),
    [("Door-1", "wrong-horse-battery-staple", 401), ("Door-1", "", 401), ("Nobody-1", PASSWORD, 404)],
)
async def test_strangers_stay_out(
    system: System, api: httpx.AsyncClient, identity: str, password: str, status: int
) -> None:
    if (await api.get("/device/stations/Door-1")).status_code == 404:
        await register(api, "Door-1")
    with pytest.raises(InvalidStatus) as refused:
        async with connected(system, identity, password):
            pass
    assert refused.value.response.status_code == status
    shown = (await api.get("/device/stations/Door-1")).json()
    assert shown["connection"]["connected"] is False


async def test_newer_connection_wins(system: System, api: httpx.AsyncClient) -> None:
    await register(api, "Twice-1")
    async with connected(system, "Twice-1") as first:
        await first.boot()
        async with connected(system, "Twice-1") as second:
            assert (await second.call(call.Heartbeat())).current_time
            async with asyncio.timeout(10):
                await first._connection.wait_closed()
            assert (await second.call(call.Heartbeat())).current_time
