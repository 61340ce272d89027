"""The API of local lists: rules, what each station has, and an operation on it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from ocppcore import topics
from ocppcore.command_payload import PURPOSE
from ocppcore.contracts.device import StationState
from ocppcore.http.commands import CommandDesk, Registered
from ocppcore.pseudonym import Pseudonyms
from ocppcore.seal import Seal
from services.auth import service
from services.auth.api import router as tokens_router
from services.auth.drivers import Drivers
from services.auth.local_lists_api import router
from tests.support.served import Served, put_state, served

PSEUDONYMS = Pseudonyms(b"pseudonyms")
RULE = {
    "stations": {"sites": ["Depot"], "groups": ["Fast"], "ids": ["CS-1"]},
    "tokens": {"groups": ["FLEET"], "tags": ["Night"], "idTokens": [{"type": "ISO14443", "idToken": "AbC"}]},
    "withRefused": True,
}


@pytest.fixture
async def api() -> AsyncIterator[Served]:
    async def find(station: str) -> Registered | None:
        return Registered(id="CS-1") if station == "cs-1" else None

    drivers = Drivers(b"k" * 32)

    def routers(store: Any) -> Any:
        desk = CommandDesk("auth", store, find, PSEUDONYMS, Seal(b"k" * 32, PURPOSE))
        return [tokens_router(store, PSEUDONYMS, drivers, b"pw"), router(store, desk, PSEUDONYMS, drivers)]

    async with served(service.build(PSEUDONYMS), routers) as made:
        station = StationState(id="CS-1", security_profile=1, credential=None, registration="Accepted")
        await put_state(made.log, topics.STATIONS, "cs-1", station)
        yield made


async def test_a_rule_is_made_shown_replaced_and_removed(api: Served) -> None:
    made = await api.client.put("/local-lists/Depot", json=RULE)
    assert (made.status_code, made.headers["location"]) == (201, "/auth/local-lists/depot")
    shown = (await api.client.get("/local-lists/DEPOT")).json()
    assert shown["stations"] == {"all": False, "sites": ["depot"], "groups": ["fast"], "ids": ["cs-1"]}
    assert shown["tokens"] == {
        "all": False, "groups": ["fleet"], "tags": ["night"], "idTokens": [], "unknownIdTokens": 1,
    }  # fmt: skip
    assert shown["withRefused"] is True
    assert (await api.client.put("/tokens/ISO14443/aBc", json={"status": "Accepted"})).status_code == 201
    shown = (await api.client.get("/local-lists/depot")).json()["tokens"]
    assert (shown["idTokens"], shown["unknownIdTokens"]) == ([{"type": "ISO14443", "idToken": "aBc"}], 0)
    assert (await api.client.put("/local-lists/depot", json=RULE)).status_code == 200
    events = [one.headers["ce_type"] for one in api.records("auth.events")]
    assert events.count("auth.ListRuleSet.v1") == 1, "the same again is no event"
    assert [one["id"] for one in (await api.client.get("/local-lists")).json()["items"]] == ["depot"]
    assert (await api.client.delete("/local-lists/depot")).status_code == 204
    assert (await api.client.delete("/local-lists/depot")).status_code == 404
    assert (await api.client.get("/local-lists/depot")).status_code == 404


async def test_no_idtoken_of_a_rule_lies_in_clear(api: Served) -> None:
    named = {"stations": {"all": True}, "tokens": {"idTokens": [{"type": "Central", "idToken": "SECRET-9"}]}}
    assert (await api.client.put("/local-lists/one", json=named)).status_code == 201
    assert "SECRET-9" not in api.everything()
    assert PSEUDONYMS.of("Central", "secret-9") in api.everything()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"stations": {}}, "body.stations"),
        ({"tokens": {}}, "body.tokens"),
        ({"stations": {"all": "yes"}}, "body.stations.all"),
        ({"stations": {"sites": [""]}}, "body.stations.sites.0"),
        ({"stations": {"ids": ["a:b"]}}, "body.stations.ids.0"),
        ({"tokens": {"tags": ["x" * 65]}}, "body.tokens.tags.0"),
        ({"tokens": {"idTokens": [{"type": "NoAuthorization", "idToken": "a"}]}}, "body.tokens.idTokens.0.type"),
        ({"tokens": {"idTokens": [{"type": "Central", "idToken": "x" * 37}]}}, "body.tokens.idTokens.0.idToken"),
        ({"tokens": {"groups": ["g"] * 101}}, "body.tokens.groups"),
        ({"priority": 1}, "body.priority"),
    ],
)
async def test_a_rule_that_is_not_sound_is_refused_by_its_field(api: Served, change: Any, field: str) -> None:
    answer = await api.client.put("/local-lists/depot", json=RULE | change)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field
    assert api.records("auth.requests") == []


Ask = Callable[[Any], Awaitable[Any]]


@pytest.mark.parametrize(
    ("scope", "ask", "status"),
    [
        ("viewer", lambda client: client.put("/local-lists/depot", json=RULE), 403),
        ("viewer", lambda client: client.post("/stations/CS-1/local-list:sync", json={}), 403),
        ("viewer", lambda client: client.get("/local-lists"), 200),
        ("viewer", lambda client: client.get("/station-local-lists"), 200),
        ("operator", lambda client: client.post("/stations/CS-9/local-list:sync", json={}), 404),
        ("operator", lambda client: client.get("/stations/CS-1/local-list"), 404),
        ("operator", lambda client: client.get("/stations/CS-1/local-list-syncs/none"), 404),
        ("operator", lambda client: client.post("/stations/CS-1/local-list:sync", json={"effectWithin": 0}), 422),
        ("operator", lambda client: client.put("/local-lists/a b", json=RULE), 422),
    ],
)
async def test_who_may_ask_and_for_what(api: Served, scope: Any, ask: Ask, status: int) -> None:
    assert (await ask(api.as_(scope))).status_code == status


async def test_an_operation_waits_for_a_station_that_is_away(api: Served) -> None:
    asked = await api.client.post("/stations/cs-1/local-list:sync", json={}, headers={"Prefer": "wait=0"})
    again = await api.client.post("/stations/cs-1/local-list:sync", json={}, headers={"Prefer": "wait=1"})
    assert asked.status_code == 202
    assert again.status_code == 202
    shown = (await api.client.get(again.headers["location"].removeprefix("/auth"))).json()
    assert (shown["state"], shown["stationId"], shown["version"]) == ("asked", "CS-1", None)
    (entry,) = (await api.client.get("/station-local-lists?state=waiting")).json()["items"]
    assert (entry["stationId"], entry["reason"]) == ("CS-1", "the station is not connected")
    assert (await api.client.get("/stations/CS-1/local-list")).json()["automatic"] is False
