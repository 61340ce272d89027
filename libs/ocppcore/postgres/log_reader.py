"""Reading the log: from the ring when at the end, else from the database."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from ocppcore.log import PositionLost, Record, TopicPartition
from ocppcore.postgres.log_tail import Tail


class Source(Protocol):
    """Where records are read that are not in the ring. Both raise LogUnavailable."""

    async def bounds(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, tuple[int, int]]:
        """Per partition where it starts and ends."""

    async def select(self, partition: TopicPartition, position: int, since: int, limit: int) -> list[Record]:
        """Visible records from a position on, in order; none of them was appended before `since`."""

    def may_skip(self, topic: str) -> bool:
        """Whether positions may be missing between two records although nothing was dropped at the start."""


def allot(available: Sequence[int], budget: int) -> list[int]:
    """Share `budget` over partitions with so many records each: evenly, and what one leaves goes to the others.

    If there is less than one record for each, the first ones get it: callers rotate the order.
    """
    shares = [0] * len(available)
    by_size = sorted(range(len(available)), key=available.__getitem__)
    for place, i in enumerate(by_size):
        share = min(available[i], budget // (len(available) - place))
        shares[i] = share
        budget -= share
    for i, share in enumerate(shares):
        if budget == 0:
            break
        if share < available[i]:
            shares[i] += 1
            budget -= 1
    return shares


class PostgresReader:
    """See `ocppcore.log.Reader`. For one task at a time."""

    def __init__(self, tail: Tail, source: Source) -> None:
        self._tail = tail
        self._source = source
        self._positions: dict[TopicPartition, int] = {}
        self._since: dict[TopicPartition, int] = {}
        self._checked = True
        self._turn = 0
        self._woken = asyncio.Event()

    @property
    def positions(self) -> Mapping[TopicPartition, int]:
        return self._positions

    def wake(self) -> None:
        self._woken.set()

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        self._tail.unfollow(self, self._positions)
        self._positions = dict(positions)
        self._since = {}
        self._tail.follow(self, self._positions)
        self._checked = False
        self._woken.set()

    async def fetch(self, max_records: int, wait_s: float) -> list[Record]:
        end = asyncio.get_running_loop().time() + wait_s
        while True:
            self._woken.clear()
            if not self._checked:
                await self._check()
            records = await self._take(max_records)
            if records:
                return records
            try:
                async with asyncio.timeout_at(end):
                    await self._woken.wait()
            except TimeoutError:
                return []

    async def close(self) -> None:
        self.assign({})

    async def _check(self) -> None:
        """That the assigned positions exist; learn the partitions' ends."""
        positions = self._positions
        bounds = await self._source.bounds(list(positions))
        for partition, (start, end) in bounds.items():
            position = positions[partition]
            if not start <= position <= max(end, self._tail.end(partition)):
                raise PositionLost(
                    f"{partition.topic}/{partition.partition}: position {position} is not within {start}..{end}"
                )
            self._tail.reached(partition, end)
        self._checked = self._checked or positions is self._positions

    async def _take(self, max_records: int) -> list[Record]:
        """What is there, without waiting for more; moves on only after everything was read."""
        positions = self._positions
        ready = self._ready(positions)
        if not ready:
            return []
        shares = allot([self._tail.end(partition) - positions[partition] for partition in ready], max_records)
        records: list[Record] = []
        moved: dict[TopicPartition, int] = {}
        for partition, share in zip(ready, shares, strict=True):
            if share:
                taken = self._tail.take(partition, positions[partition], share)
                if taken:
                    moved[partition] = taken[-1].position + 1
                else:
                    taken, moved[partition] = await self._select(partition, positions[partition], share)
                records += taken
        positions.update(moved)
        if positions is not self._positions:  # assigned anew meanwhile: these may not be wanted any more
            return []
        self._advanced(records, moved)
        return records

    def _ready(self, positions: Mapping[TopicPartition, int]) -> list[TopicPartition]:
        """The partitions with more to read, beginning with another one each time."""
        ready = [partition for partition, position in positions.items() if self._tail.end(partition) > position]
        self._turn += 1
        turn = self._turn % len(ready) if ready else 0
        return ready[turn:] + ready[:turn]

    async def _select(self, partition: TopicPartition, position: int, limit: int) -> tuple[list[Record], int]:
        """Records from the database, and where to go on."""
        end = self._tail.end(partition)
        since = self._since.get(partition, 0)
        records = await self._source.select(partition, position, since, limit)
        if (not records or records[0].position > position) and not self._source.may_skip(partition.topic):
            await self._lost(partition, position)
        if len(records) < limit:  # there was no more: positions up to the end are missing
            return records, max(end, records[-1].position + 1 if records else position)
        return records, records[-1].position + 1

    async def _lost(self, partition: TopicPartition, position: int) -> None:
        start, end = (await self._source.bounds([partition]))[partition]
        raise PositionLost(
            f"{partition.topic}/{partition.partition}: position {position} was dropped, it is within {start}..{end} now"
        )

    def _advanced(self, records: Sequence[Record], moved: Iterable[TopicPartition]) -> None:
        for record in records:
            self._since[TopicPartition(record.topic, record.partition)] = record.appended_at
        for partition in moved:
            self._tail.advanced(partition)
