"""A station's local list (D01, D02): what is sent, what is repaired, what is left alone."""

import inspect
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
import structlog

from ocppcore.authorization import Group
from ocppcore.contracts.local_lists import Stations, Tokens
from tests.support import virtual_time
from tests.support.local_list_world import PSEUDONYMS, START, ListWorld, Station

Story = Callable[..., Awaitable[None]]
TYPE = "ISO14443"


def played(**settings: float) -> Callable[[Story], Callable[..., None]]:
    """The test is a story, told on virtual time in a world where nothing gets lost unless `settings` say so."""

    def made(story: Story) -> Callable[..., None]:
        async def told(given: Mapping[str, object]) -> None:
            world = ListWorld(1, **settings)
            await world.start()
            try:
                await story(world, **given)
            finally:
                await world.stop()

        def test(**given: object) -> None:
            structlog.configure(logger_factory=structlog.ReturnLoggerFactory(), processors=[])
            virtual_time.run(told(given))

        _, *parameters = inspect.signature(story).parameters.values()
        test.__name__, test.__doc__ = story.__name__, story.__doc__
        test.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return test

    return made


async def tokens(world: ListWorld, count: int, **fields: object) -> None:
    for n in range(count):
        await world.put_token(TYPE, f"Token-{n}", **fields)


async def everywhere(world: ListWorld, **more: bool) -> None:
    await world.put_rule("everywhere", Stations(all=True), Tokens(all=True), **more)


async def listed(world: ListWorld, count: int, **station: Any) -> Station:
    """A station that has the list of that many tokens, which all stations get."""
    await tokens(world, count)
    await everywhere(world)
    made = await world.add(Station("LS-1", **station))
    await world.pass_time(60)
    return made


def sent(station: Station) -> list[tuple[str, int, int]]:
    """(updateType, version, entries) of what it was sent."""
    return [
        (payload["updateType"], payload["versionNumber"], len(payload.get("localAuthorizationList", ())))
        for action, payload in station.asked
        if action == "SendLocalList"
    ]


@pytest.mark.requirement("D01.FR.01", "D01.FR.11", "D01.FR.18")
@played()
async def test_a_new_station_gets_a_full_list_and_the_rest_in_differential_updates(world: ListWorld) -> None:
    station = await listed(world, 25, items=10)
    assert station.asked[0] == ("GetLocalListVersion", {})
    assert sent(station) == [("Full", 1, 10), ("Differential", 2, 10), ("Differential", 3, 5)]
    assert world.actual(station) == world.expected(station)
    assert len(station.known) == 25
    row = world.row(station)
    assert (row["state"], row["version"], row["entries"], row["automatic"]) == ("synced", 3, 25, True)


@played()
async def test_a_change_sends_only_what_differs_and_many_changes_are_one(world: ListWorld) -> None:
    station = await listed(world, 25, items=50)
    station.asked.clear()
    await world.pass_time(4.9)
    for n in range(3):
        await world.put_token(TYPE, f"Token-{n}", status="Blocked")
    await world.put_token(TYPE, "Token-new", group=Group(id_token="G", type="Central"))
    await world.pass_time(60)
    ((action, payload),) = station.asked
    assert (action, payload["updateType"], payload["versionNumber"]) == ("SendLocalList", "Differential", 2)
    said = {one["idToken"]["idToken"]: one.get("idTokenInfo") for one in payload["localAuthorizationList"]}
    assert said == {
        "Token-0": None, "Token-1": None, "Token-2": None,
        "Token-new": {"status": "Accepted", "groupIdToken": {"idToken": "G", "type": "Central"}},
    }  # fmt: skip
    assert world.actual(station) == world.expected(station)


