import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from ocppcore.http import server
from ocppcore.http.server import PortTaken, listen, serve


def test_a_taken_port_is_said_clearly_and_names_the_setting() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortTaken, match=f"Port {port} is taken.*CSMS_HTTP_PORT={port + 1}"):
            listen("127.0.0.1", port, "CSMS_HTTP_PORT")


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(PortTaken, match=r"Cannot listen on 192\.0\.2\.1"):
        listen("192.0.2.1", 0, "CSMS_HTTP_PORT")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_requests_under_way_end_when_the_server_stops(host: str) -> None:
    entered, leave = asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        entered.set()
        await leave.wait()
        await PlainTextResponse(Request(scope).url.path)(scope, receive, send)

    bound = listen(host, 0, "CSMS_HTTP_PORT")
    port = bound.getsockname()[1]
    name = f"[{host}]" if ":" in host else host
    serving = asyncio.create_task(serve(app, bound))
    async with httpx.AsyncClient(base_url=f"http://{name}:{port}") as client:
        request = asyncio.create_task(client.get("/slow"))
        await entered.wait()
        serving.cancel()
        leave.set()
        answer = await request
        assert answer.text == "/slow"
        assert "server" not in answer.headers
        with pytest.raises(asyncio.CancelledError):
            await serving
        with pytest.raises(httpx.ConnectError):
            await client.get("/late")


async def who(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the address that the request comes from."""
    await PlainTextResponse(str(Request(scope).client.host))(scope, receive, send)  # type: ignore[union-attr]


@asynccontextmanager
async def serving(trusted_proxies: str = "") -> AsyncIterator[int]:
    """The port on which `who` is served."""
    bound = listen("127.0.0.1", 0, "CSMS_HTTP_PORT")
    running = asyncio.create_task(serve(who, bound, trusted_proxies))
    try:
        yield bound.getsockname()[1]
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


@pytest.mark.parametrize(
    ("trusted", "forwarded", "found"),
    [
        ("", "203.0.113.9", "127.0.0.1"),
        ("10.0.0.1", "203.0.113.9", "127.0.0.1"),
        ("127.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("127.0.0.0/8", "203.0.113.9", "203.0.113.9"),
        ("127.0.0.1, 10.0.0.0/8", "198.51.100.1, 203.0.113.9, 10.1.2.3", "203.0.113.9"),
        ("127.0.0.1", None, "127.0.0.1"),
    ],
)
async def test_only_a_trusted_proxy_says_where_a_request_comes_from(
    trusted: str, forwarded: str | None, found: str
) -> None:
    async with serving(trusted) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
        assert (await client.get("/", headers=headers)).text == found


async def test_a_client_that_dawdles_with_its_headers_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEADERS_WITHIN_S", 0.05)
    monkeypatch.setattr(server, "KEEP_ALIVE_S", 1)
    async with serving() as port:
        for said in (b"", b"GET / HTTP/1.1\r\nHost: x\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(said)
            answer = await asyncio.wait_for(reader.read(), 30)
            assert answer.endswith(b"127.0.0.1") == said.endswith(b"GET")
            writer.close()


async def test_headers_over_their_limit_are_refused() -> None:
    async with serving() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: " + b"a" * server.HEADER_BYTES_MAX)
        assert (await asyncio.wait_for(reader.read(), 10)).startswith(b"HTTP/1.1 400")
        writer.close()
