"""The one loop on the in-memory twins, in virtual time: what it promises to every service."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from ocppcore import topics
from ocppcore.engine.loop import Engine
from ocppcore.engine.rebuild import StillRunning, projection_hash, rebuild
from ocppcore.engine.recover import DatabaseBehind, adopt_log, load_missing
from ocppcore.log import LogReplaced, LogUnavailable, NewRecord, RightsMissing
from ocppcore.memory import MemoryCluster, MemoryLog, MemoryStore, MemoryTables
from ocppcore.store import StateKey, StateWrite, StoreUnavailable
from tests.support.virtual_time import run
from tests.unit.ocppcore.engine.toy import COUNTS, START, Ask, SetAlarm, Toy, beat, request, wanted


class Death(BaseException):
    """The process dies here, as far as the engine can tell."""


def made() -> Toy:
    loop = asyncio.get_running_loop()
    return Toy(MemoryCluster(clock=lambda: START + int(loop.time() * 1000)), MemoryTables())


@asynccontextmanager
async def running(toy: Toy, **settings: object) -> AsyncIterator[tuple[Engine, MemoryLog, MemoryStore]]:
    engine, log, store = toy.process(**settings)
    task = asyncio.create_task(engine.run())
    await until(lambda: engine.ready and bool(engine.cells), task)
    try:
        yield engine, log, store
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await log.close()
        await store.close()


async def until(condition: Callable[[], bool], task: "asyncio.Task[None] | None" = None, seconds: float = 60) -> None:
    """Wait, in virtual time, for a condition; a task that ended by an exception raises it here."""
    async with asyncio.timeout(seconds):
        while not condition():
            if task is not None and task.done():
                await task
            await asyncio.sleep(0.01)


def virtual(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    def in_virtual_time() -> None:
        run(test())  # type: ignore[arg-type]

    in_virtual_time.__name__ = test.__name__
    return in_virtual_time


@virtual
async def test_a_call_is_answered_after_its_event_is_committed() -> None:
    toy = made()
    async with running(toy):
        committed: list[int] = []
        original = toy.cluster.put

        def put(record: NewRecord) -> int:
            if record.topic == topics.OUTBOUND:
                committed.append(sum(len(rows) for rows in toy.tables.streams.values()))
            return original(record)

        toy.cluster.put = put  # type: ignore[method-assign]
        await MemoryLog(toy.cluster).append([beat("cs-1", 0)])
        await until(lambda: bool(toy.outbound()))
        assert committed == [1]
        assert toy.outbound()[0].value == b'[3,"0",{"currentTime":"2026-01-01T00:00:00.000Z"}]'
        assert toy.tables.rows[COUNTS.name] == {("cs-1",): ("cs-1", 1)}


@virtual
async def test_after_a_crash_before_publishing_the_next_owner_publishes() -> None:
    toy = made()
    async with running(toy) as (_, log, _):

        async def die(point: str) -> None:
            if point == "append" and any(toy.tables.streams.values()):
                await asyncio.Event().wait()

        await log.append([beat("cs-1", 0)])
        toy.cluster.interrupt = die
        await until(lambda: any(toy.tables.streams.values()))
        assert toy.events() == []
    toy.cluster.interrupt = None
    async with running(toy):
        await until(lambda: toy.events() == ["device.Beat.v1"])


@virtual
async def test_an_environment_error_passes_and_the_engine_goes_on() -> None:
    toy = made()
    async with running(toy) as (engine, log, store):

        async def fail(point: str) -> None:
            if point == "commit":
                store.interrupt = None
                raise StoreUnavailable("the database went away")

        for number in range(3):
            store.interrupt = fail
            await log.append([beat("cs-1", number)])
            await until(lambda at=number: len(toy.outbound()) > at)  # type: ignore[misc]
        await until(lambda: engine.ready)
        assert toy.tables.rows[COUNTS.name] == {("cs-1",): ("cs-1", 3)}


@virtual
async def test_a_group_that_cannot_be_joined_is_joined_anew() -> None:
    """A process without cells would wait for ever, and look well."""
    toy = made()
    async with running(toy) as (engine, log, _):
        [member] = toy.cluster.groups[topics.cells_group("device")].members
        member.fail(LogUnavailable("the group was away for long"))
        await until(lambda: not engine.cells)
        await until(lambda: engine.ready and bool(engine.cells))
        await log.append([beat("cs-1", 0)])
        await until(lambda: len(toy.outbound()) == 1)


@virtual
async def test_who_may_not_join_ends_with_the_reason() -> None:
    toy = made()
    with pytest.raises(BaseExceptionGroup) as ended:
        async with running(toy) as (engine, _, _):
            [member] = toy.cluster.groups[topics.cells_group("device")].members
            member.fail(RightsMissing("grant the right"))
            await until(lambda: not engine.cells)
    assert ended.value.subgroup(RightsMissing)


@virtual
async def test_a_cancellation_that_comes_with_an_environment_error_ends_the_engine() -> None:
    toy = made()
    engine, log, store = toy.process()
    task = asyncio.create_task(engine.run())
    await until(lambda: engine.ready and bool(engine.cells), task)

    async def fail(point: str) -> None:
        if point == "commit":
            task.cancel()
            raise StoreUnavailable("the database went away")

    store.interrupt = fail
    await log.append([beat("cs-1", 0)])
    async with asyncio.timeout(60):
        await asyncio.wait([task])
    assert task.cancelled()


@virtual
async def test_a_zombie_cannot_commit_and_publishes_nothing() -> None:
    toy = made()
    async with running(toy) as (old, log, store):
        stuck, go_on = asyncio.Event(), asyncio.Event()

        async def wait(point: str) -> None:
            if point == "commit":
                stuck.set()
                await go_on.wait()

        store.interrupt = wait
        await log.append([beat("cs-1", 0)])
        await stuck.wait()
        member = toy.cluster.groups["device.cells"].members[0]
        member.cut()
        async with running(toy):
            await until(lambda: len(toy.outbound()) == 1)
            store.interrupt = None
            go_on.set()
            await asyncio.sleep(0.05)
            assert toy.tables.rows[COUNTS.name] == {("cs-1",): ("cs-1", 1)}
            assert len(toy.outbound()) == 1
            assert toy.events() == ["device.Beat.v1"]
        assert old.cells is not None


@virtual
async def test_a_record_that_cannot_be_decided_is_parked_and_the_next_goes_on() -> None:
    toy = made()
    async with running(toy) as (_, log, _):
        await log.append([beat("poison", 0), beat("cs-1", 1), beat("poison", 2)])
        await until(lambda: len(toy.outbound()) == 3)
    answers = {record.value[:40] for record in toy.outbound() if record.key == "poison"}
    assert all(b"InternalError" in answer for answer in answers), answers
    assert sorted(toy.events()) == ["device.Beat.v1", "device.RecordParked.v1", "device.RecordParked.v1"]
    assert [row[6] for row in toy.tables.rows["parked"].values()] == ["parked", "parked"]


@virtual
async def test_a_record_that_kills_the_process_is_parked_at_the_third_time() -> None:
    toy = made()
    deaths = 0
    for _ in range(10):
        engine, log, store = toy.process()
        original = engine._decide

        def decide(works, *rest, original=original):  # type: ignore[no-untyped-def]
            if any(work.station == "cs-1" and not work.park for work in works):
                raise Death
            return original(works, *rest)

        engine._decide = decide  # type: ignore[method-assign]
        task = asyncio.ensure_future(engine.run())
        if deaths == 0:
            await MemoryLog(toy.cluster).append([beat("cs-1", 0), beat("cs-2", 1)])
        try:
            await until(lambda: len(toy.outbound()) == 2, task, seconds=5)
            break
        except BaseExceptionGroup as group:
            assert group.subgroup(Death), group
            deaths += 1
        finally:
            task.cancel()
            with suppress(BaseException):
                await task
            await log.close()
            await store.close()
    assert deaths == 3
    assert sorted(toy.events()) == ["device.Beat.v1", "device.RecordParked.v1"]


@virtual
async def test_a_timer_passes_once_and_survives_a_restart() -> None:
    toy = made()
    async with running(toy) as (engine, _, _):
        due = toy.cluster.clock() + 5000
        operation = await engine.submit(request("r1", "toy.alarm.v1", SetAlarm(due)), 2)
        assert operation is not None and operation.status == 201
    async with running(toy):
        assert "device.AlarmRang.v1" not in toy.events()
        await until(lambda: "device.AlarmRang.v1" in toy.events())
        assert toy.cluster.clock() >= due
        await asyncio.sleep(5)
        assert toy.events().count("device.AlarmRang.v1") == 1


@virtual
async def test_a_request_is_decided_once_however_often_it_is_appended() -> None:
    toy = made()
    async with running(toy) as (engine, log, _):
        record = wanted("r1", "toy.alarm.v1", SetAlarm(START + 10**9))
        await log.append([record, record])
        await log.append([record])
        operation = await engine.submit(request("r1", "toy.alarm.v1", SetAlarm(1)), 2)
        assert operation is not None and operation.status == 201
        await until(lambda: bool(toy.events()))
        await asyncio.sleep(1)
        assert toy.events() == ["device.AlarmSet.v1"]


@virtual
async def test_an_effect_is_performed_and_its_result_decided_once() -> None:
    toy = made()
    async with running(toy) as (_, log, _):
        await log.append([wanted("r1", "toy.look.v1", Ask())])
        await until(lambda: "device.Looked.v1" in toy.events())
        await asyncio.sleep(1)
    async with running(toy):
        await asyncio.sleep(1)
        assert toy.events() == ["device.LookWanted.v1", "device.Looked.v1"]
        assert toy.performed == ["cs-1"]


@virtual
async def test_an_effect_that_fails_again_and_again_is_given_up() -> None:
    for fault in (OSError("away"), ValueError("a mistake of ours")):
        toy = made()
        toy.fault = fault
        async with running(toy) as (engine, log, _):
            await log.append([wanted("r1", "toy.look.v1", Ask())])
            await until(lambda toy=toy: "csms.effect_failed.v1" in toy.asked(), seconds=60)
            assert engine.failures == 0
        async with running(toy):
            await asyncio.sleep(30)
            assert len(toy.performed) == 5


@virtual
async def test_an_effect_that_a_crash_cut_off_is_performed_again() -> None:
    toy = made()
    async with running(toy) as (_, log, _):

        async def hold(point: str) -> None:
            if point == "append" and toy.performed:
                await asyncio.Event().wait()

        await log.append([wanted("r1", "toy.look.v1", Ask())])
        toy.cluster.interrupt = hold
        await until(lambda: bool(toy.performed))
    toy.cluster.interrupt = None
    async with running(toy):
        await until(lambda: "device.Looked.v1" in toy.events())
        assert toy.performed == ["cs-1", "cs-1"]


@virtual
async def test_a_miss_waits_for_the_copy_before_it_refuses() -> None:
    toy = made()
    async with running(toy) as (engine, log, store):
        held = asyncio.Event()
        apply = store.copy_apply

        async def slow(*args):  # type: ignore[no-untyped-def]
            await held.wait()
            await apply(*args)

        store.copy_apply = slow  # type: ignore[method-assign]
        await log.append([NewRecord(topics.TOKENS, 0, "t1", b'{"name":"Ada"}', {})])
        asking = asyncio.create_task(engine.submit(request("r1", "toy.ask.v1", Ask("t1")), 5))
        await asyncio.sleep(0.5)
        assert not asking.done()
        held.set()
        operation = await asking
        assert operation is not None and operation.status == 200


@virtual
async def test_a_copy_that_stays_behind_is_503_and_no_refusal() -> None:
    toy = made()
    async with running(toy) as (engine, log, store):
        goes_on, apply = asyncio.Event(), store.copy_apply

        async def held(*args):  # type: ignore[no-untyped-def]
            await goes_on.wait()
            await apply(*args)

        store.copy_apply = held  # type: ignore[method-assign]
        await log.append([NewRecord(topics.TOKENS, 0, "t1", b'{"name":"Ada"}', {})])
        operation = await engine.submit(request("r1", "toy.ask.v1", Ask("t1")), 5)
        assert operation is not None and operation.status == 503
        found = await engine.find("r1")
        assert found is not None and found.status == 503
        goes_on.set()
        later = request("r1", "toy.ask.v1", Ask("t1"), at=toy.cluster.clock() + 1)
        again = await engine.submit(later, 5)
        assert again is not None and again.status == 200, "asked again it is decided again"
        assert (await engine.submit(later, 5)) == again


@virtual
async def test_cells_move_to_another_process_and_nothing_is_counted_twice() -> None:
    toy = made()
    async with running(toy) as (_, log, _):
        await log.append([beat(f"cs-{n}", n) for n in range(20)])
        async with running(toy) as (second, _, _):
            await until(lambda: len(second.cells) == 1)
            await log.append([beat(f"cs-{n}", 20 + n) for n in range(20)])
            await until(lambda: len(toy.outbound()) >= 40)
    assert {row[1] for row in toy.tables.rows[COUNTS.name].values()} == {2}


@virtual
async def test_a_rebuild_gives_the_same_rows_and_refuses_while_running() -> None:
    toy = made()
    async with running(toy) as (engine, log, store):
        await log.append([beat(f"cs-{n % 7}", n) for n in range(50)])
        await engine.submit(request("r1", "toy.alarm.v1", SetAlarm(START + 10**9)), 2)
        await until(lambda: len(toy.outbound()) == 50)
        with pytest.raises(StillRunning):
            await rebuild(engine.service, log, store, 2, lambda *_: None)
    store, log = MemoryStore(toy.tables), MemoryLog(toy.cluster)
    before = await projection_hash(store)
    toy.tables.rows[COUNTS.name]["cs-1",] = ("cs-1", 99)
    seen: list[tuple[int, int]] = []
    assert await rebuild(toy.service(), log, store, 2, lambda done, total: seen.append((done, total))) == before
    assert seen[-1] == (51, 51)


@virtual
async def test_a_database_behind_its_topic_refuses_until_it_is_recovered() -> None:
    toy = made()
    async with running(toy) as (_, log, _):
        await log.append([beat(f"cs-{n}", n) for n in range(10)])
        await until(lambda: len(toy.outbound()) == 10 and len(toy.events()) == 10)
    old, toy.tables = toy.tables, MemoryTables(log_identity="memory")
    with pytest.raises(ExceptionGroup) as refused:
        async with running(toy):
            pass
    assert refused.group_contains(DatabaseBehind, match="csms recover device")
    store, log = MemoryStore(toy.tables), MemoryLog(toy.cluster)
    assert await load_missing(toy.service(), log, store, 2) == 10
    assert toy.tables.streams == old.streams


@virtual
async def test_what_was_trimmed_is_not_missing() -> None:
    toy = made()
    async with running(toy) as (_, log, _):
        await log.append([beat("cs-1", n) for n in range(10)])
        await until(lambda: len(toy.events()) == 10)
    stream = next(rows for rows in toy.tables.streams.values() if rows)
    del stream[7:], stream[:3]
    assert await load_missing(toy.service(), MemoryLog(toy.cluster), MemoryStore(toy.tables), 2) == 3
    assert [row.number for row in stream] == [3, 4, 5, 6, 7, 8, 9]


@virtual
async def test_what_is_over_goes_also_where_there_is_never_an_idle_moment() -> None:
    toy = made()
    over = StateKey("Operation", "device/long ago")
    toy.tables.states[over] = StateWrite(0, b"{}", False, START + 700)
    async with running(toy, fetch_wait_s=60.0, note_idle_s=10**6) as (_, log, _):
        for n in range(300):
            await log.append([beat("cs-1", n)])
            await until(lambda n=n: len(toy.outbound()) == n + 1)  # type: ignore[misc]
    assert over not in toy.tables.states


@virtual
async def test_another_log_is_refused_until_it_is_adopted() -> None:
    toy = made()
    async with running(toy) as (_, log, _):
        await log.append([beat("cs-1", 0)])
        await until(lambda: len(toy.events()) == 1)
    toy.cluster = MemoryCluster("another", toy.cluster.clock)
    with pytest.raises(LogReplaced, match="csms recover"):
        async with running(toy):
            pass
    await adopt_log(toy.service(), MemoryLog(toy.cluster), MemoryStore(toy.tables), 2)
    async with running(toy):
        await until(lambda: toy.events() == ["device.Beat.v1"])
