"""Authorize as the station reads its answer: where a token may charge, key codes, languages, how long it is kept."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ocppcore import topics
from ocppcore.authorization import TokenState
from ocppcore.pseudonym import Pseudonyms
from ocppcore.v201 import SignCertificateResponse
from services.auth.api import router
from services.auth.drivers import Drivers
from services.auth.service import build, parts
from tests.support.given import NOW, World
from tests.support.served import PASSWORD_KEY, Served, served

PSEUDONYMS = Pseudonyms(b"pseudonym key")


def asked(state: TokenState | None, kind: str = "ISO14443") -> dict[str, Any]:
    """The idTokenInfo that station CS-1 gets about a token of this state."""
    world = World("auth", parts(PSEUDONYMS))
    world.given_copy(topics.TOKENS, PSEUDONYMS.of(kind, "ABC"), state)
    reply = world.call("Authorize", {"idToken": {"idToken": "ABC", "type": kind}}).reply
    info: dict[str, Any] = json.loads(reply.model_dump_json())["idTokenInfo"]  # type: ignore[union-attr]
    return info


def token(**fields: Any) -> TokenState:
    return TokenState(**{"type": "ISO14443", "status": "Accepted", **fields})


@pytest.mark.requirement("C01.FR.19")
def test_allowed_everywhere_the_answer_has_no_list() -> None:
    assert asked(token()) == {"status": "Accepted"}


@pytest.mark.requirement("C01.FR.20")
def test_allowed_on_some_evses_the_answer_lists_them() -> None:
    assert asked(token(evses=(3, 1))) == {"status": "Accepted", "evseId": [1, 3]}


@pytest.mark.requirement("C01.FR.22")
def test_allowed_on_none_the_answer_is_not_at_this_location_and_has_no_list() -> None:
    assert asked(token(stations=("cs-2",), evses=(1,))) == {"status": "NotAtThisLocation"}


@pytest.mark.requirement("C04.FR.01", "C04.FR.02")
def test_key_codes_are_accepted_where_they_are_valid_and_invalid_elsewhere() -> None:
    assert asked(token(type="KeyCode", stations=("cs-1",)), "KeyCode") == {"status": "Accepted"}
    assert asked(token(type="KeyCode", stations=("cs-2",)), "KeyCode") == {"status": "Invalid"}
    assert asked(None, "KeyCode") == {"status": "Invalid"}


@pytest.mark.requirement("C10.FR.13")
def test_the_answer_says_until_when_a_station_may_keep_it() -> None:
    info = asked(token(cache_expiry=NOW + 60_000))
    assert info == {"status": "Accepted", "cacheExpiryDateTime": "2023-11-14T22:14:20.000Z"}


@pytest.fixture
async def api() -> AsyncIterator[Served]:
    drivers = Drivers(b"pseudonym key")
    async with served(build(PSEUDONYMS), lambda store: [router(store, PSEUDONYMS, drivers, PASSWORD_KEY)]) as made:
        yield made


@pytest.mark.requirement("C01.FR.17", "C04.FR.05", "C05.FR.04")
async def test_languages_are_tags_of_rfc_5646(api: Served) -> None:
    for tag in ("en_US", "e", "de-", "-de", "de DE"):
        bad = await api.client.put("/tokens/Central/abc", json={"status": "Accepted", "language1": tag})
        assert (tag, bad.status_code) == (tag, 422)
    assert api.records(topics.requests("auth")) == []
    for tag in ("de", "en-US", "zh-Hant", "es-419"):
        good = await api.client.put("/tokens/Central/abc", json={"status": "Accepted", "language1": tag})
        assert good.is_success, good.text
        assert good.json()["language1"] == tag
    assert asked(token(language1="en-US", language2="de"))["language1"] == "en-US"


@pytest.mark.requirement("A03.FR.12")
def test_a_renewal_that_a_station_asks_for_is_rejected_while_nothing_can_sign_it() -> None:
    payload = {"csr": "-----BEGIN CERTIFICATE REQUEST-----", "certificateType": "ChargingStationCertificate"}
    outcome = World("auth", parts(PSEUDONYMS)).call("SignCertificate", payload)
    assert isinstance(outcome.reply, SignCertificateResponse)
    assert outcome.reply.status == "Rejected"