@played()
async def test_nothing_is_sent_where_nothing_that_matters_changes(world: ListWorld) -> None:
    await world.put_token(TYPE, "in", tags=("depot",))
    await world.put_rule("depot", Stations(sites=("depot",)), Tokens(tags=("depot",)))
    there = await world.add(Station("LS-1", site="depot"))
    elsewhere = await world.add(Station("LS-2", site="other"))
    await world.pass_time(60)
    assert len(there.known) == 1
    assert elsewhere.asked == []
    there.asked.clear()
    for n in range(20):
        await world.put_token(TYPE, f"out-{n}")
    await world.pass_time(600)
    assert there.asked == []
    await world.put_token(TYPE, "out-3", tags=("depot",))
    await world.pass_time(60)
    assert len(there.known) == 2


@played()
async def test_a_station_that_moves_to_another_site_gets_that_list(world: ListWorld) -> None:
    await world.put_token(TYPE, "one", tags=("depot",))
    await world.put_token(TYPE, "two", group=Group(id_token="Fleet", type="Central"))
    await world.put_rule("depot", Stations(sites=("depot",)), Tokens(tags=("depot",)))
    await world.put_rule("fast", Stations(groups=("fast",)), Tokens(groups=("fleet",)))
    station = await world.add(Station("LS-1", site="depot"))
    await world.pass_time(60)
    assert list(world.actual(station)) == [f"{TYPE}/one".casefold()]
    station.site, station.groups = "other", ("fast",)
    await world.register(station)
    await world.pass_time(60)
    assert list(world.actual(station)) == [f"{TYPE}/two".casefold()]
    await world.remove_rule("fast")
    await world.pass_time(60)
    assert world.actual(station) == {}
    assert station.known.version > 0, "an empty list is a list"


@played()
async def test_nothing_unasked_where_automatic_is_off(world: ListWorld) -> None:
    await tokens(world, 3)
    await everywhere(world)
    station = await world.add(Station("LS-1", automatic=False))
    await world.pass_time(600)
    await world.boot(station)
    await world.pass_time(600)
    assert station.asked == []
    operation = await world.sync(station)
    await world.pass_time(10)
    assert world.operation(operation)["state"] == "synced"
    assert len(station.known) == 3
    station.asked.clear()
    await world.put_token(TYPE, "later")
    await world.pass_time(600)
    assert station.asked == [], "asked once, not looked after"
    station.automatic = True
    station.known = type(station.known)()
    await world.register(station)
    await world.pass_time(60)
    assert len(station.known) == 4, "whatever became of it meanwhile"
    station.automatic = False
    await world.register(station)
    await world.pass_time(60)
    station.asked.clear()
    await world.put_token(TYPE, "much later", valid_to=world.clock() + 60_000)
    await world.pass_time(600)
    assert station.asked == []
    assert world.row(station)["automatic"] is False


@pytest.mark.requirement("D01.FR.03")
@pytest.mark.parametrize("lost", ["VersionMismatch", "Failed"])
@played()
async def test_a_differential_update_that_is_refused_is_followed_by_the_full_list_in_parts(
    world: ListWorld, lost: str
) -> None:
    station = await listed(world, 25, items=20)
    if lost == "VersionMismatch":
        station.known.update_list({"updateType": "Full", "versionNumber": 40})
    else:
        station.answers = [{"status": "Failed"}]
    station.asked.clear()
    await world.put_token(TYPE, "Token-new")
    await world.pass_time(60)
    kinds = [payload["updateType"] for action, payload in station.asked if action == "SendLocalList"]
    assert kinds[:3] == ["Differential", "Full", "Differential"]
    assert world.actual(station) == world.expected(station)
    versions = [payload["versionNumber"] for action, payload in station.asked if action == "SendLocalList"]
    assert versions == sorted(set(versions))
    assert world.row(station)["state"] == "synced"
    if lost == "VersionMismatch":
        assert station.asked[1] == ("GetLocalListVersion", {})
        assert versions[1] > 40


