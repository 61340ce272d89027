"""Reservations and meter values of a station of somebody else, against real processes, embedded and on Kafka."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest

from csms.harness import System
from tests.support.third_party import connected, eventually, getting, register

pytest_plugins = ["tests.support.kafka_broker", "tests.support.system"]


def body(token: str, **more: Any) -> dict[str, Any]:
    until = datetime.now(UTC) + timedelta(hours=1)
    return {"idToken": {"idToken": token, "type": "ISO14443"}, "evseId": 1, "expiryDateTime": until.isoformat(), **more}


@pytest.mark.requirement("J02.FR.17", "J01.FR.18")
async def test_an_evse_is_reserved_used_and_metered(system: System, api: httpx.AsyncClient) -> None:
    await register(api, "Reserve-1")
    for token in ("04RE01", "04RE02"):
        answer = await api.put(f"/auth/tokens/ISO14443/{token}", json={"status": "Accepted"})
        assert answer.status_code in (200, 201), answer.text
    place = "/transactions/stations/Reserve-1/reservations"
    async with connected(system, "Reserve-1") as station:
        await station.boot()
        await station.status("Available")
        made = await api.post(place, json=body("04RE01"))
        assert made.status_code == 200, made.text
        assert (made.json()["state"], made.json()["shown"]) == ("active", True)
        refused = await api.post(place, json=body("04RE02"))
        assert (refused.status_code, refused.json()["title"]) == (409, "Occupied")
        first = f"{place}/{made.json()['reservationId']}"
        assert (await api.delete(first)).json()["state"] == "cancelled"
        await eventually(getting(api, "/device/stations/Reserve-1"), lambda found: _status(found) == "Available")
        await _free(api, place, body("04RE02"))
        await station.begin("Tx-R1", "04RE02")
        (used,) = (await api.get(place, params={"state": "used"})).json()["items"]
        assert used["transactionId"] == "Tx-R1"
        await station.charge(1500)
        await station.end(500)
        station.wh += 33
        await station.begin("Tx-R2", "04RE01")
        await station.end(7)

    meter = "/transactions/stations/reserve-1/evses/1/meter"
    (series,) = (await api.get(meter)).json()["series"]
    assert [int(Decimal(point["value"])) for point in series["points"]] == [1000, 2500, 3000, 3033, 3040]
    assert series["unit"] == "Wh"
    (hours,) = (await api.get(meter, params={"step": 3600})).json()["series"]
    assert sum(Decimal(step["energy"]) for step in hours["steps"]) == 2040
    plot = await api.get(f"{meter}.svg")
    assert ElementTree.fromstring(plot.text).tag.endswith("svg")
    (gap,) = (await api.get("/transactions/meter-gaps", params={"stationId": "Reserve-1"})).json()["items"]
    assert (gap["before"], gap["after"], int(Decimal(gap["missingWh"]))) == ("Tx-R1", "Tx-R2", 33)


async def _free(api: httpx.AsyncClient, place: str, wanted: dict[str, Any]) -> None:
    """Reserve once the status has come to where reservations are judged."""

    async def ask() -> httpx.Response:
        return await api.post(place, json=wanted)

    answer = await eventually(ask, lambda found: found.status_code != 409)
    assert (answer.status_code, answer.json()["state"]) == (200, "active"), answer.text


def _status(found: dict[str, Any]) -> str:
    return str(found["evses"][0]["connectors"][0]["status"])
