"""The server: started, supervised and stopped."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import asyncpg  # type: ignore[import-untyped]
import structlog

from ocppcore.embedded import processes
from ocppcore.embedded.cluster import DATABASE, Cluster, configure, dsn, home_of, locate, password, socket_directory
from ocppcore.embedded.errors import EmbeddedPostgresError
from ocppcore.embedded.files import make_directory, note, take_lock

_log = structlog.get_logger(__name__)

HOMES = Path("/var/lib/csms")
RESTARTS_MAX = 5
"""Within RESTARTS_WITHIN_S; a server that dies more often has something that a restart does not mend."""
RESTARTS_WITHIN_S = 600.0


@dataclass
class EmbeddedPostgres:
    """`async with EmbeddedPostgres(directory) as server: connect(server.dsn)`.

    Raises DirectoryInUse or EmbeddedPostgresError on entering. A server left over by a killed process is stopped
    first; one that was killed itself recovers (up to `start_timeout_s`). While inside, a server that dies is started
    again, at the same `dsn`, unless `restart` is off. `homes`: see the package, as root.
    """

    directory: Path
    start_timeout_s: float = 300.0
    stop_timeout_s: float = 60.0
    restart: bool = True
    homes: Path = HOMES
    dsn: str = field(default="", init=False, repr=False)
    """Of the running server, for asyncpg in any process of this user; holds the password."""
    _lock: int | None = field(default=None, init=False, repr=False)
    _cluster: Cluster | None = field(default=None, init=False, repr=False)
    _sockets: Path | None = field(default=None, init=False, repr=False)
    _process: "subprocess.Popen[bytes] | None" = field(default=None, init=False, repr=False)
    _supervisor: "asyncio.Task[None] | None" = field(default=None, init=False, repr=False)

    async def __aenter__(self) -> "EmbeddedPostgres":
        try:
            await _in_thread(self._prepare)
            await self._start()
            await self._make_database()
        except BaseException:
            await _in_thread(self._shut_down)
            raise
        if self.restart:
            self._supervisor = asyncio.create_task(self._supervise(), name="supervisor of the embedded PostgreSQL")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._supervisor is not None:
                self._supervisor.cancel()
                await asyncio.wait([self._supervisor])
        finally:
            await _in_thread(self._shut_down)

    @property
    def pid(self) -> int:
        """The server's process at present."""
        assert self._process is not None, "not started"
        return self._process.pid

    async def died(self) -> None:
        """Wait until the server's present process ends."""
        process = self._process
        assert process is not None, "not started"
        while process.poll() is None:  # noqa: ASYNC110 - the end of a process is no event of the loop
            await asyncio.sleep(0.1)

    # Starting

    def _prepare(self) -> None:
        self.directory = self.directory.resolve()
        make_directory(self.directory)
        self._lock = take_lock(self.directory / "lock")
        secret = password(self.directory / "password")
        self._cluster = cluster = locate(self.directory, self.homes)
        processes.end_leftovers(cluster.data, self.stop_timeout_s)
        if not cluster.data.exists():
            processes.initialise(cluster, secret)
        if cluster.home != self.directory:
            note(self.directory / "home", str(cluster.home))
        self._sockets = socket_directory(cluster)
        configure(cluster, self._sockets)
        self.dsn = dsn(secret, self._sockets)

    async def _start(self) -> None:
        """Start the server and wait until it takes connections: its pid file says so, as for pg_ctl."""
        assert self._cluster is not None
        self._process = process = processes.run(self._cluster)
        loop = asyncio.get_running_loop()
        begun, told = loop.time(), False
        while processes.state(self._cluster.data, process.pid) != "ready":
            waited = loop.time() - begun
            if process.poll() is not None:
                raise EmbeddedPostgresError(
                    f"PostgreSQL in {self._cluster.home} ended with exit code {process.returncode} at its start; "
                    f"its log says:\n{await asyncio.to_thread(processes.tail, self._cluster.log)}"
                )
            if waited > self.start_timeout_s:
                raise EmbeddedPostgresError(
                    f"PostgreSQL in {self._cluster.home} is not ready after {self.start_timeout_s:.0f} s (a recovery "
                    f"after a crash may take long: start again, or see {self._cluster.log})"
                )
            if waited > 5 and not told:
                told = True
                _log.warning("embedded PostgreSQL is recovering, this can take minutes", log=str(self._cluster.log))
            await asyncio.sleep(0.02)

    async def _make_database(self) -> None:
        with suppress(asyncpg.DuplicateDatabaseError):
            connection = await asyncpg.connect(self.dsn, database="postgres", timeout=30)
            try:
                if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
                    await connection.execute(f'CREATE DATABASE "{DATABASE}"')
            finally:
                await connection.close(timeout=10)

    async def _supervise(self) -> None:
        """Start a server that died again; give up, loudly, if that does not help. Clients then run out of patience."""
        assert self._cluster is not None
        loop = asyncio.get_running_loop()
        restarts: list[float] = []
        while True:
            await self.died()
            restarts = [at for at in restarts if at > loop.time() - RESTARTS_WITHIN_S]
            said = await asyncio.to_thread(processes.tail, self._cluster.log)
            if len(restarts) == RESTARTS_MAX:
                _log.error("embedded PostgreSQL dies again and again: given up", log=str(self._cluster.log), says=said)
                return
            restarts.append(loop.time())
            _log.error("embedded PostgreSQL died, starting it again", log=str(self._cluster.log), says=said)
            try:
                await _in_thread(lambda: processes.end_leftovers(self._cluster.data, self.stop_timeout_s))  # type: ignore[union-attr]
                await self._start()
            except EmbeddedPostgresError as error:
                _log.error("embedded PostgreSQL does not start again", error=str(error))
                return

    # Stopping

    def _shut_down(self) -> None:
        """Stop the server and let go of the directory."""
        try:
            if self._process is not None:
                processes.end(self._process, self.stop_timeout_s)
        finally:
            if self._cluster is not None and self._sockets not in (None, self._cluster.home / "run"):
                shutil.rmtree(str(self._sockets), ignore_errors=True)
            if self._lock is not None:
                os.close(self._lock)
            self._process = self._sockets = self._lock = self._supervisor = None
            self.dsn = ""


async def _in_thread(function: Callable[[], None]) -> None:
    """Run it to its end even if we are cancelled meanwhile (all of it is bounded): no server is left half started."""
    running = asyncio.ensure_future(asyncio.to_thread(function))
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.shield(running)
        except asyncio.CancelledError as error:
            cancelled = error
    running.result()
    if cancelled is not None:
        raise cancelled


def running_dsn(directory: Path) -> str | None:
    """How to connect to the server of `directory` that another process runs; None if none is running."""
    directory = directory.resolve()
    data = home_of(directory) / "data"
    with suppress(FileNotFoundError):
        if processes.leftovers(data):
            lines = (data / "postmaster.pid").read_text().splitlines()
            return dsn(password(directory / "password"), Path(lines[4]))
    return None
