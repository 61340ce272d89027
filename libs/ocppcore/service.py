"""What a service is made of: handlers, folds, tables, copies, effects. Data for the engine; nothing here performs IO.

A service is assembled from parts (`assemble`): its own aggregates and, in every service, commands (`commands.py`).
Deciding is pure: a handler gets a request, a view of the aggregates and copies it named beforehand, and a context
with time, ids and the connection; it returns an Outcome. Events are then folded (`Fold`) into aggregates, projections
and the records that follow from them.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar, cast

import msgspec

from ocppcore.command_end import ENDED, Ended
from ocppcore.envelope import (
    AdmittedBy,
    Asked,
    Frame,
    OutFrame,
    Receipt,
    Refusal,
    Registration,
    Request,
    request_record,
)
from ocppcore.log import NewRecord
from ocppcore.rpc import CallError, CallResult, Malformed
from ocppcore.store import Delete, Table, Upsert
from ocppcore.wire import WireModel, decode


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A fact. `at` is the cell's clock when it was decided (ms). Subclasses set TYPE (`device.StationBooted.v1`)
    and repeat `frozen=True, kw_only=True` (struct options are per class).

    Adding an optional field is free; anything else is a new type beside the old one. `STREAM` names the stream topic's
    last part: `events`, or `meter` for meter samples.
    """

    TYPE: ClassVar[str]
    STREAM: ClassVar[str] = "events"
    at: int

    def subject(self) -> str:
        """The key of the aggregate it is about (a normalised station id, a pseudonym): the record's key."""
        raise NotImplementedError


class Aggregate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """State under (KIND, id). REBUILT False: written by `Outcome.puts`, not folded from events, and not rebuilt."""

    KIND: ClassVar[str]
    REBUILT: ClassVar[bool] = True


class Connection(Aggregate, frozen=True, kw_only=True):
    """The newest connection of a station that this cell knows, handed in to decisions; id = station.

    What let it in is as in `ConnectionChange`; it is empty while only a frame has shown that there is a connection.
    """

    KIND: ClassVar[str] = "Connection"
    REBUILT: ClassVar[bool] = False
    identity: str
    slot: int
    epoch: int
    claim: int
    connected: bool
    subprotocol: str
    at: int
    security_profile: int = 0
    credential: AdmittedBy = ""
    certificate_name: str = ""
    certificate_expired: bool = False


class Operation(Aggregate, frozen=True, kw_only=True):
    """The outcome of a request, kept 24 h under its id: a repeat is not decided again, any replica can answer it.

    `spreads`: it changed state that other processes keep copies of.
    """

    KIND: ClassVar[str] = "Operation"
    REBUILT: ClassVar[bool] = False
    status: int
    body: msgspec.Raw
    at: int
    fingerprint: str = ""
    spreads: bool = False


A = TypeVar("A", bound=Aggregate)
S = TypeVar("S", bound=msgspec.Struct)
E = TypeVar("E", bound=Event)
R = TypeVar("R")
T = TypeVar("T")
Build = Callable[[Mapping[str, bytes]], T]

Need = tuple[type[Aggregate], str]
Lookup = tuple[str, str]
"""(topic of a copy, key)."""
WHOLE = "*"
"""The key of a lookup of all rows of a copy: for a topic that holds so little that a process keeps it in memory."""


class View(Protocol):
    """Aggregates and copies that a handler named beforehand. Asking for another is an error in the handler."""

    def get(self, kind: type[A], id_: str) -> A | None: ...

    def copy(self, topic: str, type_: type[S], key: str) -> S | None: ...

    def copy_position(self, topic: str, key: str) -> int:
        """The log position of the copy's row (-1: there is none), to be written into the event that relied on it."""
        ...

    def cell_number(self) -> int:
        """The cell that decides, or whose event is folded: for rows that each cell has of its own."""
        ...

    def whole(self, topic: str, build: "Build[T]") -> T:
        """What `build`, a pure module-level function, makes of all rows (key -> value) of a copy that was looked up
        WHOLE; made once for each state of the copy."""
        ...


