"""Puts what all connections append into few calls of the log, in order, and says when it is durable."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from ocppcore.log import Log, LogError, NewRecord, RecordTooLarge
from services.gateway.metrics import Stats

RECORDS_PER_CALL_MAX: Final = 500
HEADER_BYTES: Final = 600
"""Roughly what a record weighs beside its value; for the bound on bytes in flight."""

Done = Callable[[int], None]
"""Gets the record's position."""

TooLarge = Callable[[], None]
Entry = tuple[NewRecord, Done | None, TooLarge | None]


class Appender:
    """`put` never waits; `full` says that callers should stop producing until `on_room` is called."""

    def __init__(self, log: Log, stats: Stats, bytes_max: int, on_room: Callable[[], None]) -> None:
        self._log = log
        self._stats = stats
        self._bytes_max = bytes_max
        self._on_room = on_room
        self._batch: list[Entry] = []
        self._calls: set[asyncio.Task[None]] = set()
        self._bytes = 0
        self._full = False
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def full(self) -> bool:
        return self._full

    @property
    def bytes_in_flight(self) -> int:
        return self._bytes

    def put(self, record: NewRecord, done: Done | None = None, too_large: TooLarge | None = None) -> None:
        """Append with the next call; `done` is called once it is durable, `too_large` if the log refuses its size."""
        if not self._batch:
            asyncio.get_running_loop().call_soon(self._flush)
        self._batch.append((record, done, too_large))
        self._bytes += len(record.value) + HEADER_BYTES
        if self._bytes > self._bytes_max:
            self._full = True

    async def append(self, record: NewRecord) -> int:
        """The position of the record, behind everything put before it. Raises LogError."""
        position: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def done(at: int) -> None:
            if not position.done():
                position.set_result(at)

        self.put(record, done)
        await asyncio.wait((position, self._failure), return_when=asyncio.FIRST_COMPLETED)
        if not position.done():
            self._failure.result()
        return position.result()

    async def idle(self) -> None:
        """Wait until everything put so far is durable. Raises what the log raised."""
        while self._batch or self._calls:
            self._flush()
            await asyncio.wait(self._calls)
        if self._failure.done():
            self._failure.result()

    async def failing(self) -> None:
        """Wait for the log to fail; raises what it raised."""
        await asyncio.shield(self._failure)

    def _flush(self) -> None:
        batch, self._batch = self._batch, []
        for start in range(0, len(batch), RECORDS_PER_CALL_MAX):
            # Tasks start in the order in which they are made, and the log keeps the order of calls.
            task = asyncio.create_task(self._append(batch[start : start + RECORDS_PER_CALL_MAX]))
            self._calls.add(task)
            task.add_done_callback(self._over)

    async def _append(self, entries: Sequence[Entry]) -> None:
        try:
            positions = await self._log.append([entry[0] for entry in entries])
        except RecordTooLarge:
            await self._one_by_one(entries)
        except LogError as error:
            self._fail(error)
            return
        else:
            self._stats.records += len(entries)
            for (_, done, _), position in zip(entries, positions, strict=True):
                if done is not None:
                    done(position)
        self._bytes -= sum(len(record.value) + HEADER_BYTES for record, _, _ in entries)
        if self._full and self._bytes <= self._bytes_max // 2:
            self._full = False
            self._on_room()

    async def _one_by_one(self, entries: Sequence[Entry]) -> None:
        for record, done, too_large in entries:
            try:
                [position] = await self._log.append([record])
            except RecordTooLarge:
                if too_large is not None:
                    too_large()
            except LogError as error:
                self._fail(error)
                return
            else:
                self._stats.records += 1
                if done is not None:
                    done(position)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._calls.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)  # a fault of ours in what was to be done next: nothing may go on as if it had been

    def _fail(self, error: BaseException) -> None:
        if not self._failure.done():
            self._failure.set_exception(error)
            self._failure.exception()  # seen: a gateway that is gone already has nobody to wait for it
