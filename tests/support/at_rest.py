"""What a system holds when nothing is at work in it any more."""

from contextlib import AsyncExitStack
from pathlib import Path

from csms.harness import System
from csms.houses import HOSTS
from ocppcore.embedded import EmbeddedPostgres


async def hashes_at_rest(system: System) -> dict[str, str]:
    """The hash of each service of a system that was stopped: a running one does things by itself."""
    async with AsyncExitStack() as stack:
        if "DATABASE_URL" not in system.environment:
            await stack.enter_async_context(EmbeddedPostgres(Path(system.environment["CSMS_DATA"]) / "postgres"))
        return {service: await system.projections(service) for service in HOSTS}
