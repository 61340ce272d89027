"""What a batch of records changes until it is committed: a view for deciding, and the Commit that comes of it. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeVar, cast

import msgspec

from ocppcore.clock import to_rfc3339
from ocppcore.log import NewRecord, StreamRecord
from ocppcore.service import (
    WHOLE,
    Aggregate,
    Build,
    Drop,
    Event,
    Follow,
    Lookup,
    Need,
    Outcome,
    Put,
    Service,
    Timer,
)
from ocppcore.store import (
    CellUpdate,
    Commit,
    CopyRow,
    Delete,
    StateKey,
    StateWrite,
    TimerKey,
    Upsert,
    Value,
)

A = TypeVar("A", bound=Aggregate)
S = TypeVar("S", bound=msgspec.Struct)
T = TypeVar("T")
_encoder = msgspec.json.Encoder(decimal_format="string")
EFFECT_KIND = "PendingEffect"


class NotLoaded(KeyError):
    """A handler looked at an aggregate or a copy's row that it had not named: the engine loads it and starts again."""

    def __init__(self, need: Need | None = None, lookup: Lookup | None = None) -> None:
        super().__init__(need or lookup)
        self.need = need
        self.lookup = lookup


class PendingEffect(Aggregate, frozen=True, kw_only=True):
    """An effect asked for by an event and not yet answered; id = the event's id."""

    KIND = EFFECT_KIND
    REBUILT = False
    event_type: str
    key: str
    event: msgspec.Raw


@dataclass(slots=True)
class Cell:
    """A cell as its owner holds it. `committed` is what the store has: the next commit expects exactly that."""

    number: int
    owner_epoch: int
    committed: Mapping[str, int]
    positions: dict[str, int]
    clock: int
    next: dict[str, int]
    published: dict[str, int]
    dirty: bool = False

    def update(self) -> CellUpdate:
        return CellUpdate(
            self.number,
            self.owner_epoch,
            self.committed,
            dict(self.positions),
            self.clock,
            dict(self.next),
            dict(self.published),
        )

    def copy(self) -> "Cell":
        return Cell(
            self.number,
            self.owner_epoch,
            self.committed,
            dict(self.positions),
            self.clock,
            dict(self.next),
            dict(self.published),
        )


class WholeCopy(CopyRow):
    """All rows of a copy at one moment, found under the key WHOLE; it remembers what was made of them."""

    @classmethod
    def of(cls, rows: Iterable[CopyRow]) -> "WholeCopy":
        made = cls(WHOLE, None, -1, -1)
        made.rows = {row.key: row.value for row in rows if row.value is not None}
        made.made = {}
        return made

    rows: Mapping[str, bytes]
    made: dict[Build[object], object]

    def built(self, build: Build[T]) -> T:
        if build not in self.made:
            self.made[build] = build(self.rows)
        return cast(T, self.made[build])


Cache = dict[StateKey, Aggregate | None]


def event_headers(service: str, event: Event, id_: str, cause: str, traceparent: str) -> dict[str, str]:
    """CloudEvents attributes of an event; `cause` names the record that it was decided from."""
    headers = {
        "ce_specversion": "1.0",
        "ce_id": id_,
        "ce_type": event.TYPE,
        "ce_source": f"/{service}",
        "ce_subject": event.subject(),
        "ce_time": to_rfc3339(event.at),
    }
    if cause:
        headers["cause"] = cause
    if traceparent:
        headers["traceparent"] = traceparent
    return headers


def event_id(topic: str, cell: int, number: int) -> str:
    """`service/cell/number`; other streams than events keep their name: `transactions.meter/3/17`."""
    return f"{_id_prefix(topic)}/{cell}/{number}"


@lru_cache(maxsize=64)
def _topic_of(service: str, stream: str) -> str:
    return f"{service}.{stream}"


@lru_cache(maxsize=64)
def _id_prefix(topic: str) -> str:
    return topic.removesuffix(".events")


