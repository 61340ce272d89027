"""Attack: bodies, pages and numbers beyond all measure, many at once.

It fails if one is taken, if the process grows by more than 100 MiB, if it answers others late meanwhile, or if an
answer is of the server's kind of error. A client that sends on beyond what is read and thrown away may be cut off
before it reads its 413.

Embedded only: a body that is not taken reaches no log.
"""

import asyncio
import json
import zlib

import httpx
import psutil
import pytest

from ocppcore.http.body import DISCARD_TIMES
from tests.support.closed import Closed
from tests.support.raw_http import Answer, ask, request, send

pytest_plugins = ["tests.support.kafka_broker", "tests.support.system", "tests.support.closed_system"]
pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

LIMIT = 1_048_576
GROWTH_BYTES_MAX = 100 * 1024 * 1024
LATE_S = 5.0
TIMES = 4
MANY = b'{"id":"HUGE","x":[' + b"[]," * 300_000 + b"[]]}"

BODIES = {
    "one byte too many": b'{"id": "' + b"x" * LIMIT + b'"}',
    "sixteen times too many": b'{"id": "' + b"x" * 16 * LIMIT + b'"}',
    "deep lists": b"[" * 500_000,
    "deep objects": b'{"a":' * 150_000,
    "many members": json.dumps({f"k{number}": 0 for number in range(60_000)}).encode(),
    "many lists": MANY,
    "a member many times": b'{"id":"HUGE",' + b'"id":"HUGE",' * 60_000 + b'"x":1}',
    "a number of a million digits": b'{"id":"HUGE","bootInterval":' + b"9" * 1_000_000 + b"}",
    "a number beyond infinity": b'{"id":"HUGE","bootInterval":1e999999999}',
    "no number": b'{"id":"HUGE","bootInterval":NaN}',
    "escapes": b'{"id":"' + b"\\u0000" * 150_000 + b'"}',
    "half of a pair": b'{"id":"HUGE","serialNumber":"\\ud800"}',
    "no text": b'{"id":"\xff\xfe"}',
    "two values": b'{"id":"HUGE"}{"id":"HUGE"}',
}


def chunked(key: str, chunks: int) -> bytes:
    """A body without a length, in chunks of 64 KiB."""
    head = request("POST", "/device/stations", key=key, Transfer_Encoding="chunked", Content_Type="application/json")
    return head + (b"10000\r\n" + b"x" * 65_536 + b"\r\n") * chunks + b"0\r\n\r\n"


def cut_off(size: int) -> tuple[int, ...]:
    """The status 0, no answer, for a body larger than what is read and thrown away."""
    return (0,) if size > DISCARD_TIMES * LIMIT else ()


def rss(closed: Closed) -> int:
    (program,) = closed.system.programs.values()
    assert program.process is not None
    return int(psutil.Process(program.process.pid).memory_info().rss)


async def test_huge_bodies(closed_embedded: Closed) -> None:
    address, key = closed_embedded.system.addresses["device"], closed_embedded.system.key
    before, taken, late = rss(closed_embedded), [], []
    ended = asyncio.Event()

    async def look() -> None:
        """What others see meanwhile."""
        loop = asyncio.get_running_loop()
        async with closed_embedded.admin as admin:
            while not ended.is_set():
                began = loop.time()
                assert (await admin.get("/device/stations", params={"limit": 1})).status_code == 200
                if (took := loop.time() - began) > LATE_S:
                    late.append(took)
                await asyncio.sleep(0.02)

    looking = asyncio.create_task(look())
    for name, body in BODIES.items():
        answers = await asyncio.gather(
            *(ask(address, "POST", "/device/stations", body=body, key=key) for _ in range(TIMES))
        )
        fair = (400, 413, 422, *cut_off(len(body)))
        taken += [f"{name}: {answer.status}" for answer in answers if answer.status not in fair]
    packed = zlib.compress(b" " * 50 * LIMIT)
    bomb = await ask(address, "POST", "/device/stations", body=packed, key=key, Content_Encoding="deflate")
    assert bomb.status in (400, 413, 415), "nothing is unpacked"
    for chunks in (17, 200):
        (answer,) = await send(address, chunked(key, chunks)) or [Answer(0, b"")]
        assert answer.status in (413, *cut_off(chunks * 65_536))
    for length in ("-1", "1e9", "99999999999999999999", "5, 6", "0x10", ""):
        answer = await ask(address, "POST", "/device/stations", key=key, Content_Length=length)
        assert answer.status in (400, 413), f"Content-Length: {length}"
    ended.set()
    await looking
    assert (taken, late) == ([], [])
    assert rss(closed_embedded) - before < GROWTH_BYTES_MAX
    async with closed_embedded.admin as admin:
        assert (await admin.get("/device/stations/HUGE")).status_code == 404


async def test_huge_bodies_of_strangers_are_not_even_read(closed_embedded: Closed) -> None:
    address = closed_embedded.system.addresses["device"]
    head = request("POST", "/device/stations", key="csms_nobody", Content_Length=str(10**12))
    (answer,) = await send(address, head)
    assert answer.status == 401


PAGES = ("limit=501", "limit=0", "limit=-1", "limit=1e9", f"limit={10**30}", f"limit={'9' * 10_000}", "limit=NaN",
         "limit=1&limit=100000", "cursor=" + "A" * 2001, "cursor=W10", "cursor=WyJhIiwiYiJd", "cursor=%00",
         "cursor=WzFlOTk5XQ", "cursor=" + "WyJh" * 400)  # fmt: skip


async def test_huge_pages(closed_embedded: Closed) -> None:
    lists = ["/device/stations", "/device/audit", "/auth/tokens", "/auth/apikeys", "/transactions/transactions"]
    async with closed_embedded.admin as admin:
        for path in lists:
            for query in PAGES:
                answer = await admin.get(f"{path}?{query}")
                assert answer.status_code in (400, 422), f"{path}?{query[:60]} is answered {answer.status_code}"
            assert len((await admin.get(f"{path}?limit=500")).json()["items"]) <= 500
        with pytest.raises(httpx.InvalidURL):
            await admin.get("/device/stations?cursor=" + "A" * 100_000)
