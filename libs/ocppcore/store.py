"""The store port: a service's own rows, committed in one transaction per batch and fenced per cell.

Two adapters: `postgres.PostgresStore` and the twin `memory.MemoryStore`; one contract test suite. A store belongs to
one service (one PostgreSQL schema). It knows cells, aggregates as bytes, declared tables, numbered stream rows, timers
and copies of other services' state; it knows no rule.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple, Protocol

from ocppcore.errors import CsmsError, OperatorError, Unavailable
from ocppcore.log import StreamRecord, TopicPartition

ColumnType = Literal["text", "bigint", "numeric", "boolean", "jsonb"]
Value = str | int | bool | None
"""A column's value: text, jsonb and numeric as str (JSON text, decimal digits), bigint as int."""


class StoreUnavailable(Unavailable):
    """The store did not answer within its bounded retries; nothing is known of the last commit's outcome."""


class ProjectionsChanged(OperatorError):
    """These tables cannot be used as they are: their declaration changed, or a rebuild of them did not finish."""

    def __init__(self, tables: Sequence[str]) -> None:
        super().__init__(f"projections {', '.join(tables)} must be built anew: `csms rebuild SERVICE` does it")
        self.tables = tuple(tables)


class Fenced(CsmsError):
    """The cells named have another owner now, or moved on without this process: nothing of the commit was done."""

    def __init__(self, cells: frozenset[int]) -> None:
        super().__init__(f"lost cells {sorted(cells)}")
        self.cells = cells


@dataclass(frozen=True)
class Table:
    """A projection, declared once. `volatile`: written outside of events, left alone by rebuild and its hash."""

    name: str
    columns: Mapping[str, ColumnType]
    key: tuple[str, ...]
    volatile: bool = False
    indexes: tuple[tuple[str, ...], ...] = ()

    def __hash__(self) -> int:
        return hash(self.name)

    @cached_property
    def places(self) -> tuple[int, ...]:
        """Where the key's columns stand in a row."""
        columns = list(self.columns)
        return tuple(columns.index(column) for column in self.key)

    def key_of(self, row: tuple[Value, ...]) -> tuple[Value, ...]:
        """The key columns of a row given in column order."""
        return tuple([row[place] for place in self.places])


def check_tables(tables: Sequence[Table]) -> None:
    """ValueError if a declaration contradicts itself or another one."""
    for table in tables:
        for of in {*table.key, *(of for index in table.indexes for of in index)}:
            type_of(table, of)
        if not table.key or len(set(table.key)) != len(table.key):
            raise ValueError(f"table {table.name} needs a key of different columns")
    names = [table.name for table in tables]
    if len(set(names)) < len(names):
        raise ValueError(f"two tables have the same name: {sorted(names)}")


def type_of(table: Table, column: str) -> ColumnType:
    """ValueError if the table declares no such column."""
    if column not in table.columns:
        raise ValueError(f"table {table.name} has no column {column!r}")
    return table.columns[column]


def page_columns(
    table: Table, where: Mapping[str, Value], after: tuple[Value, ...] | None, order: tuple[str, ...]
) -> tuple[str, ...]:
    """What `Store.select` orders by. ValueError for a column that is not declared, or an `after` of another length."""
    columns = (*order, *(of for of in table.key if of not in order))
    for of in (*columns, *where):
        type_of(table, of)
    if after is not None and len(after) != len(columns):
        raise ValueError(f"a page of {table.name} continues after values of {columns}, not {after}")
    return columns


class Upsert(NamedTuple):
    """Write this row (all columns, in the table's order), whether or not its key is there."""

    table: Table
    row: tuple[Value, ...]


class Delete(NamedTuple):
    """Remove the row under this key, if there."""

    table: Table
    key: tuple[Value, ...]


class Among(NamedTuple):
    """A condition on rows: the text in `column` is one of `values`, or begins with one of `prefixes`."""

    column: str
    values: tuple[str, ...]
    prefixes: tuple[str, ...] = ()


class StateKey(NamedTuple):
    kind: str
    id: str


class StateWrite(NamedTuple):
    """An aggregate's new bytes (None: gone). `rebuilt` False: outside rebuild and hash; gone after `expires_at`."""

    cell: int
    data: bytes | None
    rebuilt: bool
    expires_at: int | None


class TimerKey(NamedTuple):
    """A timer of a cell: when it passes, the handler `name` decides about `subject`."""

    cell: int
    name: str
    subject: str


class Suspect(NamedTuple):
    """A record that was being decided when the process died, and how often."""

    topic: str
    position: int
    times: int


@dataclass(frozen=True, slots=True)
class CellRow:
    """A cell as stored. `positions` per input topic: next to read. `next` and `published` per stream topic: numbers."""

    cell: int
    owner_epoch: int
    positions: Mapping[str, int]
    clock: int
    next: Mapping[str, int]
    published: Mapping[str, int]
    strikes: int
    suspect: Suspect | None


@dataclass(frozen=True, slots=True)
class CellUpdate:
    """A cell's step forward; refused (Fenced) unless stored owner_epoch and positions equal those expected."""

    cell: int
    owner_epoch: int
    expected: Mapping[str, int]
    positions: Mapping[str, int]
    clock: int
    next: Mapping[str, int]
    published: Mapping[str, int]


@dataclass(slots=True)
class Commit:
    """Everything of one batch: all of it or nothing. `rows` holds at most one write per table and key."""

    cells: Sequence[CellUpdate]
    states: Mapping[StateKey, StateWrite] = field(default_factory=dict)
    rows: Sequence[Upsert | Delete] = ()
    stream: Sequence[StreamRecord] = ()
    timers: Mapping[TimerKey, int | None] = field(default_factory=dict)


