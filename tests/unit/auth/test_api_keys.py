"""API keys: created, replaced, disabled, revoked; only their stored form is ever there."""

import json

from ocppcore import topics
from ocppcore.contracts.auth import ApiKeyChanged, ApiKeyCreated, ApiKeyRevoked, ChangeApiKey, PutApiKey, RevokeApiKey
from ocppcore.pseudonym import Pseudonyms
from services.auth.projections import API_KEYS
from services.auth.service import parts
from tests.support.given import NOW, World


def world() -> World:
    return World("auth", parts(Pseudonyms(b"key")))


def put(made: World, hash_: str = "h1") -> int:
    body = PutApiKey(id="k1", hash=hash_, scope="admin", name="first")
    outcome = made.ask(PutApiKey.NAME, body, key="k1")
    assert outcome.result is not None
    assert "h1" not in str(outcome.result.body)
    return outcome.result.status


def test_a_key_is_created_published_and_shown_without_its_hash() -> None:
    made = world()
    assert put(made) == 201
    assert made.published(topics.APIKEYS) == [
        {"id": "k1", "hash": "h1", "scope": "admin", "createdAt": NOW, "name": "first"}
    ]
    (row,) = made.rows(API_KEYS)
    assert json.loads(str(row["entry"])) == {
        "id": "k1", "scope": "admin", "name": "first", "stations": None, "disabled": False,
        "createdAt": "2023-11-14T22:13:20.000Z", "expiresAt": None,
    }  # fmt: skip


def test_the_administrators_key_put_again_at_every_start_is_one_event() -> None:
    made = world()
    put(made)
    made.wait(1000)
    assert put(made) == 200
    assert [type(event) for event in made.events] == [ApiKeyCreated]


def test_another_key_under_the_same_id_replaces_the_first() -> None:
    made = world()
    put(made)
    assert put(made, "h2") == 200
    assert made.published(topics.APIKEYS)[-1]["hash"] == "h2"


def test_a_disabled_key_can_be_enabled_again() -> None:
    made = world()
    put(made)
    for disabled in (True, True, False):
        outcome = made.ask(ChangeApiKey.NAME, ChangeApiKey(disabled=disabled), key="k1")
        assert outcome.result is not None
        assert outcome.result.status == 200
        assert made.published(topics.APIKEYS)[-1].get("disabled", False) is disabled
    assert [type(event) for event in made.events] == [ApiKeyCreated, ApiKeyChanged, ApiKeyChanged]
    assert put(made) == 200, "the administrator's key, at the next start"
    unknown = made.ask(ChangeApiKey.NAME, ChangeApiKey(disabled=True), key="k2")
    assert unknown.result is not None
    assert unknown.result.status == 404


def test_a_key_reaches_some_stations_until_some_time() -> None:
    made = world()
    body = PutApiKey(id="k1", hash="h1", scope="viewer", stations=("cs-1", "depot-*"), expires_at=NOW + 1)
    assert made.ask(PutApiKey.NAME, body, key="k1").result is not None
    (state,) = made.published(topics.APIKEYS)
    assert (state["stations"], state["expiresAt"]) == (["cs-1", "depot-*"], NOW + 1)
    made.wait(1)
    late = made.ask(PutApiKey.NAME, body, key="k1")
    assert late.result is not None
    assert (late.result.status, late.events) == (422, ())


def test_a_revoked_key_is_gone_everywhere() -> None:
    made = world()
    put(made)
    outcome = made.ask(RevokeApiKey.NAME, RevokeApiKey(), key="k1")
    assert outcome.result is not None
    assert outcome.result.status == 204
    assert isinstance(made.events[-1], ApiKeyRevoked)
    assert made.rows(API_KEYS) == []
    last = made.published(topics.APIKEYS)[-1]
    assert (last["deleted"], last["hash"]) == (True, "")
    again = made.ask(RevokeApiKey.NAME, RevokeApiKey(), key="k1")
    assert again.result is not None
    assert again.result.status == 404
