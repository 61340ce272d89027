"""Crowds take turns, and the event loop is free between them."""

import asyncio
from typing import Any

from services.gateway.turns import Turns


async def test_a_crowd_takes_turns_in_its_order_and_what_fails_takes_its_own_only() -> None:
    turns, turn = Turns(4), 0
    done: list[tuple[int, int]] = []
    mistakes: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: mistakes.append(context["exception"]))

    def work(number: int) -> None:
        done.append((turn, number))
        if number == 1:
            raise RuntimeError("a mistake of ours")

    for number in range(12):
        turns.add(lambda number=number: work(number))  # type: ignore[misc]
    while len(done) < 12:
        await asyncio.sleep(0)
        turn += 1
    assert [number for _, number in done] == list(range(12))
    assert [sum(at == one for at, _ in done) for one in range(turn)] == [2, 4, 4, 2]
    assert len(mistakes) == 1


async def test_who_waits_goes_on_in_turn_and_who_has_gone_is_passed_over() -> None:
    turns = Turns(2)
    waiting = [asyncio.create_task(turns.mine()) for _ in range(5)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert [task.cancelled() for task in waiting] == [True, False, False, False, False]
    await turns.mine()
