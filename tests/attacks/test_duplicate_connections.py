"""Attack: open connections in a station's name while it is connected.

Passes if who has no credentials never disturbs it, and who has them (the station itself after a loss, or a thief)
takes its place in order: one connection at any time, the newest, and the last frame of the loser counts once.
"""

import asyncio

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.support.guarded import PASSWORD, Guarded, beat, stranger

pytest_plugins = [
    "tests.support.kafka_broker", "tests.support.system", "tests.support.guarded_system", "tests.support.guarded_broker"
]  # fmt: skip

STRANGERS = 200
TAKEOVERS = 20


@pytest.mark.requirement("A00.FR.207")
async def test_without_credentials_nobody_disturbs_it(guarded: Guarded) -> None:
    name = await guarded.register()
    async with guarded.station(name) as station:
        await beat(station)
        source = stranger()
        attempts = [
            asyncio.create_task(guarded.status(name, [None, "wrong", ""][n % 3], source=source))
            for n in range(STRANGERS)
        ]
        for n in range(10):
            await beat(station, f"beat-{n}")
        assert set(await asyncio.gather(*attempts)) <= {401, 503}
        await beat(station)
        assert await guarded.connected(name)


async def test_with_credentials_the_newest_takes_over_one_after_the_other(guarded: Guarded) -> None:
    name = await guarded.register()
    for _ in range(TAKEOVERS):
        async with guarded.station(name) as older:
            await beat(older)
            async with guarded.station(name) as newer:
                await beat(newer)
                with pytest.raises(ConnectionClosed) as closed:
                    await older.recv()
                assert closed.value.rcvd is not None and closed.value.rcvd.code == 1008
                assert await guarded.connected(name)


async def test_a_crowd_with_credentials_leaves_one(guarded: Guarded) -> None:
    name = await guarded.register()
    done = asyncio.Event()

    async def hold() -> bool:
        """Whether it was there until the end."""
        try:
            async with guarded.station(name, PASSWORD) as station:
                ending, hearing = asyncio.create_task(done.wait()), asyncio.create_task(station.recv())
                await asyncio.wait({ending, hearing}, return_when=asyncio.FIRST_COMPLETED)
                ending.cancel()
                hearing.cancel()
                await asyncio.gather(hearing, return_exceptions=True)
                await beat(station)
        except (ConnectionClosed, InvalidStatus):  # a newer one came, maybe while this one was being opened
            return False
        return True

    crowd = [asyncio.create_task(hold()) for _ in range(TAKEOVERS)]
    async with asyncio.timeout(20):
        while sum(one.done() for one in crowd) < TAKEOVERS - 1:
            await asyncio.sleep(0.02)
    assert await guarded.connected(name)
    done.set()
    assert sum(await asyncio.gather(*crowd)) == 1
