"""Who is let in."""

import asyncio
from http import HTTPStatus

import pytest

from ocppcore import topics
from ocppcore.log import Record, TopicPartition
from services.gateway.copies import Station, StationsCopy
from services.gateway.domain.admission import Basic
from services.gateway.door import Door, Refused
from services.gateway.passwords import Passwords
from tests.unit.gateway.rig import CELLS, KEY, PASSWORD, Rig

RIGHT = Basic("CS1", PASSWORD)


class House:
    """A door, and the copy behind it, which follows the log only when told to."""

    def __init__(self, **options) -> None:
        self.rig = Rig()
        self.stations = StationsCopy()
        made = {"catch_up_s": 0.05, "allow_unauthenticated": False, "hide_unknown": False, **options}
        passwords = Passwords(KEY, threads=1, waiting_max=10, remembered_max=10)
        self.door = Door(self.rig.log, self.stations, passwords, cells=CELLS, **made)

    def follow(self) -> None:
        for record in self.rig.records(topics.STATIONS):
            self.stations.apply(record)

    async def asked_the_log(self) -> None:
        """Until the door has asked where the log ends."""
        await self.rig.until(lambda: self.door._answered)

    async def asks(self, basic: Basic | None = RIGHT, identity: str = "CS1", profile: int = 1) -> HTTPStatus | Station:
        outcome = await self.door.admit(identity, basic, profile)
        return outcome.status if isinstance(outcome, Refused) else outcome


async def house(options: dict | None = None, **state) -> House:
    made = House(**(options or {}))
    await made.rig.register("CS1", **state)
    made.follow()
    return made


@pytest.mark.requirement("A00.FR.207")
async def test_the_right_password_opens():
    door = await house()

    assert (await door.asks()).identity == "CS1"
    assert (await door.asks(identity="cs1")).identity == "CS1"


@pytest.mark.requirement("A00.FR.207")
@pytest.mark.parametrize("basic", [None, Basic("CS1", "wrong"), Basic("CS1", ""), Basic("CS2", PASSWORD)])
async def test_anything_else_does_not(basic):
    assert await (await house()).asks(basic) is HTTPStatus.UNAUTHORIZED


async def test_a_disabled_station_is_refused_like_a_wrong_password():
    assert await (await house(disabled=True)).asks() is HTTPStatus.UNAUTHORIZED


async def test_a_station_without_a_password_is_refused():
    assert await (await house(credential=None)).asks(Basic("CS1", "")) is HTTPStatus.UNAUTHORIZED
    assert await (await house(credential="nonsense")).asks() is HTTPStatus.UNAUTHORIZED


@pytest.mark.requirement("A00.FR.002")
@pytest.mark.parametrize("expected", [1, 2, 3])
async def test_a_station_is_let_in_over_the_security_profile_expected_of_it_only(expected):
    door = await house(security_profile=expected)

    for profile in {1, 2, 3} - {expected}:
        assert await door.asks(profile=profile) is HTTPStatus.UNAUTHORIZED
    assert (await door.asks(profile=expected)).identity == "CS1"


async def test_an_unknown_station_is_not_found_or_hidden():
    assert await (await house()).asks(identity="CS9") is HTTPStatus.NOT_FOUND
    assert await (await house({"hide_unknown": True})).asks(identity="CS9") is HTTPStatus.UNAUTHORIZED


@pytest.mark.parametrize(
    "options, state", [({"allow_unauthenticated": True}, {}), ({}, {"allow_unauthenticated": True})]
)
async def test_an_open_door_must_be_asked_for_by_name(options, state):
    door = await house(options, **state)

    assert (await door.asks(None)).identity == "CS1"
    assert await door.asks(Basic("CS1", "wrong")) is HTTPStatus.UNAUTHORIZED, "a wrong password is still wrong"
    assert await door.asks(None, "CS9") is HTTPStatus.NOT_FOUND


async def test_who_was_registered_a_moment_before_is_waited_for():
    door = await house({"catch_up_s": 5.0})
    await door.rig.register("CS2")

    asked = asyncio.create_task(door.asks(Basic("CS2", PASSWORD), "CS2"))
    await door.asked_the_log()
    assert not asked.done()
    door.follow()
    assert (await asked).identity == "CS2"


async def test_whose_password_was_changed_a_moment_before_is_waited_for():
    door = await house({"catch_up_s": 5.0}, credential=None)
    await door.rig.register("CS1")

    asked = asyncio.create_task(door.asks())
    await door.asked_the_log()
    door.follow()
    assert (await asked).identity == "CS1"


async def test_a_copy_that_stays_behind_is_503_not_404():
    door = await house()
    await door.rig.register("CS9")

    assert await door.asks(identity="CS9") is HTTPStatus.SERVICE_UNAVAILABLE


async def test_a_storm_of_strangers_asks_the_log_once_or_twice():
    door = await house()
    asked = 0
    ends = door.rig.log.ends

    async def counted(partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        nonlocal asked
        asked += 1
        for _ in range(100):
            await asyncio.sleep(0)
        return await ends(partitions)

    door.rig.log.ends = counted
    outcomes = await asyncio.gather(*(door.asks(identity=f"X{n}") for n in range(200)))

    assert set(outcomes) == {HTTPStatus.NOT_FOUND}
    assert asked <= 2


async def test_it_knows_who_is_registered():
    door = await house()

    assert await door.door.knows("cs1")
    assert not await door.door.knows("cs9")
    assert isinstance(door.rig.records(topics.STATIONS)[0], Record)
