import asyncio
import socket

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

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