@played()
async def test_an_update_whose_answer_was_lost_is_not_sent_again_if_the_station_has_it(world: ListWorld) -> None:
    station = await listed(world, 5)
    station.asked.clear()
    station.mute = 1
    await world.put_token(TYPE, "Token-new")
    await world.pass_time(300)
    assert [action for action, _ in station.asked] == ["SendLocalList", "GetLocalListVersion"]
    assert world.actual(station) == world.expected(station)
    assert world.row(station)["state"] == "synced"


@played()
async def test_a_station_that_lost_its_list_is_found_at_its_boot(world: ListWorld) -> None:
    station = await listed(world, 5)
    station.known = type(station.known)()
    await world.pass_time(600)
    assert len(station.known) == 0, "nobody can know yet"
    await world.boot(station)
    await world.pass_time(60)
    assert len(station.known) == 5
    station.asked.clear()
    await world.boot(station)
    await world.pass_time(60)
    assert [action for action, _ in station.asked] == ["GetLocalListVersion"]


@played()
async def test_what_a_station_cannot_be_sent_while_away_it_gets_when_it_is_back(world: ListWorld) -> None:
    station = await listed(world, 5)
    await world.disconnect(station)
    await world.put_token(TYPE, "Token-new")
    operation = await world.sync(station)
    await world.pass_time(300)
    assert world.row(station)["state"] == "waiting"
    await world.connect(station)
    await world.pass_time(20)
    assert len(station.known) == 6
    assert world.operation(operation)["state"] == "synced"


@played()
async def test_an_operation_ends_when_its_time_is_up_and_the_list_goes_on(world: ListWorld) -> None:
    await tokens(world, 5)
    await everywhere(world)
    station = await world.add(Station("LS-1"), connect=False)
    operation = await world.sync(station, wait_s=100)
    await world.pass_time(90)
    assert world.operation(operation)["state"] == "asked"
    await world.pass_time(20)
    row = world.operation(operation)
    assert (row["state"], row["reason"], row["actor"]) == (
        "no_effect",
        "the list was waiting when time was up",
        "me",
    )
    await world.connect(station)
    await world.pass_time(20)
    assert len(station.known) == 5


@played()
async def test_a_full_sync_sends_everything_whatever_the_station_says(world: ListWorld) -> None:
    station = await listed(world, 5)
    station.asked.clear()
    await world.sync(station, full=True)
    await world.pass_time(20)
    assert sent(station) == [("Full", 2, 5)]


@played()
async def test_without_a_rule_an_operation_says_so_and_sends_nothing(world: ListWorld) -> None:
    await tokens(world, 5)
    station = await world.add(Station("LS-1"))
    operation = await world.sync(station)
    await world.pass_time(20)
    row = world.operation(operation)
    assert (row["state"], row["reason"]) == ("failed", "no rule gives this station a list")
    assert sent(station) == []


@played()
async def test_a_station_that_refuses_everything_is_given_up_until_something_changes(world: ListWorld) -> None:
    await tokens(world, 40)
    await everywhere(world)
    station = Station("LS-1", items=32)
    refuses = {"status": "Failed", "statusInfo": {"reasonCode": "TooLarge"}}
    station.refuses = refuses
    await world.add(station)
    await world.pass_time(2 * 3600)
    row = world.row(station)
    assert (row["state"], row["reason"]) == ("failed", "SendLocalList: Failed TooLarge")
    assert [count for _, _, count in sent(station)][:4] == [32, 16, 8, 4], "smaller each time"
    station.refuses = None
    await world.put_token(TYPE, "Token-new")
    await world.pass_time(60)
    assert world.actual(station) == world.expected(station)
    assert world.row(station)["state"] == "synced"


@played()
async def test_a_station_that_knows_no_local_lists_is_left_alone(world: ListWorld) -> None:
    await tokens(world, 4)
    await everywhere(world)
    station = Station("LS-1")
    station.error = "NotImplemented"
    await world.add(station)
    await world.pass_time(3600)
    assert len(station.asked) == 1
    row = world.row(station)
    assert (row["state"], row["reason"]) == ("unsupported", "GetLocalListVersion: NotImplemented")
    await world.put_token(TYPE, "Token-new")
    await world.pass_time(60)
    assert len(station.asked) == 1, "tokens change nothing about that"
    station.error = ""
    await world.boot(station)
    await world.pass_time(60)
    assert len(station.known) == 5


