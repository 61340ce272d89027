"""A process that serves nothing does not live on."""

import asyncio

import pytest
from fastapi import FastAPI

from csms.runtime import _run
from ocppcore.host import Hosted


def hosted(ending: BaseException | None) -> Hosted:
    async def work() -> None:
        await asyncio.sleep(0)
        if ending is not None:
            raise ending

    return Hosted("auth", FastAPI(), work, lambda: True)


@pytest.mark.parametrize("ending", [None, asyncio.CancelledError()])
async def test_a_service_that_ends_by_itself_ends_its_process(ending: BaseException | None) -> None:
    with pytest.raises(ExceptionGroup) as group:
        async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
            tasks.create_task(_run(hosted(ending), asyncio.Event()))
            await asyncio.Event().wait()
    assert [str(error) for error in group.value.exceptions] == ["auth has ended by itself"]


async def test_a_service_that_ends_when_asked_is_no_error() -> None:
    stop = asyncio.Event()
    stop.set()
    await _run(hosted(None), stop)


async def test_a_service_that_is_cancelled_is_no_error() -> None:
    task = asyncio.create_task(_run(hosted(None), asyncio.Event()))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
