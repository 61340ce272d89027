"""A state topic's log repairs itself: the home says again what stands newest, where an older record came behind it.

Copies drop such a record, because of its number; but compaction keeps what stands last under a key, and who reads the
topic from its start later would find the older state alone. So a service follows the state topics that it decides
itself too, and the owner of the cell that made the newer event derives that event's record once more: the same bytes.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress

import structlog

from ocppcore import topics
from ocppcore.engine.batch import decode_event, event_id
from ocppcore.engine.copies import Copies, NotCaughtUp
from ocppcore.log import Log, NewRecord
from ocppcore.service import Follow, Service
from ocppcore.store import CopyRow, Store

log = structlog.get_logger(__name__)
PAGE = 500


class Reasserter:
    """`cells`: those that this process owns. `every_s`: between two looks, each one query for a topic."""

    def __init__(
        self,
        service: Service,
        log_: Log,
        store: Store,
        copies: Copies,
        partitions: int,
        cells: Callable[[], Collection[int]],
        every_s: float = 5.0,
    ) -> None:
        self._service = service
        self._log = log_
        self._store = store
        self._copies = copies
        self._partitions = partitions
        self._cells = cells
        self._every_s = every_s
        self._topics = [topic for topic in service.copies if topics.is_state_of(topic, service.name)]

    async def run(self) -> None:
        """Look for ever, where there is a topic to look after. Raises StoreUnavailable, LogUnavailable."""
        while self._topics:
            await asyncio.sleep(self._every_s)
            for topic in self._topics:
                await self._repair(topic)

    async def _repair(self, topic: str) -> None:
        owned = {f"{self._prefix(stream)}/{cell}": stream for stream in self._service.streams for cell in self._cells()}
        stale = [row for row in await self._store.copy_stale(topic, PAGE) if row.source in owned]
        again = [record for row in stale for record in await self._derive(topic, owned[row.source], row)]
        if not again:
            return
        log.warning("an older state came late, the newer one is said again", topic=topic, keys=len(stale))
        await self._log.append(again)
        with suppress(NotCaughtUp):  # at the next look at the latest
            await self._copies.catch_up([topic])

    async def _derive(self, topic: str, stream: str, row: CopyRow) -> Iterable[NewRecord]:
        """The records under the row's key that follow from its event."""
        cell = int(row.source.rpartition("/")[2])
        for found in await self._store.stream_rows(stream, cell, row.number, 1):
            if found.number == row.number:
                event = decode_event(self._service, found.headers, found.value)
                follow = Follow(event_id(stream, cell, row.number), self._partitions)
                records = self._service.folds[type(event)].derive(event, follow)
                return [record for record in records if (record.topic, record.key) == (topic, row.key)]
        return []

    @staticmethod
    def _prefix(stream: str) -> str:
        return event_id(stream, 0, 0).partition("/")[0]
