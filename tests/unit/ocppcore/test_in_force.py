"""A change is in force everywhere once every process that lives has read it; who is gone is not waited for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from ocppcore import topics
from ocppcore.in_force import COPIES, LEASE_MS, SKEW_MS, InForce
from ocppcore.memory import MemoryCluster, MemoryLog
from tests.support import virtual_time

START = 1_700_000_000_000


class Other:
    """A process on the cluster whose one copy has read everything, or has not."""

    def __init__(self, cluster: MemoryCluster, name: str) -> None:
        self.read = asyncio.Event()
        self.read.set()
        self.asked = 0
        self.in_force = InForce(MemoryLog(cluster), cluster.clock, name)
        self.in_force.followers.append(self.followed)

    async def followed(self) -> bool:
        self.asked += 1
        return self.read.is_set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Other"]:
        await self.in_force.announce()
        task = asyncio.create_task(self.in_force.run())
        try:
            yield self
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def words(cluster: MemoryCluster) -> int:
    return len(cluster.partitions[COPIES.topic][0])


def new_cluster() -> MemoryCluster:
    loop = asyncio.get_running_loop()
    cluster = MemoryCluster("test", lambda: START + int(loop.time() * 1000))
    cluster.declare(topics.partition_counts(2, 2))
    return cluster


def test_alone_what_it_has_read_itself_counts() -> None:
    async def run() -> None:
        cluster = new_cluster()
        async with Other(cluster, "one").running() as one:
            before = words(cluster)
            assert await one.in_force.everywhere(1.0)
            assert words(cluster) == before, "nobody is there to be asked"
            one.read.clear()
            assert not await one.in_force.everywhere(1.0)

    virtual_time.run(run())


def test_another_process_is_asked_and_waited_for() -> None:
    async def run() -> None:
        cluster = new_cluster()
        async with Other(cluster, "one").running() as one, Other(cluster, "two").running() as two:
            assert await one.in_force.everywhere(1.0)
            assert two.asked == 1
            two.read.clear()
            assert not await one.in_force.everywhere(1.0)
            waiting = asyncio.create_task(one.in_force.everywhere(60.0))
            await asyncio.sleep(10)
            assert not waiting.done()
            two.read.set()
            assert await waiting

    virtual_time.run(run())


def test_one_that_has_just_announced_itself_is_asked_too() -> None:
    async def run() -> None:
        cluster = new_cluster()
        async with Other(cluster, "one").running() as one:
            assert await one.in_force.everywhere(1.0)
            late = Other(cluster, "late")
            await late.in_force.announce()  # and reads what there is from now on
            assert not await one.in_force.everywhere(1.0)
            async with late.running():
                assert await one.in_force.everywhere(5.0)

    virtual_time.run(run())


def test_who_died_is_waited_for_until_its_lease_is_over_and_who_left_not_at_all() -> None:
    async def run() -> None:
        cluster = new_cluster()
        async with Other(cluster, "one").running() as one:
            async with Other(cluster, "died").running():
                pass  # without a word
            assert not await one.in_force.everywhere(1.0)
            assert await one.in_force.everywhere((LEASE_MS + SKEW_MS) / 1000 + 1)
            async with Other(cluster, "left").running() as left:
                await left.in_force.leave()
            assert await one.in_force.everywhere(0.1)

    virtual_time.run(run())


def test_one_question_serves_all_changes_that_wait() -> None:
    async def run() -> None:
        cluster = new_cluster()
        async with Other(cluster, "one").running() as one, Other(cluster, "two").running() as two:
            cluster.interrupt = lambda _: asyncio.sleep(0.01)  # an append takes its time
            before = words(cluster)
            assert all(await asyncio.gather(*(one.in_force.everywhere(5.0) for _ in range(200))))
            assert words(cluster) - before < 10
            assert two.asked < 10

    virtual_time.run(run())


def test_many_processes_answer_one_another() -> None:
    async def run() -> None:
        cluster = new_cluster()
        async with AsyncExitStack() as stack:
            all_ = [await stack.enter_async_context(Other(cluster, f"p{n}").running()) for n in range(6)]
            assert all(await asyncio.gather(*(one.in_force.everywhere(10.0) for one in all_)))
            all_[3].read.clear()
            found = await asyncio.gather(*(one.in_force.everywhere(3.0) for one in all_))
            assert not any(found)

    virtual_time.run(run())
