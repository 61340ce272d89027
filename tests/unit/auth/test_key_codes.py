"""Guessing key codes (C04.FR.06): a growing back-off per station, and what it does not do."""

from typing import Any

import msgspec
import pytest

from ocppcore import topics
from ocppcore.authorization import TokenState
from ocppcore.contracts.auth import KeyCodeRefused
from ocppcore.pseudonym import Pseudonyms
from ocppcore.wire import encode
from services.auth.domain.key_codes import FORGOTTEN_MS, PAUSE_MAX_MS, Guessing
from services.auth.service import parts
from tests.support.given import World

PSEUDONYMS = Pseudonyms(b"key")
RULES = Guessing(free=3, pause_ms=10_000)


@pytest.fixture
def made() -> World:
    world = World("auth", parts(PSEUDONYMS, guessing=RULES))
    world.given_copy(
        topics.TOKENS, PSEUDONYMS.of("KeyCode", "4711"), TokenState(type="KeyCode", status="Accepted"), position=1
    )
    world.given_copy(
        topics.TOKENS, PSEUDONYMS.of("ISO14443", "CARD"), TokenState(type="ISO14443", status="Accepted"), position=2
    )
    return world


def enter(world: World, code: str, kind: str = "KeyCode", station: str = "CS-1") -> str:
    outcome = world.call("Authorize", {"idToken": {"idToken": code, "type": kind}}, station=station)
    assert outcome.reply is not None
    said: dict[str, Any] = msgspec.json.decode(encode(outcome.reply))  # type: ignore[arg-type]
    return str(said["idTokenInfo"]["status"])


def pauses(world: World) -> list[int]:
    refused = [one for one in world.events if isinstance(one, KeyCodeRefused)]
    return [one.locked_until - one.at for one in refused if one.locked_until]


@pytest.mark.requirement("C04.FR.06")
def test_after_some_wrong_codes_all_are_refused_for_a_while_that_doubles(made: World) -> None:
    for _ in range(3):
        assert enter(made, "0000") == "Invalid"
        assert enter(made, "4711") == "Accepted"
    for _ in range(5):
        assert enter(made, "0000") == "Invalid"
        assert enter(made, "4711") == "Invalid", "also the right one: else a guess would tell"
        made.wait(pauses(made)[-1] - 1)
        assert enter(made, "4711") == "Invalid"
        made.wait(1)
        assert enter(made, "4711") == "Accepted"
    assert pauses(made) == [10_000, 20_000, 40_000, 80_000, 160_000]


@pytest.mark.requirement("C04.FR.06")
def test_who_guesses_as_often_as_it_goes_has_few_guesses_a_day_and_locks_nobody_out_for_ever(made: World) -> None:
    until = made.now + 24 * 3600 * 1000
    guesses = 0
    while made.now < until:
        enter(made, "0000")
        guesses += 1
        made.wait(max([1, *pauses(made)[-1:]]))
    assert guesses < 50
    assert max(pauses(made)) <= PAUSE_MAX_MS
    made.wait(PAUSE_MAX_MS)
    assert enter(made, "4711") == "Accepted"


def test_what_is_entered_meanwhile_is_not_counted(made: World) -> None:
    for _ in range(4):
        enter(made, "0000")
    before = len(pauses(made))
    for _ in range(10):
        enter(made, "0000")
    assert len(pauses(made)) == before


def test_other_tokens_and_other_stations_go_on(made: World) -> None:
    for _ in range(4):
        enter(made, "0000")
    assert enter(made, "CARD", "ISO14443") == "Accepted"
    assert enter(made, "4711", station="CS-2") == "Accepted"
    assert enter(made, "4711", station="cs-1") == "Invalid", "ids compare in any case"


def test_wrong_codes_are_forgotten_one_by_one(made: World) -> None:
    for _ in range(3):
        enter(made, "0000")
    for _ in range(10):
        made.wait(FORGOTTEN_MS)
        assert enter(made, "0000") == "Invalid"
    assert pauses(made) == [], "people mistype"


@pytest.mark.requirement("C04.FR.04")
def test_no_code_is_in_an_event(made: World) -> None:
    for code in ("0815", "4711", "0815", "0815", "0815", "4711"):
        enter(made, code)
    said = b"".join(msgspec.json.encode(one) for one in made.events).decode()
    for code in ("0815", "4711"):
        assert f'"{code}"' not in said
