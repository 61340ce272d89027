"""Attack: open connections and never finish the handshake, with and without TLS.

Passes if stations connect meanwhile as fast as ever, every slow one is cut after the timeout, and none is left.
"""

import asyncio
import contextlib

import pytest

from tests.support.guarded import Guarded, beat, stranger
from tests.support.raw_ws import basic, request

pytest_plugins = ["tests.support.system", "tests.support.guarded_system"]

SLOW = 300
SERVED_WITHIN_S = 2.0
CUT_WITHIN_S = 3.0 + 3.0
"""The setting of this system, and what a busy machine takes."""

WAYS = {
    "silent": b"",
    "half a request": request()[:-2],
    "a header for ever": b"GET /ocpp/CS1 HTTP/1.1\r\nX-A: ",
    "half a ClientHello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("secured", [False, True], ids=["plain", "TLS"])
async def test_stations_connect_meanwhile_and_the_slow_are_cut(guarded: Guarded, way: str, secured: bool) -> None:
    name, source = await guarded.register(securityProfile=2 if secured else 1), stranger()
    port = guarded.tls_port if secured else guarded.plain_port
    slow = [await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0)) for _ in range(SLOW)]
    for _, writer in slow:
        writer.write(WAYS[way])
    began = asyncio.get_running_loop().time()

    async with guarded.station(name, tls=guarded.context() if secured else None) as station:
        await beat(station)
    assert asyncio.get_running_loop().time() - began < SERVED_WITHIN_S

    async def cut(reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read()

    async with asyncio.timeout(CUT_WITHIN_S):
        await asyncio.gather(*(cut(reader) for reader, _ in slow))
    for _, writer in slow:
        writer.close()


async def test_one_byte_at_a_time_buys_no_more_time(guarded: Guarded) -> None:
    name = await guarded.register()
    text = request(f"/ocpp/{name}", authorization=basic(name, "x" * 500))
    async with guarded.raw(source=stranger()) as socket:
        began = asyncio.get_running_loop().time()
        for n in range(len(text)):
            socket.writer.write(text[n : n + 1])
            with contextlib.suppress(TimeoutError):
                if await asyncio.wait_for(socket.reader.read(1), 0.02) == b"":
                    break
        assert asyncio.get_running_loop().time() - began < CUT_WITHIN_S
