"""The one loop: read a batch, load what it touches, decide in order, commit once, publish beside the next batch.

Nothing leaves this process before its commit; a process that lost its cell cannot commit (the store fences it), so it
has nothing to publish. After an environment error everything in memory is thrown away and read again.
"""

import asyncio
import contextlib
import heapq
import traceback
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec
import structlog

from ocppcore import rpc, topics
from ocppcore.clock import Clock
from ocppcore.engine import step
from ocppcore.engine.batch import Batch, Cache, Cell, NotLoaded, PendingEffect, decode_event, event_id, missing
from ocppcore.engine.copies import Copies, NotCaughtUp
from ocppcore.engine.effects import Effects
from ocppcore.engine.publish import Job, Publisher
from ocppcore.engine.reassert import Reasserter
from ocppcore.engine.recover import check_not_behind
from ocppcore.engine.step import DueTimer, Work
from ocppcore.engine.sweep import Sweeper
from ocppcore.envelope import BadRecord, Frame, OutFrame, Request, outbound_record, request_record
from ocppcore.errors import CsmsError
from ocppcore.log import Log, LogReplaced, LogUnavailable, Membership, NewRecord, Record, StreamRecord, TopicPartition
from ocppcore.parking import RecordParked
from ocppcore.rpc import CallError
from ocppcore.seal import Seal
from ocppcore.sealed_frames import open_record
from ocppcore.service import (
    Aggregate,
    Connection,
    Drop,
    Follow,
    Lookup,
    Need,
    Operation,
    Outcome,
    Result,
    Service,
    no_lookups,
)
from ocppcore.store import CellRow, CopyRow, Fenced, StateKey, Store, StoreUnavailable, TimerKey
from ocppcore.wire import WireModel, encode

