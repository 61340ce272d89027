"""Copies of other services' state: fed by a reader of their own, looked up before a decision.

A key's state follows from the events of its home, in their order; a process that was held to be dead may publish an
older one late, behind its successor's. So each row keeps its event's number, and an older event's record is dropped.

A miss is a refusal only once the copy has caught up to the log's end as it was when the question came; on a sparse
topic it is none, and nobody waits.
"""

import asyncio
from collections.abc import Iterable, Sequence

import msgspec

from ocppcore import topics as declared
from ocppcore.engine.batch import WholeCopy
from ocppcore.envelope import origin
from ocppcore.errors import CsmsError
from ocppcore.log import Log, TopicPartition
from ocppcore.service import WHOLE, Lookup
from ocppcore.store import CopyRow, Store

BATCH = 2000
CACHE_MAX = 200_000
SPARSE = frozenset(topic.name for topic in declared.TABLE if topic.sparse)
"""Copies in which a miss is the answer, and is remembered until a record comes."""


class NotCaughtUp(CsmsError):
    """A copy stayed behind the log for longer than a question may wait."""


class _Deleted(msgspec.Struct):
    deleted: bool = False


class Copies:
    """All copies of one service in one process."""

    def __init__(self, topics: Sequence[str], log: Log, store: Store, partitions: int, wait_s: float = 2.0) -> None:
        self._topics = topics
        self._log = log
        self._store = store
        self._partitions = partitions
        self._wait_s = wait_s
        self._reader = log.reader()
        self._positions: dict[TopicPartition, int] = {}
        self._cache: dict[Lookup, CopyRow | None] = {}
        self._generation = 0
        self._moved = asyncio.Condition()
        self.caught_up = asyncio.Event()
        if not topics:
            self.caught_up.set()

    @property
    def _all(self) -> list[TopicPartition]:
        return [TopicPartition(topic, n) for topic in self._topics for n in range(self._partitions)]

    async def run(self) -> None:
        """Feed the copies for ever; `caught_up` is set once they have reached the log's end as it was at the start."""
        if not self._topics:
            return
        starts = await self._log.starts(self._all)
        for topic in self._topics:
            noted = await self._store.copy_positions(topic)
            for n in range(self._partitions):
                tp = TopicPartition(topic, n)
                self._positions[tp] = max(noted.get(n, 0), starts[tp])
        goal = await self._log.ends(self._all)
        self._reader.assign(self._positions)
        while True:
            if not self.caught_up.is_set() and all(self._positions[tp] >= end for tp, end in goal.items()):
                self.caught_up.set()
            records = await self._reader.fetch(BATCH, 1.0)
            if not records:
                continue
            rows: dict[str, list[CopyRow]] = {}
            read = dict(self._positions)
            for record in records:
                deleted = not record.value or msgspec.json.decode(record.value, type=_Deleted).deleted
                value = None if deleted else record.value
                made = origin(record.headers.get("ce_id", ""))
                row = CopyRow(record.key, value, record.partition, record.position, *made)
                rows.setdefault(record.topic, []).append(row)
                read[TopicPartition(record.topic, record.partition)] = record.position + 1
            for topic, fresh in rows.items():
                places = {n: read[TopicPartition(topic, n)] for n in range(self._partitions)}
                await self._store.copy_apply(topic, fresh, places)
                self._generation += 1
                for row in fresh:
                    self._cache.pop((topic, row.key), None)
                self._cache.pop((topic, WHOLE), None)
            self._positions = read
            async with self._moved:
                self._moved.notify_all()

    async def find(self, lookups: Iterable[Lookup]) -> dict[Lookup, CopyRow | None]:
        """Rows by (topic, key), None for those that do not exist; raises NotCaughtUp when that cannot be told."""
        wanted = set(lookups)
        if not wanted:
            return {}
        found = {lookup: self._cache[lookup] for lookup in wanted if lookup in self._cache}
        for topic in sorted({topic for topic, key in wanted if key == WHOLE and (topic, key) not in found}):
            found[topic, WHOLE] = await self._whole(topic)
        await self._load([lookup for lookup in wanted if lookup not in found], found)
        missed = [lookup for lookup in wanted if found[lookup] is None and lookup[0] not in SPARSE]
        if missed:
            await self.catch_up(sorted({topic for topic, _ in missed}))
            await self._load(missed, found)
        return found

    async def _load(self, lookups: Sequence[Lookup], found: dict[Lookup, CopyRow | None]) -> None:
        by_topic: dict[str, list[str]] = {}
        for topic, key in lookups:
            by_topic.setdefault(topic, []).append(key)
        for topic, keys in by_topic.items():
            generation = self._generation
            rows = await self._store.copy_find(topic, keys)
            for key in keys:
                found[topic, key] = rows.get(key)
                if generation == self._generation and (rows.get(key) is not None or topic in SPARSE):
                    self._cache[topic, key] = rows.get(key)
        while len(self._cache) > CACHE_MAX:
            del self._cache[next(iter(self._cache))]

    async def _whole(self, topic: str) -> WholeCopy:
        generation = self._generation
        whole = WholeCopy.of(await self._store.copy_all(topic))
        if generation == self._generation:
            self._cache[topic, WHOLE] = whole
        return whole

    async def catch_up(self, topics: Sequence[str]) -> None:
        """Wait until these copies have read to the log's end as it is now; raises NotCaughtUp after `wait_s`."""
        goal = await self._log.ends([tp for tp in self._all if tp.topic in topics])

        def reached() -> bool:
            return all(self._positions.get(tp, -1) >= end for tp, end in goal.items())

        try:
            async with asyncio.timeout(self._wait_s), self._moved:
                await self._moved.wait_for(reached)
        except TimeoutError as error:
            raise NotCaughtUp(f"copies of {', '.join(topics)} did not reach the log's end") from error

    async def followed(self) -> bool:
        """Wait until all copies have read to the log's end as it is now, or the time for that is over; whether they
        have."""
        if not self._topics:
            return True
        try:
            await self.catch_up(self._topics)
        except NotCaughtUp:
            return False
        return self.caught_up.is_set()

    async def close(self) -> None:
        await self._reader.close()
