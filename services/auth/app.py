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
from ocppcore.store import StoreUnavailable
from services.auth import service
from services.auth.api import router
from services.auth.authority.local import PURPOSE
from services.auth.authority.selected import Means, select
from services.auth.caches_api import finding
from services.auth.caches_api import router as caches_router
from services.auth.certificates_api import router as certificates_router
from services.auth.domain.authority import LOCAL
from services.auth.drivers import Drivers
from services.auth.settings import Settings

log = structlog.get_logger(__name__)
ATTEMPTS_MAX: Final = 30
DECIDED_WITHIN_S: Final = 10.0
AGAIN_AFTER_S: Final = 1.0
LOOK_AGAIN_S: Final = 0.1


def build(env: Environment, settings: Settings) -> Hosted:
    """The service in this process. Raises OperatorError where its authority cannot be used as it is set."""
    own = env.store("auth")
    means = Means(own, Seal(env.keys.password, PURPOSE), env.clock)
    selected = select(settings, means)
    made = service.build(env.pseudonyms, settings.rules, selected.certificates, settings.guessing, finding(own))
    drivers = Drivers(env.keys.pseudonym)
    hosted = host(
        env,
        made,
        lambda _, store, desk: [
            router(store, env.pseudonyms, drivers, env.keys.password),
            caches_router(store, desk, env.pseudonyms),
            certificates_router(store, desk, selected.local, env.clock),
        ],
    )
    return hosted if selected.local is None else _with_local_authority(env, hosted)


def _with_local_authority(env: Environment, hosted: Hosted) -> Hosted:
    """The same, and at its start the local authority is made if it is not there."""
    engine = hosted.engine
    assert engine is not None, "auth has an engine"

    async def serve() -> None:
        await hosted.run()

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(serve())
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
