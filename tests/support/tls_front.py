"""TLS in front of a PostgreSQL that is built without it, as PostgreSQL itself begins it.

The embedded server speaks plain text on a Unix socket and cannot do otherwise. A client that wants TLS says so in the
clear, hears `S` or `N`, and begins the handshake (PostgreSQL's protocol, "SSL Session Encryption"): this does the
server's part of that and hands on what comes out. So the client's side is the real one, and so are the statements.
"""

import asyncio
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, quote, urlencode, urlsplit

WANTS_TLS = struct.pack(">II", 8, 80877103)
CHUNK_BYTES = 65_536


@dataclass
class Front:
    """`tls` None: it has none, and says so. `names`: what clients' certificates are called, "" for those without."""

    dsn: str
    tls: ssl.SSLContext | None
    port: int = 0
    names: list[str] = field(default_factory=list)
    plain: list[bytes] = field(default_factory=list)
    """What came from clients outside TLS, after or instead of the question for it."""
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def url(self, **parameters: str) -> str:
        """How a client reaches the database through this; `parameters` as in a DSN."""
        at = urlsplit(self.dsn)
        password = quote(at.password or "", safe="")
        return f"postgresql://{at.username}:{password}@localhost:{self.port}{at.path}?{urlencode(parameters)}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            return  # a client that did not like us went away
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (begun := await reader.readexactly(len(WANTS_TLS))) != WANTS_TLS or self.tls is None:
            writer.write(b"N")
            self.plain.append((b"" if begun == WANTS_TLS else begun) + await reader.read(CHUNK_BYTES))
            return
        writer.write(b"S")
        await writer.start_tls(self.tls)
        shown = writer.get_extra_info("peercert") or {}
        subject = {name: value for [(name, value)] in shown.get("subject", ())}
        server = Path(parse_qs(urlsplit(self.dsn).query)["host"][0]) / ".s.PGSQL.5432"
        inner_reader, inner_writer = await asyncio.open_unix_connection(server)
        self.names.append(subject.get("commonName", ""))
        try:
            await asyncio.gather(_hand_on(reader, inner_writer), _hand_on(inner_reader, writer))
        finally:
            inner_writer.close()

    async def end(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _hand_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(CHUNK_BYTES):
            target.write(data)
            await target.drain()
    finally:
        target.close()


@asynccontextmanager
async def tls_front(dsn: str, tls: ssl.SSLContext | None) -> AsyncIterator[Front]:
    """In front of the server that `dsn` reaches by its Unix socket."""
    front = Front(dsn, tls)
    server = await asyncio.start_server(front.serve, "127.0.0.1", 0)
    front.port = server.sockets[0].getsockname()[1]
    try:
        yield front
    finally:
        server.close()
        await front.end()
        await server.wait_closed()
