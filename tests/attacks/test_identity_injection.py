"""Attack: identities that are paths, topics, patterns or statements.

Passes if what is no identifierString is 404 before anything looks at it, what is one is a name like any other, and no
station reaches another's records.

Embedded only: what is no identity, which is 404 before anything of it could be written.
"""

import asyncio
import json

import pytest

from tests.support.guarded import Guarded, beat, stranger
from tests.support.raw_ws import basic, request

pytest_plugins = [
    "tests.support.kafka_broker", "tests.support.system", "tests.support.guarded_system", "tests.support.guarded_broker"
]  # fmt: skip

NO_IDENTITIES = [
    "../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e%2f",
    "a%2fb",
    "a%5cb",
    "a%00b",
    "a%0d%0aX-Injected:%201",
    "a'%20OR%20'1'='1",
    "a;DROP%20TABLE%20stations",
    "a%22b",
    "a$(id)",
    "%7B%7Ba%7D%7D",
    "a:b",
    "a%3Ab",
    "%C0%AE%C0%AE",
    "%E2%80%8B",
    "a%25",
    "%",
    "a%ZZ",
    "x" * 49,
]
NAMES = [
    "ocpp.frames.device",
    "ocpp.outbound",
    "device.stations",
    "a*",
    "a|b",
    "-rf",
    "_",
    "=1+1",
    "@a",
    "a.b..c",
    "NUL",
]


@pytest.mark.parametrize("identity", NO_IDENTITIES)
async def test_what_is_no_identity_is_not_found(guarded_embedded: Guarded, identity: str) -> None:
    async with guarded_embedded.raw(source=stranger()) as socket:
        await socket.send(request(f"/ocpp/{identity}", authorization=basic("x", "x")))
        status, headers, _ = await socket.response()
    assert status == 404
    assert "x-injected" not in headers


async def test_a_name_is_only_a_name(guarded: Guarded) -> None:
    neighbour = await guarded.register()
    async with guarded.station(neighbour) as other:
        await beat(other)
        mine = await guarded.frames(neighbour)

        async def comes(identity: str) -> None:
            await guarded.register(identity)
            async with guarded.station(identity) as station:
                await beat(station, f"of {identity}")
                assert await guarded.connected(identity), identity
            said = json.dumps(await guarded.frames(identity))
            assert {name for name in NAMES if json.dumps(f"of {name}")[1:-1] in said} == {identity}

        await asyncio.gather(*map(comes, NAMES))
        assert await guarded.frames(neighbour) == mine
        await beat(other)
