"""Slow checks in a pool, remembered; fast ones in place."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from ocppcore import credentials
from services.gateway.passwords import Passwords, Suspicious, TooBusy

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
    first = asyncio.create_task(passwords.check("cs1", "right", stored))
    await asyncio.sleep(0)

    with pytest.raises(TooBusy):
        await passwords.check("cs2", "right", stored)
    assert await first


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


async def test_one_source_has_one_slow_check_of_a_station_at_a_time():
    several = Passwords(KEY, threads=1, waiting_max=10, remembered_max=2)
    stored = credentials.hash_chosen("right", KEY)
    guess = asyncio.create_task(several.check("cs1", "wrong", stored, "10.0.0.1"))
    await asyncio.sleep(0)

    with pytest.raises(Suspicious):
        await several.check("cs1", "other", stored, "10.0.0.1")
    assert await several.check("cs1", "right", stored, "10.0.0.2")
    assert not await guess
    several.close()


async def test_a_suspect_source_has_one_slow_check_at_all():
    several = Passwords(KEY, threads=1, waiting_max=10, remembered_max=2)
    stored = credentials.hash_chosen("right", KEY)
    guess = asyncio.create_task(several.check("cs1", "wrong", stored, "10.0.0.1", suspect=True))
    await asyncio.sleep(0)

    with pytest.raises(Suspicious):
        await several.check("cs2", "right", stored, "10.0.0.1", suspect=True)
    assert not await guess
    assert await several.check("cs2", "right", stored, "10.0.0.1", suspect=True)
    several.close()
