"""Request bodies before anything else sees them: bounded in bytes, depth and time, JSON that we can hold."""

import asyncio
import re
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final

import orjson
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ocppcore.http.problems import Problem

DEPTH_MAX: Final = 64
READ_TIMEOUT_S: Final = 30.0
DISCARD_TIMES: Final = 8
"""Of the limit: so much of a body that is too large is read and thrown away."""
DISCARD_TIMEOUT_S: Final = 5.0
_QUOTE: Final = 0x22
_BACKSLASH: Final = 0x5C
RAW_TYPES: Final = ("text/csv", "application/x-ndjson")
JSON_TYPES: Final = frozenset({"application/json", "application/merge-patch+json"})


class Gone(Exception):
    """The client went away before its request was complete."""


class BodyGuard:
    """ASGI: refuses what is too large (413), too slow (408), no JSON (415) or no sound JSON (400).

    What passes is in memory once, at most `bytes_max`, and holds no NaN, no infinite number, no lone surrogate and no
    NUL, which neither UTF-8 nor PostgreSQL could hold. `raw_paths`: a pattern for the ends of paths whose bodies are
    CSV or JSON lines, which their routes judge themselves.
    """

    def __init__(
        self, app: ASGIApp, bytes_max: int, read_timeout_s: float = READ_TIMEOUT_S, raw_paths: str = ""
    ) -> None:
        self._app = app
        self._raw = re.compile(f"(?:{raw_paths})$") if raw_paths else None
        self._bytes_max = bytes_max
        self._read_timeout_s = read_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            body = await self._checked(scope, receive)
        except Problem as problem:
            if problem.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
                await self._discard(receive)
            # What is left of the body is not read: the connection cannot be used again.
            problem.headers["Connection"] = "close"
            await problem.response()(scope, receive, send)
        except Gone:
            return
        else:
            await self._app(scope, _replay(body, receive), send)

    async def _checked(self, scope: Scope, receive: Receive) -> bytes:
        if "\0" in scope["path"] or b"%00" in scope["query_string"]:
            raise Problem(400, "The address holds a NUL character.")
        headers = Headers(scope=scope)
        if int(headers.get("content-length", "0")) > self._bytes_max:
            raise self._too_large()
        try:
            async with asyncio.timeout(self._read_timeout_s):
                body = await self._read(receive)
        except TimeoutError:
            raise Problem(408, f"The body did not arrive within {self._read_timeout_s:g} s.") from None
        if body:
            kind = headers.get("content-type", "").partition(";")[0].strip().lower()
            raw = self._raw is not None and self._raw.search(scope["path"]) is not None
            if raw and kind in RAW_TYPES:
                return body
            if raw or kind not in JSON_TYPES:
                if raw:
                    raise Problem(415, f"The body must be one of {', '.join(RAW_TYPES)}.")
                raise Problem(
                    415,
                    "The body must be JSON: Content-Type: application/json.",
                    headers={"Accept": "application/json"},
                )
            check_json(body)
        return body

    async def _read(self, receive: Receive) -> bytes:
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                raise Gone
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > self._bytes_max:
                raise self._too_large()
            chunks.append(chunk)
            if not message.get("more_body", False):
                return b"".join(chunks)

    async def _discard(self, receive: Receive) -> None:
        """Read on for a while: a socket closed on unread bytes is reset, and its client never sees the answer."""
        left = DISCARD_TIMES * self._bytes_max
        with suppress(TimeoutError):
            async with asyncio.timeout(DISCARD_TIMEOUT_S):
                while left > 0:
                    message = await receive()
                    left -= len(message.get("body", b""))
                    if message["type"] != "http.request" or not message.get("more_body", False):
                        return

    def _too_large(self) -> Problem:
        return Problem(413, f"The body is larger than {self._bytes_max} bytes.")


def _replay(body: bytes, receive: Receive) -> Receive:
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def check_json(body: bytes) -> None:
    """Raises Problem 400 for what is no JSON value, nested deeper than DEPTH_MAX, or holds what cannot be kept."""
    if body.count(b"[") + body.count(b"{") > DEPTH_MAX and depth(body) > DEPTH_MAX:
        raise Problem(400, f"The JSON is nested more than {DEPTH_MAX} deep.")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Problem(400, f"The body is not sound JSON: {error}") from None
    if b"\\u0000" in body and _holds_nul(value):
        raise Problem(400, "A text in the body holds a NUL character.")


def depth(body: bytes) -> int:
    """How deep arrays and objects nest, brackets in texts left out; one pass, whatever the bytes are."""
    deepest = level = 0
    in_text = escaped = False
    for byte in body:
        if escaped:
            escaped = False
        elif in_text:
            escaped = byte == _BACKSLASH
            in_text = byte != _QUOTE
        elif byte == _QUOTE:
            in_text = True
        elif byte in b"[{":
            level += 1
            deepest = max(deepest, level)
        elif byte in b"]}":
            level -= 1
    return deepest


def _holds_nul(value: Any) -> bool:
    match value:
        case str():
            return "\0" in value
        case list():
            return any(map(_holds_nul, value))
        case dict():
            return any(_holds_nul(key) or _holds_nul(item) for key, item in value.items())
        case _:
            return False
