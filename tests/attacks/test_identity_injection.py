"""Attack: identities that are paths, topics, patterns or statements.

Passes if what is no identifierString is 404 before anything looks at it, what is one is a name like any other, and no
station reaches another's records.
"""

import json

import pytest

from tests.support.guarded import Guarded, beat, stranger
from tests.support.raw_ws import basic, request

pytest_plugins = ["tests.support.system", "tests.support.guarded_system"]

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
async def test_what_is_no_identity_is_not_found(guarded: Guarded, identity: str) -> None:
    async with guarded.raw(source=stranger()) as socket:
        await socket.send(request(f"/ocpp/{identity}", authorization=basic("x", "x")))
        status, headers, _ = await socket.response()
    assert status == 404
    assert "x-injected" not in headers


@pytest.mark.parametrize("identity", NAMES)
async def test_a_name_is_only_a_name(guarded: Guarded, identity: str) -> None:
    neighbour = await guarded.register()
    async with guarded.station(neighbour) as other:
        await beat(other)
        mine = await guarded.frames(neighbour)
        await guarded.register(identity)
        async with guarded.station(identity) as station:
            await beat(station, "mine")
            assert await guarded.connected(identity)
        assert await guarded.frames(neighbour) == mine
        assert "mine" in json.dumps(await guarded.frames(identity))
        await beat(other)
