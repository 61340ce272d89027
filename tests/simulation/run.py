"""One seed, from beginning to verdict."""

import asyncio
from typing import Any

import structlog

from tests.simulation.invariants import violations
from tests.simulation.world import World
from tests.support import virtual_time


def _note(world: World, context: dict[str, Any]) -> None:
    """An exception that nobody awaits is a violation; tasks that a crash left pending are what a crash leaves."""
    if "was destroyed but it is pending" not in context["message"]:
        world.problems.append(f"in a callback: {context}")


def run_seed(seed: int) -> list[str]:
    """The violations of this seed's run; [] when everything held."""

    async def whole() -> list[str]:
        world = World(seed)
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: _note(world, context))
        await world.run()
        return await violations(world)

    structlog.configure(logger_factory=structlog.ReturnLoggerFactory(), processors=[])
    return virtual_time.run(whole())
