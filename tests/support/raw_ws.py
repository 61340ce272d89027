"""A WebSocket client without manners: bytes in, bytes out, so that tests can break any rule."""

import asyncio
import base64
import contextlib
import struct
import zlib
from collections.abc import AsyncIterator
from typing import NamedTuple

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
MASK = b"\x01\x02\x03\x04"
TEXT, BINARY, CLOSE, PING, PONG, CONT = 1, 2, 8, 9, 10, 0


class Message(NamedTuple):
    """A frame from the server."""

    opcode: int
    data: bytes
    compressed: bool = False

    @property
    def close_code(self) -> int:
        return int(struct.unpack("!H", self.data[:2])[0]) if self.data else 1005


def request(path: str = "/ocpp/CS1", **headers: str | None) -> bytes:
    """A handshake request; a header is changed by its name with underscores, and removed by None."""
    wanted: dict[str, str | None] = {
        "Host": "localhost",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": "ocpp2.0.1",
    }
    for name, value in headers.items():
        wanted["-".join(part.capitalize() for part in name.split("_")).replace("Websocket", "WebSocket")] = value
    lines = [f"{name}: {value}" for name, value in wanted.items() if value is not None]
    return "\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""]).encode("latin-1")


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def frame(data: bytes, opcode: int = TEXT, *, fin: bool = True, rsv1: bool = False, masked: bool = True) -> bytes:
    """One WebSocket frame as a client sends it."""
    head = (0x80 if fin else 0) | (0x40 if rsv1 else 0) | opcode
    mask_bit = 0x80 if masked else 0
    if len(data) < 126:
        header = bytes((head, mask_bit | len(data)))
    elif len(data) < 65536:
        header = struct.pack("!BBH", head, mask_bit | 126, len(data))
    else:
        header = struct.pack("!BBQ", head, mask_bit | 127, len(data))
    if not masked:
        return header + data
    repeated = MASK * (len(data) // 4 + 1)
    body = (int.from_bytes(data) ^ int.from_bytes(repeated[: len(data)])).to_bytes(len(data)) if data else b""
    return header + MASK + body


def deflated(data: bytes) -> bytes:
    """As permessage-deflate wants it."""
    packer = zlib.compressobj(wbits=-12)
    return (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


class Raw:
    """A TCP connection to a WebSocket server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        with contextlib.suppress(ConnectionError):
            await self.writer.drain()

    async def response(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (lower case) and body of the HTTP answer."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return int(first.split()[1]), headers, body

    async def message(self) -> Message | None:
        """The next frame; None at the end of the stream."""
        try:
            first, second = await self.reader.readexactly(2)
            length = second & 0x7F
            if length == 126:
                length = int.from_bytes(await self.reader.readexactly(2))
            elif length == 127:
                length = int.from_bytes(await self.reader.readexactly(8))
            return Message(first & 0x0F, await self.reader.readexactly(length), bool(first & 0x40))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def open(self, path: str = "/ocpp/CS1", **headers: str | None) -> dict[str, str]:
        """Shake hands; the server's headers. Asserts that it accepts."""
        await self.send(request(path, **headers))
        status, answered, body = await self.response()
        assert status == 101, (status, body)
        return answered


@contextlib.asynccontextmanager
async def raw(port: int, wait_s: float = 10.0) -> AsyncIterator[Raw]:
    """Connected to the loopback; whatever happens inside may take `wait_s` at most."""
    async with asyncio.timeout(wait_s):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            yield Raw(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
