"""Passwords that the CSMS makes, and how those of stations are kept."""

import re
from collections.abc import AsyncIterator

import pytest

from ocppcore import topics
from services.device.api import router
from services.device.service import build
from tests.support.served import PASSWORD_KEY, Served, served

PASSWORD_STRING = re.compile(r"[A-Za-z0-9*\-_=:+|@.]+")
MADE = 40


@pytest.fixture
async def api() -> AsyncIterator[Served]:
    async with served(build(), lambda store: [router(store, PASSWORD_KEY)]) as made:
        yield made


@pytest.mark.requirement("A00.FR.205", "A00.FR.304", "A01.FR.06", "A01.FR.07")
@pytest.mark.parametrize("profile", [1, 2])
async def test_each_station_gets_a_random_password_of_its_own(api: Served, profile: int) -> None:
    passwords = []
    for number in range(MADE):
        made = await api.client.post("/stations", json={"id": f"CS-{number}", "securityProfile": profile})
        passwords.append(made.json()["password"])
    assert all(16 <= len(password) <= 40 and PASSWORD_STRING.fullmatch(password) for password in passwords)
    assert len(set(passwords)) == MADE
    for place in range(16):
        assert len({password[place] for password in passwords}) > MADE // 4, f"character {place} hardly varies"


@pytest.mark.requirement("A01.FR.08")
async def test_only_salted_hashes_of_passwords_are_kept(api: Served) -> None:
    for id_ in ("CS-1", "CS-2"):
        await api.client.post("/stations", json={"id": id_, "password": "the-same-for-both-1"})
    stored = [(await api.states(topics.STATIONS, key, 1))[0]["credential"] for key in ("cs-1", "cs-2")]
    assert stored[0] != stored[1]
    assert "the-same-for-both-1" not in api.everything()
