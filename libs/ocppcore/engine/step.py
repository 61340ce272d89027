"""One record -> what is decided about it. Pure: no IO, no clock, no randomness.

`prepare` parses a record and names what its decision needs; `decide` yields outcomes, one handler after another.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
from pydantic import BaseModel, ValidationError

from ocppcore import errors, rpc, topics
from ocppcore.commands import LOST, Lost
from ocppcore.envelope import (
    ConnectionChange,
    Frame,
    Receipt,
    Refusal,
    Request,
    parse_frame,
    parse_json,
    parse_request,
)
from ocppcore.log import Record
from ocppcore.rpc import Call, CallError, CallResult, Malformed
from ocppcore.service import (
    ActionHandler,
    Connection,
    Context,
    Lookup,
    Need,
    Operation,
    Outcome,
    Put,
    RequestHandler,
    Result,
    Service,
    View,
    problem,
)

TICK = "csms.tick.v1"
OPERATION_KEPT_MS = 24 * 3600 * 1000
NOT_READY = 503
"""A copy stayed behind: the one outcome that is not the last, the request may be asked again under its id."""


class DueTimer(NamedTuple):
    """A timer that a tick finds due, with its place in the cell's order."""

    due: int
    name: str
    subject: str


class Work(msgspec.Struct):
    """A record, parsed: who handles it and what must be at hand. `item` None: nothing to decide about it.

    `park`: why it must not be decided at all.
    """

    record: Record
    item: Frame | Receipt | Refusal | ConnectionChange | Request | None
    received_at: int
    station: str = ""
    parsed: Call | CallResult | CallError | Malformed | None = None
    body: Any = None
    action: ActionHandler[Any] | None = None
    request: RequestHandler[Any] | None = None
    refusal: CallError | Result | None = None
    needs: Sequence[Need] = ()
    lookups: Sequence[Lookup] = ()
    due: Sequence[DueTimer] = ()
    park: str = ""


def prepare(service: Service, record: Record) -> Work:
    """Parse a record of one of the service's input topics; raises envelope.BadRecord."""
    if record.topic == topics.CONNECTIONS:
        return _prepare_connection(service, record)
    if record.topic == topics.requests(service.name):
        return _prepare_request(service, record)
    item = parse_frame(record)
    if isinstance(item, Refusal):
        return _prepare_refusal(service, record, item)
    connection: Need = (Connection, item.station)
    if isinstance(item, Receipt):
        needs = (connection, *service.answers.needs(item.station)) if service.answers else ()
        return Work(record, item if service.answers else None, item.received_at, item.station, needs=needs)
    if item.refused or (item.kind == "malformed" and not item.action):
        return Work(record, None, item.received_at, item.station)
    work = Work(record, item, item.received_at, item.station, needs=(connection,))
    if item.kind == "call" and _prepare_plain_call(service, work, item):
        return work
    parsed = rpc.parse(item.frame)
    if isinstance(parsed, Call):
        work.parsed = parsed
        _prepare_call(service, work, parsed)
    elif service.answers and item.kind != "call":
        work.parsed = parsed
        work.needs = (connection, *service.answers.needs(item.station))
    else:
        work.item = None
    return work


def _prepare_plain_call(service: Service, work: Work, frame: Frame) -> bool:
    """The usual case: the gateway has parsed the frame, its payload is valid. False: nothing was done."""
    handler = service.actions.get(frame.action)
    call = rpc.plain_call(frame.frame, frame.message_id, frame.action)
    if handler is None or call is None:
        return False
    try:
        body = handler.body(call.payload)
    except ValidationError:
        return False
    work.parsed = call
    _handle_by(work, handler, body)
    return True


def _prepare_call(service: Service, work: Work, call: Call) -> None:
    handler = service.actions.get(call.action)
    if handler is None:
        work.refusal = CallError(call.message_id, rpc.ErrorCode.NOT_SUPPORTED, f"{call.action} is not handled here")
        return
    try:
        body = handler.body(call.payload)
    except ValidationError as error:
        work.refusal = errors.to_call_error(call.message_id, error)
        return
    _handle_by(work, handler, body)


