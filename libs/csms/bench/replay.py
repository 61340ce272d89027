"""How fast a service's projections are built again from its events: what `csms rebuild transactions` does."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import psutil  # type: ignore[import-untyped]

from csms import houses
from csms.bench.events import stream_rows
from csms.bench.figures import Replay
from csms.bench.systems import System
from csms.bench.usage import Meter, family
from ocppcore import topics
from ocppcore.embedded import EmbeddedPostgres
from ocppcore.engine.rebuild import rebuild
from ocppcore.kafka import KafkaLog
from ocppcore.log import Log
from ocppcore.postgres.log import PostgresLog
from ocppcore.postgres.store import PostgresStore
from ocppcore.service import Service
from ocppcore.settings import Keys

SERVICE = "transactions"
NAMESPACE = "replay"
SLOTS = 1
CHUNK = 10_000
Progress = Callable[[int, int], None]


class Place(NamedTuple):
    """Where events lie: a database, and a Kafka broker or the database's own log."""

    dsn: str
    bootstrap: str | None
    partitions: int
    pids: dict[str, int]

    @asynccontextmanager
    async def open(self) -> AsyncIterator[tuple[Service, Log, PostgresStore]]:
        """The service as data, the log with its topics, the service's store."""
        log: Log
        if self.bootstrap is None:
            log = await PostgresLog.open(self.dsn, NAMESPACE)
        else:
            log = KafkaLog(self.bootstrap, NAMESPACE)
        store = PostgresStore(self.dsn, SERVICE, NAMESPACE)
        try:
            await log.declare(topics.partition_counts(self.partitions, SLOTS), compacted=topics.COMPACTED)
            yield houses.definition(SERVICE, Keys(b"p" * 32, b"k" * 32)), log, store
        finally:
            await store.close()
            await log.close()


@asynccontextmanager
async def place(system: System | None, partitions: int) -> AsyncIterator[Place]:
    """Beside a system on Kafka, or in a database of its own."""
    async with AsyncExitStack() as stack:
        if system is None:
            directory = stack.enter_context(TemporaryDirectory(prefix="csms-bench-"))
            server = await stack.enter_async_context(EmbeddedPostgres(Path(directory)))
            yield Place(server.dsn, None, partitions, {"postgres": server.pid})
        else:
            environment = system.environment
            bootstrap = environment["KAFKA_BOOTSTRAP_SERVERS"]
            yield Place(environment["DATABASE_URL"], bootstrap, partitions, dict(system.others))


async def produce(there: Place, events: int, progress: Progress) -> float:
    """Write so many events into the stream; returns the seconds it took."""
    began, done = time.monotonic(), 0
    async with there.open() as (service, log, store):
        await store.prepare([*service.tables.values()], service.streams, service.copies)
        rows = stream_rows(service, events, there.partitions)
        while chunk := list(islice(rows, CHUNK)):
            if there.bootstrap is None:
                await store.restore_stream(chunk)  # the rows are the log's records
            else:
                await log.publish(chunk)
            done += len(chunk)
            progress(done, events)
    return time.monotonic() - began


async def replay(there: Place, events: int, produce_s: float, progress: Progress) -> Replay:
    """Build the projections again and see how long that takes."""
    folded_at = began = time.monotonic()

    def folded(done: int, total: int) -> None:
        nonlocal folded_at
        folded_at = time.monotonic()
        progress(done, total)

    def groups() -> dict[str, list[psutil.Process]]:
        return {"csms": [psutil.Process()]} | {name: family(pid) for name, pid in there.pids.items()}

    async with there.open() as (service, log, store), Meter(groups) as meter:
        began = time.monotonic()
        await rebuild(service, log, store, there.partitions, folded)
        ended = time.monotonic()
    seconds = folded_at - began
    return Replay(
        events=events,
        events_per_s=round(events / seconds, 1),
        seconds=round(seconds, 2),
        hash_s=round(ended - folded_at, 2),
        produce_s=round(produce_s, 2),
        cpu_us=round(sum(meter.cpu_s(began, folded_at).values()) * 1e6 / events, 1),
    )