log = structlog.get_logger(__name__)
A = TypeVar("A", bound=Aggregate)


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Limits of the loop. Times in seconds; `partitions` is the number of cells of the installation."""

    partitions: int = 4
    batch_records_max: int = 500
    fetch_wait_s: float = 0.5
    publish_queue_max: int = 4
    cache_aggregates_max: int = 200_000
    tick_timers_max: int = 500
    copy_wait_s: float = 2.0
    reopen_after_s: float = 1.0
    failures_max: int = 30
    effects_at_once: int = 8
    looks_max: int = 50
    suspect_times_max: int = 3
    cautious_records: int = 100
    note_idle_s: float = 1.0
    sweep_every_s: float = 1.0
    reassert_every_s: float = 5.0
    clean_every_s: float = 1.0
    clean_rows_max: int = 1000


@dataclass(slots=True)
class Counts:
    """What an engine has done since it was made, for metrics."""

    batches: int = 0
    records: int = 0
    events: int = 0
    parked: int = 0


class EvolveFailed(CsmsError):
    """One of our own events could not be folded: this cell stops, a person must look."""

    def __init__(self, cell: int, error: Exception) -> None:
        super().__init__(f"cell {cell}: {error!r}")
        self.cell = cell


class Engine:
    """Runs one service in one process on the cells it is given. `run` until cancelled; `ready` says it serves."""

    def __init__(
        self,
        service: Service,
        log_: Log,
        store: Store,
        *,
        clock: Clock,
        seal: Seal,
        settings: EngineSettings | None = None,
        everywhere: Callable[[float], Awaitable[bool]] | None = None,
        frames: Seal | None = None,
    ) -> None:
        """`seal`: closes records that are parked; `frames`: opens what gateways sealed (None: parked)."""
        self.service = service
        self.store = store
        self.log = log_
        self.settings = settings or EngineSettings()
        self._clock = clock
        self._everywhere = everywhere
        self._seal = seal
        self._frames = frames
        self._inputs = (topics.frames(service.name), topics.requests(service.name), topics.CONNECTIONS)
        self._cells: dict[int, Cell] = {}
        self._stopped: set[int] = set()
        self._cautious: dict[int, int] = {}
        self._cache: Cache = {}
        self._timers: dict[TimerKey, int] = {}
        self._heap: list[tuple[int, TimerKey]] = []
        self._ticking: set[int] = set()
        self._waiters: dict[str, list[asyncio.Future[Operation]]] = {}
        self._reader = log_.reader()
        self._reread = False
        self._noted_at = 0
        self._cleaned_at = 0
        settings = self.settings
        self.copies = Copies(service.copies, log_, store, settings.partitions, settings.copy_wait_s)
        self._publisher = Publisher(log_, self._acked, settings.publish_queue_max)
        self._effects = Effects(service, log_, clock, settings.partitions, settings.effects_at_once)
        self._sweeper = Sweeper(
            service, log_, store, clock, settings.partitions, lambda: self._cells, self._read_positions,
            settings.sweep_every_s,
        )  # fmt: skip
        self._reasserter = Reasserter(
            service, log_, store, self.copies, settings.partitions, lambda: self._cells, settings.reassert_every_s
        )
        self._parked = service.events[f"{service.name}.RecordParked.v1"]
        self.failures = 0
        self.last_error = ""
        self.counts = Counts()

    # What others may ask.

    @property
    def ready(self) -> bool:
        """Copies have caught up, no cell is stopped, and the last error lies behind."""
        return self.copies.caught_up.is_set() and not self._stopped and not self.last_error

    @property
    def cells(self) -> frozenset[int]:
        return frozenset(self._cells)

    async def find(self, request_id: str) -> Operation | None:
        """The outcome of a request, wherever it was decided; None while it is not."""
        key = StateKey(Operation.KIND, request_id)
        data = (await self.store.load([key])).get(key)
        return msgspec.json.decode(data, type=Operation) if data else None

    async def submit(self, request: Request, wait_s: float) -> Operation | None:
        """Append a request and wait for its outcome; None when it has not come within `wait_s`.

        What follows from it is on the log then; whether it is in force where others keep copies, `in_force` tells.
        """
        future: asyncio.Future[Operation] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(request.id, []).append(future)
        try:
            await self.log.append([request_record(request, self.service.name, self.settings.partitions)])
            pause, deadline = 0.05, self._clock() + round(wait_s * 1000)
            while True:
                left = (deadline - self._clock()) / 1000
                done, _ = await asyncio.wait([future], timeout=max(0.0, min(pause, left)))
                if done:
                    return future.result()
                # Another replica may own the cell: its outcome is in the store.
                found = await self.find(request.id)
                if found and (found.status != step.NOT_READY or found.at >= request.received_at):
                    await self._followed(max(0.0, left))
                    return future.result() if future.done() else found
                if left <= 0:
                    return None
                pause = min(pause * 2, 0.5)
        finally:
            waiting = self._waiters[request.id]
            waiting.remove(future)
            if not waiting:
                del self._waiters[request.id]

    async def _followed(self, wait_s: float) -> None:
        """Wait, not longer than that, until what was committed here before now is on the log."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._publisher.drained()

    async def in_force(self, wait_s: float) -> bool:
        """Wait, not longer than that, until what was committed here is on the log and every process's copies have
        read it; whether they have."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._publisher.drained()
                return self._everywhere is None or await self._everywhere(wait_s)
        return False

    # Running.

    async def run(self) -> None:
        """Serve until cancelled; raises after `failures_max` environment errors in a row."""
        await self._start()
        while True:
            try:
                # In a task of its own: Python 3.11 leaves the task in which a group failed marked as being cancelled.
                await asyncio.create_task(self._serve(), name=f"{self.service.name} engine")
            except* (LogUnavailable, StoreUnavailable) as errors:
                self.failures += 1
                self.last_error = str(errors.exceptions[0])
                log.warning("environment failed", service=self.service.name, error=self.last_error)
                if self.failures >= self.settings.failures_max:
                    raise
            if (task := asyncio.current_task()) and task.cancelling():
                raise asyncio.CancelledError  # a task group drops a cancellation that comes together with an error
            await asyncio.sleep(self.settings.reopen_after_s)

    async def _start(self) -> None:
        await self.store.prepare([*self.service.tables.values()], self.service.streams, self.service.copies)
        identity = await self.log.identity()
        if (noted := await self.store.log_identity(identity)) != identity:
            raise LogReplaced(f"{self.service.name}: the database knows log {noted}, this is {identity}: csms recover")

    async def _serve(self) -> None:
        membership = self.log.membership(topics.cells_group(self.service.name), topics.requests(self.service.name))
        self._forget()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._publisher.run())
                group.create_task(self.copies.run())
                group.create_task(self._effects.run())
                group.create_task(self._sweeper.run())
                group.create_task(self._reasserter.run())
                group.create_task(_watch(membership))
                group.create_task(self._loop(membership))
        finally:
            await membership.leave()
            self._forget()

    def _forget(self) -> None:
        self._cells, self._cache, self._timers, self._heap = {}, {}, {}, []
        self._ticking = set()
        settings = self.settings
        self._publisher = Publisher(self.log, self._acked, settings.publish_queue_max)
        self._reader.assign({})

    async def _loop(self, membership: Membership) -> None:
        lost_at: dict[int, int] = {}
        while True:
            now = self._clock()
            wanted = {
                cell for cell in membership.cells
                if now - lost_at.get(cell, -(10**12)) >= self.settings.reopen_after_s * 1000
            }  # fmt: skip
            if wanted - self._stopped != self._cells.keys():
                await self._own(wanted - self._stopped)
            if self._reread:
                self._assign()
            await self._tick(now)
            most = 1 if self._cautious.keys() & self._cells.keys() else self.settings.batch_records_max
            records = await self._reader.fetch(most, self._wait_s(now))
            try:
                if records:
                    await self._process(records)
                else:
                    await self._note_idle()
                await self._clean(now)
                self.failures, self.last_error = 0, ""
            except Fenced as fenced:
                log.warning("lost cells", service=self.service.name, cells=sorted(fenced.cells))
                for cell in fenced.cells:
                    lost_at[cell] = self._clock()
                await self._own(self._cells.keys() - fenced.cells)

    def _wait_s(self, now: int) -> float:
        """Until the next timer may pass, at most the fetch wait."""
        due = self._heap[0][0] - now if self._heap else 10**9
        return min(self.settings.fetch_wait_s, max(due, 10) / 1000)

    # Cells.

    async def _own(self, cells: Iterable[int]) -> None:
        """Make `cells` the owned ones: drop others, open new ones, publish what their last owner left."""
        wanted = set(cells)
        for gone in self._cells.keys() - wanted:
            del self._cells[gone]
            self._cautious.pop(gone, None)
            self._ticking.discard(gone)
        new = sorted(wanted - self._cells.keys())
        self._cache.clear()  # rows of a lost cell may have moved on; they are read again
        self._timers = {key: due for key, due in self._timers.items() if key.cell in self._cells}
        if new:
            starts = await self.log.starts([TopicPartition(topic, cell) for topic in self._inputs for cell in new])
            rows = await self.store.open_cells(new)
            await check_not_behind(self.service, self.log, rows)
            for row in rows:
                cell = _opened(row, self._inputs, starts)
                await self._republish(cell)
                self._cells[cell.number] = cell
                if row.strikes > 0:
                    self._cautious[cell.number] = self.settings.cautious_records
                    cell.dirty = True  # with nothing to read, the idle note takes the strikes away
                self._sweeper.reopened(cell.number)
            self._timers.update(await self.store.timers(new))
            await self._resume(new)
        self._heap = [(due, key) for key, due in self._timers.items()]
        heapq.heapify(self._heap)
        self._assign()

    def _assign(self) -> None:
        self._reread = False
        self._reader.assign(
            {
                TopicPartition(topic, cell.number): cell.committed.get(topic, cell.positions[topic])
                for cell in self._cells.values()
                for topic in self._inputs
            }
        )

    async def _republish(self, cell: Cell) -> None:
        """Put on the log what was committed but not acknowledged by it, before anything is read."""
        for topic in self.service.streams:
            number = cell.published.get(topic, 0)
            self.log.resume(TopicPartition(topic, cell.number), number)
            while rows := await self.store.stream_rows(topic, cell.number, number, 1000):
                batch = self._batch({})
                batch.cell = cell
                follow: list[NewRecord] = []
                for row in rows:
                    event = decode_event(self.service, row.headers, row.value)
                    id_ = event_id(topic, cell.number, row.number)
                    fold = self.service.folds[type(event)]
                    follow += fold.derive(event, Follow(id_, self.settings.partitions))
                await self.log.publish(rows)
                if follow:
                    await self.log.append(follow)
                number = rows[-1].number + 1
                cell.published[topic] = number
                cell.dirty = True

    async def _resume(self, cells: Sequence[int]) -> None:
        """Send again the commands that no gateway has reported, and start effects that have no result."""
        for cell in cells:
            for id_, pending in await self._scan(PendingEffect, cell):
                self._effects.start(id_, pending)
            for kind, (resume, needs) in self.service.resumes.items():
                for id_, aggregate in await self._scan(kind, cell):
                    await self._load(needs(id_))
                    frames = resume(id_, aggregate, self._batch({}))
                    now = self._clock()
                    await self._publisher.put(Job([outbound_record(out, self.service.name, now) for out in frames], []))

    async def _scan(self, kind: type[A], cell: int) -> list[tuple[str, A]]:
        found: list[tuple[str, A]] = []
        after = ""
        while page := await self.store.scan(kind.KIND, cell, after, 1000):
            after = page[-1][0]
            found += [(id_, msgspec.json.decode(data, type=kind)) for id_, data in page]
        return found

    def _read_positions(self, cell: int) -> Mapping[str, int]:
        owned = self._cells.get(cell)
        return owned.committed if owned else {}

    # Ticks.

    async def _tick(self, now: int) -> None:
        """Append a tick to each cell whose earliest timer has passed; one at a time per cell."""
        while self._heap and self._heap[0][0] <= now:
            due, key = self._heap[0]
            if self._timers.get(key) != due:
                heapq.heappop(self._heap)
                continue
            cell = self._cells.get(key.cell)
            if cell is None or key.cell in self._ticking:
                heapq.heappop(self._heap)
                continue
            self._ticking.add(key.cell)
            request = Request(
                f"{self.service.name}/tick/{key.cell}/{cell.owner_epoch}/{now}", step.TICK, f"cell-{key.cell}",
                b"{}", now, f"/{self.service.name}", "", "", "",
            )  # fmt: skip
            record = request_record(request, self.service.name, self.settings.partitions)
            await self._publisher.put(Job([record._replace(partition=key.cell)], []))

    def _due(self, cell: Cell, until: int) -> list[DueTimer]:
        due = sorted(
            DueTimer(at, key.name, key.subject)
            for key, at in self._timers.items()
            if key.cell == cell.number and at <= until
        )
        return due[: self.settings.tick_timers_max]

    # One batch.

    def _batch(self, found: Mapping[Lookup, CopyRow | None]) -> Batch:
        return Batch(self.service, self._cache, found, self.settings.partitions)

    async def _process(self, records: Sequence[Record]) -> None:
        works = [work for record in records if (work := await self._prepare(record))]
        self._trim()
        for _ in range(self.settings.looks_max):
            await self._load(need for work in works for need in work.needs)
            found, late = await self._find(works)
            if not late and self._look_further(works, found):
                found, late = await self._find(works)
            try:
                batch, job, results = self._decide(works, found, late)
                break
            except NotLoaded as miss:
                _add(works[0], miss)
            except EvolveFailed as failed:
                log.critical("an event cannot be folded: cell stopped", service=self.service.name, error=str(failed))
                self._stopped.add(failed.cell)
                works = [work for work in works if work.record.partition != failed.cell]
                if not works:
                    await self._own(self._cells.keys() - self._stopped)
                    return
        else:
            raise AssertionError(f"{self.service.name}: a batch named {self.settings.looks_max} things one by one")
        await self.store.commit(batch.commit())
        self._committed(batch)
        self.counts.batches += 1
        self.counts.records += len(works)
        self.counts.events += len(batch.stream)
        await self._publisher.put(job._replace(done=partial(self._answered, results)) if results else job)
        if self._stopped & self._cells.keys():
            await self._own(self._cells.keys() - self._stopped)

    async def _prepare(self, record: Record) -> Work | None:
        cell = self._cells.get(record.partition)
        if cell is None or record.position < cell.committed.get(record.topic, 0):
            return None
        try:
            work = step.prepare(self.service, open_record(record, self._frames))
            work.record = record
        except BadRecord as error:
            # When it was received, if it says so at all, cannot be read: the log knows when it came.
            work = Work(record, None, max(cell.clock, record.appended_at))
            work.park = repr(error)
        if record.partition in self._cautious:
            times = await self.store.suspect(cell.number, cell.owner_epoch, record.topic, record.position)
            if times >= self.settings.suspect_times_max:
                work.park = f"the process died {times - 1} times while deciding it"
        if isinstance(work.item, Request) and work.item.type == step.TICK:
            step.add_timers(self.service, work, self._due(cell, max(cell.clock, work.received_at)))
        return work

    def _trim(self) -> None:
        if len(self._cache) > self.settings.cache_aggregates_max:
            for key in list(self._cache)[: len(self._cache) // 4]:
                del self._cache[key]

    async def _load(self, needs: Iterable[Need]) -> None:
        keys = missing(needs, self._cache)
        if not keys:
            return
        loaded = await self.store.load(keys)
        for key in keys:
            data = loaded.get(key)
            kind = self.service.aggregates[key.kind]
            self._cache[key] = msgspec.json.decode(data, type=kind) if data is not None else None

    def _look_further(self, works: Sequence[Work], found: Mapping[Lookup, CopyRow | None]) -> bool:
        """Add the lookups that the rows found lead to; whether there are any that were not found yet."""
        view, more = self._batch(found), False
        for work in works:
            if work.action is None or work.action.further is no_lookups:
                continue
            if lookups := work.action.further(work.body, work.station, view):
                work.lookups = (*work.lookups, *lookups)
                more = more or any(lookup not in found for lookup in lookups)
        return more

    async def _find(self, works: Sequence[Work]) -> tuple[Mapping[Lookup, CopyRow | None], frozenset[Lookup]]:
        """Copies' rows, and the lookups that could not be answered because a copy stays behind."""
        wanted = {lookup for work in works for lookup in work.lookups}
        try:
            return await self.copies.find(wanted), frozenset()
        except NotCaughtUp as error:
            log.warning("copy is behind", service=self.service.name, error=str(error))
            return {}, frozenset(wanted)

    def _decide(
        self, works: Sequence[Work], found: Mapping[Lookup, CopyRow | None], late: frozenset[Lookup]
    ) -> tuple[Batch, Job, list[tuple[str, Operation]]]:
        batch = self._batch(found)
        out: list[NewRecord] = []
        results: list[tuple[str, Operation]] = []
        for work in works:
            number = work.record.partition
            if number not in batch.cells:
                batch.cells[number] = self._cells[number].copy()
            batch.cell = cell = batch.cells[number]
            cell.clock = max(cell.clock, work.received_at)
            cell.positions[work.record.topic] = work.record.position + 1
            followed = len(batch.follow)
            outcome = self._one(work, batch, late)
            out += self._answers(work, outcome, cell.clock)
            if isinstance(work.item, Request) and work.item.type == step.TICK:
                batch.ticked.add(number)
            elif isinstance(work.item, Request):
                spreads = any(record.topic in topics.STATES for record in batch.follow[followed:])
                results += self._result(work.item, outcome, batch, spreads)
        return batch, Job([*out, *batch.follow], batch.stream), results

    def _one(self, work: Work, batch: Batch, late: frozenset[Lookup]) -> Outcome:
        """Decide and apply one record; returns what remains to be sent: reply, calls, result."""
        if work.park:
            return self._park(work, batch, work.park)
        if late and any(lookup in late for lookup in work.lookups):
            # Who cannot tell does not answer: the station sends again, the HTTP client hears 503.
            return Outcome(
                result=Result(step.NOT_READY, {"title": "Not ready", "detail": "a copy of another service is behind"})
            )
        cause = work.record.headers.get("ce_id", "")
        trace = work.record.headers.get("traceparent", "")
        reply, registration, result = None, None, None
        calls: list[OutFrame] = []
        outcomes = step.decide(self.service, work, batch, batch.cell.clock)
        while True:
            try:
                outcome = next(outcomes, None)
            except NotLoaded:
                raise
            except Exception as error:  # the same record would fail the same way for ever
                log.error("parked a record", service=self.service.name, cause=cause, error=type(error).__name__)
                return self._park(work, batch, _where(error))
            if outcome is None:
                return Outcome(reply=reply, calls=calls, result=result, registration=registration)
            try:
                batch.apply(outcome, cause, trace)
            except NotLoaded:
                raise
            except Exception as error:  # our own event: nothing may be decided on top of it
                raise EvolveFailed(work.record.partition, error) from error
            reply = outcome.reply or reply
            registration = outcome.registration or registration
            result = outcome.result or result
            calls += outcome.calls

    def _park(self, work: Work, batch: Batch, error: str) -> Outcome:
        record = work.record
        self.counts.parked += 1
        context = f"{record.topic}/{record.partition}/{record.position}".encode()
        parked = self._parked(
            at=batch.cell.clock,
            topic=record.topic,
            partition=record.partition,
            position=record.position,
            key=record.key,
            error=error[:1000],
            headers=dict(record.headers),
            sealed=self._seal.seal(record.value, context),
        )  # type: ignore[call-arg]
        assert isinstance(parked, RecordParked)
        batch.apply(Outcome((parked,)), record.headers.get("ce_id", ""), record.headers.get("traceparent", ""))
        reply = None
        if isinstance(work.item, Frame) and work.item.kind == "call":
            reply = CallError(
                work.item.message_id, rpc.ErrorCode.INTERNAL_ERROR, "the message was kept for examination"
            )
        return Outcome(reply=reply, result=Result(500, {"title": "Parked", "detail": "an operator must look at this"}))

    def _answers(self, work: Work, outcome: Outcome, now: int) -> Iterable[NewRecord]:
        frame = work.item
        if outcome.reply is not None and isinstance(frame, Frame):
            out = OutFrame(
                frame.station,
                frame.slot,
                frame.epoch,
                "reply",
                frame.message_id,
                frame.action,
                _reply(frame.message_id, outcome.reply),
                registration=outcome.registration,
                traceparent=frame.traceparent,
            )
            yield outbound_record(out, self.service.name, now)
        for call in outcome.calls:
            yield outbound_record(call, self.service.name, now)

    def _result(
        self, request: Request, outcome: Outcome, batch: Batch, spreads: bool
    ) -> Iterable[tuple[str, Operation]]:
        if request.id.startswith("effect/"):
            batch.change(Drop(PendingEffect, request.id.removeprefix("effect/")))
        known = batch.get(Operation, request.id)
        if known is None or known.status == step.NOT_READY:
            put = step.operation(outcome.result or Result(204), request, batch.cell.clock, spreads=spreads)
            assert isinstance(put.aggregate, Operation)
            known = put.aggregate
            batch.change(put)
        yield request.id, known

    def _answered(self, results: Sequence[tuple[str, Operation]]) -> None:
        """What follows from these requests is on the log: whoever waits for them may be told, and look for it there."""
        for request_id, operation in results:
            for future in self._waiters.get(request_id, ()):
                if not future.done():
                    future.set_result(operation)

    def _committed(self, batch: Batch) -> None:
        for state, (cell_number, aggregate, _, _) in batch.changed.items():
            self._cache[state] = aggregate
            if type(aggregate) is Connection:
                self._sweeper.seen(cell_number, aggregate)
        for number, cell in batch.cells.items():
            owned = self._cells[number]
            owned.positions, owned.committed = cell.positions, dict(cell.positions)
            owned.clock, owned.next = cell.clock, cell.next
            owned.dirty = any(owned.published[t] != cell.published.get(t) for t in owned.published)
            if number in self._cautious:
                self._cautious[number] -= 1
                if self._cautious[number] <= 0:
                    del self._cautious[number]
        for key, due in batch.timers.items():
            if due is None:
                self._timers.pop(key, None)
            else:
                self._timers[key] = due
                heapq.heappush(self._heap, (due, key))
        for number in batch.cells:
            if number in self._ticking and number in batch.ticked:
                self._ticking.discard(number)
                for key, due in self._timers.items():
                    if key.cell == number and due <= self._cells[number].clock:
                        heapq.heappush(self._heap, (due, key))
        for id_, pending in batch.effects:
            self._effects.start(id_, pending)

    def _acked(self, stream: Sequence[StreamRecord]) -> None:
        for row in stream:
            cell = self._cells.get(row.partition)
            if cell is not None and cell.published.get(row.topic, 0) <= row.number:
                cell.published[row.topic] = row.number + 1
                cell.dirty = True

    async def _note_idle(self) -> None:
        """With nothing else to commit, note what the log has acknowledged."""
        now = self._clock()
        dirty = [cell for cell in self._cells.values() if cell.dirty]
        if now - self._noted_at < self.settings.note_idle_s * 1000:
            return
        self._noted_at = now
        if dirty:
            batch = self._batch({})
            batch.cells = {cell.number: cell.copy() for cell in dirty}
            await self.store.commit(batch.commit())
            self._committed(batch)
        self._cautious.clear()  # nothing is waiting that could kill this process

    async def _clean(self, now: int) -> None:
        """Remove what has expired: also under a load that leaves no idle moment."""
        if now - self._cleaned_at >= self.settings.clean_every_s * 1000:
            self._cleaned_at = now
            await self.store.expire(now, self.settings.clean_rows_max)


async def _watch(membership: Membership) -> None:
    """Fail when the membership has failed: whoever has no cells looks exactly like one that no cell is left for."""
    while True:
        await membership.changed()


def _where(error: Exception) -> str:
    """The exception's type and place; not its text, which may quote what a station sent. The record itself is kept."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {place.name}, {Path(place.filename).name}:{place.lineno}"


def _opened(row: CellRow, inputs: Sequence[str], starts: Mapping[TopicPartition, int]) -> Cell:
    positions = {topic: max(row.positions.get(topic, 0), starts[TopicPartition(topic, row.cell)]) for topic in inputs}
    return Cell(
        row.cell, row.owner_epoch, dict(row.positions), positions, row.clock, dict(row.next), dict(row.published)
    )


def _reply(message_id: str, reply: WireModel | CallError) -> bytes:
    if isinstance(reply, CallError):
        return rpc.build_error(reply)
    return rpc.build_result(message_id, encode(reply))


def _add(work: Work, miss: NotLoaded) -> None:
    if miss.need:
        work.needs = [*work.needs, miss.need]
    if miss.lookup:
        work.lookups = [*work.lookups, miss.lookup]