@played()
async def test_time_alone_puts_tokens_on_the_list_and_takes_them_off(world: ListWorld) -> None:
    await world.put_token(TYPE, "future", valid_from=START + 600_000)
    await world.put_token(TYPE, "past", valid_to=START + 300_000)
    await everywhere(world)
    station = await world.add(Station("LS-1"))
    await world.pass_time(60)
    (info,) = station.known.entries().values()
    assert info["cacheExpiryDateTime"] == "2023-11-14T22:18:20.000Z"
    await world.pass_time(300)
    assert len(station.known) == 0
    await world.pass_time(300)
    assert list(world.actual(station)) == [f"{TYPE}/future".casefold()]


@played()
async def test_an_erased_driver_leaves_the_list_by_a_full_one(world: ListWorld) -> None:
    """Nobody can name the token any more: neither can an update."""
    station = await listed(world, 5)
    await world.remove_token(TYPE, "Token-3")
    await world.pass_time(60)
    assert sent(station) == [("Full", 1, 5), ("Full", 2, 4)]
    assert world.actual(station) == world.expected(station)


@played()
async def test_a_list_is_no_longer_than_the_station_can_keep(world: ListWorld) -> None:
    station = await listed(world, 30, entries=12)
    assert len(station.known) == 12
    assert world.actual(station) == world.expected(station)


@played()
async def test_refused_tokens_are_listed_where_the_rule_says_so(world: ListWorld) -> None:
    await tokens(world, 2)
    await world.put_token(TYPE, "blocked", status="Blocked")
    await everywhere(world, refused=True)
    station = await world.add(Station("LS-1"))
    await world.pass_time(60)
    assert world.actual(station)[f"{TYPE}/blocked".casefold()]["status"] == "Blocked"


@played(loses=0.2)
async def test_a_message_that_may_have_come_before_a_crash_is_repaired(world: ListWorld) -> None:
    await tokens(world, 30)
    await everywhere(world)
    station = await world.add(Station("LS-1", items=3))
    for _ in range(8):
        await world.pass_time(5.3)
        await world.crash()
    await world.pass_time(3600)
    assert world.actual(station) == world.expected(station)
    assert world.row(station)["state"] == "synced"


@played()
async def test_no_idtoken_lies_anywhere_in_clear(world: ListWorld) -> None:
    await world.put_token(TYPE, "SECRET-VALUE-1")
    await everywhere(world)
    station = await world.add(Station("LS-1"))
    await world.pass_time(60)
    assert "SECRET-VALUE-1" in json.dumps(station.asked)
    text = world.everything()
    assert "SECRET-VALUE-1" not in text
    assert PSEUDONYMS.of(TYPE, "SECRET-VALUE-1") in text


@pytest.mark.requirement("D01.FR.06")
@played()
async def test_tokens_that_several_rules_select_are_there_once(world: ListWorld) -> None:
    await world.put_token(TYPE, "one", tags=("a", "b"), group=Group(id_token="G", type="Central"))
    named = PSEUDONYMS.of(TYPE, "ONE")
    await world.put_rule("a", Stations(all=True), Tokens(tags=("a", "b"), groups=("g",), ids=(named,)))
    await everywhere(world)
    station = await world.add(Station("LS-1"))
    await world.pass_time(60)
    assert sent(station) == [("Full", 1, 1)]


@played()
async def test_at_most_so_many_wait_for_one_station(world: ListWorld) -> None:
    await everywhere(world)
    station = await world.add(Station("LS-1"), connect=False)
    for _ in range(25):
        await world.sync(station)
    await world.pass_time(10)
    assert len(world.tables.rows["local_list_syncs"]) == 20
