"""After any changes of tokens and rules, with commands lost, stations away and auth killed, every station's local list
is what the rules give it (D01)."""

import asyncio
import os
import random

import pytest
import structlog

from ocppcore.authorization import Group
from ocppcore.contracts.local_lists import Stations, Tokens
from tests.support import virtual_time
from tests.support.local_list_world import PSEUDONYMS, ListWorld, Station

CHANGES = 10_000
BURST = 100
VALUES = 300


async def change(world: ListWorld, chance: random.Random) -> None:
    """One random change of a token."""
    value = f"TOKEN-{chance.randrange(VALUES)}"
    known = ("ISO14443", value) in world.tokens
    if known and chance.random() < 0.15:
        await world.remove_token("ISO14443", value)
        return
    group = chance.choice([None, "FLEET", "Guests", "other"])
    now = world.clock()
    await world.put_token(
        "ISO14443",
        value,
        status=chance.choice(["Accepted", "Accepted", "Accepted", "Blocked"]),
        group=Group(id_token=group, type="Central") if group else None,
        tags=tuple(sorted(chance.sample(["depot", "night", "vip"], chance.randrange(3)))),
        stations=chance.choice([None, None, ("ls-1", "ls-2")]),
        valid_from=chance.choice([None, None, None, now + chance.randrange(60_000)]),
        valid_to=chance.choice([None, None, None, now + chance.randrange(60_000, 600_000)]),
    )


async def whole(seed: int) -> ListWorld:
    world = ListWorld(seed, loses=0.3, moody=0.08)
    chance = world.chance
    await world.start()
    await world.add(Station("LS-1", site="depot", items=7))
    await world.add(Station("LS-2", site="depot", groups=("fast",), items=25))
    await world.add(Station("LS-3", groups=("fast",), items=1))
    await world.add(Station("LS-4", items=None, entries=20))
    await world.add(Station("LS-5", site="elsewhere"), connect=False)
    await world.add(Station("LS-6", site="depot", automatic=False))
    await world.put_rule("everywhere", Stations(all=True), Tokens(groups=("fleet",)))
    await world.put_rule("depot", Stations(sites=("depot",)), Tokens(tags=("depot", "vip")))
    named = tuple(sorted(PSEUDONYMS.of("ISO14443", f"TOKEN-{n}") for n in range(5)))
    await world.put_rule("fast", Stations(groups=("fast",)), Tokens(ids=named), refused=True)
    for burst in range(CHANGES // BURST):
        world.held = []
        for _ in range(BURST):
            await change(world, chance)
        await world.release()
        await world.pass_time(chance.uniform(0, 20))
        if burst % 10 == 3:
            await world.crash()
        if burst == 40:
            await world.put_rule("everywhere", Stations(all=True), Tokens(groups=("guests",), tags=("night",)))
        if burst == 50:
            await world.remove_rule("fast")
        if burst == 60:
            await world.put_rule("depot", Stations(sites=("depot",)), Tokens(all=True))
    await world.connect(world.stations["ls-5"])
    world.loses = world.moody = 0.0
    await world.pass_time(12 * 3600)
    await world.stop()
    return world


@pytest.mark.requirement("D01.FR.01", "D01.FR.03", "D01.FR.06", "D01.FR.11", "D01.FR.18")
def test_lists_are_what_the_rules_give_after_ten_thousand_changes_with_losses() -> None:
    seed = int(os.environ.get("CSMS_LISTS_SEED", random.randrange(1_000_000)))
    print(f"seed {seed}: CSMS_LISTS_SEED={seed} repeats it")
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory(), processors=[])

    async def told() -> ListWorld:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        return await whole(seed)

    world = virtual_time.run(told())
    statuses = {status for station in world.stations.values() for status in station.statuses}
    assert {"Accepted", "VersionMismatch"} <= statuses, f"seed {seed}: nothing went wrong"
    for station in world.stations.values():
        assert world.actual(station) == world.final[station.key], f"seed {seed}: {station.identity}"
    assert world.final["ls-6"] == {}
    assert any(len(expected) > 20 for expected in world.final.values())