@dataclass(slots=True)
class Batch:
    """The changes of the records decided so far, over the cache of what is committed. Implements service.View."""

    service: Service
    cache: Cache
    found: Mapping[Lookup, CopyRow | None]
    partitions: int
    cells: dict[int, Cell] = field(default_factory=dict)
    changed: dict[StateKey, tuple[int, Aggregate | None, int | None, bool]] = field(default_factory=dict)
    rows: dict[tuple[str, tuple[Value, ...]], Upsert | Delete] = field(default_factory=dict)
    stream: list[StreamRecord] = field(default_factory=list)
    timers: dict[TimerKey, int | None] = field(default_factory=dict)
    follow: list[NewRecord] = field(default_factory=list)
    effects: list[tuple[str, PendingEffect]] = field(default_factory=list)
    ticked: set[int] = field(default_factory=set)
    cell: Cell = field(init=False)

    def get(self, kind: type[A], id_: str) -> A | None:
        key = (kind.KIND, id_)  # equal to the StateKey, and made in a third of the time
        changed = self.changed.get(key)  # type: ignore[call-overload]
        if changed is not None:
            return cast("A | None", changed[1])
        try:
            return cast("A | None", self.cache[key])  # type: ignore[index]
        except KeyError:
            raise NotLoaded(need=(kind, id_)) from None

    def copy(self, topic: str, type_: type[S], key: str) -> S | None:
        row = self._row(topic, key)
        return msgspec.json.decode(row.value, type=type_) if row and row.value is not None else None

    def copy_position(self, topic: str, key: str) -> int:
        row = self._row(topic, key)
        return row.position if row else -1

    def cell_number(self) -> int:
        return self.cell.number

    def whole(self, topic: str, build: Build[T]) -> T:
        held = self._row(topic, WHOLE)
        assert isinstance(held, WholeCopy), f"{topic} was looked up as {held}"
        return held.built(build)

    def _row(self, topic: str, key: str) -> CopyRow | None:
        try:
            return self.found[topic, key]
        except KeyError:
            raise NotLoaded(lookup=(topic, key)) from None

    def apply(self, outcome: Outcome, cause: str, traceparent: str) -> None:
        """Fold an outcome's events and changes; its reply, calls and result are the caller's."""
        for event in outcome.events:
            self._record(event, cause, traceparent)
        for change in outcome.puts:
            self.change(change)
        for row in outcome.writes:
            self._write(row)

    def _record(self, event: Event, cause: str, traceparent: str) -> None:
        cell, topic = self.cell, _topic_of(self.service.name, event.STREAM)
        number = cell.next.get(topic, 0)
        cell.next[topic] = number + 1
        id_ = event_id(topic, cell.number, number)
        headers = event_headers(self.service.name, event, id_, cause, traceparent)
        value = _encoder.encode(event)
        self.stream.append(StreamRecord(topic, cell.number, number, headers["ce_subject"], value, headers))
        self.follow.extend(self.fold(event, id_))
        if type(event) in self.service.effects:
            pending = PendingEffect(event_type=event.TYPE, key=event.subject(), event=msgspec.Raw(value))
            self.effects.append((id_, pending))
            self.change(Put(id_, pending))

    def fold(self, event: Event, id_: str) -> Iterable[NewRecord]:
        """Evolve and project one event of the current cell; returns the records that follow from it."""
        fold = self.service.folds[type(event)]
        if fold.project_first:
            for row in fold.project(event, self):
                self._write(row)
        for change in fold.evolve(event, self):
            if isinstance(change, Timer):
                self.timers[TimerKey(self.cell.number, change.name, change.subject)] = change.due
            else:
                self.change(change)
        if not fold.project_first:
            for row in fold.project(event, self):
                self._write(row)
        return fold.derive(event, Follow(id_, self.partitions))

    def change(self, change: Put | Drop) -> None:
        """Put or drop an aggregate in the current cell."""
        if isinstance(change, Put):
            kind = type(change.aggregate)
            key = StateKey(kind.KIND, change.id)
            self.changed[key] = (self.cell.number, change.aggregate, change.expires_at, kind.REBUILT)
        else:
            self.changed[StateKey(change.kind.KIND, change.id)] = (self.cell.number, None, None, change.kind.REBUILT)

    def _write(self, row: Upsert | Delete) -> None:
        key = row.table.key_of(row.row) if isinstance(row, Upsert) else row.key
        self.rows[row.table.name, key] = row

    def commit(self) -> Commit:
        """Everything changed so far, as the store takes it."""
        states = {
            key: StateWrite(cell, _encoder.encode(aggregate) if aggregate is not None else None, rebuilt, expires_at)
            for key, (cell, aggregate, expires_at, rebuilt) in self.changed.items()
        }
        updates = [cell.update() for cell in self.cells.values()]
        return Commit(updates, states, list(self.rows.values()), self.stream, self.timers)


def effect_request_id(event_id_: str) -> str:
    """The id of the request that carries an effect's result back: a repeat of the effect is decided once."""
    return f"effect/{event_id_}"


def decode_event(service: Service, headers: Mapping[str, str], value: bytes) -> Event:
    """A stream record's event; KeyError for a type that no fold names, msgspec.DecodeError for another shape."""
    return msgspec.json.decode(value, type=service.events[headers["ce_type"]])


def missing(needs: Iterable[Need], cache: Cache) -> Sequence[StateKey]:
    """The state keys among needs that the cache does not hold."""
    found = {(kind.KIND, id_): None for kind, id_ in needs if (kind.KIND, id_) not in cache}
    return [StateKey(*key) for key in found]
