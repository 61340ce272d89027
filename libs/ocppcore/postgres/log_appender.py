"""The one appender of a process: the appends of all tasks that come while a batch is on its way make the next batch.

A batch is one statement and its commit. Its outcome is noted in the same transaction (`appenders`): when the connection
breaks, the appender looks there on a new one and sends the batch again only if it was not done. So a server that is
killed and comes back within the patience loses and repeats nothing.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import uuid4

import asyncpg  # type: ignore[import-untyped]
import msgspec

from ocppcore.log import LogError, LogUnavailable, NewRecord, Record, RecordTooLarge, TopicPartition
from ocppcore.postgres.log_connection import Dial
from ocppcore.postgres.log_schema import Schema, TopicInfo
from ocppcore.postgres.log_tail import Tail
from ocppcore.postgres.reach import UNREACHABLE, Connection, describe

RECORD_BYTES_MAX = 1024 * 1024
"""Of a record's value; key and headers are small and bounded by the caller."""
IN_FLIGHT_BYTES_MAX = 16 * 1024 * 1024
BATCH_RECORDS_MAX = 2000
BATCH_BYTES_MAX = 4 * 1024 * 1024

REPLACED = "CS002"
"""The error of `append` (`sql/log_schema.sql`) when this process's row is not there."""

_encode = msgspec.json.Encoder().encode


@dataclass(slots=True, eq=False)
class _Call:
    """One `append`: answered with the positions of its records."""

    records: Sequence[NewRecord]
    headers: list[str]
    """Of each record, as JSON."""
    bytes: int
    answer: "asyncio.Future[list[int]]"


class _Outcome(NamedTuple):
    """Per head, in the batch's order: its first position and its time."""

    firsts: Sequence[int]
    times: Sequence[int]


class _Batch:
    """Calls written together, as the arrays that the statement takes: records grouped by head, heads in their order."""

    def __init__(self, number: int, calls: Sequence[_Call], topics: Mapping[str, TopicInfo]) -> None:
        self.number = number
        self.calls = calls
        self._records = [record for call in calls for record in call.records]
        grouped: dict[tuple[str, int], list[int]] = {}
        for i, record in enumerate(self._records):
            mine = grouped.get(record[:2])
            if mine is None:
                grouped[record[:2]] = [i]
            else:
                mine.append(i)
        ordered = sorted((topics[topic].id, partition, topic) for topic, partition in grouped)
        self._topics = [id_ for id_, _partition, _topic in ordered]
        self.heads = [TopicPartition(topic, partition) for _id, partition, topic in ordered]
        self._indexes = [grouped[head] for head in self.heads]
        """Per head, which of the records are for it."""

    @property
    def topics(self) -> Sequence[int]:
        return self._topics

    def arguments(self) -> tuple[object, ...]:
        """What the statement takes after appender and number."""
        headers = [text for call in self.calls for text in call.headers]
        order = [i for mine in self._indexes for i in mine]
        return (
            self._topics,
            [head.partition for head in self.heads],
            [len(mine) for mine in self._indexes],
            [self._records[i].key for i in order],
            [headers[i] for i in order],
            [self._records[i].value for i in order],
        )

    def done(self, outcome: _Outcome, tail: Tail) -> None:
        """Make the records readable in this process, and answer the calls."""
        positions = [0] * len(self._records)
        for head, mine, first, time in zip(self.heads, self._indexes, outcome.firsts, outcome.times, strict=True):
            for position, i in enumerate(mine, first):
                positions[i] = position
            if tail.wants(head):
                tail.appended(head, [self._record(i, positions[i], time) for i in mine])
            else:
                tail.reached(head, first + len(mine))
        begin = 0
        for call in self.calls:
            end = begin + len(call.records)
            if not call.answer.done():
                call.answer.set_result(positions[begin:end])
            begin = end

    def _record(self, i: int, position: int, time: int) -> Record:
        topic, partition, key, value, headers = self._records[i]
        return Record(topic, partition, position, key, value, headers, time)

    def fail(self, error: LogError) -> None:
        for call in self.calls:
            if not call.answer.done():
                call.answer.set_exception(error)


def _headers(record: NewRecord) -> str:
    try:
        return _encode(record.headers).decode()
    except (UnicodeEncodeError, TypeError) as error:
        raise LogError(f"headers of a record for {record.topic} are no text: {error}") from error


def _is_unicode(key: str) -> bool:
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True


