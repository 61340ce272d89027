"""Publishing, pipelined with the next batch: replies, commands, events and what follows from them, in commit order."""

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ocppcore.log import Log, NewRecord, StreamRecord


class Job(NamedTuple):
    """What a batch leaves to be put on the log; `done` is called once it is there."""

    records: Sequence[NewRecord]
    stream: Sequence[StreamRecord]
    done: Callable[[], None] | None = None


class Publisher:
    """One task, one bounded queue. `acked` hears of every stream row that the log holds."""

    def __init__(self, log: Log, acked: Callable[[Sequence[StreamRecord]], None], queue_max: int) -> None:
        self._log = log
        self._acked = acked
        self._queue: asyncio.Queue[Job] = asyncio.Queue(queue_max)

    async def put(self, job: Job) -> None:
        """Hand a committed batch over; waits while the queue is full: a slow log slows the loop."""
        if job.records or job.stream:
            await self._queue.put(job)
        elif job.done is not None:
            job.done()

    async def run(self) -> None:
        """Publish for ever; raises LogUnavailable; what was not acknowledged then is published by a new owner."""
        while True:
            jobs = [await self._queue.get()]
            while not self._queue.empty():
                jobs.append(self._queue.get_nowait())
            records = [record for job in jobs for record in job.records]
            stream = [row for job in jobs for row in job.stream]
            async with asyncio.TaskGroup() as group:
                if records:
                    group.create_task(self._log.append(records))
                if stream:
                    group.create_task(self._log.publish(stream))
            self._acked(stream)
            for job in jobs:
                if job.done is not None:
                    job.done()
                self._queue.task_done()

    async def drained(self) -> None:
        """Wait until everything handed over is on the log."""
        await self._queue.join()
