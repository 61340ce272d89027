"""Tokens: registered, changed, removed; the driver's key."""

import pytest

from ocppcore import topics
from ocppcore.authorization import TokenState
from ocppcore.contracts.auth import IssueToken, PutToken, RemoveToken, TokenChanged, TokenRegistered, TokenRemoved
from ocppcore.contracts.device import StationState
from ocppcore.pseudonym import Pseudonyms
from services.auth.domain.token import OVER, DriverKey, Token
from services.auth.projections import TOKENS
from services.auth.service import parts
from tests.support.given import World

KEY = "0123456789abcdef0123456789abcdef"


def world() -> World:
    return World("auth", parts(Pseudonyms(b"key")))


def put(made: World, driver_key: str = "dk-1", sealed: str = "value-1", **fields: object) -> int:
    state = TokenState(**{"type": "Central", "status": "Accepted", "sealed": sealed, **fields})  # type: ignore[arg-type]
    outcome = made.ask(PutToken.NAME, PutToken(state=state, driver_key=driver_key), key=KEY)
    assert outcome.result is not None
    return outcome.result.status


def test_a_new_token_is_registered_published_and_shown() -> None:
    made = world()
    assert put(made, valid_to=1_700_000_000_000, language1="de") == 201
    assert [type(event) for event in made.events] == [TokenRegistered]
    assert made.published(topics.TOKENS) == [
        {"type": "Central", "status": "Accepted", "sealed": "value-1", "validTo": 1_700_000_000_000, "language1": "de"}
    ]
    (row,) = made.rows(TOKENS)
    assert (row["token"], row["type"], row["status"], row["group_id"]) == (KEY, "Central", "Accepted", "")
    assert '"validTo":"2023-11-14T22:13:20.000Z"' in str(row["entry"])


def test_the_drivers_key_is_kept_beside_the_events_and_stays() -> None:
    made = world()
    put(made)
    assert put(made, driver_key="dk-2", sealed="value-2", status="Blocked") == 200
    key = made.state(DriverKey, KEY)
    assert key is not None
    assert key.sealed == "dk-1"
    event = made.events[-1]
    assert isinstance(event, TokenChanged)
    assert (event.state.status, event.state.sealed) == ("Blocked", "value-1")
    assert "dk-1" not in str(made.events)


def test_the_same_again_is_no_event() -> None:
    made = world()
    put(made)
    assert put(made, sealed="value-2") == 200
    assert len(made.events) == 1


def test_removing_a_token_erases_the_drivers_key() -> None:
    made = world()
    put(made)
    outcome = made.ask(RemoveToken.NAME, RemoveToken(), key=KEY)
    assert outcome.result is not None
    assert outcome.result.status == 204
    assert isinstance(made.events[-1], TokenRemoved)
    assert made.state(DriverKey, KEY) is None
    assert made.state(Token, KEY) is None
    assert made.rows(TOKENS) == []
    assert made.published(topics.TOKENS)[-1] == {"type": "Central", "status": "Unknown", "deleted": True}
    again = made.ask(RemoveToken.NAME, RemoveToken(), key=KEY)
    assert again.result is not None
    assert again.result.status == 404


def test_a_token_registered_again_gets_the_new_key() -> None:
    made = world()
    put(made)
    made.ask(RemoveToken.NAME, RemoveToken(), key=KEY)
    assert put(made, driver_key="dk-2", sealed="value-2") == 201
    key = made.state(DriverKey, KEY)
    assert key is not None
    assert key.sealed == "dk-2"


@pytest.mark.parametrize("known", [True, False])
def test_the_stations_it_names_must_be_registered(known: bool) -> None:
    made = world()
    if known:
        state = StationState(id="CS-1", security_profile=1, credential=None, registration="Accepted")
        made.given_copy(topics.STATIONS, "cs-1", state)
    assert put(made, stations=("cs-1",)) == (201 if known else 422)
    assert bool(made.events) is known


def issued(made: World) -> None:
    state = TokenState(type="Central", status="Accepted", stations=("cs-1",), valid_to=made.now + 1000, issued=True)
    outcome = made.ask(IssueToken.NAME, IssueToken(state=state), key=KEY)
    assert outcome.result is not None
    assert outcome.result.status == 201


def test_an_issued_id_is_a_token_until_its_time_is_over() -> None:
    made = world()
    issued(made)
    assert made.published(topics.TOKENS)[-1]["stations"] == ["cs-1"]
    assert made.state(DriverKey, KEY) is None, "nobody's value"
    made.wait(1000)
    made.tick(OVER, KEY)
    assert isinstance(made.events[-1], TokenRemoved)
    assert made.state(Token, KEY) is None
    assert made.rows(TOKENS) == []


def test_an_issued_id_that_somebody_registers_or_removes_is_his() -> None:
    made = world()
    issued(made)
    again = made.ask(IssueToken.NAME, IssueToken(state=TokenState(type="Central", status="Accepted")), key=KEY)
    assert again.result is not None
    assert again.result.status == 409
    assert put(made, status="Blocked") == 200
    made.wait(1000)
    before = len(made.events)
    made.tick(OVER, KEY)
    assert len(made.events) == before
    made.ask(RemoveToken.NAME, RemoveToken(), key=KEY)
    assert made.timers == {}