class CopyRow(NamedTuple):
    """A row of a copy of another service's state; `value` None when deleted.

    `source` and `number`: of the event that it follows from (`envelope.origin`); "" and -1 where the record names none.
    """

    key: str
    value: bytes | None
    partition: int
    position: int
    source: str = ""
    number: int = -1


class CopyKept(NamedTuple):
    """What a copy keeps of a key, deleted or not. `stale`: an older state stands behind it on the log, there."""

    row: CopyRow
    stale: int | None = None


def is_newer(row: CopyRow, than: CopyRow) -> bool:
    """Of two records under one key, whether `row` is the one to keep: the later event's if one cell made both events,
    wherever they stand on the log; else the one that stands later."""
    if row.source == than.source:
        return (row.number, row.position) > (than.number, than.position)
    return row.position >= than.position


def keep(known: CopyKept | None, row: CopyRow) -> CopyKept:
    """What a copy keeps once it has read `row`."""
    if known is None:
        return CopyKept(row)
    kept = row if is_newer(row, known.row) else known.row
    last = max(row.position, known.row.position, known.stale or 0)
    return CopyKept(kept, last if last > kept.position else None)


class Store(Protocol):
    async def prepare(self, tables: Sequence[Table], streams: Sequence[str], copies: Sequence[str]) -> None:
        """Create what is missing: tables as declared, stream tables, copies. Idempotent, safe from several processes.

        Raises ProjectionsChanged if a declared, non-volatile table differs from what is stored and holds
        rows: `csms rebuild` makes it anew.
        """

    async def log_identity(self, identity: str) -> str:
        """Note the log's identity if none is noted yet; return the noted one."""

    async def open_cells(self, cells: Sequence[int]) -> Sequence[CellRow]:
        """Become the owner: raise owner_epoch and strikes by one each (made at 1 and 0 if missing), return the rows."""

    async def suspect(self, cell: int, owner_epoch: int, topic: str, position: int) -> int:
        """Note that this record is about to be decided; returns how often it has been noted. Raises Fenced."""

    async def load(self, keys: Sequence[StateKey]) -> Mapping[StateKey, bytes]:
        """The aggregates that exist under these keys, in one query."""

    async def scan(self, kind: str, cell: int, after: str, limit: int) -> Sequence[tuple[str, bytes]]:
        """Aggregates of a kind in a cell with id > after, in id order."""

    async def timers(self, cells: Sequence[int]) -> Mapping[TimerKey, int]:
        """All timers of these cells with their due times (ms)."""

    async def commit(self, commit: Commit) -> None:
        """All or nothing; resets strikes and suspect of its cells. Raises Fenced, StoreUnavailable."""

    async def stream_rows(self, topic: str, cell: int, number: int, limit: int) -> Sequence[StreamRecord]:
        """Rows of a stream with that number or a higher one, in order."""

    async def stream_of(
        self, topic: str, key: str, after: tuple[int, int], limit: int
    ) -> Sequence[tuple[int, StreamRecord]]:
        """Rows of one key behind `after` (when stored, ms, and number), in that order, each with when it was stored.

        Of streams with a retention only: the others have no index for it."""

    async def restore_stream(self, rows: Sequence[StreamRecord]) -> None:
        """Insert rows that are on the topic but missing here, and move the cells' next numbers (`csms recover`)."""

    async def expire(self, now: int, limit: int) -> int:
        """Remove what is over: aggregates whose `expires_at` has passed, rows of streams over their retention (never
        a cell's newest one, nor what is not published), deleted rows of copies after 30 days. At most `limit` of each
        kind; returns how many."""

    async def copy_positions(self, topic: str) -> Mapping[int, int]:
        """Per partition the next position to read for this copy (missing: 0)."""

    async def copy_apply(self, topic: str, rows: Sequence[CopyRow], positions: Mapping[int, int]) -> None:
        """Apply rows that are newer than what is there (`is_newer`), and the positions if higher; safe to repeat and to
        race. A key of which the log holds an older state last is remembered as stale (`copy_stale`)."""

    async def copy_find(self, topic: str, keys: Sequence[str]) -> Mapping[str, CopyRow]:
        """The copy's live rows under these keys."""

    async def copy_all(self, topic: str) -> Sequence[CopyRow]:
        """All live rows of a copy that is small."""

    async def copy_stale(self, topic: str, limit: int) -> Sequence[CopyRow]:
        """Rows, deleted or not, behind which the log holds an older state of their key; at most `limit`."""

    async def copy_reset(self, topic: str) -> None:
        """Empty the copy, to be read again from the topic's start."""

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
        """Rows that equal `where` and are `among`, ordered by `order` (default: key), from behind `after` (same
        columns as order).

        With `order`, the key columns follow as tie-break and `after` holds order + key values.
        """

    async def clear_rebuilt(self) -> None:
        """Empty every non-volatile table and rebuilt aggregate and all timers, before a rebuild."""

    async def load_rebuilt(self, commit: Commit) -> None:
        """Like commit, without cells and stream: the fast path of a rebuild."""

    def rebuilt_rows(self) -> AsyncIterator[bytes]:
        """Every row of non-volatile tables, rebuilt aggregates and timers as canonical bytes, sorted: for the hash."""

    async def owned(self) -> bool:
        """True while some process of this service is running on this store (rebuild then refuses)."""

    async def adopt_log(self, identity: str, positions: Mapping[TopicPartition, int]) -> None:
        """Note another log's identity, set the cells' input positions, and count no event as published that is there.

        `CellRow.published` is then where a stream begins, if its first rows were trimmed."""

    async def close(self) -> None: ...
