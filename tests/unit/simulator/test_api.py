from typing import Any

import httpx
import orjson
import pytest

from simulator.api import ApiError, CsmsApi
from simulator.inputs import IdToken

from .test_promises import GOOD, WHOLE, ledger


class Backend:
    """Answers like the HTTP API and keeps what was asked."""

    def __init__(self, *answers: httpx.Response) -> None:
        self.asked: list[tuple[str, str, Any]] = []
        self.answers = list(answers)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = orjson.loads(request.content) if request.content else None
        assert request.headers["Authorization"] == "Bearer secret"
        self.asked.append((request.method, request.url.raw_path.decode(), body))
        return self.answers.pop(0) if self.answers else httpx.Response(200, json={})

    def api(self) -> CsmsApi:
        return CsmsApi("http://csms:8080/", "secret", httpx.MockTransport(self))


async def test_stations_are_registered_and_known_ones_get_the_password() -> None:
    backend = Backend(httpx.Response(409), httpx.Response(201))
    async with backend.api() as api:
        passwords = await api.register_stations(["A", "B"], 2, None)
    assert {len(p) for p in passwords.values()} == {32}
    assert ("PATCH", "/device/stations/A", {"password": passwords["A"], "securityProfile": 1}) in backend.asked
    created = next(body for method, _, body in backend.asked if method == "POST" and body["id"] == "B")
    assert created == {
        "id": "B",
        "password": passwords["B"],
        "securityProfile": 1,
        "evses": [{"id": 1, "connectors": [{"id": 1}]}, {"id": 2, "connectors": [{"id": 1}]}],
    }


async def test_tokens_are_accepted_whatever_their_letters() -> None:
    backend = Backend()
    async with backend.api() as api:
        await api.register_tokens([IdToken("a/b c", "Central")])
    assert backend.asked == [("PUT", "/auth/tokens/Central/a%2Fb%20c", {"status": "Accepted"})]


async def test_a_refusal_is_one_error_with_its_reason() -> None:
    backend = Backend(httpx.Response(403, text="no scope"))
    async with backend.api() as api:
        with pytest.raises(ApiError, match="HTTP 403 no scope"):
            await api.register_tokens([IdToken("A")])


async def test_a_projection_that_is_right_costs_one_question() -> None:
    backend = Backend(httpx.Response(200, json=GOOD))
    async with backend.api() as api:
        assert await api.check(ledger(*WHOLE)) == []
    assert [path for _, path, _ in backend.asked] == ["/transactions/transactions/CS-1/t1"]


async def test_a_projection_that_stays_wrong_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulator.api.CATCH_UP_S", 1)
    async with Backend(httpx.Response(404)).api() as api:
        assert len(await api.check(ledger(*WHOLE))) == 1
