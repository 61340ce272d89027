"""What a process knows of the log's end: per partition, where it ends, its newest records, and who waits for more.

Records that this process appended need not be read back from the database: readers at the end get them from here. A
ring holds a contiguous piece of a partition; when another process appended in between, positions do not follow on,
the ring begins anew, and readers that stand before it go to the database. No IO.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from ocppcore.log import Record, TopicPartition

RING_RECORDS_MAX = 8192
RING_BYTES_MAX = 8 * 1024 * 1024


class Follower(Protocol):
    """A reader."""

    @property
    def positions(self) -> Mapping[TopicPartition, int]:
        """Where it reads next, per assigned partition."""

    def wake(self) -> None:
        """There may be more to read."""


class _Ring:
    """The newest contiguous records of a partition; `first` is the position of the oldest one kept."""

    def __init__(self) -> None:
        self.first = 0
        self.records: list[Record] = []
        self.bytes = 0

    def extend(self, records: Sequence[Record]) -> None:
        """Records of consecutive positions. What is already here is left out; after a gap the ring begins anew."""
        end = self.first + len(self.records)
        begin = records[0].position
        if begin > end or not self.records:
            self.records.clear()
            self.first, self.bytes = begin, 0
        elif begin < end:
            records = records[end - begin :]
        self.records += records
        self.bytes += sum(map(_size, records))
        if len(self.records) > RING_RECORDS_MAX or self.bytes > RING_BYTES_MAX:
            self._shrink()

    def _shrink(self) -> None:
        """Down to half the limits, so that it is not done for every record."""
        keep, size = 0, 0
        for record in reversed(self.records):
            size += _size(record)
            if keep == RING_RECORDS_MAX // 2 or size > RING_BYTES_MAX // 2:
                break
            keep += 1
        self.forget(self.first + len(self.records) - keep)

    def forget(self, before: int) -> None:
        """Let go of records before this position."""
        gone = min(before - self.first, len(self.records))
        if gone > 0:
            self.bytes -= sum(map(_size, self.records[:gone]))
            del self.records[:gone]
            self.first += gone

    def take(self, position: int, limit: int) -> list[Record]:
        """Up to `limit` records from this position on, if it is in here."""
        offset = position - self.first
        return self.records[offset : offset + limit] if offset >= 0 else []


def _size(record: Record) -> int:
    return len(record.value) + 512


class Tail:
    """Of all partitions of one log, in one process."""

    def __init__(self) -> None:
        self._ends: dict[TopicPartition, int] = defaultdict(int)
        self._rings: dict[TopicPartition, _Ring] = {}
        self._followers: dict[TopicPartition, set[Follower]] = {}

    @property
    def followed(self) -> list[TopicPartition]:
        """The partitions that someone reads."""
        return list(self._followers)

    def follow(self, follower: Follower, partitions: Iterable[TopicPartition]) -> None:
        for partition in partitions:
            self._followers.setdefault(partition, set()).add(follower)

    def unfollow(self, follower: Follower, partitions: Iterable[TopicPartition]) -> None:
        for partition in partitions:
            followers = self._followers[partition]
            followers.discard(follower)
            if not followers:
                del self._followers[partition]
                self._rings.pop(partition, None)

    def wants(self, partition: TopicPartition) -> bool:
        """Whether someone reads it; if not, its records need not be handed in."""
        return partition in self._followers

    def end(self, partition: TopicPartition) -> int:
        """The position after the last record known to be visible; there may be more."""
        return self._ends[partition]

    def appended(self, partition: TopicPartition, records: Sequence[Record]) -> None:
        """These records, of consecutive positions, are visible now, and so is everything before them."""
        if partition in self._followers:
            ring = self._rings.get(partition)
            if ring is None:
                ring = self._rings[partition] = _Ring()
            ring.extend(records)
        self.reached(partition, records[-1].position + 1)

    def reached(self, partition: TopicPartition, end: int) -> None:
        """Everything before `end` is visible now."""
        if end > self._ends[partition]:
            self._ends[partition] = end
            for follower in self._followers.get(partition, ()):
                follower.wake()

    def take(self, partition: TopicPartition, position: int, limit: int) -> list[Record]:
        """Records from `position` on, if they are in the ring; else the database has to be asked."""
        ring = self._rings.get(partition)
        return ring.take(position, limit) if ring else []

    def advanced(self, partition: TopicPartition) -> None:
        """A follower of the partition moved on: what all have read can go."""
        ring = self._rings.get(partition)
        if ring:
            ring.forget(min(follower.positions[partition] for follower in self._followers[partition]))
