"""Rebuild a service's state and projections from its events alone, and their hash.

The topic is the truth: it is read from its start, then the stored rows that the topic does not have yet. Numbers that
were seen are dropped, so that a repeated publish counts once.
"""

import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable

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
    for tp in cells:
        async for folded in _fold_cell(service, log, store, tp, partitions):
            done += folded
            progress(done, max(total, done))
    return await projection_hash(store)


async def projection_hash(store: Store) -> str:
    """SHA-256 over every rebuilt row in canonical order."""
    digest = hashlib.sha256()
    async for row in store.rebuilt_rows():
        digest.update(row)
        digest.update(b"\n")
    return digest.hexdigest()


async def _fold_cell(
    service: Service, log: Log, store: Store, tp: TopicPartition, partitions: int
) -> AsyncIterator[int]:
    cache: Cache = {}
    evicted = False
    async for chunk in _chunks(log, store, tp):
        events = [(decode_event(service, row.headers, row.value), row.number) for row in chunk]
        await _load(service, store, events, cache, evicted)
        batch = Batch(service, cache, {}, partitions)
        batch.cell = Cell(tp.partition, 0, {}, {}, 0, {}, {})
        for event, number in events:
            batch.fold(event, event_id(tp.topic, tp.partition, number))
        made = batch.commit()
        await store.load_rebuilt(Commit((), made.states, made.rows, (), made.timers))
        for key, (_, aggregate, _, _) in batch.changed.items():
            cache[key] = aggregate
        if len(cache) > CACHE_MAX:
            cache.clear()
            evicted = True
        yield len(events)


async def _load(service: Service, store: Store, events: list[tuple[Event, int]], cache: Cache, evicted: bool) -> None:
    keys = missing((need for event, _ in events for need in service.folds[type(event)].needs(event)), cache)
    # Until something was evicted, what the cache does not hold does not exist.
    loaded = await store.load(keys) if evicted and keys else {}
    for key in keys:
        data = loaded.get(key)
        cache[key] = msgspec.json.decode(data, type=service.aggregates[key.kind]) if data is not None else None


async def _chunks(log: Log, store: Store, tp: TopicPartition) -> AsyncIterator[list[StreamRecord]]:
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
