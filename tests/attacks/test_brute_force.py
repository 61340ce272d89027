"""Attack: guess a station's password, as fast as one machine can.

Passes if no guess opens, the station stays served and reconnects at its first attempt from wherever it is, slow hashes
are not computed for guesses beyond the limits (503: nobody has looked), and the memory of the process does not grow
with the guesses.

Embedded only: how long a station waits among guesses, which its gateway's own threads decide.
"""

import asyncio
import secrets

import pytest

from tests.support.guarded import PASSWORD, Guarded, beat, stranger
from tests.support.raw_ws import basic, request

pytest_plugins = [
    "tests.support.kafka_broker", "tests.support.system", "tests.support.guarded_system", "tests.support.guarded_broker"
]  # fmt: skip

GUESSES = 600
AT_ONCE = 100
SERVED_WITHIN_S = 2.0
GROWTH_BYTES_MAX = 64 * 1024 * 1024


async def guess(guarded: Guarded, identity: str, source: str, count: int) -> list[int]:
    """Statuses of so many guesses, AT_ONCE at a time."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one() -> int:
        async with room, guarded.raw(source=source) as socket:
            await socket.send(request(f"/ocpp/{identity}", authorization=basic(identity, secrets.token_urlsafe(12))))
            return (await socket.response())[0]

    return await asyncio.gather(*(one() for _ in range(count)))


@pytest.mark.requirement("A00.FR.207")
@pytest.mark.parametrize("generated", [True, False], ids=["generated password", "chosen password"])
@pytest.mark.parametrize("shared", [True, False], ids=["same address", "another address"])
async def test_the_station_is_neither_slowed_nor_locked_out(
    guarded_embedded: Guarded, generated: bool, shared: bool
) -> None:
    guarded = guarded_embedded
    name = await guarded.register(f"Guessed-{generated}-{shared}")
    password = PASSWORD
    if generated:
        made = await guarded.http.post("/device/stations", json={"id": f"{name}-made"})
        name, password = f"{name}-made", made.json()["password"]
    source = stranger()
    own = source if shared else stranger()
    async with guarded.station(name, password, source=own) as station:
        await beat(station)
    memory = guarded.process().memory_info().rss

    guessing = asyncio.create_task(guess(guarded, name, source, GUESSES))
    while not guessing.done():
        began = asyncio.get_running_loop().time()
        async with guarded.station(name, password, source=own) as station:
            await beat(station)
        assert asyncio.get_running_loop().time() - began < SERVED_WITHIN_S
        await asyncio.wait([guessing], timeout=0.1)

    assert set(await guessing) <= {401, 503}
    assert guarded.process().memory_info().rss - memory < GROWTH_BYTES_MAX


async def test_a_chosen_password_that_the_gateway_has_never_seen_passes_from_elsewhere(
    guarded_embedded: Guarded,
) -> None:
    """The worst case: each guess would cost 20 ms, and nothing is remembered of the station."""
    guarded = guarded_embedded
    source, own = stranger(), stranger()
    names = [await guarded.register() for _ in range(5)]
    for name in names:
        guessing = asyncio.create_task(guess(guarded, name, source, 200))
        began = asyncio.get_running_loop().time()
        assert await guarded.status(name, source=own) == 101
        assert asyncio.get_running_loop().time() - began < SERVED_WITHIN_S
        assert set(await guessing) <= {401, 503}


async def test_guesses_are_counted_and_logged_within_bounds(guarded: Guarded) -> None:
    name, source = await guarded.register(), stranger()
    before = [await guarded.refusals(cause) for cause in ("over_limit", "unjudged")]

    await guess(guarded, name, source, 300)

    after = [await guarded.refusals(cause) for cause in ("over_limit", "unjudged")]
    assert sum(after) - sum(before) >= 300 - 40
    lines = [line for line in guarded.log() if line.get("station") == name.casefold()]
    assert 10 <= len(lines) <= 60, len(lines)
    assert PASSWORD not in str(lines)


@pytest.mark.requirement("A00.FR.408")
async def test_guesses_become_a_few_security_events_and_a_number(guarded: Guarded) -> None:
    name, source = await guarded.register(), stranger()
    counted = await guarded.metric("csms_gateway_refusals_unrecorded_total")

    await guess(guarded, name, source, 300)

    assert await guarded.metric("csms_gateway_refusals_unrecorded_total") - counted >= 300 - 2 * 3, "within two minutes"
    events = await guarded.observed(name, 1)
    assert len(events) <= 2 * 3
    assert {event["type"] for event in events} == {"FailedToAuthenticationAtCsms"}
    assert all(event["techInfo"].startswith(f"password refused from {source} without TLS") for event in events)
