"""Serving an application on a port: bound first, so that a taken port is a clear message before anything starts."""

import asyncio
import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import uvicorn
from starlette.types import ASGIApp

BACKLOG: Final = 2048
CONNECTIONS_MAX: Final = 1000
HEADER_BYTES_MAX: Final = 64 * 1024
KEEP_ALIVE_S: Final = 20
DRAIN_S: Final = 10


class PortTaken(Exception):
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


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the process's business: it stops what it runs in its own order."""
        yield


async def serve(app: ASGIApp, bound: socket.socket) -> None:
    """Serve until cancelled; then requests under way get DRAIN_S to end, new ones are not taken."""
    config = uvicorn.Config(
        app,
        access_log=False,
        backlog=BACKLOG,
        h11_max_incomplete_event_size=HEADER_BYTES_MAX,
        http="h11",
        lifespan="off",
        limit_concurrency=CONNECTIONS_MAX,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_S,
        timeout_keep_alive=KEEP_ALIVE_S,
        ws="none",
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[bound]))
    try:
        await asyncio.shield(serving)
    finally:
        server.should_exit = True
        await serving