def _handle_by(work: Work, handler: ActionHandler[Any], body: Any) -> None:
    work.action = handler
    work.body = body
    work.needs = (*work.needs, *handler.needs(body, work.station))
    work.lookups = handler.lookups(body, work.station)


def _prepare_connection(service: Service, record: Record) -> Work:
    change = parse_json(record, ConnectionChange)
    needs: list[Need] = [(Connection, record.key)]
    needs += (need for handler in service.connections for need in handler.needs(record.key))
    return Work(record, change, change.at, record.key, needs=needs)


def _prepare_refusal(service: Service, record: Record, refusal: Refusal) -> Work:
    handler, station = service.refusals, record.key
    needs: list[Need] = [(Connection, station), *handler.needs(station)] if handler else []
    return Work(record, refusal if handler else None, refusal.at, station, needs=needs)


def _prepare_request(service: Service, record: Record) -> Work:
    item = parse_request(record)
    if item.type == TICK:
        return Work(record, item, item.received_at)
    work = Work(record, item, item.received_at, item.key)
    work.needs = [(Operation, item.id), (Connection, item.key)]
    handler = service.requests.get(item.type)
    if handler is None:
        work.refusal = problem(400, "Unknown request", f"{service.name} takes no {item.type}")
        return work
    try:
        work.body = msgspec.json.decode(item.body, type=handler.body)
    except msgspec.DecodeError as error:
        work.refusal = problem(400, "Malformed request", str(error))
        return work
    work.request = handler
    work.needs = [*work.needs, *handler.needs(work.body, item.key)]
    if item.type == LOST:
        work.needs += [need for part in service.connections for need in part.needs(item.key)]
    work.lookups = handler.lookups(work.body, item.key)
    return work


def add_timers(service: Service, work: Work, due: Sequence[DueTimer]) -> None:
    """Give a tick the timers that are due by then, and what they need."""
    work.due = due
    work.needs = [need for timer in due for need in service.timers[timer.name].needs(timer.subject)]
    work.needs += [(Connection, _station_of(timer)) for timer in due]


def _station_of(timer: DueTimer) -> str:
    """A timer's subject is the aggregate's key, or key/more; identities hold no slash."""
    return timer.subject.partition("/")[0]


def decide(service: Service, work: Work, view: View, clock: int) -> Iterator[Outcome]:
    """The outcomes of one record in order; the caller applies each before it asks for the next.

    `clock` is the cell's clock with this record counted in. A handler's exception passes through: the caller parks.
    """
    item = work.item
    if item is None:
        return
    if isinstance(item, ConnectionChange):
        yield from _decide_change(service, work, item, view, clock)
    elif isinstance(item, Request):
        yield from _decide_request(service, work, item, view, clock)
    elif isinstance(item, Receipt):
        if service.answers:
            yield service.answers.receipt(item, view, _context(work, view, clock))
    elif isinstance(item, Refusal):
        if service.refusals:
            yield service.refusals.handle(item, view, _context(work, view, clock))
    else:
        yield from _decide_frame(service, work, item, view, clock)


def is_stale(known: Connection | None, frame: Frame) -> bool:
    """Whether a newer connection of the station is known: such a frame counts only if it carries its own order."""
    return known is not None and known.epoch > frame.epoch


def _decide_frame(service: Service, work: Work, frame: Frame, view: View, clock: int) -> Iterator[Outcome]:
    known = view.get(Connection, work.station)
    if known is None or known.epoch < frame.epoch:
        # Its connected record stands in another topic and comes later: the frame itself proves the connection.
        seen = Connection(
            identity=frame.identity,
            slot=frame.slot,
            epoch=frame.epoch,
            claim=frame.claim,
            connected=True,
            subprotocol=frame.subprotocol,
            at=clock,
        )
        yield Outcome(puts=(Put(work.station, seen),))
    stale = is_stale(known, frame)
    if isinstance(work.refusal, CallError):
        yield Outcome(reply=work.refusal)
    elif work.action is not None:
        if not stale or work.action.self_ordered:
            context = _context(work, view, clock)
            outcome = work.action.handle(work.body, view, context)
            yield outcome
            if outcome.then is not None:
                yield outcome.then(view, context)
    elif service.answers and isinstance(work.parsed, (CallResult, CallError, Malformed)):
        yield service.answers.answer(frame, work.parsed, view, _context(work, view, clock))