class Context(NamedTuple):
    """What a decision may know beside request and view. `now` is the cell's clock: never earlier than before, ms.

    `payload`: of the CALL, as received (b"" for other inputs). `asked`: how a request came over HTTP.
    """

    now: int
    received_at: int
    source: str
    station: str
    identity: str
    slot: int
    epoch: int
    subprotocol: str
    connection: Connection | None
    actor: str
    traceparent: str
    payload: bytes
    asked: Asked | None = None


class Put(NamedTuple):
    id: str
    aggregate: Aggregate
    expires_at: int | None = None


class Drop(NamedTuple):
    kind: type[Aggregate]
    id: str


class Timer(NamedTuple):
    """Set (due in ms) or clear (None) the timer `name` about `subject`: an aggregate's key, or key/more."""

    name: str
    subject: str
    due: int | None


class Result(NamedTuple):
    """The answer to a request: an HTTP status and a JSON-encodable body (problem details when >= 400)."""

    status: int
    body: object = None


def problem(status: int, title: str, detail: str) -> Result:
    """A refusal as problem details (RFC 9457)."""
    return Result(status, {"type": "about:blank", "title": title, "status": status, "detail": detail})


class Outcome(msgspec.Struct, frozen=True):
    """What was decided. `reply` answers the CALL (its own response type or an error); `calls` go to stations.

    `puts` change aggregates that are not rebuilt; `writes` change volatile tables. `registration` goes with the
    answer to BootNotification. `then`: decided next, of the same record, with this outcome folded: what rests on a
    state that this record makes.
    """

    events: Sequence[Event] = ()
    reply: WireModel | CallError | None = None
    calls: Sequence[OutFrame] = ()
    result: Result | None = None
    puts: Sequence[Put | Drop] = ()
    writes: Sequence[Upsert | Delete] = ()
    registration: Registration | None = None
    then: "Callable[[View, Context], Outcome] | None" = None


NOTHING = Outcome()


def no_needs(*_: object) -> tuple[Need, ...]:
    """For handlers that look at no aggregate."""
    return ()


def no_lookups(*_: object) -> tuple[Lookup, ...]:
    """For handlers that look at no copy."""
    return ()


@dataclass(frozen=True)
class ActionHandler(Generic[R]):
    """A station's CALL. `self_ordered`: counts even from an older connection (TransactionEvent carries its order).

    `further`: lookups that only those of `lookups` tell, whose rows the view has.

    `read`: for a hot action, reads a payload faster than `wire.decode`, into what the handler takes; the verdict and
    the errors are the same.
    """

    request: type[WireModel]
    handle: Callable[[R, View, Context], Outcome]
    needs: Callable[[R, str], Sequence[Need]] = no_needs
    lookups: Callable[[R, str], Sequence[Lookup]] = no_lookups
    self_ordered: bool = False
    read: Callable[[bytes], R] | None = None
    further: Callable[[R, str, View], Sequence[Lookup]] = no_lookups

    def body(self, payload: bytes) -> R:
        """The payload as `handle` takes it; raises pydantic's ValidationError, whatever is wrong with the bytes."""
        found: Any = self.read(payload) if self.read else decode(self.request, payload)
        return cast(R, found)


@dataclass(frozen=True)
class RequestHandler(Generic[S]):
    """A record of `<service>.requests`, by its type, `name`. `needs`, `lookups` get the body and the record's key."""

    name: str
    body: type[S]
    handle: Callable[[S, View, Context], Outcome]
    needs: Callable[[S, str], Sequence[Need]] = no_needs
    lookups: Callable[[S, str], Sequence[Lookup]] = no_lookups


@dataclass(frozen=True)
class EndedHandler:
    """A command that the service itself asked for has ended, one whose reference begins with `prefix`.

    "": those of no other prefix. `needs` gets the body and the station.
    """

    prefix: str
    handle: Callable[[Ended, View, Context], Outcome]
    needs: Callable[[Ended, str], Sequence[Need]] = no_needs


