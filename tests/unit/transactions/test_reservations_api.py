"""Reservations over HTTP: what the station is sent, what is answered, what is refused."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi import APIRouter

from ocppcore import topics
from ocppcore.authorization import TokenState
from ocppcore.clock import system_clock
from ocppcore.contracts.device import ConnectorSpec, ConnectorState, EvseSpec, StationState, connector_key
from ocppcore.envelope import ConnectionChange, Frame, connection_record, frame_record, parse_outbound
from ocppcore.http.commands import CommandDesk, Registered
from ocppcore.http.commands import router as commands_router
from ocppcore.log import TopicPartition
from ocppcore.pseudonym import Pseudonyms
from ocppcore.seal import Seal
from ocppcore.store import Store
from services.transactions.reservations_api import router
from services.transactions.service import build
from tests.support.served import PARTITIONS, Served, put_state, served

PSEUDONYMS = Pseudonyms(b"pseudonym key")
SEAL = Seal(b"s" * 32, "outbound frames")
SLOT = 1
TOKEN = {"idToken": "04SECRET99", "type": "ISO14443"}
EVSES = (EvseSpec(id=1, connectors=(ConnectorSpec(id=1, type="cCCS2"),)),)


def body(**more: Any) -> dict[str, Any]:
    until = datetime.now(UTC) + timedelta(hours=1)
    return {"idToken": TOKEN, "expiryDateTime": until.isoformat(), **more}


@pytest.fixture
async def api() -> AsyncIterator[Served]:
    """With CS-1 connected."""

    async def registered(station: str) -> Registered | None:
        return Registered(id="CS-1", evses=EVSES) if station == "cs-1" else None

    def routers(store: Store) -> Sequence[APIRouter]:
        desk = CommandDesk("transactions", store, registered, PSEUDONYMS, SEAL)
        return [router(store, desk, PSEUDONYMS), commands_router(desk)]

    async with served(build(PSEUDONYMS), routers) as made:
        state = StationState(id="CS-1", security_profile=1, credential=None, registration="Accepted", evses=EVSES)
        await put_state(made.log, topics.STATIONS, "cs-1", state)
        token = TokenState(type="ISO14443", status="Accepted")
        await put_state(made.log, topics.TOKENS, PSEUDONYMS.of("ISO14443", "04SECRET99"), token)
        there = ConnectionChange(
            identity="CS-1", slot=SLOT, claim=0, connected=True, subprotocol="ocpp2.0.1", at=system_clock()
        )
        await made.log.append([connection_record(there, PARTITIONS)])
        async with asyncio.timeout(5):
            while "Connection" not in {key.kind for key in made.store.tables.states}:
                await asyncio.sleep(0.01)
        yield made


async def station(api: Served, answers: Sequence[str], *, shows: str = "") -> list[tuple[str, Any]]:
    """A station that gives these answers to what it is sent; returns what that was."""
    reader = api.log.reader()
    heard: list[tuple[str, Any]] = []
    reader.assign({TopicPartition(topics.OUTBOUND, SLOT): 0})
    while len(heard) < len(answers):
        for record in await reader.fetch(1, 5):
            out = parse_outbound(record)
            frame = SEAL.open(out.frame, out.message_id.encode()) if out.sealed else out.frame
            _, id_, action, payload = json.loads(frame)
            if shows:
                shown = ConnectorState(status=shows, at=system_clock())  # type: ignore[arg-type]
                await put_state(api.log, topics.CONNECTORS, connector_key("cs-1", 1, 1), shown)
            said = json.dumps([3, id_, {"status": answers[len(heard)]}]).encode()
            heard.append((action, payload))
            answer = Frame(
                station="cs-1",
                identity="CS-1",
                slot=SLOT,
                claim=0,
                epoch=out.epoch,
                n=len(heard),
                subprotocol="ocpp2.0.1",
                received_at=system_clock(),
                frame=said,
                kind="result",
                message_id=id_,
                action=action,
                refused="",
                traceparent="",
            )
            await api.log.append([frame_record(answer, "transactions", PARTITIONS)])
    return heard


async def test_a_reservation_is_made_shown_listed_and_given_up(api: Served) -> None:
    async with asyncio.TaskGroup() as group:
        there = group.create_task(station(api, ["Accepted", "Accepted"], shows="Reserved"))
        made = await api.client.post("/stations/CS-1/reservations", json=body(evseId=1))
        assert made.status_code == 200, made.text
        shown = made.json()
        assert (shown["state"], shown["shown"], shown["evseId"]) == ("active", True, 1)
        place = f"/stations/CS-1/reservations/{shown['reservationId']}"
        assert made.headers["Location"] == f"/transactions{place}"
        assert (await api.client.get(place)).json() == shown
        for path in ("/stations/CS-1/reservations", "/reservations?state=active&evseId=1"):
            assert (await api.client.get(path)).json()["items"] == [shown]
        assert (await api.client.get("/reservations?state=expired")).json()["items"] == []
        gone = await api.client.delete(place)
        assert (gone.status_code, gone.json()["state"]) == (200, "cancelled")
    (reserve, payload), cancel = there.result()
    assert reserve == "ReserveNow"
    assert (payload["idToken"], payload["evseId"], payload["id"] > 0) == (TOKEN, 1, True)
    assert cancel == ("CancelReservation", {"reservationId": payload["id"]})
    assert "04SECRET99" not in json.dumps(shown)
    assert "04SECRET99" not in api.everything()


async def test_what_the_station_said_is_told(api: Served) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(station(api, ["Occupied"]))
        made = await api.client.post("/reservations", json=body(stationId="CS-1"))
    assert (made.status_code, made.json()["state"], made.json()["reason"]) == (200, "rejected", "Occupied")


async def test_it_need_not_be_waited_for(api: Served) -> None:
    answer = await api.client.post("/stations/CS-1/reservations", json=body(), headers={"Prefer": "respond-async"})
    assert answer.status_code == 202


REFUSED: Mapping[str, tuple[dict[str, Any], int]] = {
    "the past": ({"expiryDateTime": "2020-01-01T00:00:00Z"}, 422),
    "no zone": ({"expiryDateTime": "2099-01-01T00:00:00"}, 422),
    "too far ahead": ({"expiryDateTime": "2099-01-01T00:00:00Z"}, 422),
    "EVSE 0": ({"evseId": 0}, 422),
    "a negative EVSE": ({"evseId": -1}, 422),
    "an EVSE that is not there": ({"evseId": 2}, 422),
    "a type that is none": ({"connectorType": "schuko"}, 422),
    "a type that is not there": ({"connectorType": "cTesla"}, 422),
    "an id of 0": ({"reservationId": 0}, 422),
    "an id of no reservation": ({"reservationId": 7}, 404),
    "a token that nobody knows": ({"idToken": {"idToken": "XYZ", "type": "ISO14443"}}, 409),
    "a group that it is not in": ({"groupIdToken": {"idToken": "G", "type": "Central"}}, 409),
}


@pytest.mark.parametrize(("more", "status"), REFUSED.values(), ids=REFUSED)
async def test_what_cannot_be_is_refused_before_anything_is_sent(
    api: Served, more: dict[str, Any], status: int
) -> None:
    refused = await api.client.post("/stations/CS-1/reservations", json=body() | more)
    assert refused.status_code == status, refused.text
    assert refused.headers["content-type"] == "application/problem+json"
    assert api.records(topics.OUTBOUND) == []
    assert (await api.client.get("/reservations")).json()["items"] == []


async def test_other_stations_and_their_ids_are_unknown(api: Served) -> None:
    assert (await api.client.post("/stations/CS-2/reservations", json=body())).status_code == 404
    assert (await api.client.delete("/stations/CS-2/reservations/5")).status_code == 404
    assert (await api.client.delete("/stations/CS-1/reservations/5")).status_code == 404
    assert (await api.client.get("/stations/CS-1/reservations/5")).status_code == 404
    assert (await api.as_("viewer").post("/stations/CS-1/reservations", json=body())).status_code == 403


async def test_a_raw_reserve_now_is_sent_and_says_which_api_keeps_reservations(api: Served) -> None:
    raw = {"id": 7, "expiryDateTime": "2036-01-01T00:00:00Z", "idToken": {"idToken": "04SECRET99", "type": "ISO14443"}}
    async with asyncio.TaskGroup() as group:
        group.create_task(station(api, ["Accepted", "Accepted"]))
        sent = await api.client.post("/stations/CS-1/commands/ReserveNow", json=raw)
        assert (sent.status_code, sent.json()["status"]) == (200, "answered"), sent.text
        (warning,) = sent.json()["warnings"]
        assert "POST /transactions/stations/{id}/reservations" in warning
        kept = await api.client.post("/stations/CS-1/reservations", json=body(evseId=1))
    assert kept.status_code == 200, kept.text
    assert len((await api.client.get("/reservations")).json()["items"]) == 1
