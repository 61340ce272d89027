"""Clearing caches, through the whole system: asked for, and because a token was blocked."""

import asyncio
import json
from typing import Any

import pytest

from tests.support.whole import PASSWORD, Whole, say

pytest_plugins = ["tests.support.whole_system"]

CARD = {"idToken": "CACHED-CARD", "type": "ISO14443"}


async def clears(connection: Any, status: str) -> None:
    """The station answers the next ClearCache."""
    while True:
        frame = json.loads(await asyncio.wait_for(connection.recv(), 10))
        if frame[0] == 2 and frame[2] == "ClearCache":
            await connection.send(json.dumps([3, frame[1], {"status": status}]))
            return


@pytest.mark.parametrize(("status", "state"), [("Accepted", "cleared"), ("Rejected", "rejected")])
async def test_a_cache_is_cleared_and_the_station_said_so(whole: Whole, status: str, state: str) -> None:
    await whole.api.post("/device/stations", json={"id": "CS-1", "password": PASSWORD})
    away = await whole.api.post("/auth/stations/CS-1/cache:clear")
    assert (away.status_code, away.json()["state"]) == (200, "failed")
    assert (await whole.api.post("/auth/stations/NOBODY/cache:clear")).status_code == 404
    async with whole.station() as station:
        asked = asyncio.ensure_future(whole.api.post("/auth/stations/CS-1/cache:clear"))
        await clears(station, status)
        done = await asked
        assert (done.status_code, done.json()["state"]) == (200, state)


async def test_a_blocked_token_is_cleared_out_of_the_caches_that_hold_it(whole: Whole) -> None:
    made = {"id": "CS-1", "password": PASSWORD, "automatic": {"localList": True}}
    await whole.api.post("/device/stations", json=made)
    await whole.api.put("/auth/tokens/ISO14443/CACHED-CARD", json={"status": "Accepted"})
    async with whole.station() as station:
        assert (await say(station, "Authorize", {"idToken": CARD}))[2]["idTokenInfo"]["status"] == "Accepted"
        held = await whole.api.get("/auth/caches", params=CARD)
        assert [one["stationId"] for one in held.json()] == ["cs-1"]
        blocked = await whole.api.patch("/auth/tokens/ISO14443/CACHED-CARD", json={"status": "Blocked"})
        assert blocked.status_code == 200
        await clears(station, "Accepted")
        assert (await say(station, "Authorize", {"idToken": CARD}))[2]["idTokenInfo"]["status"] == "Blocked"
    assert (await whole.api.get("/auth/caches", params=CARD)).json() == []