@dataclass(frozen=True)
class TimerHandler:
    """What to decide when a timer of this name passes; gets the subject."""

    name: str
    handle: Callable[[str, View, Context], Outcome]
    needs: Callable[[str], Sequence[Need]] = no_needs


@dataclass(frozen=True)
class ConnectionHandler:
    """Called when a station's newest known connection came, changed or went (`context.connection`: the new state)."""

    handle: Callable[[View, Context], Outcome]
    needs: Callable[[str], Sequence[Need]] = no_needs


@dataclass(frozen=True)
class AnswerHandler:
    """A station's answer to one of our CALLs, or a gateway's receipt about one."""

    answer: Callable[[Frame, CallResult | CallError | Malformed, View, Context], Outcome]
    receipt: Callable[[Receipt, View, Context], Outcome]
    needs: Callable[[str], Sequence[Need]] = no_needs


@dataclass(frozen=True)
class RefusalHandler:
    """A gateway refused a handshake of a station; `needs` gets the station."""

    handle: Callable[[Refusal, View, Context], Outcome]
    needs: Callable[[str], Sequence[Need]] = no_needs


class Follow(NamedTuple):
    """Of an event, for `derive`: its id (`service/cell/number`, stable for ever), and the number of partitions of
    cell-spread topics."""

    id: str
    partitions: int

    def request(
        self, service: str, type_: str, key: str, body: msgspec.Struct, at: int, *, part: str = "",
        actor: str = "",
    ) -> NewRecord:  # fmt: skip
        """A request to the cell of `key`, decided once however often the event is published. `part` tells several that
        follow from one event apart."""
        id_ = f"{self.id}/{part}" if part else self.id
        source = "/" + self.id.partition("/")[0].partition(".")[0]  # a stream's name may stand behind the service's
        asked = Request(id_, type_, key, msgspec.json.encode(body), at, source, actor, "", "")
        return request_record(asked, service, self.partitions)


def no_changes(*_: Any) -> tuple[()]:
    """For folds that change nothing of that sort."""
    return ()


@dataclass(frozen=True)
class Fold(Generic[E]):
    """All that follows from one type of event, purely: aggregates and timers, projections, records for others.

    `needs` names the aggregates that evolve and project look at. `project` sees the view after `evolve`,
    or before it with `project_first` (for what evolve forgets).
    """

    event: type[E]
    needs: Callable[[E], Sequence[Need]] = no_needs
    evolve: Callable[[E, View], Iterable[Put | Drop | Timer]] = no_changes
    project: Callable[[E, View], Iterable[Upsert | Delete]] = no_changes
    derive: Callable[[E, Follow], Iterable[NewRecord]] = no_changes
    project_first: bool = False


class Link(NamedTuple):
    """A connection that an aggregate relies on; a lease's end makes the engine append `connection_lost` for it."""

    slot: int
    claim: int
    epoch: int


Resume = tuple[Callable[[str, Any, View], Sequence[OutFrame]], Callable[[str], Sequence[Need]]]
"""What a new owner sends again for an aggregate (id, aggregate, view), and what it looks at (id)."""


class EffectResult(NamedTuple):
    """What an effect found out: the type and JSON body of the request record that carries it back to the same key."""

    type: str
    body: object


Effect = Callable[[Any], Awaitable[EffectResult]]


