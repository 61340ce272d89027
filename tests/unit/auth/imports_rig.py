"""The API of imports, served in memory."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from ocppcore import topics
from ocppcore.clock import system_clock
from ocppcore.contracts.device import StationState
from ocppcore.envelope import Request, request_record
from ocppcore.log import LogUnavailable
from ocppcore.pseudonym import Pseudonyms
from services.auth import service
from services.auth.api import router as tokens_router
from services.auth.drivers import Drivers
from services.auth.imports.api import RAW_PATHS, Importing, router
from tests.support.served import PARTITIONS, Served, put_state, served

PSEUDONYMS = Pseudonyms(b"pseudonyms")
CSV = {"Content-Type": "text/csv"}
JSONL = {"Content-Type": "application/x-ndjson"}


@asynccontextmanager
async def imports(dies: list[str] | None = None) -> AsyncIterator[Served]:
    """With station CS-1. `dies`: each entry is one time that the log goes away just when it has the tokens."""
    drivers = Drivers(b"k" * 32)
    api: list[Served] = []

    async def append(requests: Sequence[Request]) -> None:
        await api[0].log.append([request_record(one, "auth", PARTITIONS) for one in requests])
        if dies:
            raise LogUnavailable(dies.pop())

    async def in_force(_: float) -> bool:
        return True

    def routers(store: Any) -> Any:
        with_ = Importing(store, system_clock, PSEUDONYMS, drivers, append, in_force)
        return [tokens_router(store, PSEUDONYMS, drivers, b"pw"), router(with_)]

    async with served(service.build(PSEUDONYMS), routers, raw_paths=RAW_PATHS) as made:
        api.append(made)
        station = StationState(id="CS-1", security_profile=1, credential=None, registration="Accepted")
        await put_state(made.log, topics.STATIONS, "cs-1", station)
        yield made
