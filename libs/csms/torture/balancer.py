"""One address in front of several gateways: a connection goes to any that takes it, so stations change gateways."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from csms.harness import HOST

BUFFER_BYTES = 65_536


class Balancer:
    """TCP in, TCP out. `url` stands for all of `gateways` (`ws://HOST:PORT/ocpp`)."""

    def __init__(self, gateways: Sequence[str]) -> None:
        self._addresses = [urlsplit(gateway).netloc.rsplit(":", 1) for gateway in gateways]
        self._next = itertools.cycle(range(len(gateways)))
        self._path = urlsplit(gateways[0]).path
        self.url = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Balancer"]:
        server = await asyncio.start_server(self._serve, HOST, 0, limit=BUFFER_BYTES, backlog=1000)
        self.url = f"ws://{HOST}:{server.sockets[0].getsockname()[1]}{self._path}"
        try:
            yield self
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            for _ in self._addresses:
                host, port = self._addresses[next(self._next)]
                with contextlib.suppress(OSError):
                    there, back = await asyncio.open_connection(host, int(port), limit=BUFFER_BYTES)
                    await _join(reader, writer, there, back)
                    return
        writer.close()


async def _join(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, there: asyncio.StreamReader, back: asyncio.StreamWriter
) -> None:
    """Pass bytes both ways until one side ends; then the other one ends as abruptly."""
    ways = [asyncio.create_task(_pass(reader, back)), asyncio.create_task(_pass(there, writer))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        for end in (writer, back):
            end.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(BUFFER_BYTES):
            writer.write(data)
            await writer.drain()
