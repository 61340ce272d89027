"""Attack: try identities to learn which stations exist.

Passes if after the first few hundred an address hears the same for every identity, known or not, in the same time (but
for two a second): 401, or 503 where nobody has looked; and stations at that address are served as before.
"""

import asyncio

import pytest

from tests.support.guarded import Guarded, beat, stranger
from tests.support.raw_ws import basic, request

pytest_plugins = [
    "tests.support.kafka_broker", "tests.support.system", "tests.support.guarded_system", "tests.support.guarded_broker"
]  # fmt: skip

PROBES = 400
BURST, PER_S = 200, 2.0
DELAY_S = 0.29
"""That of every refusal, less what clocks round."""


@pytest.mark.requirement("A00.FR.207")
async def test_an_address_that_probes_learns_nothing_any_more(guarded: Guarded) -> None:
    known, source = await guarded.register(), stranger()

    async def probe(identity: str) -> tuple[int, bytes, bool]:
        async with guarded.raw(source=source) as socket:
            began = asyncio.get_running_loop().time()
            await socket.send(request(f"/ocpp/{identity}", authorization=basic(identity, "guess")))
            status, _, body = await socket.response()
            return status, body, asyncio.get_running_loop().time() - began >= DELAY_S

    first = await probe("Nobody-0")
    assert (first[0], b"Nobody-0" in first[1]) == (404, True), "a mistyped identity is told so"
    began = asyncio.get_running_loop().time()
    heard = []
    for start in range(0, PROBES, 100):
        heard += await asyncio.gather(*(probe(f"Nobody-{n}") for n in range(start, start + 100)))
    heard += await asyncio.gather(*(probe([known, f"Nobody-{n}"][n % 2]) for n in range(100)))
    seconds = asyncio.get_running_loop().time() - began

    told = [one for one in heard if one[0] == 404]
    assert len(told) <= BURST + PER_S * seconds + 1
    others = [(status, body, late or status == 503) for status, body, late in heard if status != 404]
    assert set(others) <= {
        (401, b"credentials are missing or wrong\r\n", True),
        (503, b"too many passwords are being checked\r\n", True),
    }
    async with guarded.station(known, source=source) as station:
        await beat(station)
    assert (await guarded.raw_status("/ocpp/Nobody-3", stranger())) == 404