def _decide_change(service: Service, work: Work, change: ConnectionChange, view: View, clock: int) -> Iterator[Outcome]:
    known = view.get(Connection, work.station)
    if change.connected:
        epoch = work.record.position
        if known is not None and known.epoch > epoch:
            return
        now = Connection(
            identity=change.identity,
            slot=change.slot,
            epoch=epoch,
            claim=change.claim,
            connected=True,
            subprotocol=change.subprotocol,
            at=change.at,
            security_profile=change.security_profile,
            credential=change.credential,
            certificate_name=change.certificate_name,
            certificate_expired=change.certificate_expired,
        )
    elif known is not None and known.epoch == change.epoch and known.connected:
        now = msgspec.structs.replace(known, connected=False, at=change.at)
    else:
        return
    yield from _connection_is(service, work, now, view, clock)


def _connection_is(service: Service, work: Work, now: Connection, view: View, clock: int) -> Iterator[Outcome]:
    yield Outcome(puts=(Put(work.station, now),))
    for handler in service.connections:
        yield handler.handle(view, _context(work, view, clock))


def _decide_request(service: Service, work: Work, request: Request, view: View, clock: int) -> Iterator[Outcome]:
    if request.type == TICK:
        for timer in work.due:
            station = _station_of(timer)
            connection = view.get(Connection, station)
            context = _context(work, view, clock)._replace(
                source=f"{request.id}/{timer.name}/{timer.subject}",
                station=station,
                identity=connection.identity if connection else station,
                connection=connection,
            )
            yield service.timers[timer.name].handle(timer.subject, view, context)
        return
    decided = view.get(Operation, request.id)
    if decided is not None and decided.status != NOT_READY:
        return
    if isinstance(work.refusal, Result):
        yield Outcome(result=work.refusal)
        return
    if isinstance(work.body, Lost):
        known = view.get(Connection, work.station)
        if known is not None and known.connected and known.epoch == work.body.epoch:
            yield from _connection_is(
                service, work, msgspec.structs.replace(known, connected=False, at=clock), view, clock
            )
    if work.request is not None:
        yield work.request.handle(work.body, view, _context(work, view, clock))


def _context(work: Work, view: View, clock: int) -> Context:
    item = work.item
    connection = view.get(Connection, work.station) if work.station else None
    frame = item if isinstance(item, Frame) else None
    return Context(
        now=clock,
        received_at=work.received_at,
        source=work.record.headers.get("ce_id", ""),
        station=work.station,
        identity=frame.identity if frame else connection.identity if connection else work.station,
        slot=frame.slot if frame else -1,
        epoch=frame.epoch if frame else -1,
        subprotocol=frame.subprotocol if frame else "",
        connection=connection,
        actor=item.actor if isinstance(item, Request) else "",
        traceparent=work.record.headers.get("traceparent", ""),
        payload=work.parsed.payload if isinstance(work.parsed, Call) else b"",
        asked=item.asked if isinstance(item, Request) else None,
    )


def operation(result: Result, request: Request, clock: int, *, spreads: bool = False) -> Put:
    """The kept outcome of a request: found under its id for 24 hours."""
    body = result.body.model_dump(mode="json") if isinstance(result.body, BaseModel) else result.body
    kept = Operation(
        status=result.status,
        body=msgspec.Raw(msgspec.json.encode(body)),
        at=clock,
        fingerprint=request.fingerprint,
        spreads=spreads,
    )
    return Put(request.id, kept, expires_at=clock + OPERATION_KEPT_MS)
