"""Serving an application on a port: bound first, so that a taken port is a clear message before anything starts.

Everything a client may send or hold is bounded: connections, the size of headers, and the time until they are there.
Where a request comes from is the peer's address; only proxies that were named may say another.
"""

import asyncio
import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from ocppcore.errors import OperatorError

BACKLOG: Final = 2048
CONNECTIONS_MAX: Final = 1000
HEADER_BYTES_MAX: Final = 64 * 1024
HEADERS_WITHIN_S: Final = 10.0
KEEP_ALIVE_S: Final = 20
DRAIN_S: Final = 10


class PortTaken(OperatorError):
    """Another program listens there already, or this user may not."""


def listen(host: str, port: int, variable: str) -> socket.socket:
    """A socket bound to host and port (0: any free one). Raises PortTaken, which names the setting to change."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(
                f"Port {port} is taken by another program. Stop it, or choose another port: {variable}={port + 1}"
            ) from None
        if error.errno == errno.EACCES:
            raise PortTaken(f"Port {port} is not for this user. Choose one from 1024: {variable}=8080") from None
        raise PortTaken(f"Cannot listen on {host}, port {port}: {error.strerror}") from None
    bound.setblocking(False)
    return bound


class BoundedProtocol(H11Protocol):
    """Closes a connection that takes too long to send the headers of a request."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._stop_waiting()
        elif self._late is None:
            self._expect()

    def _expect(self) -> None:
        self._late = self.loop.call_later(HEADERS_WITHIN_S, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


class Server(uvicorn.Server):
    """Stops when `should_exit` is set."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the process's business: it stops what it runs in its own order."""
        yield


def config(
    app: ASGIApp, *, host: str = "127.0.0.1", port: int = 0, trusted_proxies: str = "", drain_s: int = DRAIN_S
) -> uvicorn.Config:
    """How every process serves its API. `trusted_proxies`: addresses and networks, separated by commas."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        access_log=False,
        backlog=BACKLOG,
        forwarded_allow_ips=[one.strip() for one in trusted_proxies.split(",")],
        h11_max_incomplete_event_size=HEADER_BYTES_MAX,
        http=BoundedProtocol,
        lifespan="off",
        limit_concurrency=CONNECTIONS_MAX,
        log_config=None,
        proxy_headers=bool(trusted_proxies),
        server_header=False,
        timeout_graceful_shutdown=drain_s,
        timeout_keep_alive=KEEP_ALIVE_S,
        ws="none",
    )


async def serve(app: ASGIApp, bound: socket.socket, trusted_proxies: str = "") -> None:
    """Serve until cancelled; then requests under way get DRAIN_S to end, new ones are not taken."""
    server = Server(config(app, trusted_proxies=trusted_proxies))
    serving = asyncio.create_task(server.serve(sockets=[bound]))
    try:
        await asyncio.shield(serving)
    finally:
        server.should_exit = True
        await serving
