"""An HTTP client without manners: bytes in, answers out; nothing is checked, encoded or tidied on the way."""

import asyncio
import json
import re
from typing import Any, NamedTuple
from urllib.parse import urlsplit

WITHIN_S = 30


class Answer(NamedTuple):
    """`status` 0: the server closed without one."""

    status: int
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


async def send(address: str, data: bytes) -> list[Answer]:
    """Everything the server answers to these bytes, until it closes."""
    place = urlsplit(address)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    try:
        writer.write(data)
        async with asyncio.timeout(WITHIN_S):
            said = await _read(reader)
    finally:
        writer.close()
    return _answers(said)


async def _read(reader: asyncio.StreamReader) -> bytes:
    said = b""
    try:
        while more := await reader.read(65_536):
            said += more
    except ConnectionError:
        return said
    return said


def request(method: str, target: str, *, body: bytes = b"", key: str = "", **headers: str) -> bytes:
    """A request that asks for the connection to be closed; `target` goes as it is."""
    named = {"Host": "csms", "Connection": "close"} | ({"Authorization": f"Bearer {key}"} if key else {})
    if body:
        named |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


async def ask(address: str, method: str, target: str, **more: Any) -> Answer:
    """One request, one answer."""
    answers = await send(address, request(method, target, **more))
    return answers[0] if answers else Answer(0, b"")


def _answers(said: bytes) -> list[Answer]:
    found = []
    while match := re.match(rb"HTTP/1\.1 (\d{3}) [^\r]*\r\n", said):
        head, _, rest = said.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        size = int(length[1]) if length else len(rest)
        found.append(Answer(int(match[1]), rest[:size]))
        said = rest[size:]
    return found