@dataclass(frozen=True)
class Part:
    """A part of a service: any of these, merged by `assemble`."""

    actions: Mapping[str, ActionHandler[Any]] = field(default_factory=dict)
    requests: Sequence[RequestHandler[Any]] = ()
    ended: Sequence[EndedHandler] = ()
    timers: Sequence[TimerHandler] = ()
    connections: Sequence[ConnectionHandler] = ()
    answers: AnswerHandler | None = None
    refusals: RefusalHandler | None = None
    folds: Sequence[Fold[Any]] = ()
    aggregates: Sequence[type[Aggregate]] = ()
    tables: Sequence[Table] = ()
    copies: Sequence[str] = ()
    effects: Mapping[type[Event], Effect] = field(default_factory=dict)
    resumes: Mapping[type[Aggregate], Resume] = field(default_factory=dict)
    links: Mapping[type[Aggregate], Callable[[Any], Iterable[Link]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Service:
    """A whole service, indexed for the engine."""

    name: str
    actions: Mapping[str, ActionHandler[Any]]
    requests: Mapping[str, RequestHandler[Any]]
    timers: Mapping[str, TimerHandler]
    connections: Sequence[ConnectionHandler]
    answers: AnswerHandler | None
    refusals: RefusalHandler | None
    folds: Mapping[type[Event], Fold[Any]]
    events: Mapping[str, type[Event]]
    aggregates: Mapping[str, type[Aggregate]]
    tables: Mapping[str, Table]
    copies: Sequence[str]
    effects: Mapping[type[Event], Effect]
    resumes: Mapping[type[Aggregate], Resume]
    links: Mapping[type[Aggregate], Callable[[Any], Iterable[Link]]]
    streams: Sequence[str]


K = TypeVar("K")
V = TypeVar("V")


def _index(pairs: Iterable[tuple[K, V]], what: str) -> dict[K, V]:
    found: dict[K, V] = {}
    for key, value in pairs:
        if key in found and found[key] is not value:
            raise ValueError(f"{what} {key!r} is declared twice")
        found[key] = value
    return found


def _ended(handlers: Mapping[str, EndedHandler]) -> RequestHandler[Ended]:
    """The request that tells how any command ended, given to whom its reference names; the longest prefix counts."""
    ordered = sorted(handlers.values(), key=lambda handler: len(handler.prefix), reverse=True)

    def of(body: Ended) -> EndedHandler | None:
        return next((handler for handler in ordered if body.reference.startswith(handler.prefix)), None)

    def handle(body: Ended, view: View, context: Context) -> Outcome:
        handler = of(body)
        return handler.handle(body, view, context) if handler else NOTHING

    def needs(body: Ended, station: str) -> Sequence[Need]:
        handler = of(body)
        return handler.needs(body, station) if handler else ()

    return RequestHandler(ENDED, Ended, handle, needs)


def assemble(name: str, parts: Sequence[Part]) -> Service:
    """Merge parts into a service; ValueError when two parts declare the same thing."""
    answers = [part.answers for part in parts if part.answers]
    if len(answers) > 1:
        raise ValueError("two parts want the stations' answers")
    refusals = [part.refusals for part in parts if part.refusals]
    if len(refusals) > 1:
        raise ValueError("two parts want the refused handshakes")
    folds = _index(((fold.event, fold) for part in parts for fold in part.folds), "fold")
    kinds: list[type[Aggregate]] = [Connection, Operation, *(kind for part in parts for kind in part.aggregates)]
    ended = _index(((handler.prefix, handler) for part in parts for handler in part.ended), "reference")
    requests = [handler for part in parts for handler in part.requests] + ([_ended(ended)] if ended else [])
    events = _index(((event.TYPE, event) for event in folds), "event")
    return Service(
        name,
        _index((pair for part in parts for pair in part.actions.items()), "action"),
        _index(((handler.name, handler) for handler in requests), "request"),
        _index(((handler.name, handler) for part in parts for handler in part.timers), "timer"),
        [handler for part in parts for handler in part.connections],
        answers[0] if answers else None,
        refusals[0] if refusals else None,
        folds,
        events,
        _index(((kind.KIND, kind) for kind in kinds), "kind"),
        _index(((table.name, table) for part in parts for table in part.tables), "table"),
        sorted({topic for part in parts for topic in part.copies}),
        _index((pair for part in parts for pair in part.effects.items()), "effect"),
        _index((pair for part in parts for pair in part.resumes.items()), "resume"),
        _index((pair for part in parts for pair in part.links.items()), "links"),
        sorted({f"{name}.{event.STREAM}" for event in folds}),
    )
