"""Rebuild a service's state and projections from its events alone, and their hash.

The topic is the truth: it is read from its start, then the stored rows that the topic does not have yet. Numbers that
were seen are dropped, so that a repeated publish counts once.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import msgspec

from ocppcore import topics
from ocppcore.engine.batch import Batch, Cache, Cell, decode_event, event_id, missing
from ocppcore.errors import OperatorError
from ocppcore.log import Log, Record, StreamRecord, TopicPartition
from ocppcore.service import Event, Service
from ocppcore.store import Commit, ProjectionsChanged, Store

CHUNK = 10_000
CACHE_MAX = 300_000
Progress = Callable[[int, int], None]
"""Called with (events folded, events in all)."""


class StillRunning(OperatorError):
    """The service is running on these tables: stop it first."""


async def rebuild(service: Service, log: Log, store: Store, partitions: int, progress: Progress) -> str:
    """Empty what is rebuilt, fold every event again, return the hash. Raises StillRunning."""
    if await store.owned():
        raise StillRunning(f"{service.name} is running; stop it, then rebuild")
    with contextlib.suppress(ProjectionsChanged):  # that is what a rebuild is for
        await store.prepare([*service.tables.values()], service.streams, service.copies)
    await store.clear_rebuilt()
    cells = [TopicPartition(topics.events(service.name), n) for n in range(partitions)]
    total, done = sum((await log.ends(cells)).values()), 0

    def folded(count: int) -> None:
        nonlocal done
        done += count
        progress(done, max(total, done))

    for tp in cells:
        await _fold_cell(service, log, store, tp, partitions, folded)
    return await projection_hash(store)


async def projection_hash(store: Store, *, without: str | None = None) -> str:
    """SHA-256 over every rebuilt row in canonical order; `without` the rows of a table, where it is named."""
    digest = hashlib.sha256()
    left_out = b"" if without is None else f'["{without}",'.encode()
    async for row in store.rebuilt_rows():
        if not left_out or not row.startswith(left_out):
            digest.update(row)
            digest.update(b"\n")
    return digest.hexdigest()


async def _fold_cell(
    service: Service, log: Log, store: Store, tp: TopicPartition, partitions: int, folded: Callable[[int], None]
) -> None:
    """The database reads the next chunk and writes the last one while this one is folded."""
    cache: Cache = {}
    evicted = False
    async with asyncio.TaskGroup() as group, aclosing(_chunks(log, store, tp)) as chunks:
        writing = group.create_task(asyncio.sleep(0))
        chunk = await _next(chunks)
        while chunk is not None:
            coming = group.create_task(_next(chunks))
            await asyncio.sleep(0)  # so that it has begun
            events = [(decode_event(service, row.headers, row.value), row.number) for row in chunk]
            if evicted:
                await writing
            await _load(service, store, events, cache, evicted)
            batch = Batch(service, cache, {}, partitions)
            batch.cell = Cell(tp.partition, 0, {}, {}, 0, {}, {})
            for event, number in events:
                batch.fold(event, event_id(tp.topic, tp.partition, number))
            made = batch.commit()
            await writing
            writing = group.create_task(store.load_rebuilt(Commit((), made.states, made.rows, (), made.timers)))
            for key, (_, aggregate, _, _) in batch.changed.items():
                cache[key] = aggregate
            if len(cache) > CACHE_MAX:
                cache.clear()
                evicted = True
            folded(len(events))
            chunk = await coming


async def _next(chunks: AsyncGenerator[list[StreamRecord], None]) -> list[StreamRecord] | None:
    return await anext(chunks, None)


async def _load(service: Service, store: Store, events: list[tuple[Event, int]], cache: Cache, evicted: bool) -> None:
    keys = missing((need for event, _ in events for need in service.folds[type(event)].needs(event)), cache)
    # Until something was evicted, what the cache does not hold does not exist.
    loaded = await store.load(keys) if evicted and keys else {}
    for key in keys:
        data = loaded.get(key)
        cache[key] = msgspec.json.decode(data, type=service.aggregates[key.kind]) if data is not None else None


async def _chunks(log: Log, store: Store, tp: TopicPartition) -> AsyncGenerator[list[StreamRecord], None]:
    """A stream's rows once each, in order: those on the topic, then those that only the store has."""
    number = 0
    reader = log.reader()
    end = (await log.ends([tp]))[tp]
    position = (await log.starts([tp]))[tp]
    reader.assign({tp: position})
    try:
        while position < end:
            records = await reader.fetch(CHUNK, 5.0)
            if not records:
                break
            fresh: list[StreamRecord] = []
            for record in records:
                row = to_stream(record)
                if row.number >= number:
                    fresh.append(row)
                    number = row.number + 1
            position = records[-1].position + 1
            if fresh:
                yield fresh
    finally:
        await reader.close()
    while rows := await store.stream_rows(tp.topic, tp.partition, number, CHUNK):
        number = rows[-1].number + 1
        yield list(rows)


def to_stream(record: Record) -> StreamRecord:
    """A record of a stream topic as the row it was published from."""
    headers = dict(record.headers)
    number = int(headers.pop("number"))
    return StreamRecord(record.topic, record.partition, number, record.key, record.value, headers)
