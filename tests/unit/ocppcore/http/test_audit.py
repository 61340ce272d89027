"""The audit on a real service in memory: every write once, with its outcome; what was turned away, counted."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest

from ocppcore.audit import REFUSED, NoteRefused
from ocppcore.envelope import Asked, Request
from ocppcore.http.refusals import KINDS_MAX, Refusals
from ocppcore.log import LogUnavailable
from ocppcore.pseudonym import Pseudonyms
from services.auth import service
from services.auth.api import router
from services.auth.drivers import Drivers
from tests.support.served import PASSWORD_KEY, Served, served

TOKEN = "/tokens/ISO14443/PLANTEDTOKEN"
PSEUDONYMS = Pseudonyms(b"key")
pytestmark = pytest.mark.timeout(30)


@pytest.fixture
async def api() -> AsyncIterator[Served]:
    drivers = Drivers(b"key")
    async with served(service.build(PSEUDONYMS), lambda store: [router(store, PSEUDONYMS, drivers, PASSWORD_KEY)]) as s:
        yield s


async def entries(api: Served, count: int, **asked: str) -> list[dict[str, Any]]:
    """What the audit shows, newest first, once it is so many; without the time."""
    await api.refusals.flush()
    async with asyncio.timeout(5):
        while True:
            found: list[dict[str, Any]] = (await api.client.get("/audit", params=asked)).json()["items"]
            if len(found) >= count:
                assert len(found) == count, found
                return [{name: value for name, value in one.items() if name != "at"} for one in found]
            await asyncio.sleep(0.01)


def entry(actor: str, method: str, route: str, status: int, target: str = "", times: int = 1) -> dict[str, Any]:
    return {"actor": actor, "method": method, "route": route, "address": "127.0.0.1", "target": target,
            "status": status, "times": times}  # fmt: skip


async def test_every_write_is_there_once_with_its_outcome(api: Served) -> None:
    key, route = PSEUDONYMS.of("ISO14443", "PLANTEDTOKEN"), "/auth/tokens/{type}/{idToken}"
    operator = api.as_("operator")
    for status in (201, 200):
        assert (await operator.put(TOKEN, json={"status": "Accepted"})).status_code == status
    assert (await operator.delete(TOKEN)).status_code == 204
    assert (await operator.delete(TOKEN)).status_code == 404
    assert (await operator.get("/tokens")).status_code == 200
    assert await entries(api, 4) == [
        entry("operator", "DELETE", route, 404, key),
        entry("operator", "DELETE", route, 204, key),
        entry("operator", "PUT", route, 200, key),
        entry("operator", "PUT", route, 201, key),
    ]
    assert "PLANTEDTOKEN" not in str(api.records("auth.events"))


async def test_a_repeat_is_one_write(api: Served) -> None:
    for status in (201, 201):
        headers = {"Idempotency-Key": "once"}
        assert (await api.client.post("/apikeys", json={"scope": "viewer"}, headers=headers)).status_code == status
    assert len(await entries(api, 1)) == 1
    refused = await api.client.post("/apikeys", json={"scope": "admin"}, headers=headers)
    assert refused.status_code == 422
    assert (await entries(api, 2))[0] == entry("admin", "POST", "/auth/apikeys", 422)


async def test_what_was_turned_away_is_counted_by_its_kind(api: Served) -> None:
    viewer = api.as_("viewer")
    for _ in range(3):
        assert (await viewer.put(TOKEN, json={"status": "Accepted"})).status_code == 403
    nobody = {"Authorization": "Bearer PLANTEDTOKEN"}
    assert (await viewer.get(TOKEN, headers=nobody)).status_code == 401
    assert (await viewer.post("/PLANTEDTOKEN", headers=nobody)).status_code == 401
    assert (await viewer.get("/audit")).status_code == 403
    assert (await api.client.put(TOKEN, json={"status": "PLANTEDTOKEN"})).status_code == 422
    assert (await api.client.put(TOKEN, content=b"PLANTEDTOKEN")).status_code == 415
    assert (await viewer.get(TOKEN)).status_code == 404, "a question that has no answer is no attempt at anything"
    found = await entries(api, 6)
    key = lambda one: (one["status"], one["method"], one["route"])  # noqa: E731
    route = "/auth/tokens/{type}/{idToken}"
    assert sorted(found, key=key) == [
        entry("", "GET", route, 401),
        entry("", "POST", "/auth/other", 401),
        entry("viewer", "GET", "/auth/audit", 403),
        entry("viewer", "PUT", route, 403, times=3),
        entry("admin", "PUT", route, 415),
        entry("admin", "PUT", route, 422),
    ]
    assert "PLANTEDTOKEN" not in str(api.records("auth.events"))


async def test_it_can_be_asked_for_one_actor_or_one_target_page_by_page(api: Served) -> None:
    for client, count in ((api.client, 3), (api.as_("operator"), 2)):
        for number in range(count):
            assert (await client.put(f"/tokens/Central/t{number}", json={"status": "Accepted"})).is_success
    assert len(await entries(api, 2, actor="operator")) == 2
    key = PSEUDONYMS.of("Central", "t0")
    assert [one["actor"] for one in await entries(api, 2, target=key)] == ["operator", "admin"]
    found: list[str] = []
    page = "/audit?limit=2"
    while page:
        said = (await api.client.get(page)).json()
        found += [one["actor"] for one in said["items"]]
        page = said["next"]
    assert found == ["operator", "operator", "admin", "admin", "admin"]
    assert (await api.as_("operator").get("/audit")).status_code == 403


class Log:
    def __init__(self) -> None:
        self.noted: list[NoteRefused] = []
        self.down = False

    async def append(self, request: Request) -> None:
        if self.down:
            raise LogUnavailable("no broker")
        assert (request.type, request.asked) == (REFUSED, None)
        self.noted.append(msgspec.json.decode(request.body, type=NoteRefused))


async def test_a_storm_from_everywhere_is_few_records_and_none_is_uncounted() -> None:
    log = Log()
    refusals = Refusals("auth", log.append, lambda: 7)
    for number in range(10_000):
        status = 401 if number % 2 else 422
        refusals.note("", Asked("GET", "/auth/tokens", f"198.51.100.{number}"), status)
    await refusals.flush()
    (noted,) = log.noted
    assert len(noted.refused) == KINDS_MAX + 2
    assert sum(one.times for one in noted.refused) == 10_000
    assert {(one.address, one.route, one.status) for one in noted.refused[KINDS_MAX:]} == {("", "", 401), ("", "", 400)}
    await refusals.flush()
    assert len(log.noted) == 1, "nothing is noted when there was nothing"


async def test_while_the_log_is_away_refusals_stay_counted() -> None:
    log = Log()
    refusals = Refusals("auth", log.append, lambda: 7)
    log.down = True
    for _ in range(3):
        for number in range(100):
            refusals.note("", Asked("GET", f"/{number}", ""), 401)
        await refusals.flush()
    log.down = False
    await refusals.flush()
    assert sum(one.times for one in log.noted[0].refused) == 300
    assert len(log.noted[0].refused) <= KINDS_MAX + 3
    assert httpx.codes.UNAUTHORIZED in {one.status for one in log.noted[0].refused}
