"""Given, when, then for a service's pure functions, on dictionaries: what the engine does with them, less all IO.

    world = World("device", parts)
    world.given(StationRegistered(at=0, ...))
    outcome = world.call("BootNotification", {"chargingStation": {...}, "reason": "PowerUp"}, station="CS-1")
    assert outcome.events == (StationBooted(...),)
    assert world.rows(STATIONS) == [...]

It is strict where the engine is: a handler or fold that looks at an aggregate or copy which it did not name fails, an
event without a fold fails, and events, aggregates and copies pass through their JSON, as they do on the log.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from ocppcore import topics
from ocppcore.envelope import AdmittedBy, Frame, Receipt, Refusal
from ocppcore.log import NewRecord
from ocppcore.rpc import CallError, CallResult, Malformed
from ocppcore.service import (
    WHOLE,
    Aggregate,
    Build,
    Connection,
    Context,
    Drop,
    Event,
    Fold,
    Follow,
    Lookup,
    Need,
    Outcome,
    Part,
    Put,
    Timer,
    assemble,
)
from ocppcore.store import Delete, Table, Upsert, Value
from ocppcore.wire import WireModel, encode

NOW = 1_700_000_000_000
"""2023-11-14T22:13:20Z, the clock of a new world."""

A = TypeVar("A", bound=Aggregate)
S = TypeVar("S", bound=msgspec.Struct)
T = TypeVar("T")


@dataclass(frozen=True)
class StrictView:
    """A View that knows only what was named beforehand."""

    states: Mapping[tuple[str, str], bytes]
    copies: Mapping[Lookup, tuple[bytes, int]]
    named: frozenset[tuple[str, str]]
    looked_up: frozenset[Lookup]

    def get(self, kind: type[A], id_: str) -> A | None:
        assert (kind.KIND, id_) in self.named, f"{kind.KIND} {id_!r} was not named among the needs"
        data = self.states.get((kind.KIND, id_))
        return None if data is None else msgspec.json.decode(data, type=kind)

    def copy(self, topic: str, type_: type[S], key: str) -> S | None:
        assert (topic, key) in self.looked_up, f"{topic} {key!r} was not named among the lookups"
        found = self.copies.get((topic, key))
        return None if found is None else msgspec.json.decode(found[0], type=type_)

    def copy_position(self, topic: str, key: str) -> int:
        assert (topic, key) in self.looked_up, f"{topic} {key!r} was not named among the lookups"
        found = self.copies.get((topic, key))
        return -1 if found is None else found[1]

    def cell_number(self) -> int:
        return 0

    def whole(self, topic: str, build: Build[T]) -> T:
        assert (topic, WHOLE) in self.looked_up, f"{topic} was not named whole among the lookups"
        return build({key: value for (of, key), (value, _) in self.copies.items() if of == topic})


@dataclass
class World:
    """A service of these parts in memory. `now` is its clock (ms): set it, or `wait`, to let time pass."""

    name: str
    parts: Sequence[Part]
    now: int = NOW
    partitions: int = 4
    events: list[Event] = field(default_factory=list)
    records: list[NewRecord] = field(default_factory=list)
    timers: dict[tuple[str, str], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.service = assemble(self.name, self.parts)
        self._states: dict[tuple[str, str], bytes] = {}
        self._rows: dict[str, dict[tuple[Value, ...], tuple[Value, ...]]] = {}
        self._copies: dict[Lookup, tuple[bytes, int]] = {}
        self._connections: dict[str, Connection] = {}
        self._inputs = 0

    def wait(self, ms: int) -> None:
        """Let time pass."""
        self.now += ms

    def given(self, *events: Event) -> None:
        """These events happened."""
        self._fold(events)

    def given_state(self, id_: str, aggregate: Aggregate) -> None:
        """This aggregate is there, however it came about."""
        self._states[aggregate.KIND, id_] = msgspec.json.encode(aggregate)

    def given_copy(self, topic: str, key: str, value: object, position: int = 0) -> None:
        """Another service's state, as this service's copy has it; None: there is none."""
        assert topic in self.service.copies, f"{self.name} keeps no copy of {topic}"
        if value is None:
            self._copies.pop((topic, key), None)
        else:
            self._copies[topic, key] = (msgspec.json.encode(value), position)

    def call(self, action: str, payload: Mapping[str, object] | WireModel | bytes, *, station: str = "CS-1",
             epoch: int = 1, actor: str = "") -> Outcome:  # fmt: skip
        """A station sends this CALL; its events are folded."""
        handler = self.service.actions[action]
        raw = encode(payload) if isinstance(payload, WireModel) else payload
        raw = raw if isinstance(raw, bytes) else json.dumps(raw).encode()
        request = handler.body(raw)
        key = topics.normalise(station)
        needs, lookups = handler.needs(request, key), handler.lookups(request, key)
        lookups = (*lookups, *handler.further(request, key, self._view(needs, lookups)))
        view = self._view(needs, lookups)
        context = self.context(station=station, epoch=epoch, actor=actor, payload=raw)
        outcome = self._take(handler.handle(request, view, context))
        if outcome.then is not None:
            self._take(outcome.then(self._view(needs, lookups), context))
        return outcome

    def ask(self, name: str, body: msgspec.Struct, *, key: str, actor: str = "key-1") -> Outcome:
        """A request record of this type arrives; its events are folded."""
        handler = self.service.requests[name]
        body = msgspec.json.decode(msgspec.json.encode(body), type=handler.body)
        view = self._view(handler.needs(body, key), handler.lookups(body, key))
        return self._take(handler.handle(body, view, self.context(station=key, epoch=0, actor=actor)))

    def tick(self, name: str, subject: str) -> Outcome:
        """The timer passes (set `now` first); it must have been set and due."""
        due = self.timers.pop((name, subject))
        assert due <= self.now, f"timer {name} {subject} is due at {due}, now is {self.now}"
        handler = next(timer for timer in self.service.timers.values() if timer.name == name)
        context = self.context(station=subject.partition("/")[0])
        return self._take(handler.handle(subject, self._view(handler.needs(subject)), context))

    def connect(
        self, station: str = "CS-1", *, epoch: int = 1, connected: bool = True, profile: int = 0,
        credential: AdmittedBy = "", certificate_name: str = "", certificate_expired: bool = False,
    ) -> list[Outcome]:  # fmt: skip
        """The station's newest connection came (or, `connected` False, went); all handlers hear of it.

        `profile` (its security profile), `credential`, `certificate_name`, `certificate_expired`: what let it in.
        """
        key = topics.normalise(station)
        self._connections[key] = Connection(
            identity=station,
            slot=0,
            epoch=epoch,
            claim=0,
            connected=connected,
            subprotocol="ocpp2.0.1",
            at=self.now,
            security_profile=profile,
            credential=credential,
            certificate_name=certificate_name,
            certificate_expired=certificate_expired,
        )
        outcomes = []
        for handler in self.service.connections:
            view = self._view(handler.needs(key))
            outcomes.append(self._take(handler.handle(view, self.context(station=station, epoch=epoch))))
        return outcomes

    def answer(self, frame: Frame, answer: CallResult | CallError | Malformed) -> Outcome:
        """A station answers one of our CALLs."""
        assert self.service.answers is not None
        view = self._view(self.service.answers.needs(frame.station))
        return self._take(
            self.service.answers.answer(frame, answer, view, self.context(station=frame.identity, epoch=frame.epoch))
        )

    def receipt(self, receipt: Receipt) -> Outcome:
        """A gateway says what it did with a command."""
        assert self.service.answers is not None
        view = self._view(self.service.answers.needs(receipt.station))
        return self._take(
            self.service.answers.receipt(receipt, view, self.context(station=receipt.station, epoch=receipt.epoch))
        )

    def refusal(self, refusal: Refusal) -> Outcome:
        """A gateway refused a handshake of this station."""
        assert self.service.refusals is not None
        key = topics.normalise(refusal.identity)
        view = self._view(self.service.refusals.needs(key))
        return self._take(self.service.refusals.handle(refusal, view, self.context(station=key, epoch=-1)))

    @property
    def copies(self) -> Mapping[Lookup, tuple[bytes, int]]:
        """Other services' state that was given, with its positions."""
        return self._copies

    def state(self, kind: type[A], id_: str) -> A | None:
        """The aggregate as it is now."""
        data = self._states.get((kind.KIND, id_))
        return None if data is None else msgspec.json.decode(data, type=kind)

    def rows(self, table: Table) -> list[dict[str, Value]]:
        """The table's rows in key order."""
        rows = self._rows.get(table.name, {})
        return [dict(zip(table.columns, rows[key], strict=True)) for key in sorted(rows, key=repr)]

    def published(self, topic: str) -> list[dict[str, object]]:
        """The values of the derived records on this topic, oldest first."""
        return [msgspec.json.decode(record.value) for record in self.records if record.topic == topic]

    def context(self, *, station: str = "CS-1", epoch: int = 1, actor: str = "", payload: bytes = b"") -> Context:
        """What the engine would hand in now."""
        self._inputs += 1
        key = topics.normalise(station)
        return Context(
            now=self.now,
            received_at=self.now,
            source=f"test/0/{self._inputs}",
            station=key,
            identity=station,
            slot=0,
            epoch=epoch,
            subprotocol="ocpp2.0.1",
            connection=self._connections.get(key),
            actor=actor,
            traceparent="",
            payload=payload,
        )

    def _view(self, needs: Iterable[Need], lookups: Iterable[Lookup] = ()) -> StrictView:
        named = frozenset((kind.KIND, id_) for kind, id_ in needs)
        return StrictView(self._states, self._copies, named, frozenset(lookups))

    def _take(self, outcome: Outcome) -> Outcome:
        self._fold(outcome.events)
        for put in outcome.puts:
            self._change(put, rebuilt=False)
        for write in outcome.writes:
            assert write.table.volatile, f"{write.table.name} is no volatile table: only events may change it"
            self._write(write)
        return outcome

    def _fold(self, events: Iterable[Event]) -> None:
        for event in events:
            assert event.TYPE.startswith(f"{self.name}."), f"{event.TYPE} is no event of {self.name}"
            fold = self.service.folds[type(event)]
            event = msgspec.json.decode(msgspec.json.encode(event), type=type(event))
            assert event.subject() == topics.normalise(event.subject()), f"{event.TYPE}: subject is not normalised"
            needs = tuple(fold.needs(event))
            if fold.project_first:
                self._project(fold, event, needs)
            for change in tuple(fold.evolve(event, self._view(needs))):
                self._change(change, rebuilt=True)
            if not fold.project_first:
                self._project(fold, event, needs)
            follow = Follow(f"{self.name}/0/{len(self.events)}", self.partitions)
            self.records.extend(fold.derive(event, follow))
            self.events.append(event)

    def _project(self, fold: Fold[Event], event: Event, needs: Sequence[Need]) -> None:
        for write in tuple(fold.project(event, self._view(needs))):
            assert not write.table.volatile, f"{write.table.name} is volatile: events do not change it"
            self._write(write)

    def _change(self, change: Put | Drop | Timer, *, rebuilt: bool) -> None:
        match change:
            case Put(id_, aggregate, _):
                assert aggregate.REBUILT is rebuilt, f"{aggregate.KIND}: written from the wrong side"
                assert aggregate.KIND in self.service.aggregates, f"{aggregate.KIND} is not declared by a part"
                self._states[aggregate.KIND, id_] = msgspec.json.encode(aggregate)
            case Drop(kind, id_):
                self._states.pop((kind.KIND, id_), None)
            case Timer(name, subject, due):
                if due is None:
                    self.timers.pop((name, subject), None)
                    return
                assert name in self.service.timers, f"no handler for timer {name}"
                self.timers[name, subject] = due

    def _write(self, write: Upsert | Delete) -> None:
        table = self.service.tables[write.table.name]
        rows = self._rows.setdefault(table.name, {})
        if isinstance(write, Delete):
            rows.pop(write.key, None)
            return
        assert len(write.row) == len(table.columns), f"{table.name}: {len(write.row)} values"
        for column, value in zip(table.columns, write.row, strict=True):
            assert value is None or isinstance(value, _PYTHON[table.columns[column]]), (
                f"{table.name}.{column}: {value!r}"
            )
        rows[table.key_of(write.row)] = write.row


_PYTHON: Mapping[str, type | tuple[type, ...]] = {
    "text": str,
    "jsonb": str,
    "numeric": str,
    "bigint": int,
    "boolean": bool,
}
