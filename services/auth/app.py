"""Wiring of the auth service."""

import asyncio
import dataclasses
import uuid
from typing import Final

import msgspec
import structlog

from ocppcore.contracts.certificates import EnsureAcmeKey, EnsureLocalAuthority
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
from services.auth.certificate_alarms_api import router as alarms_router
from services.auth.certificates_api import router as certificates_router
from services.auth.drivers import Drivers
from services.auth.settings import Settings

log = structlog.get_logger(__name__)
ATTEMPTS_MAX: Final = 30
DECIDED_WITHIN_S: Final = 10.0
AGAIN_AFTER_S: Final = 1.0
LOOK_AGAIN_S: Final = 0.1


def build(env: Environment, settings: Settings) -> Hosted:
    """The service in this process. Raises OperatorError where its authority cannot be used as it is set."""
    means = Means(env.store("auth"), Seal(env.keys.password, PURPOSE), env.clock)
    selected = select(settings, means)
    made = service.build(env.pseudonyms, settings.master_pass_group, selected.certificates)
    drivers = Drivers(env.keys.pseudonym)
    hosted = host(
        env,
        made,
        lambda _, store, desk: [
            router(store, env.pseudonyms, drivers, env.keys.password),
            certificates_router(store, desk, selected.local, env.clock),
            alarms_router(store),
        ],
    )
    return hosted if selected.at_start is None else _with_keys(env, hosted, *selected.at_start)


def _with_keys(env: Environment, hosted: Hosted, key: str, wanted: EnsureLocalAuthority | EnsureAcmeKey) -> Hosted:
    """The same, and at its start the authority's keys are made if they are not there."""
    engine = hosted.engine
    assert engine is not None, "auth has an engine"

    async def serve() -> None:
        await hosted.run()

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(serve())
            group.create_task(_ensure(engine, env, key, wanted))

    return dataclasses.replace(hosted, run=run)


async def _ensure(engine: Engine, env: Environment, key: str, wanted: EnsureLocalAuthority | EnsureAcmeKey) -> None:
    body = msgspec.json.encode(wanted)
    request = Request(f"{key}-authority/{uuid.uuid4()}", wanted.NAME, key, body, env.clock(), "/auth", "", "", "")
    while not engine.ready:  # noqa: ASYNC110  nothing tells; the process ends where it never is
        await asyncio.sleep(LOOK_AGAIN_S)
    for _ in range(ATTEMPTS_MAX):
        try:
            if await engine.submit(request, DECIDED_WITHIN_S) is not None:
                return
        except (LogUnavailable, StoreUnavailable) as error:
            log.warning("the authority has no keys yet", authority=key, error=str(error))
        await asyncio.sleep(AGAIN_AFTER_S)
    log.error("the authority's keys could not be asked for: it signs if they were there before", authority=key)
