"""One seed, from beginning to verdict."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import structlog

from tests.simulation.invariants import charge_details, violations
from tests.simulation.world import World
from tests.support import virtual_time

T = TypeVar("T")


def _note(world: World, context: dict[str, Any]) -> None:
    """An exception that nobody awaits is a violation; tasks that a crash left pending are what a crash leaves."""
    if "was destroyed but it is pending" not in context["message"]:
        world.problems.append(f"in a callback: {context}")


def run_seed(seed: int) -> list[str]:
    """The violations of this seed's run; [] when everything held."""
    return _run(seed, violations, faults=True)


def billed(seed: int, *, faults: bool) -> dict[str, bytes]:
    """The charge detail records of this seed's run, by their ids."""

    async def found(world: World) -> dict[str, bytes]:
        return charge_details(world)

    return _run(seed, found, faults=faults, one_tariff=True)


def _run(seed: int, judge: Callable[[World], Awaitable[T]], *, faults: bool, one_tariff: bool = False) -> T:
    async def whole() -> T:
        world = World(seed, faults=faults, one_tariff=one_tariff)
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: _note(world, context))
        await world.run()
        return await judge(world)

    structlog.configure(logger_factory=structlog.ReturnLoggerFactory(), processors=[])
    return virtual_time.run(whole())
