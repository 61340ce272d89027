"""Remote start and stop over HTTP: what the station is sent for them (F01 to F04, K05)."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest
from fastapi import APIRouter

from ocppcore import topics
from ocppcore.clock import system_clock
from ocppcore.envelope import ConnectionChange, connection_record, parse_outbound
from ocppcore.http.commands import CommandDesk, Registered
from ocppcore.http.commands import router as commands_router
from ocppcore.log import TopicPartition
from ocppcore.pseudonym import Pseudonyms
from ocppcore.seal import Seal
from ocppcore.store import Store
from services.transactions.api import router
from services.transactions.service import build
from tests.support.served import PARTITIONS, Served, served

PSEUDONYMS = Pseudonyms(b"pseudonym key")
SEAL = Seal(b"s" * 32, "outbound frames")
SLOT = 1
TOKEN = {"idToken": "ABC", "type": "ISO14443"}
PROFILE = {
    "id": 1,
    "stackLevel": 0,
    "chargingProfilePurpose": "TxProfile",
    "chargingProfileKind": "Relative",
    "chargingSchedule": [
        {"id": 1, "chargingRateUnit": "A", "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 16}]}
    ],
}


@pytest.fixture
async def api() -> AsyncIterator[Served]:
    """With CS-1 connected."""

    async def registered(station: str) -> Registered | None:
        return Registered(id="CS-1") if station == "cs-1" else None

    def routers(store: Store) -> Sequence[APIRouter]:
        desk = CommandDesk("transactions", store, registered, PSEUDONYMS, SEAL)
        return [router(store, desk, PSEUDONYMS), commands_router(desk)]

    async with served(build(PSEUDONYMS), routers) as made:
        there = ConnectionChange(
            identity="CS-1", slot=SLOT, claim=0, connected=True, subprotocol="ocpp2.0.1", at=system_clock()
        )
        await made.log.append([connection_record(there, PARTITIONS)])
        async with asyncio.timeout(5):
            while "Connection" not in {key.kind for key in made.store.tables.states}:
                await asyncio.sleep(0.01)
        yield made


async def sent(api: Served, path: str, body: Mapping[str, Any]) -> tuple[str, Any]:
    """Action and payload of the frame that the station is sent for this."""
    answer = await api.client.post(path, json=body, headers={"Prefer": "respond-async"})
    assert answer.status_code == 202, answer.text
    reader = api.log.reader()
    reader.assign({TopicPartition(topics.OUTBOUND, SLOT): 0})
    (record,) = await reader.fetch(10, 5)
    out = parse_outbound(record)
    frame = SEAL.open(out.frame, out.message_id.encode()) if out.sealed else out.frame
    _, _, action, payload = json.loads(frame)
    return action, payload


@pytest.mark.requirement("F01.FR.04", "F02.FR.12")
async def test_a_remote_start_carries_the_token_and_a_number(api: Served) -> None:
    action, payload = await sent(api, "/stations/CS-1/remote-start", {"idToken": TOKEN})
    assert action == "RequestStartTransaction"
    assert payload.pop("remoteStartId") > 0
    assert payload == {"idToken": TOKEN}


@pytest.mark.requirement("F01.FR.04", "F02.FR.12")
async def test_a_remote_start_without_a_token_is_refused(api: Served) -> None:
    refused = await api.client.post("/stations/CS-1/remote-start", json={"evseId": 1})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "body.idToken")
    assert api.records(topics.OUTBOUND) == []


@pytest.mark.requirement("F01.FR.06", "F02.FR.14")
async def test_a_remote_start_may_name_an_evse(api: Served) -> None:
    _, payload = await sent(api, "/stations/CS-1/remote-start", {"idToken": TOKEN, "evseId": 2})
    assert payload["evseId"] == 2


@pytest.mark.requirement("F01.FR.08", "F02.FR.16", "K05.FR.01")
async def test_a_remote_start_may_carry_a_charging_profile(api: Served) -> None:
    _, payload = await sent(api, "/stations/CS-1/remote-start", {"idToken": TOKEN, "chargingProfile": PROFILE})
    assert payload["chargingProfile"] == PROFILE


@pytest.mark.requirement("F01.FR.09", "F02.FR.17", "K05.FR.02")
@pytest.mark.parametrize("purpose", ["TxDefaultProfile", "ChargingStationMaxProfile"])
async def test_a_profile_of_another_purpose_is_refused(api: Served, purpose: str) -> None:
    body = {"idToken": TOKEN, "chargingProfile": PROFILE | {"chargingProfilePurpose": purpose}}
    refused = await api.client.post("/stations/CS-1/remote-start", json=body)
    assert refused.status_code == 422
    assert "chargingProfilePurpose" in refused.text
    assert api.records(topics.OUTBOUND) == []


@pytest.mark.requirement("F01.FR.11", "F02.FR.19")
async def test_a_profile_with_a_transaction_id_is_refused(api: Served) -> None:
    body = {"idToken": TOKEN, "chargingProfile": PROFILE | {"transactionId": "T1"}}
    refused = await api.client.post("/stations/CS-1/remote-start", json=body)
    assert refused.status_code == 422
    assert "transactionId" in refused.text
    assert api.records(topics.OUTBOUND) == []


@pytest.mark.requirement("F03.FR.01", "F04.FR.01")
async def test_a_remote_stop_carries_the_transaction_id_as_it_was_spelled(api: Served) -> None:
    action, payload = await sent(api, "/stations/CS-1/remote-stop", {"transactionId": "Tx-ABC"})
    assert (action, payload) == ("RequestStopTransaction", {"transactionId": "Tx-ABC"})