class Appender:
    """`run` is the one task that writes; `append` may be called from many."""

    def __init__(
        self,
        dial: Dial,
        schema: Schema,
        topics: Mapping[str, TopicInfo],
        tail: Tail,
        appended: Callable[[Sequence[TopicPartition]], None],
        in_flight_bytes_max: int,
    ) -> None:
        self._dial = dial
        self._schema = schema
        self._topics = topics
        self._tail = tail
        self._appended = appended
        self._in_flight_bytes_max = in_flight_bytes_max
        self._accepted: deque[_Call] = deque()
        self._waiting: deque[_Call] = deque()
        self._filled = asyncio.Event()
        self._connection: Connection = None
        self._statement: Connection = None
        self._id, self._next_id = uuid4(), uuid4()
        self._entered = False
        self._number = 0
        self._closed = False
        self._busy = False
        self._drained = asyncio.Event()
        self.in_flight_bytes = 0
        """Of accepted calls that are not yet written."""

    # Callers' side

    async def append(self, records: Sequence[NewRecord]) -> list[int]:
        size = self._check(records)
        if not records:
            return []
        headers = [_headers(record) for record in records]
        call = _Call(records, headers, size, asyncio.get_running_loop().create_future())
        if self._waiting or not self._fits(size):
            self._waiting.append(call)
        else:
            self._accept(call)
        return await call.answer

    def _check(self, records: Sequence[NewRecord]) -> int:
        """The call's size in bytes; raises for what must not get into a batch with others."""
        if self._closed:
            raise LogUnavailable("the log is closed")
        size = 0
        for topic, partition, key, value, _headers in records:
            info = self._topics.get(topic)
            if info is None or info.stream or not 0 <= partition < info.partitions:
                raise LogError(f"nothing can be appended to {topic}/{partition}: not declared, or a service's stream")
            if len(value) > RECORD_BYTES_MAX:
                raise RecordTooLarge(f"{len(value)} bytes for {topic}, at most {RECORD_BYTES_MAX}")
            if "\x00" in key or not (key.isascii() or _is_unicode(key)):
                raise LogError(f"a key on {topic} holds a NUL character or half a surrogate pair")
            size += len(value)
        return size

    def _fits(self, size: int) -> bool:
        return self.in_flight_bytes == 0 or self.in_flight_bytes + size <= self._in_flight_bytes_max

    def _accept(self, call: _Call) -> None:
        self.in_flight_bytes += call.bytes
        self._accepted.append(call)
        self._filled.set()

    def _written(self, calls: Sequence[_Call]) -> None:
        """Make room, and let those in who wait for it, in their order."""
        self.in_flight_bytes -= sum(call.bytes for call in calls)
        while self._waiting and (self._waiting[0].answer.done() or self._fits(self._waiting[0].bytes)):
            call = self._waiting.popleft()
            if not call.answer.done():
                self._accept(call)

    # The writing task

    async def run(self) -> None:
        """Write batches until cancelled; what is left then fails."""
        try:
            while True:
                await self._filled.wait()
                self._filled.clear()
                while self._accepted:
                    await self._write(self._next_calls())
        finally:
            self.close()

    def close(self) -> None:
        """Refuse everything that is not written."""
        self._closed = True
        error = LogUnavailable("the log was closed before this was written")
        for call in (*self._accepted, *self._waiting):
            if not call.answer.done():
                call.answer.set_exception(error)
        self._accepted.clear()
        self._waiting.clear()
        if self._connection is not None:
            self._connection.terminate()

    async def drained(self) -> None:
        """Wait until everything that was handed in is written."""
        self._drained.clear()
        while self._busy or self._accepted or self._waiting:
            await self._drained.wait()
            self._drained.clear()

    def _next_calls(self) -> list[_Call]:
        calls: list[_Call] = []
        records = size = 0
        while self._accepted and records < BATCH_RECORDS_MAX and size < BATCH_BYTES_MAX:
            call = self._accepted.popleft()
            calls.append(call)
            records += len(call.records)
            size += call.bytes
        return calls

    async def _write(self, calls: list[_Call]) -> None:
        """One batch. Callers that gave up before it was sent are left out."""
        wanted = [call for call in calls if not call.answer.done()]
        self._number += 1
        batch = _Batch(self._number, wanted, self._topics)
        self._busy = True
        try:
            if wanted:
                outcome = await self._carry_out(batch)
                batch.done(outcome, self._tail)
                self._appended(batch.heads)
        except LogUnavailable as error:
            batch.fail(error)
        finally:
            batch.fail(LogUnavailable("the log was closed while this was being written"))
            self._written(calls)
            self._busy = False
            self._drained.set()

    async def _carry_out(self, batch: _Batch) -> _Outcome:
        try:
            return await self._send(batch)
        except UNREACHABLE:
            return await self._dial.persist(lambda: self._settle(batch))
        except asyncpg.PostgresError as error:
            raise LogUnavailable(f"the database refuses an append: {describe(error)}") from error

    async def _settle(self, batch: _Batch) -> _Outcome:
        """After a lost connection: what became of the batch? Send it if nothing did."""
        await self._connect()
        return await self._known_outcome(batch) or await self._send(batch)

    async def _send(self, batch: _Batch) -> _Outcome:
        for _ in range(3):  # a day's first record makes the day's table; a row that housekeeping took is made again
            if self._connection is None or self._connection.is_closed():
                await self._connect()
                known = await self._known_outcome(batch)
                if known:
                    return known
            try:
                row = await self._statement.fetchrow(self._id, batch.number, *batch.arguments())
            except asyncpg.CheckViolationError:
                await self._schema.make_leaves(self._connection, batch.topics)
            except asyncpg.PostgresError as error:
                if error.sqlstate != REPLACED:
                    raise
                self._id, self._entered = uuid4(), False
                await self._enter()
            else:
                return _Outcome(*row)
        raise LogUnavailable("the database refuses an append again and again")

    async def _connect(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
        self._connection = await self._dial.connect()
        self._statement = await self._connection.prepare(self._schema.query("append"))
        await self._enter()

    async def _enter(self) -> None:
        if not self._entered:
            await self._connection.execute(self._schema.query("enter_appender"), self._id)
            self._entered = True

    async def _known_outcome(self, batch: _Batch) -> _Outcome | None:
        """What an earlier connection did for this batch. Whatever is still on its way there comes too late now."""
        row = await self._connection.fetchrow(self._schema.query("replace_appender"), self._id, self._next_id)
        if row is None:
            raise LogUnavailable("the database has forgotten this process: it is another one, or was restored")
        self._id, self._next_id = self._next_id, uuid4()
        return _Outcome(row["firsts"], row["times"]) if row["batch"] == batch.number else None
