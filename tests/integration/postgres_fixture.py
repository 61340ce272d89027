"""A PostgreSQL server of our own for integration tests: one per test process, started at first use.

A test module imports the fixture it needs: `from tests.integration.postgres_fixture import postgres_server`.
"""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from ocppcore.embedded import EmbeddedPostgres


def _server(directory: Path) -> EmbeddedPostgres:
    """One that stays dead when a test kills it."""
    return EmbeddedPostgres(directory, homes=directory, restart=False)


@dataclass
class PostgresServer:
    """The server; its `dsn` stays the same over a crash."""

    directory: Path
    running: EmbeddedPostgres

    @property
    def dsn(self) -> str:
        return self.running.dsn

    async def crash(self) -> None:
        """kill -9 of the server, then start it again on what is on the disk."""
        async with self.stopped():
            pass

    @asynccontextmanager
    async def stopped(self) -> AsyncIterator[None]:
        """Killed while inside, started again afterwards."""
        os.kill(self.running.pid, signal.SIGKILL)
        await self.running.died()
        await self.running.__aexit__(None, None, None)
        yield
        self.running = await _server(self.directory).__aenter__()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    directory = Path(tempfile.mkdtemp(prefix="csms-test-", dir="/tmp"))
    directory.chmod(0o711)
    try:
        with asyncio.Runner() as runner:
            server = PostgresServer(directory, runner.run(_server(directory).__aenter__()))
            yield server
            runner.run(server.running.__aexit__(None, None, None))
    finally:
        shutil.rmtree(directory)
