"""Slow checks in a pool, remembered; fast ones in place."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from ocppcore import credentials
from services.gateway.line import TooBusy
from services.gateway.passwords import Passwords

KEY = b"k" * 32


@pytest.fixture
async def passwords() -> AsyncIterator[Passwords]:
    made = Passwords(KEY, threads=1, waiting_max=1, remembered_max=2)
    yield made
    made.close()


async def test_a_generated_password_needs_no_thread(passwords):
    stored = credentials.hash_generated("right", KEY)

    assert await passwords.check("cs1", "right", stored)
    assert not await passwords.check("cs1", "wrong", stored)
    assert passwords._pool is None


async def test_a_station_without_a_password_is_let_in_with_none(passwords):
    assert not await passwords.check("cs1", "", "")


async def test_a_chosen_password_is_checked_once_and_remembered(passwords, monkeypatch):
    stored = credentials.hash_chosen("right", KEY)
    assert await passwords.check("cs1", "right", stored)

    def never(*_: object) -> bool:
        raise AssertionError("checked again")

    monkeypatch.setattr(credentials, "verify", never)
    assert await passwords.check("cs1", "right", stored)
    with pytest.raises(AssertionError, match="checked again"):
        await passwords.check("cs1", "wrong", stored)
    with pytest.raises(AssertionError, match="checked again"):
        await passwords.check("cs2", "right", stored)
    with pytest.raises(AssertionError, match="checked again"):
        await passwords.check("cs1", "right", stored.replace("$8$", "$4$"))


async def test_slow_checks_that_wait_are_bounded(passwords):
    stored = credentials.hash_chosen("right", KEY)
    first = [asyncio.create_task(passwords.check(f"cs{n}", "right", stored)) for n in range(2)]
    await asyncio.sleep(0)

    with pytest.raises(TooBusy):
        await passwords.check("cs2", "right", stored)
    assert await asyncio.gather(*first) == [True, True]


async def test_what_is_remembered_is_bounded(passwords):
    stored = credentials.hash_chosen("right", KEY)
    for station in ("cs1", "cs2", "cs3"):
        await passwords.check(station, "right", stored)

    assert set(passwords._right) == {"cs2", "cs3"}


async def test_a_wrong_password_that_comes_again_is_not_checked_again(passwords, monkeypatch):
    stored = credentials.hash_chosen("right", KEY)
    assert not await passwords.check("cs1", "wrong", stored)

    monkeypatch.setattr(credentials, "verify", lambda *_: pytest.fail("checked again"))
    assert not await passwords.check("cs1", "wrong", stored)


async def test_the_same_check_is_made_once_for_all_who_wait_for_it(passwords):
    stored = credentials.hash_chosen("right", KEY)

    assert await asyncio.gather(*(passwords.check("cs1", "right", stored) for _ in range(5))) == [True] * 5


async def test_what_takes_a_thread_is_not_known_at_once(passwords):
    stored = credentials.hash_chosen("right", KEY)
    assert passwords.at_once("cs1", "right", stored) is None
    assert await passwords.check("cs1", "right", stored)
    assert not await passwords.check("cs1", "wrong", stored)

    assert passwords.at_once("cs1", "right", stored) is True
    assert passwords.at_once("cs1", "wrong", stored) is False
    assert passwords.at_once("cs1", "other", stored) is None


@pytest.mark.parametrize(
    ("station", "source"), [("cs1", "10.0.0.2"), ("cs2", "10.0.0.1"), ("cs2", "10.0.0.2")], ids=str
)
async def test_a_crowd_at_one_station_leaves_others_their_turn(station, source):
    """The same station from elsewhere, another one from the same address, another from elsewhere."""
    several = Passwords(KEY, threads=1, waiting_max=8, remembered_max=20)
    stored = credentials.hash_chosen("right", KEY)
    guesses = [asyncio.create_task(several.check("cs1", f"g{n}", stored, "10.0.0.1")) for n in range(50)]
    await asyncio.sleep(0)

    assert await several.check(station, "right", stored, source)
    ended = [guess for guess in guesses if guess.done()]
    assert len(ended) >= 50 - 1 - 2, "those who found no place have heard so"
    outcomes = await asyncio.gather(*guesses, return_exceptions=True)
    assert {type(one) for one in outcomes} == {bool, TooBusy}, "and none was called wrong"
    assert sum(one is False for one in outcomes) <= 1 + 2
    several.close()


async def test_a_crowd_from_one_address_at_many_stations_makes_room_for_another_address():
    several = Passwords(KEY, threads=1, waiting_max=8, remembered_max=20)
    stored = credentials.hash_chosen("right", KEY)
    guesses = [asyncio.create_task(several.check(f"x{n}", "wrong", stored, "10.0.0.1")) for n in range(50)]
    await asyncio.wait(guesses, return_when=asyncio.FIRST_COMPLETED)
    assert len(several._line) == 8

    assert await several.check("cs1", "right", stored, "10.0.0.2")
    assert len(several._line) >= 6, "it was the next one"
    await asyncio.gather(*guesses, return_exceptions=True)
    assert len(several._line) == 0
    several.close()
