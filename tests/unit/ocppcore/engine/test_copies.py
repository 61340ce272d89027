"""Copies of others' state: what a miss means, and that it is not remembered for longer than it is true."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from ocppcore import topics
from ocppcore.engine.copies import Copies
from ocppcore.log import NewRecord
from ocppcore.memory import MemoryCluster, MemoryLog, MemoryStore, MemoryTables
from tests.support.virtual_time import run

LOOKUP = (topics.OPEN, "token:x")


@asynccontextmanager
async def following() -> AsyncIterator[tuple[Copies, MemoryLog, MemoryStore]]:
    cluster = MemoryCluster("c", lambda: 0)
    cluster.declare(topics.partition_counts(1, 1))
    log, store = MemoryLog(cluster), MemoryStore(MemoryTables())
    copies = Copies([topics.OPEN, topics.TOKENS], log, store, 1)
    task = asyncio.create_task(copies.run())
    try:
        yield copies, log, store
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def test_on_a_sparse_topic_nobody_waits_for_what_is_not_there() -> None:
    run(nobody_waits())


async def nobody_waits() -> None:
    async with following() as (copies, log, store):
        goes_on, apply = asyncio.Event(), store.copy_apply

        async def held(*args):  # type: ignore[no-untyped-def]
            await goes_on.wait()
            await apply(*args)

        store.copy_apply = held  # type: ignore[method-assign]
        await log.append([NewRecord(topics.OPEN, 0, "token:x", b'{"open":[]}', {})])
        async with asyncio.timeout(0.1):
            assert await copies.find([LOOKUP]) == {LOOKUP: None}
        goes_on.set()
        await copies.catch_up([topics.OPEN])
        row = (await copies.find([LOOKUP]))[LOOKUP]
        assert row is not None and row.position == 0


def test_what_is_remembered_as_missing_is_found_once_it_came_and_missing_again_once_it_went() -> None:
    run(comes_and_goes())


async def comes_and_goes() -> None:
    async with following() as (copies, log, store):
        find, looked = store.copy_find, []

        async def counted(topic, keys):  # type: ignore[no-untyped-def]
            looked.append(topic)
            return await find(topic, keys)

        store.copy_find = counted  # type: ignore[method-assign]
        for _ in range(3):
            assert (await copies.find([LOOKUP]))[LOOKUP] is None
        assert looked == [topics.OPEN], "asked once"
        for value, there in ((b'{"open":[]}', True), (b'{"deleted":true}', False), (b'{"open":[]}', True)):
            await log.append([NewRecord(topics.OPEN, 0, "token:x", value, {})])
            await copies.catch_up([topics.OPEN])
            row = (await copies.find([LOOKUP]))[LOOKUP]
            assert (row is not None and row.value is not None) is there
