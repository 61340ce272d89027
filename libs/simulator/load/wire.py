"""A WebSocket client's side of RFC 6455 and RFC 7692 on plain bytes, as cheap as Python allows.

The mask is zero: a server has to unmask all the same, and nothing has to be computed here.
"""

import base64
import os
import zlib
from hashlib import sha1
from typing import NamedTuple

TEXT, PING, PONG, CLOSE = 0x1, 0x9, 0xA, 0x8
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TAIL = b"\x00\x00\xff\xff"
_NO_MASK = b"\x00\x00\x00\x00"
RESPONSE_BYTES_MAX = 16_384
FRAME_BYTES_MAX = 1 << 20


class HandshakeError(Exception):
    """The server did not agree to a WebSocket; `status` is the HTTP status, 0 if there was none."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Handshake(NamedTuple):
    """What was agreed: the subprotocol, and whether and how frames are compressed."""

    subprotocol: str
    server_window_bits: int | None  # None: no compression
    server_takeover: bool
    client_takeover: bool


def request(host: str, path: str, key: str, credentials: str | None, *, compression: bool) -> bytes:
    """The opening request; `key` as from `new_key`, `credentials` as `user:password`."""
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: ocpp2.0.1",
    ]
    if credentials is not None:
        lines.append(f"Authorization: Basic {base64.b64encode(credentials.encode()).decode()}")
    if compression:
        lines.append("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def new_key() -> str:
    return base64.b64encode(os.urandom(16)).decode()


def response(data: bytes, key: str) -> tuple[Handshake, bytes] | None:
    """Reads the server's answer; returns what was agreed and the bytes after it, None if more are needed.
    Raises HandshakeError."""
    head, end, rest = data.partition(b"\r\n\r\n")
    if not end:
        if len(data) > RESPONSE_BYTES_MAX:
            raise HandshakeError(0, "the response has no end")
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    status = int(first.split(" ")[1]) if first.startswith("HTTP/1.1 ") else 0
    if status != 101:
        raise HandshakeError(status, first[:200])
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    expected = base64.b64encode(sha1(key.encode() + _GUID, usedforsecurity=False).digest()).decode()
    if headers.get("sec-websocket-accept") != expected:
        raise HandshakeError(status, "wrong Sec-WebSocket-Accept")
    return _agreed(headers), rest


def _agreed(headers: dict[str, str]) -> Handshake:
    extension = [part.strip() for part in headers.get("sec-websocket-extensions", "").split(";")]
    window_bits = None
    if extension[0] == "permessage-deflate":
        window_bits = 15
        for part in extension:
            if part.startswith("server_max_window_bits"):
                window_bits = int(part.partition("=")[2].strip('" '))
    return Handshake(
        headers.get("sec-websocket-protocol", ""),
        window_bits,
        "server_no_context_takeover" not in extension,
        "client_no_context_takeover" not in extension,
    )


def frame(payload: bytes, opcode: int = TEXT, *, compressed: bool = False) -> bytes:
    """One masked frame."""
    first = 0xC0 | opcode if compressed else 0x80 | opcode
    size = len(payload)
    if size < 126:
        return bytes((first, 0x80 | size)) + _NO_MASK + payload
    if size < 65536:
        return bytes((first, 0xFE, size >> 8, size & 255)) + _NO_MASK + payload
    return bytes((first, 0xFF)) + size.to_bytes(8, "big") + _NO_MASK + payload


class Deflate:
    """permessage-deflate of one connection. The compressor's window is the smallest: it may be smaller than
    agreed, and thousands of them shall fit into memory."""

    __slots__ = ("_compressor", "_decompressor", "_handshake")

    def __init__(self, handshake: Handshake) -> None:
        self._handshake = handshake
        self._compressor = zlib.compressobj(1, zlib.DEFLATED, -9, 1)
        self._decompressor = zlib.decompressobj(-(handshake.server_window_bits or 15))

    def compress(self, payload: bytes) -> bytes:
        data = self._compressor.compress(payload) + self._compressor.flush(zlib.Z_SYNC_FLUSH)
        if not self._handshake.client_takeover:
            self._compressor = zlib.compressobj(1, zlib.DEFLATED, -9, 1)
        return data.removesuffix(_TAIL)

    def decompress(self, payload: bytes) -> bytes:
        """Raises zlib.error, and ValueError beyond FRAME_BYTES_MAX."""
        data = self._decompressor.decompress(payload + _TAIL, FRAME_BYTES_MAX)
        if self._decompressor.unconsumed_tail:
            raise ValueError("the server sent a message that is too big")
        if not self._handshake.server_takeover:
            self._decompressor = zlib.decompressobj(-(self._handshake.server_window_bits or 15))
        return data
