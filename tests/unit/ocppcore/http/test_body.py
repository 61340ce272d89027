import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message

from ocppcore.http.body import DISCARD_TIMES, BodyGuard, check_json, depth
from ocppcore.http.problems import Problem
from tests.unit.ocppcore.http.conftest import VIEWER, World

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b'{"id": "CS-1"}', 200),
        (b"{", 400),
        (b'{"id": "CS-1"} x', 400),
        (b'{"id": "\xff"}', 400),
        (b'{"id": "\\ud800"}', 400),
        (b'{"id": "a\\u0000b"}', 400),
        (b'{"id": "a\\\\u0000b"}', 200),
        (b'{"\\u0000": 1, "id": "CS-1"}', 400),
        (b'{"id": "CS-1", "more": NaN}', 400),
        (b'{"id": "CS-1", "more": 1e999}', 400),
        (b'{"id": "CS-1", "more": ' + b"[" * 63 + b"]" * 63 + b"}", 200),
        (b'{"id": "CS-1", "more": ' + b"[" * 64 + b"]" * 64 + b"}", 400),
        (b"[" * 10_000, 400),
        (b'{"id": "' + b"[" * 100 + b'"}', 422),
        (b'{"id": "CS-1", "more": "' + b"x" * 10_000 + b'"}', 413),
        (b'{"id": "CS-1", "securityProfile": ' + b"9" * 5000 + b"}", 400),
        (b"\x00", 400),
        (b"", 422),
    ],
    ids=lambda value: repr(value)[:40],
)
async def test_only_sound_json_gets_further(world: World, content: bytes, status: int) -> None:
    answer = await world.client.post("/device/stations", content=content, headers=JSON)
    assert answer.status_code == status, answer.text
    assert len(world.gate.asked) == (status == 200)
    if status != 200:
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json; charset=utf-8", 200),
        ("Application/JSON", 200),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("", 415),
    ],
)
async def test_only_json_is_read(world: World, kind: str, status: int) -> None:
    answer = await world.client.post("/device/stations", content=b'{"id": "CS-1"}', headers={"Content-Type": kind})
    assert answer.status_code == status


async def test_a_body_without_a_length_is_bounded_too(world: World) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1000):
            sent += 1
            yield b" " * 1000

    answer = await world.client.post("/device/stations", content=endless(), headers=JSON)
    assert answer.status_code == 413
    assert answer.headers["connection"] == "close"
    assert sent <= 10 * (1 + DISCARD_TIMES) + 2


async def test_without_a_key_or_with_too_low_a_scope_no_byte_is_kept(world: World) -> None:
    async def never() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    answer = await world.client.post("/device/stations", content=never(), headers=JSON | {"Authorization": "Bearer x"})
    assert answer.status_code == 401
    answer = await world.client.post(
        "/device/stations", content=b'{"id": "CS-1"}', headers=JSON | {"Authorization": f"Bearer {VIEWER}"}
    )
    assert answer.status_code == 403


async def test_a_body_that_does_not_come_is_given_up() -> None:
    async def unreachable(*_: object) -> None:
        raise AssertionError("called without a body")

    async def nothing() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "path": "/", "query_string": b"", "headers": [], "method": "POST"}
    await BodyGuard(unreachable, 1000, read_timeout_s=0.01)(scope, nothing, send)
    assert sent[0]["status"] == 408


async def test_a_client_that_goes_away_is_forgotten() -> None:
    async def unreachable(*_: object) -> None:
        raise AssertionError("called without a body")

    async def gone() -> Message:
        return {"type": "http.disconnect"}

    async def send(_: Message) -> None:
        raise AssertionError("nobody listens")

    scope = {"type": "http", "path": "/", "query_string": b"", "headers": [], "method": "POST"}
    await BodyGuard(unreachable, 1000)(scope, gone, send)


nested = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text('[]{}"\\ax', max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('[{"\\', max_size=3), inner, max_size=3),
    max_leaves=30,
)


@given(nested)
def test_depth_counts_what_is_nested_and_not_what_is_written_in_texts(value: object) -> None:
    import json

    def real(value: object) -> int:
        match value:
            case dict():
                return 1 + max(map(real, value.values()), default=0)
            case list():
                return 1 + max(map(real, value), default=0)
            case _:
                return 0

    assert depth(json.dumps(value).encode()) == real(value)


@given(st.binary(max_size=200) | st.text('[]{}",:\\u0d8 1eE-NaN', max_size=100).map(str.encode))
def test_any_bytes_are_judged_without_an_exception(body: bytes) -> None:
    try:
        check_json(body)
    except Problem as problem:
        assert problem.status == 400
