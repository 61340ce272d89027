"""The administrator's API key: put in force by the process that runs auth, at each of its starts."""

import asyncio
import uuid

import msgspec
import structlog

from ocppcore.clock import system_clock
from ocppcore.contracts.auth import PutApiKey
from ocppcore.engine.loop import Engine
from ocppcore.envelope import Request
from ocppcore.http.auth import hash_key
from ocppcore.log import LogUnavailable
from ocppcore.service import Operation
from ocppcore.settings import AdminKey
from ocppcore.store import StoreUnavailable

ADMIN_ID = "admin"
ATTEMPTS_MAX = 30
DECIDED_WITHIN_S = 10.0
AGAIN_AFTER_S = 1.0
LOOK_AGAIN_S = 0.05

log = structlog.get_logger(__name__)


async def put_in_force(engine: Engine, admin: AdminKey, password_key: bytes) -> None:
    """Have auth's engine take the key; the one that is in force already is no event, another one replaces it.

    Waits for log and store as long as an engine does. Raises RuntimeError when it was not taken by then.
    """
    body = PutApiKey(
        id=ADMIN_ID, hash=hash_key(admin.key.get_secret_value(), password_key), scope="admin", name="administrator"
    )
    request = Request(
        f"admin-key/{uuid.uuid4()}", PutApiKey.NAME, ADMIN_ID, msgspec.json.encode(body), system_clock(),
        "/csms", "csms", "", "",
    )  # fmt: skip
    while not engine.ready:  # noqa: ASYNC110  nothing tells; the process ends where it never is
        await asyncio.sleep(LOOK_AGAIN_S)
    for _ in range(ATTEMPTS_MAX):
        operation = await _ask(engine, request)
        if operation is not None and operation.status < 400:
            return
        await asyncio.sleep(AGAIN_AFTER_S)
    raise RuntimeError("the administrator's key could not be put in force")


async def _ask(engine: Engine, request: Request) -> Operation | None:
    try:
        return await engine.submit(request, DECIDED_WITHIN_S)
    except (LogUnavailable, StoreUnavailable) as error:
        log.warning("the administrator's key is not in force yet", error=str(error))
        return None
