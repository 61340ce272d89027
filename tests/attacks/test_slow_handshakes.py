"""Attack: open connections and never finish the handshake, with and without TLS.

Passes if stations connect meanwhile as fast as ever, every slow one is cut after the timeout, and none is left.

Embedded only: a handshake that is not finished reaches no log.
"""

import asyncio
import contextlib

from tests.support.guarded import Guarded, beat, stranger
from tests.support.raw_ws import basic, request

pytest_plugins = ["tests.support.system", "tests.support.guarded_system"]

SLOW = 200
"""Of each kind, all at once."""
SERVED_WITHIN_S = 2.0
CUT_WITHIN_S = 3.0 + 3.0
"""The setting of this system, and what a busy machine takes."""

WAYS = {
    "silent": b"",
    "half a request": request()[:-2],
    "a header for ever": b"GET /ocpp/CS1 HTTP/1.1\r\nX-A: ",
    "half a ClientHello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def opened(port: int, said: bytes) -> list[Stream]:
    source = stranger()
    slow = [await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0)) for _ in range(SLOW)]
    for _, writer in slow:
        writer.write(said)
    return slow


async def test_stations_connect_meanwhile_and_the_slow_are_cut(guarded_embedded: Guarded) -> None:
    guarded = guarded_embedded
    stations = {tls: await guarded.register(securityProfile=2 if tls else 1) for tls in (False, True)}
    loop, slow = asyncio.get_running_loop(), dict[str, list[Stream]]()
    for secured, name in stations.items():
        for way, said in WAYS.items():
            began = loop.time()
            slow[f"{way}, {'TLS' if secured else 'plain'}"] = await opened(
                guarded.tls_port if secured else guarded.plain_port, said
            )
            async with guarded.station(name, tls=guarded.context() if secured else None) as station:
                await beat(station)
            assert loop.time() - began < SERVED_WITHIN_S, way

    async def cut(way: str, reader: asyncio.StreamReader) -> None:
        try:
            async with asyncio.timeout(CUT_WITHIN_S):
                with contextlib.suppress(ConnectionError):
                    await reader.read()
        except TimeoutError:
            left.append(way)

    left: list[str] = []
    await asyncio.gather(*(cut(way, reader) for way, streams in slow.items() for reader, _ in streams))
    assert left == []
    for streams in slow.values():
        for _, writer in streams:
            writer.close()


async def test_one_byte_at_a_time_buys_no_more_time(guarded_embedded: Guarded) -> None:
    guarded = guarded_embedded
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
