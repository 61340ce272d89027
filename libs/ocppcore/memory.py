"""The in-memory twins of log and store: same ports, same contract tests, no durability beyond the object.

`MemoryCluster` is what outlives a process: the simulation crashes processes (their `MemoryLog` handles) and keeps the
cluster. `interrupt`, when set, is awaited with the name of each point at which a real process may be delayed or die:
`append`, `appended`, `commit`, `committed`.
"""

import asyncio
from bisect import bisect_left
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

import msgspec

from ocppcore.clock import Clock, system_clock
from ocppcore.log import (
    Log,
    LogUnavailable,
    Membership,
    NewRecord,
    PartitionsChanged,
    PositionLost,
    Reader,
    Record,
    RecordTooLarge,
    RightsMissing,
    StreamRecord,
    TopicPartition,
)
from ocppcore.store import (
    Among,
    CellRow,
    ColumnType,
    Commit,
    CopyKept,
    CopyRow,
    Fenced,
    ProjectionsChanged,
    StateKey,
    StateWrite,
    StoreUnavailable,
    Suspect,
    Table,
    TimerKey,
    Upsert,
    Value,
    check_tables,
    keep,
    page_columns,
    type_of,
)
from ocppcore.topics import BY_NAME

Interrupt = Callable[[str], Awaitable[None]]
Comparable = str | int | bool | Decimal | None
RECORD_BYTES_MAX = 2 * 1024 * 1024


@dataclass(eq=False)
class _Group:
    topic: str
    members: list["MemoryMembership"] = field(default_factory=list)


class MemoryCluster:
    """Topics, groups and waiters: shared by the handles of all processes of one simulation or test."""

    def __init__(self, identity: str = "memory", clock: Clock = system_clock) -> None:
        self.identity = identity
        self.clock = clock
        self.interrupt: Interrupt | None = None
        self.partitions: dict[str, list[list[Record]]] = {}
        self.groups: dict[str, _Group] = {}
        self.grew = asyncio.Event()

    def declare(self, partitions: Mapping[str, int]) -> None:
        for topic, count in partitions.items():
            have = self.partitions.setdefault(topic, [[] for _ in range(count)])
            if len(have) != count:
                raise PartitionsChanged(f"topic {topic} has {len(have)} partitions, not {count}")

    def put(self, new: NewRecord) -> int:
        records = self.partitions[new.topic][new.partition]
        position = len(records)
        records.append(Record(new.topic, new.partition, position, new.key, new.value, dict(new.headers), self.clock()))
        return position

    def wake(self) -> None:
        self.grew.set()
        self.grew = asyncio.Event()

    def rebalance(self, group: _Group) -> None:
        count = len(self.partitions[group.topic])
        for place, member in enumerate(group.members):
            member.grant(frozenset(range(place, count, len(group.members))))


