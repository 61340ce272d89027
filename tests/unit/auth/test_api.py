"""The auth API: tokens and API keys."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from ocppcore import topics
from ocppcore.contracts.device import StationState
from ocppcore.http.auth import hash_key
from ocppcore.pseudonym import Pseudonyms
from services.auth.api import router
from services.auth.drivers import Drivers
from services.auth.service import build
from tests.support.served import PASSWORD_KEY, Served, put_state, served

PSEUDONYMS = Pseudonyms(b"pseudonym key")
VALUE = "Zq7-Driver.Card"


@pytest.fixture
async def api() -> AsyncIterator[Served]:
    drivers = Drivers(b"pseudonym key")
    async with served(build(PSEUDONYMS), lambda store: [router(store, PSEUDONYMS, drivers, PASSWORD_KEY)]) as made:
        yield made


async def published(api: Served, kind: str, value: str, count: int) -> list[dict[str, Any]]:
    return await api.states(topics.TOKENS, PSEUDONYMS.of(kind, value), count)


async def test_a_token_is_put_and_read_back_and_its_value_is_nowhere_in_clear(api: Served) -> None:
    made = await api.client.put(f"/tokens/ISO14443/{VALUE}", json={"status": "Accepted"})
    assert made.status_code == 201
    assert made.headers["location"] == f"/auth/tokens/ISO14443/{VALUE}"
    assert (made.json()["idToken"], made.json()["status"]) == (VALUE, "Accepted")
    shown = await api.client.get(f"/tokens/ISO14443/{VALUE.upper()}")
    assert shown.status_code == 200
    assert (shown.json()["idToken"], shown.json()["type"]) == (VALUE, "ISO14443")
    assert (await published(api, "ISO14443", VALUE, 1))[0]["status"] == "Accepted"
    assert VALUE.casefold() not in api.everything().casefold()


FULL = {
    "status": "Accepted",
    "groupIdToken": {"idToken": "Family", "type": "Central"},
    "language1": "de",
    "language2": "en-US",
    "personalMessage": {"format": "UTF8", "language": "de", "content": "Hallo"},
    "cacheExpiryDateTime": "2031-01-01T00:00:00.000Z",
    "chargingPriority": -9,
    "stations": ["CS-1"],
    "evses": [2, 1],
    "connectorTypes": ["sType2"],
    "validFrom": "2025-01-01T00:00:00.000Z",
    "validTo": "2032-01-01T01:00:00+01:00",
    "tags": ["Staff", "night"],
}


async def test_every_field_is_kept_shown_and_published(api: Served) -> None:
    station = StationState(id="CS-1", security_profile=1, credential=None, registration="Accepted")
    await put_state(api.log, topics.STATIONS, "cs-1", station)
    assert (await api.client.put("/tokens/Central/abc", json=FULL)).status_code == 201
    shown = (await api.client.get("/tokens/Central/abc")).json()
    changed = {"stations": ["cs-1"], "evses": [1, 2], "tags": ["night", "staff"], "validTo": "2032-01-01T00:00:00.000Z"}
    assert shown == FULL | changed | {"idToken": "abc", "type": "Central"}
    (state,) = await published(api, "Central", "abc", 1)
    assert (state["group"], state["cacheExpiry"]) == (
        {"idToken": "Family", "type": "Central"},
        1_924_992_000_000,
    )


BAD: list[tuple[dict[str, object], str]] = [
    ({"status": "Fine"}, "body.status"),
    ({"status": None}, "body.status"),
    ({"colour": "red"}, "body.colour"),
    ({"language2": "en"}, "body"),
    ({"language1": "en", "language2": "EN"}, "body"),
    ({"language1": "english language"}, "body.language1"),
    ({"chargingPriority": 10}, "body.chargingPriority"),
    ({"chargingPriority": "1"}, "body.chargingPriority"),
    ({"cacheExpiryDateTime": "tomorrow"}, "body.cacheExpiryDateTime"),
    ({"cacheExpiryDateTime": "2031-01-01T00:00:00"}, "body.cacheExpiryDateTime"),
    ({"validFrom": "2031-01-01T00:00:00Z", "validTo": "2030-01-01T00:00:00Z"}, "body"),
    ({"groupIdToken": {"idToken": "x" * 37, "type": "Central"}}, "body.groupIdToken.idToken"),
    ({"groupIdToken": {"idToken": "x", "type": "Other"}}, "body.groupIdToken.type"),
    ({"personalMessage": {"format": "PDF", "content": "x"}}, "body.personalMessage.format"),
    ({"personalMessage": {"format": "UTF8", "content": "x" * 513}}, "body.personalMessage.content"),
    ({"evses": [0]}, "body.evses.0"),
    ({"stations": ["a:b"]}, "body.stations.0"),
]


@pytest.mark.requirement("C01.FR.10", "C01.FR.11", "C01.FR.17", "C04.FR.05")
async def test_bad_input_is_refused_by_field_and_changes_nothing(api: Served) -> None:
    for fault, field in BAD:
        answer = await api.client.put("/tokens/Central/abc", json={"status": "Accepted"} | fault)
        assert (fault, answer.status_code) == (fault, 422)
        assert (fault, answer.json()["errors"][0]["field"]) == (fault, field)
    assert api.records(topics.requests("auth")) == []


@pytest.mark.parametrize("path", ["/tokens/Strange/abc", "/tokens/NoAuthorization/abc", f"/tokens/Central/{'x' * 37}"])
async def test_a_bad_path_is_refused(api: Served, path: str) -> None:
    for answer in (await api.client.put(path, json={"status": "Accepted"}), await api.client.get(path)):
        assert answer.status_code == 422


async def test_a_station_that_does_not_exist_cannot_be_named(api: Served) -> None:
    answer = await api.client.put("/tokens/Central/abc", json={"status": "Accepted", "stations": ["nowhere"]})
    assert answer.status_code == 422
    assert "nowhere" in answer.json()["detail"]
    assert (await api.client.get("/tokens")).json()["items"] == []


async def test_a_token_is_replaced_and_erased(api: Served) -> None:
    await api.client.put("/tokens/Central/AbC", json={"status": "Accepted", "language1": "de"})
    again = await api.client.put("/tokens/Central/ABC", json={"status": "Blocked"})
    assert again.status_code == 200
    shown = (await api.client.get("/tokens/Central/abc")).json()
    assert (shown["idToken"], shown["status"], shown["language1"]) == ("AbC", "Blocked", None)
    assert (await api.client.delete("/tokens/Central/abc")).status_code == 204
    assert (await api.client.get("/tokens/Central/abc")).status_code == 404
    assert (await api.client.delete("/tokens/Central/abc")).status_code == 404
    assert (await published(api, "Central", "abc", 3))[2]["deleted"] is True


async def test_the_list_shows_values_and_is_filtered_in_pages(api: Served) -> None:
    for number in range(4):
        group = {"groupIdToken": {"idToken": "Fam", "type": "Central"}} if number == 3 else {}
        body = {"status": "Blocked" if number == 0 else "Accepted"} | group
        await api.client.put(f"/tokens/{'eMAID' if number == 1 else 'Central'}/T-{number}", json=body)
    first = (await api.client.get("/tokens", params={"limit": 3})).json()
    second = (await api.client.get(first["next"])).json()
    assert {one["idToken"] for one in first["items"] + second["items"]} == {"T-0", "T-1", "T-2", "T-3"}
    for query, found in (
        ({"type": "eMAID"}, ["T-1"]),
        ({"status": "Blocked"}, ["T-0"]),
        ({"group": "FAM"}, ["T-3"]),
        ({"status": "Expired"}, []),
    ):
        items = (await api.client.get("/tokens", params=query)).json()["items"]
        assert [one["idToken"] for one in items] == found


async def test_a_value_with_reserved_characters_keeps_its_spelling(api: Served) -> None:
    made = await api.client.put("/tokens/Local/a%3Ab%20c%3D%40d", json={"status": "Accepted"})
    assert made.json()["idToken"] == "a:b c=@d"
    shown = await api.client.get(made.headers["location"].removeprefix("/auth"))
    assert shown.json()["idToken"] == "a:b c=@d"


async def test_an_api_key_is_made_used_and_revoked(api: Served) -> None:
    made = await api.client.post("/apikeys", json={"scope": "viewer", "name": "dashboard"})
    assert made.status_code == 201
    key, id_ = made.json()["key"], made.json()["id"]
    (state,) = await api.states(topics.APIKEYS, id_, 1)
    assert state["hash"] == hash_key(key, PASSWORD_KEY)
    assert key not in api.everything()
    bearer = {"Authorization": f"Bearer {key}"}
    assert (await api.client.get("/tokens", headers=bearer)).status_code == 200
    assert (await api.client.post("/apikeys", json={"scope": "admin"}, headers=bearer)).status_code == 403
    listed = (await api.client.get("/apikeys")).json()["items"]
    assert [(one["id"], one["scope"], one["name"]) for one in listed] == [(id_, "viewer", "dashboard")]
    assert (await api.client.delete(f"/apikeys/{id_}")).status_code == 204
    assert (await api.client.delete(f"/apikeys/{id_}")).status_code == 404
    assert (await api.states(topics.APIKEYS, id_, 2))[1]["deleted"] is True


async def test_an_api_key_for_some_stations_reaches_nothing_that_is_everybodys(api: Served) -> None:
    body = {"scope": "admin", "stations": ["Depot-*", "CS-1", "cs-1"], "expiresAt": "2999-01-01T00:00:00+01:00"}
    made = (await api.client.post("/apikeys", json=body)).json()
    assert (made["stations"], made["expiresAt"]) == (["cs-1", "depot-*"], "2998-12-31T23:00:00.000Z")
    bearer = {"Authorization": f"Bearer {made['key']}"}
    assert (await api.client.get("/tokens", headers=bearer)).status_code == 403
    assert (await api.client.get("/apikeys", headers=bearer)).status_code == 403
    assert (await api.client.post("/apikeys", json={"scope": "viewer"}, headers=bearer)).status_code == 403
    assert (await api.client.get("/operations/x", headers=bearer)).status_code == 404
    for wrong in ([""], [7], ["x" * 50], "CS-1", ["x"] * 201):
        assert (await api.client.post("/apikeys", json={"scope": "viewer", "stations": wrong})).status_code == 422
    for late in ("2020-01-01T00:00:00Z", "tomorrow"):
        assert (await api.client.post("/apikeys", json={"scope": "viewer", "expiresAt": late})).status_code == 422


async def test_a_disabled_api_key_opens_nothing_until_it_is_enabled(api: Served) -> None:
    made = (await api.client.post("/apikeys", json={"scope": "viewer"})).json()
    bearer = {"Authorization": f"Bearer {made['key']}"}
    for disabled, status in ((True, 401), (False, 200)):
        changed = await api.client.patch(f"/apikeys/{made['id']}", json={"disabled": disabled})
        assert (changed.status_code, changed.json()["disabled"]) == (200, disabled)
        assert (await api.client.get("/tokens", headers=bearer)).status_code == status
    assert (await api.client.patch("/apikeys/none", json={"disabled": True})).status_code == 404
    assert (await api.client.patch(f"/apikeys/{made['id']}", json={})).status_code == 422


async def test_a_repeat_under_the_same_idempotency_key_makes_one_key(api: Served) -> None:
    headers = {"Idempotency-Key": "k"}
    first = await api.client.post("/apikeys", json={"scope": "viewer"}, headers=headers)
    second = await api.client.post("/apikeys", json={"scope": "viewer"}, headers=headers)
    assert first.json()["id"] == second.json()["id"]
    assert "key" not in second.json()
    assert len((await api.client.get("/apikeys")).json()["items"]) == 1


async def test_scopes(api: Served) -> None:
    for scope, token, keys in (("viewer", 403, 403), ("operator", 201, 403)):
        client = api.as_(scope)  # type: ignore[arg-type]
        assert (await client.put("/tokens/Central/x", json={"status": "Accepted"})).status_code == token
        assert (await client.post("/apikeys", json={"scope": "admin"})).status_code == keys
        assert (await client.get("/apikeys")).status_code == keys


async def test_a_token_may_hold_a_slash(api: Served) -> None:
    path = "/tokens/Central/DE%2F8AC%2F1"
    made = await api.client.put(path, json={"status": "Accepted"})
    assert (made.status_code, made.headers["location"]) == (201, f"/auth{path}")
    assert (await api.client.get(path)).json()["idToken"] == "DE/8AC/1"
    assert (await api.client.delete(path)).status_code == 204
    assert (await api.client.get(path)).json()["title"] == "Unknown token"
    schema = (await api.client.get("/openapi.json")).json()
    assert "/tokens/{type}/{idToken}" in schema["paths"]


async def test_a_token_without_a_value_is_refused_by_name(api: Served) -> None:
    refused = await api.client.put("/tokens/Central/", json={"status": "Accepted"})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "path.idToken")
