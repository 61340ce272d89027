"""Clearing a cache over HTTP: what the caller is willing to wait is waited once."""

import asyncio

import httpx
import msgspec

from ocppcore.contracts.auth import ClearCache
from ocppcore.envelope import Request
from ocppcore.http.app import service_app
from ocppcore.http.auth import Authenticator, Caller
from ocppcore.http.commands import CommandDesk, Registered
from ocppcore.http.requests import Writes
from ocppcore.memory import MemoryStore
from ocppcore.pseudonym import Pseudonyms
from ocppcore.seal import Seal
from ocppcore.service import Operation
from services.auth import caches_api
from tests.support import virtual_time

DECIDES_S = 3


class Slow:
    """Decides each request, in its time."""

    async def submit(self, request: Request, wait_s: float) -> Operation | None:
        await asyncio.sleep(DECIDES_S)
        asked = msgspec.json.decode(request.body, type=ClearCache)
        body = msgspec.Raw(msgspec.json.encode({"commandId": asked.ask.command_id}))
        return Operation(status=202, body=body, at=1, fingerprint=request.fingerprint, spreads=False)

    async def find(self, request_id: str) -> Operation | None:
        return None

    async def in_force(self, wait_s: float) -> bool:
        return True


class Anybody:
    async def find(self, hash_: str) -> Caller | None:
        return Caller("o", "operator")


async def known(key: str) -> Registered:
    return Registered(id=key)


def test_an_answer_that_does_not_come_is_waited_for_once() -> None:
    async def run() -> None:
        loop, store, pseudonyms = asyncio.get_running_loop(), MemoryStore(), Pseudonyms(b"p" * 32)
        desk = CommandDesk("auth", store, known, pseudonyms, Seal(b"s" * 32, "commands"))
        app = service_app(
            "auth",
            [caches_api.router(store, desk, pseudonyms)],
            authenticator=Authenticator(Anybody(), b"s" * 32),
            writes=Writes("auth", Slow(), lambda: 0, b"s" * 32, wait_s=10.0),
            body_bytes_max=1000,
        )
        headers = {"Authorization": "Bearer key", "Prefer": "wait=5"}
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://csms") as client:
            answer = await client.post("/stations/CS-1/cache:clear", headers=headers)
        assert (answer.status_code, answer.json()["state"]) == (202, "asked")
        assert answer.headers["Location"] == f"/auth/commands/{answer.json()['commandId']}"
        assert loop.time() == 5, "not the decision's time and then the whole wait again"

    virtual_time.run(run())