class MemoryLog:
    """A process's handle on a cluster."""

    def __init__(self, cluster: MemoryCluster | None = None) -> None:
        self.cluster = cluster or MemoryCluster()
        self._closed = False
        self._members: list[MemoryMembership] = []
        self._order = asyncio.Lock()

    async def declare(self, partitions: Mapping[str, int], *, compacted: frozenset[str] = frozenset()) -> None:
        self.cluster.declare(partitions)

    async def identity(self) -> str:
        return self.cluster.identity

    async def append(self, records: Sequence[NewRecord]) -> Sequence[int]:
        for record in records:
            if len(record.value) > RECORD_BYTES_MAX:
                raise RecordTooLarge(f"{len(record.value)} bytes for {record.topic}, at most {RECORD_BYTES_MAX}")
        return await self._put(list(records))

    async def publish(self, records: Sequence[StreamRecord]) -> None:
        await self._put(
            [NewRecord(r.topic, r.partition, r.key, r.value, {**r.headers, "number": str(r.number)}) for r in records]
        )

    def resume(self, stream: TopicPartition, number: int) -> None:
        """Nothing to do: this log takes any number."""

    async def _put(self, records: list[NewRecord]) -> list[int]:
        async with self._order:  # keeps the order of calls that were not awaited, also across an interrupt
            await self._reach("append")
            positions = [self.cluster.put(record) for record in records]
            self.cluster.wake()
            await self._reach("appended")
        return positions

    async def _reach(self, point: str) -> None:
        if self._closed:
            raise LogUnavailable("this handle is closed")
        if self.cluster.interrupt:
            await self.cluster.interrupt(point)

    async def ends(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        return {tp: len(self.cluster.partitions[tp.topic][tp.partition]) for tp in partitions}

    async def starts(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        return dict.fromkeys(partitions, 0)

    def reader(self) -> Reader:
        return MemoryReader(self.cluster)

    def membership(self, group: str, topic: str) -> Membership:
        found = self.cluster.groups.setdefault(group, _Group(topic))
        member = MemoryMembership(self.cluster, found)
        self._members.append(member)
        found.members.append(member)
        self.cluster.rebalance(found)
        return member

    async def close(self) -> None:
        self._closed = True
        for member in self._members:
            await member.leave()


class MemoryReader:
    def __init__(self, cluster: MemoryCluster) -> None:
        self._cluster = cluster
        self._positions: dict[TopicPartition, int] = {}
        self._turn = 0

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        self._positions = dict(positions)

    async def fetch(self, max_records: int, wait_s: float) -> list[Record]:
        grew = self._cluster.grew
        found = self._take(max_records)
        if found or wait_s <= 0:
            return found
        try:
            async with asyncio.timeout(wait_s):  # wait_for may swallow a cancellation (Python 3.11)
                await grew.wait()
        except TimeoutError:
            return []
        return self._take(max_records)

    def _take(self, max_records: int) -> list[Record]:
        waiting: dict[TopicPartition, list[Record]] = {}
        for tp, position in self._positions.items():
            records = self._cluster.partitions[tp.topic][tp.partition]
            if position > len(records):
                raise PositionLost(f"{tp.topic}/{tp.partition} ends at {len(records)}, asked for {position}")
            if position < len(records):
                waiting[tp] = records[position : position + max_records]
        found: list[Record] = []
        share = max(1, max_records // max(1, len(waiting)))
        self._turn += 1
        order = list(waiting)
        for tp in [*order[self._turn % max(1, len(order)) :], *order[: self._turn % max(1, len(order))]]:
            records = waiting[tp]
            part = records[: min(share, max_records - len(found))]
            if part:
                found += part
                self._positions[tp] = part[-1].position + 1
        return found

    async def close(self) -> None:
        self._positions = {}


class MemoryMembership:
    def __init__(self, cluster: MemoryCluster, group: _Group) -> None:
        self._cluster = cluster
        self._group = group
        self._cells: frozenset[int] = frozenset()
        self._told: frozenset[int] = frozenset()
        self._event = asyncio.Event()
        self._failure: LogUnavailable | RightsMissing | None = None
        self.zombie = False

    @property
    def cells(self) -> frozenset[int]:
        return self._cells

    def grant(self, cells: frozenset[int]) -> None:
        if not self.zombie and cells != self._cells:
            self._cells = cells
            self._event.set()

    async def changed(self) -> frozenset[int]:
        while self._cells == self._told:
            if self._failure is not None:
                raise self._failure
            self._event.clear()
            await self._event.wait()
        self._told = self._cells
        return self._told

    def fail(self, error: LogUnavailable | RightsMissing) -> None:
        """The group cannot be joined any more: others get the cells."""
        self._failure = error
        self.cut()
        self._cells = frozenset()
        self._event.set()

    def cut(self) -> None:
        """Others get the cells, this member does not hear of it: a zombie, until it leaves."""
        self.zombie = True
        if self in self._group.members:
            self._group.members.remove(self)
            self._cluster.rebalance(self._group)

    async def leave(self) -> None:
        self._cells = frozenset()
        self._event.set()
        if self in self._group.members:
            self._group.members.remove(self)
            self._cluster.rebalance(self._group)


@dataclass(eq=False)
class MemoryTables:
    """What a store keeps: outlives the processes that hold a `MemoryStore` on it."""

    cells: dict[int, CellRow] = field(default_factory=dict)
    states: dict[StateKey, StateWrite] = field(default_factory=dict)
    rows: dict[str, dict[tuple[Comparable, ...], tuple[Value, ...]]] = field(default_factory=lambda: defaultdict(dict))
    declared: dict[str, Table] = field(default_factory=dict)
    rebuilder: "MemoryStore | None" = None
    rebuilding: bool = False
    streams: dict[tuple[str, int], list[StreamRecord]] = field(default_factory=lambda: defaultdict(list))
    stream_times: dict[tuple[str, int], dict[int, int]] = field(default_factory=lambda: defaultdict(dict))
    timers: dict[TimerKey, int] = field(default_factory=dict)
    copies: dict[str, dict[str, CopyKept]] = field(default_factory=lambda: defaultdict(dict))
    copy_positions: dict[str, dict[int, int]] = field(default_factory=lambda: defaultdict(dict))
    log_identity: str | None = None
    owners: int = 0


def _comparable(type_: ColumnType, value: Value) -> Comparable:
    """Numerics compare as numbers, everything else as it is: texts by code point."""
    return Decimal(str(value)) if type_ == "numeric" and value is not None else value


def _identity(table: Table, key: tuple[Value, ...]) -> tuple[Comparable, ...]:
    return tuple(_comparable(table.columns[of], value) for of, value in zip(table.key, key, strict=True))


def _is_among(value: Value, among: Among) -> bool:
    return isinstance(value, str) and (value in among.values or value.startswith(among.prefixes))


def _order(value: Comparable) -> tuple[int, Comparable]:
    return (1, 0) if value is None else (0, value)


def _shape(table: Table) -> object:
    """What must be equal for stored rows to stay usable."""
    return [*table.columns.items()], table.key


class MemoryStore:
    """A process's handle on a service's tables. `retention_ms`: of streams that are not kept for ever, by topic."""

    def __init__(
        self,
        tables: MemoryTables | None = None,
        interrupt: Interrupt | None = None,
        *,
        retention_ms: Mapping[str, int] | None = None,
        clock: Clock = system_clock,
    ) -> None:
        self.tables = tables or MemoryTables()
        self.interrupt = interrupt
        self._retention_ms = retention_ms or {}
        self._clock = clock
        self.fencing = True
        self._owner = False
        self._prepared: Sequence[Table] | None = None

    async def prepare(self, tables: Sequence[Table], streams: Sequence[str], copies: Sequence[str]) -> None:
        check_tables(tables)
        self._prepared = tuple(tables)
        changed = [table.name for table in tables if not self._settle(table)]
        if self.tables.rebuilding:
            changed += [table.name for table in tables if not table.volatile]
        if changed:
            raise ProjectionsChanged(sorted({*changed}))

    def _settle(self, table: Table) -> bool:
        """Declare the table, unless that would lose rows that a rebuild has to bring back: then False."""
        known = self.tables.declared.get(table.name)
        if known is None or _shape(known) != _shape(table):
            if known is not None and not table.volatile and self.tables.rows[table.name]:
                return False
            self.tables.rows[table.name].clear()
        self.tables.declared[table.name] = table
        return True

    async def log_identity(self, identity: str) -> str:
        self.tables.log_identity = self.tables.log_identity or identity
        return self.tables.log_identity

    async def open_cells(self, cells: Sequence[int]) -> Sequence[CellRow]:
        if self.tables.rebuilder not in (None, self):
            raise StoreUnavailable("a rebuild of this service is running")
        if not self._owner:
            self._owner = True
            self.tables.owners += 1
        opened = []
        for cell in cells:
            row = self.tables.cells.get(cell) or CellRow(cell, 0, {}, 0, {}, {}, -1, None)
            row = replace(row, owner_epoch=row.owner_epoch + 1, strikes=row.strikes + 1)
            self.tables.cells[cell] = row
            opened.append(row)
        return opened

    async def suspect(self, cell: int, owner_epoch: int, topic: str, position: int) -> int:
        row = self.tables.cells[cell]
        if row.owner_epoch != owner_epoch:
            raise Fenced(frozenset([cell]))
        before = row.suspect
        same = before is not None and (before.topic, before.position) == (topic, position)
        times = before.times + 1 if before and same else 1
        self.tables.cells[cell] = replace(row, suspect=Suspect(topic, position, times))
        return times

    async def load(self, keys: Sequence[StateKey]) -> Mapping[StateKey, bytes]:
        states = self.tables.states
        return {key: data for key in keys if key in states and (data := states[key].data) is not None}

    async def scan(self, kind: str, cell: int, after: str, limit: int) -> Sequence[tuple[str, bytes]]:
        found = sorted(
            (key.id, write.data)
            for key, write in self.tables.states.items()
            if key.kind == kind and write.cell == cell and key.id > after and write.data is not None
        )
        return found[:limit]

    async def timers(self, cells: Sequence[int]) -> Mapping[TimerKey, int]:
        return {key: due for key, due in self.tables.timers.items() if key.cell in cells}

    async def commit(self, commit: Commit) -> None:
        if self.interrupt:
            await self.interrupt("commit")
        lost = frozenset(
            update.cell
            for update in commit.cells
            if (row := self.tables.cells.get(update.cell)) is None
            or row.owner_epoch != update.owner_epoch
            or dict(row.positions) != dict(update.expected)
        )
        if lost and self.fencing:
            raise Fenced(lost)
        for u in commit.cells:
            self.tables.cells[u.cell] = CellRow(
                u.cell, u.owner_epoch, dict(u.positions), u.clock, dict(u.next), dict(u.published), 0, None
            )
        for record in commit.stream:
            self._insert(record)
        self._write(commit)
        if self.interrupt:
            await self.interrupt("committed")

    def _insert(self, record: StreamRecord) -> None:
        rows = self.tables.streams[record.topic, record.partition]
        if record.topic in BY_NAME and BY_NAME[record.topic].retention is not None:
            self.tables.stream_times[record.topic, record.partition].setdefault(record.number, self._clock())
        place = bisect_left(rows, record.number, key=lambda row: row.number)
        if place < len(rows) and rows[place].number == record.number:
            rows[place] = record
        else:
            rows.insert(place, record)

    def _write(self, commit: Commit) -> None:
        for key, write in commit.states.items():
            if write.data is None:
                self.tables.states.pop(key, None)
            else:
                self.tables.states[key] = write
        for change in commit.rows:
            table, rows = change.table, self.tables.rows[change.table.name]
            if isinstance(change, Upsert):
                identity = _identity(table, table.key_of(change.row))
                rows[identity] = _kept_key(table, rows.get(identity), change.row)
            else:
                rows.pop(_identity(table, change.key), None)
        for timer, due in commit.timers.items():
            if due is None:
                self.tables.timers.pop(timer, None)
            else:
                self.tables.timers[timer] = due

    async def stream_rows(self, topic: str, cell: int, number: int, limit: int) -> Sequence[StreamRecord]:
        rows = self.tables.streams[topic, cell]
        place = bisect_left(rows, number, key=lambda row: row.number)
        return rows[place : place + limit]

    async def stream_of(
        self, topic: str, key: str, after: tuple[int, int], limit: int
    ) -> Sequence[tuple[int, StreamRecord]]:
        found = [
            (self.tables.stream_times[of, cell][row.number], row)
            for (of, cell), rows in self.tables.streams.items()
            if of == topic
            for row in rows
            if row.key == key
        ]
        found.sort(key=lambda pair: (pair[0], pair[1].number))
        return [pair for pair in found if (pair[0], pair[1].number) > after][:limit]

    async def restore_stream(self, rows: Sequence[StreamRecord]) -> None:
        for record in rows:
            self._insert(record)
            unopened = CellRow(record.partition, 0, {}, 0, {}, {}, -1, None)
            cell = self.tables.cells.get(record.partition, unopened)
            following = {**cell.next, record.topic: max(record.number + 1, cell.next.get(record.topic, 0))}
            self.tables.cells[record.partition] = replace(cell, next=following)

    async def expire(self, now: int, limit: int) -> int:
        gone = [k for k, w in self.tables.states.items() if w.expires_at is not None and w.expires_at <= now][:limit]
        for key in gone:
            del self.tables.states[key]
        return len(gone) + sum(self._trim(topic, now - kept, limit) for topic, kept in self._retention_ms.items())

    def _trim(self, topic: str, before: int, limit: int) -> int:
        gone = 0
        for (of, cell), rows in self.tables.streams.items():
            row = self.tables.cells.get(cell)
            published = row.published.get(topic, 0) if row else 0
            times = self.tables.stream_times[of, cell]
            while of == topic and gone < limit and len(rows) > 1:
                number = rows[0].number
                if number >= published or times[number] >= before:
                    break
                del rows[0], times[number]
                gone += 1
        return gone

    async def copy_positions(self, topic: str) -> Mapping[int, int]:
        return dict(self.tables.copy_positions[topic])

    async def copy_apply(self, topic: str, rows: Sequence[CopyRow], positions: Mapping[int, int]) -> None:
        have = self.tables.copies[topic]
        for row in rows:
            have[row.key] = keep(have.get(row.key), row)
        noted = self.tables.copy_positions[topic]
        for partition, position in positions.items():
            noted[partition] = max(position, noted.get(partition, 0))

    async def copy_find(self, topic: str, keys: Sequence[str]) -> Mapping[str, CopyRow]:
        have = self.tables.copies[topic]
        return {key: have[key].row for key in keys if key in have and have[key].row.value is not None}

    async def copy_all(self, topic: str) -> Sequence[CopyRow]:
        return [row for row, _ in self.tables.copies[topic].values() if row.value is not None]

    async def copy_stale(self, topic: str, limit: int) -> Sequence[CopyRow]:
        return [row for row, stale in self.tables.copies[topic].values() if stale is not None][:limit]

    async def copy_reset(self, topic: str) -> None:
        self.tables.copies[topic].clear()
        self.tables.copy_positions[topic].clear()

    async def select(
        self,
        table: Table,
        where: Mapping[str, Value] | None = None,
        *,
        after: tuple[Value, ...] | None = None,
        order: tuple[str, ...] = (),
        descending: bool = False,
        limit: int = 100,
        among: Among | None = None,
    ) -> Sequence[dict[str, Value]]:
        columns = page_columns(table, where or {}, after, order)
        wanted = {of: _comparable(table.columns[of], value) for of, value in (where or {}).items()}

        def place(row: Mapping[str, Value]) -> tuple[tuple[int, Comparable], ...]:
            return tuple(_order(_comparable(table.columns[column], row[column])) for column in columns)

        found = [dict(zip(table.columns, row, strict=True)) for row in self.tables.rows[table.name].values()]
        found = [row for row in found if all(_comparable(table.columns[of], row[of]) == v for of, v in wanted.items())]
        if among is not None:
            type_of(table, among.column)
            found = [row for row in found if _is_among(row[among.column], among)]
        found.sort(key=place, reverse=descending)
        if after is not None:
            pairs = zip(columns, after, strict=True)
            edge = tuple(_order(_comparable(table.columns[of], value)) for of, value in pairs)
            found = [row for row in found if (place(row) < edge if descending else place(row) > edge)]
        return found[:limit]

    async def clear_rebuilt(self) -> None:
        """As PostgresStore's: keeps the service from starting until this handle is closed."""
        if self.tables.owners > self._owner or self.tables.rebuilder not in (None, self):
            raise StoreUnavailable("a process of this service is running")
        self.tables.rebuilder, self.tables.rebuilding = self, True
        declared = self.tables.declared.values() if self._prepared is None else self._prepared
        kept = {table.name: table for table in self.tables.declared.values() if table.volatile}
        for name in self.tables.declared.keys() - kept.keys():
            self.tables.rows[name].clear()
        self.tables.declared = kept | {table.name: table for table in declared if not table.volatile}
        self.tables.states = {key: write for key, write in self.tables.states.items() if not write.rebuilt}
        self.tables.timers.clear()

    async def load_rebuilt(self, commit: Commit) -> None:
        self._write(commit)

    async def rebuilt_rows(self) -> AsyncIterator[bytes]:
        for name in sorted(self.tables.declared):
            if not self.tables.declared[name].volatile:
                key_of = self.tables.declared[name].key_of
                for row in sorted(self.tables.rows[name].values(), key=lambda row: msgspec.json.encode(key_of(row))):
                    yield msgspec.json.encode([name, list(row)])
        for state in sorted(self.tables.states):
            write = self.tables.states[state]
            if write.rebuilt and write.data is not None:
                yield msgspec.json.encode(["state", state.kind, state.id, write.data.decode()])
        for timer in sorted(self.tables.timers):
            yield msgspec.json.encode(["timer", *timer, self.tables.timers[timer]])
        if self.tables.rebuilder is self:
            self.tables.rebuilding = False

    async def owned(self) -> bool:
        return self.tables.owners > 0 or self.tables.rebuilder not in (None, self)

    async def adopt_log(self, identity: str, positions: Mapping[TopicPartition, int]) -> None:
        self.tables.log_identity = identity
        for cell, row in self.tables.cells.items():
            ours = {tp.topic: at for tp, at in positions.items() if tp.partition == cell}
            first = {topic: rows[0].number for (topic, of), rows in self.tables.streams.items() if of == cell and rows}
            begun = {topic: number for topic, number in first.items() if number}
            self.tables.cells[cell] = replace(row, positions={**row.positions, **ours}, published=begun)

    async def close(self) -> None:
        if self._owner:
            self._owner = False
            self.tables.owners -= 1
        if self.tables.rebuilder is self:
            self.tables.rebuilder = None


def _kept_key(table: Table, held: tuple[Value, ...] | None, row: tuple[Value, ...]) -> tuple[Value, ...]:
    """A row that is written again keeps its key as it was first spelled: 2.50 is 2.5."""
    if held is None:
        return row
    return tuple(held[place] if place in table.places else value for place, value in enumerate(row))


_log: type[Log] = MemoryLog
