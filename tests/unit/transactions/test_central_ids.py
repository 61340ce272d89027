"""A remote start without an idToken: the CSMS issues one, and everything that the station does with it works (C05)."""

import asyncio
import json
from typing import Any

import pytest

from tests.support.transaction_frames import event
from tests.support.whole import PASSWORD, Whole, answer, say

pytest_plugins = ["tests.support.whole_system"]


async def told(connection: Any) -> dict[str, Any]:
    """The station accepts a remote start."""
    while True:
        frame = json.loads(await asyncio.wait_for(connection.recv(), 10))
        if frame[0] == 2 and frame[2] == "RequestStartTransaction":
            await connection.send(json.dumps([3, frame[1], {"status": "Accepted"}]))
            return dict(frame[3])


@pytest.mark.requirement("C05.FR.03")
async def test_an_id_is_issued_and_known_before_the_station_hears_of_it(whole: Whole) -> None:
    for station in ("CS-1", "CS-2"):
        await whole.api.post("/device/stations", json={"id": station, "password": PASSWORD})
    async with whole.station() as station:
        group = {"idToken": "FLEET", "type": "Central"}
        asked = asyncio.ensure_future(
            whole.api.post(
                "/transactions/stations/CS-1/remote-start", json={"issueIdToken": True, "groupIdToken": group}
            )
        )
        start = await told(station)
        id_token = start["idToken"]
        assert (id_token["type"], start["groupIdToken"]) == ("Central", group)
        for _ in range(2):
            info = (await say(station, "Authorize", {"idToken": id_token}))[2]["idTokenInfo"]
            assert (info["status"], info["groupIdToken"]) == ("Accepted", group)
        started = event("Started", 0, info={"remoteStartId": start["remoteStartId"]}) | {"idToken": id_token}
        for _ in range(2):
            said = (await say(station, "TransactionEvent", started))[2]
            assert said["idTokenInfo"]["status"] == "Accepted"
        done = await asked
        assert (done.status_code, done.json()["state"], done.json()["transactionId"]) == (200, "seen", "T1")
    (shown,) = (await whole.api.get("/auth/tokens", params={"type": "Central"})).json()["items"]
    assert (shown["idToken"], shown["stations"], shown["status"]) == (None, ["cs-1"], "Accepted")
    assert id_token["idToken"] not in whole.logged.getvalue()


async def test_it_is_good_for_one_station_only(whole: Whole) -> None:
    for station in ("CS-1", "CS-2"):
        await whole.api.post("/device/stations", json={"id": station, "password": PASSWORD})
    async with whole.station() as station, whole.station("CS-2") as other:
        asked = asyncio.ensure_future(
            whole.api.post("/transactions/stations/CS-1/remote-start", json={"effectWithin": 1, "issueIdToken": True})
        )
        id_token = (await told(station))["idToken"]
        info = (await say(other, "Authorize", {"idToken": id_token}))[2]["idTokenInfo"]
        assert info["status"] == "NotAtThisLocation"
        served = asyncio.ensure_future(answer(station))
        assert (await asked).json()["state"] in ("accepted", "no_effect")
        served.cancel()
        await asyncio.gather(served, return_exceptions=True)


async def test_nothing_is_issued_for_a_station_that_nobody_registered(whole: Whole) -> None:
    answered = await whole.api.post("/transactions/stations/NOBODY/remote-start", json={"issueIdToken": True})
    assert answered.status_code == 404
    given = {"issueIdToken": True, "idToken": {"idToken": "A", "type": "Central"}}
    await whole.api.post("/device/stations", json={"id": "CS-1", "password": PASSWORD})
    answered = await whole.api.post("/transactions/stations/CS-1/remote-start", json=given)
    assert (answered.status_code, answered.json()["errors"][0]["field"]) == (422, "body.idToken")
    assert (await whole.api.get("/auth/tokens")).json()["items"] == []
