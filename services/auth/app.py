"""Wiring of the auth service."""

import asyncio
import dataclasses
import uuid
from typing import Final

import msgspec
import structlog

from ocppcore.contracts.certificates import EnsureLocalAuthority
from ocppcore.engine.loop import Engine
from ocppcore.envelope import Request
from ocppcore.host import Environment, Hosted, host
from ocppcore.log import LogUnavailable
from ocppcore.seal import Seal
from ocppcore.store import Store, StoreUnavailable
from services.auth import service
from services.auth.api import router
from services.auth.authority.local import PURPOSE
from services.auth.authority.selected import Means, select
from services.auth.certificates_api import router as certificates_router
from services.auth.domain.authority import LOCAL
from services.auth.drivers import Drivers
from services.auth.local_list_watch import Watcher
from services.auth.local_list_worker import Bounds, Builder
from services.auth.local_list_worker import desk as command_desk
from services.auth.local_lists_api import router as local_lists_router
from services.auth.settings import Settings

log = structlog.get_logger(__name__)
ATTEMPTS_MAX: Final = 30
DECIDED_WITHIN_S: Final = 10.0
AGAIN_AFTER_S: Final = 1.0
LOOK_AGAIN_S: Final = 0.1


def build(env: Environment, settings: Settings) -> Hosted:
    """The service in this process. Raises OperatorError where its authority cannot be used as it is set."""
    store = env.store("auth")
    means = Means(store, Seal(env.keys.password, PURPOSE), env.clock)
    selected = select(settings, means)
    drivers = Drivers(env.keys.pseudonym)
    builder = Builder(
        store,
        command_desk(store, env.pseudonyms, env.outbound_seal).ask,
        drivers,
        env.clock,
        settings.master_pass_group,
        Bounds(settings.local_list_items, settings.local_list_bytes, settings.local_list_entries),
    )
    made = service.build(env.pseudonyms, settings.master_pass_group, selected.certificates, builder.effects)
    hosted = host(
        env,
        made,
        lambda _, store, desk: [
            router(store, env.pseudonyms, drivers, env.keys.password),
            certificates_router(store, desk, selected.local, env.clock),
            local_lists_router(store, desk, env.pseudonyms, drivers),
        ],
    )
    return _with_tasks(env, hosted, settings, store, local_authority=selected.local is not None)


def _with_tasks(env: Environment, hosted: Hosted, settings: Settings, store: Store, *, local_authority: bool) -> Hosted:
    """The same, with what goes on beside the engine: local lists are looked after, and at its start the local
    authority is made if it is to sign and is not there."""
    engine = hosted.engine
    assert engine is not None, "auth has an engine"

    async def serve() -> None:
        await hosted.run()

    async def watch() -> None:
        while not engine.ready:  # noqa: ASYNC110  nothing tells; the process ends where it never is
            await asyncio.sleep(LOOK_AGAIN_S)
        while True:
            try:
                await watcher.run()
            except LogUnavailable as error:
                log.warning("stations cannot be followed now", error=str(error))
            await asyncio.sleep(AGAIN_AFTER_S)

    watcher = Watcher(
        store, env.log, env.clock, env.settings.partition_count, lambda: engine.cells,
        settings.local_list_look_s, settings.local_list_stations,
    )  # fmt: skip

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(serve())
            group.create_task(watch())
            if local_authority:
                group.create_task(_ensure(engine, env))

    return dataclasses.replace(hosted, run=run)


async def _ensure(engine: Engine, env: Environment) -> None:
    body = msgspec.json.encode(EnsureLocalAuthority())
    request = Request(
        f"local-authority/{uuid.uuid4()}", EnsureLocalAuthority.NAME, LOCAL, body, env.clock(), "/auth", "", "", ""
    )
    while not engine.ready:  # noqa: ASYNC110  nothing tells; the process ends where it never is
        await asyncio.sleep(LOOK_AGAIN_S)
    for _ in range(ATTEMPTS_MAX):
        try:
            if await engine.submit(request, DECIDED_WITHIN_S) is not None:
                return
        except (LogUnavailable, StoreUnavailable) as error:
            log.warning("the local authority is not there yet", error=str(error))
        await asyncio.sleep(AGAIN_AFTER_S)
    log.error("the local authority could not be asked for: certificates are signed if it was there before")
