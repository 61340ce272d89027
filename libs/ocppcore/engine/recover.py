"""What `csms recover` does: a database behind its topic, and a log that is another one than the database knows.

Behind: the database was restored from a backup; events it lacks are read from the topic, then a rebuild is due.
Replaced: the log was lost or made anew; its identity is noted, inputs are read from its start, and every event that the
database holds is published again.
"""

from collections.abc import Mapping, Sequence

from ocppcore import topics
from ocppcore.engine.rebuild import to_stream
from ocppcore.errors import OperatorError
from ocppcore.log import Log, TopicPartition
from ocppcore.service import Service
from ocppcore.store import CellRow, Store

BATCH = 5000


class DatabaseBehind(OperatorError):
    """The topic holds events that the database lacks: nothing may be decided before they are loaded."""


async def last_numbers(log: Log, streams: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
    """Per stream partition the highest number on the topic's last record, -1 where it is empty."""
    ends = await log.ends(streams)
    found = dict.fromkeys(streams, -1)
    filled = {tp: end - 1 for tp, end in ends.items() if end > 0}
    reader = log.reader()
    try:
        for tp, position in filled.items():
            reader.assign({tp: position})
            for record in await reader.fetch(1, 5.0):
                found[tp] = to_stream(record).number
    finally:
        await reader.close()
    return found


async def check_not_behind(service: Service, log: Log, rows: Sequence[CellRow]) -> None:
    """Raises DatabaseBehind, with the command to run, if the topic knows of later events than these cells."""
    streams = [TopicPartition(topic, row.cell) for topic in service.streams for row in rows]
    numbers = await last_numbers(log, streams)
    following = {TopicPartition(topic, row.cell): row.next.get(topic, 0) for topic in service.streams for row in rows}
    behind = [tp for tp, number in numbers.items() if number >= following[tp]]
    if behind:
        tp = behind[0]
        raise DatabaseBehind(
            f"{tp.topic}/{tp.partition} holds event {numbers[tp]}, the database ends before {following[tp]}: "
            f"run `csms recover {service.name}`"
        )


async def load_missing(service: Service, log: Log, store: Store, partitions: int) -> int:
    """Insert the events that the topic has and the database lacks; returns how many."""
    loaded = 0
    for topic in service.streams:
        for cell in range(partitions):
            tp = TopicPartition(topic, cell)
            end = (await log.ends([tp]))[tp]
            position = (await log.starts([tp]))[tp]
            reader = log.reader()
            reader.assign({tp: position})
            while position < end and (records := await reader.fetch(BATCH, 5.0)):
                position = records[-1].position + 1
                rows = {(row := to_stream(record)).number: row for record in records}
                kept = await store.stream_rows(topic, cell, 0, 1)
                rows = {number: row for number, row in rows.items() if not kept or number >= kept[0].number}
                if not rows:
                    continue  # trimmed here, the topic still has them
                first = min(rows)
                have = {row.number for row in await store.stream_rows(topic, cell, first, max(rows) - first + 1)}
                fresh = [row for number, row in sorted(rows.items()) if number not in have]
                await store.restore_stream(fresh)
                loaded += len(fresh)
            await reader.close()
    return loaded


async def adopt_log(service: Service, log: Log, store: Store, partitions: int) -> None:
    """Take this log as the service's own from here on: inputs from its start, all events to be published again."""
    inputs = (topics.frames(service.name), topics.requests(service.name), topics.CONNECTIONS)
    starts = await log.starts([TopicPartition(topic, cell) for topic in inputs for cell in range(partitions)])
    await store.adopt_log(await log.identity(), starts)
    for copy in service.copies:
        await store.copy_reset(copy)
