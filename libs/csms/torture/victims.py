"""What is killed, and the supervisor that starts it again, as systemd or Kubernetes would."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from csms.harness import Program
from csms.kafka_broker import KafkaBroker
from ocppcore.embedded import EmbeddedPostgres

LOOK_AGAIN_S = 0.05
AGAIN_AFTER_S = 0.5
"""A process that ended by itself is started again so much later."""


class Victim(Protocol):
    """`alive` from its start to its end; `dead_s`: how long its supervisor waits before the next start."""

    name: str
    dead_s: float

    @property
    def alive(self) -> bool: ...

    def kill(self) -> None:
        """SIGKILL; returns once it is gone."""

    async def revive(self) -> None:
        """Start it again."""


class Process:
    """One of our own processes. `ends`: how often it ended by itself, by exit code."""

    def __init__(self, program: Program) -> None:
        self.name = program.name
        self.dead_s = AGAIN_AFTER_S
        self.ends: Counter[int] = Counter()
        self._program = program

    @property
    def alive(self) -> bool:
        return self._program.running

    def kill(self) -> None:
        self._program.kill()

    async def revive(self) -> None:
        code = self._program.code
        if code is not None and code != -signal.SIGKILL:
            self.ends[code] += 1
        self._program.start()


class Broker:
    """The Kafka broker."""

    name = "broker"

    def __init__(self, broker: KafkaBroker) -> None:
        self.dead_s = AGAIN_AFTER_S
        self._up = True
        self._broker = broker

    @property
    def alive(self) -> bool:
        return self._up and self._broker.running

    def kill(self) -> None:
        self._up = False
        self._broker.kill()

    async def revive(self) -> None:
        self._up = False
        await self._broker.restart()
        self._up = True


class Database:
    """A PostgreSQL server whose `dsn` stays the same over its deaths."""

    name = "postgres"

    def __init__(self, directory: Path) -> None:
        self.dead_s = AGAIN_AFTER_S
        self.alive = False
        self.dsn = ""
        self._directory = directory
        self._server = self._make()

    def _make(self) -> EmbeddedPostgres:
        return EmbeddedPostgres(self._directory / "postgres", homes=self._directory, restart=False)

    async def revive(self) -> None:
        await self._server.__aexit__(None, None, None)
        self._server = await self._make().__aenter__()
        self.dsn, self.alive = self._server.dsn, True

    def kill(self) -> None:
        """The server alone: its backends find that out by themselves, as after an out-of-memory kill."""
        self.alive = False
        os.kill(self._server.pid, signal.SIGKILL)

    async def stop(self) -> None:
        self.alive = False
        await self._server.__aexit__(None, None, None)


async def supervise(victims: Iterable[Victim]) -> None:
    """Start again whatever dies, for ever."""
    async with asyncio.TaskGroup() as group:
        for victim in victims:
            group.create_task(_keep(victim), name=f"supervisor of {victim.name}")


async def _keep(victim: Victim) -> None:
    while True:
        while victim.alive:  # noqa: ASYNC110  the end of a process is no event of the loop
            await asyncio.sleep(LOOK_AGAIN_S)
        await asyncio.sleep(victim.dead_s)
        victim.dead_s = AGAIN_AFTER_S
        await victim.revive()
