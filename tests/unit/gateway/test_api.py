"""The gateway's HTTP API over a real log twin."""

from contextlib import asynccontextmanager

import httpx
import orjson
import pytest

from ocppcore.clock import to_rfc3339
from ocppcore.contracts.auth import Scope
from ocppcore.envelope import OutFrame
from ocppcore.http.app import build_app, service_app
from ocppcore.http.auth import Authenticator, Caller, hash_key
from ocppcore.telemetry import new_registry
from services.gateway.api import router
from services.gateway.frames import Frames, shown
from services.gateway.metrics import StatsCollector
from tests.unit.gateway.rig import CELLS, KEY, SLOTS, Rig, running
from tests.unit.gateway.talk import call, result
from tests.unit.gateway.test_hub import enter


class Keys:
    """One key."""

    def __init__(self, scope: Scope) -> None:
        self._caller = Caller("key1", scope)

    async def find(self, hash_: str) -> Caller | None:
        return self._caller if hash_ == hash_key("viewer-key", KEY) else None


@asynccontextmanager
async def served(rig: Rig, records_max: int = 20_000):
    gateway = rig.gateway()
    app = service_app(
        "gateway",
        [router],
        authenticator=Authenticator(Keys("viewer"), KEY),
        writes=None,
        body_bytes_max=1000,
        state={"gateway": gateway, "frames": Frames(rig.log, CELLS, SLOTS, records_max), "clock": rig.clock},
    )
    registry = new_registry()
    registry.register(StatsCollector(gateway.stats))
    everything = build_app({"gateway": app}, registry=registry, ready={"gateway": lambda: not gateway.not_ready()})
    transport = httpx.ASGITransport(everything)
    headers = {"Authorization": "Bearer viewer-key"}
    async with running(gateway), httpx.AsyncClient(transport=transport, base_url="http://x", headers=headers) as client:
        yield gateway, client


async def test_connections_are_counted():
    rig = Rig()
    await rig.register("CS1")
    async with served(rig) as (gateway, client):
        session, _ = await enter(gateway)
        session.receive(call("1"))
        body = (await client.get("/gateway/connections")).json()

        assert (body["connected"], body["framesReceived"], body["ready"]) == (1, 1, True)
        assert body["slot"] == gateway.hub.holder.slot
        metrics = (await client.get("/metrics")).text
        assert "csms_gateway_frames_in_total 1.0" in metrics
        assert "csms_gateway_connections 1.0" in metrics
        assert (await client.get("/readyz")).status_code == 200


async def test_frames_of_both_directions_come_in_order_and_the_cursor_goes_on():
    rig = Rig()
    await rig.register("CS1")
    await rig.register("CS2")
    async with served(rig) as (gateway, client):
        session, wire = await enter(gateway)
        other, _ = await enter(gateway, "CS2")
        other.receive(call("other"))
        session.receive(call("1", "Authorize", {"idToken": {"idToken": "DEADBEEF", "type": "ISO14443"}}))
        await rig.until(lambda: len(rig.frames()) == 2)
        await rig.put(
            OutFrame("cs1", session.connection.origin.slot, session.epoch, "reply", "1", "Authorize", result("1"))
        )
        await rig.until(lambda: wire.sent)

        page = (await client.get("/gateway/stations/CS1/frames")).json()
        found = [(item["direction"], item["kind"], item["messageId"]) for item in page["items"]]
        assert found == [("from", "call", "1"), ("to", "reply", "1")]
        assert page["items"][0]["frame"][3] == {"idToken": {"idToken": "[hidden]", "type": "ISO14443"}}
        assert page["complete"]

        session.receive(call("2"))
        await rig.until(lambda: len(rig.frames()) == 3)
        later = (await client.get("/gateway/stations/cs1/frames", params={"since": page["cursor"]})).json()
        assert [item["messageId"] for item in later["items"]] == ["2"]
        assert (page["stationId"], later["stationId"]) == ("CS1", "CS1")


@pytest.mark.parametrize("read_through", [1000, 3, 0], ids=["one look", "halved, then looked through", "halved"])
async def test_a_time_finds_its_place_in_the_log(monkeypatch: pytest.MonkeyPatch, read_through: int):
    monkeypatch.setattr("services.gateway.frames.READ_THROUGH", read_through)
    now = 1_700_000_000_000
    rig = Rig(lambda: now)
    await rig.register("CS1")
    async with served(rig) as (gateway, client):
        session, _ = await enter(gateway)
        for n in range(40):
            now += 1000
            session.receive(call(str(n), "Unknown"))
            await rig.until(lambda n=n: len(rig.frames()) == n + 1)

        since = to_rfc3339(now - 4500)
        page = (await client.get("/gateway/stations/CS1/frames", params={"since": since})).json()
        assert [item["messageId"] for item in page["items"]] == ["35", "36", "37", "38", "39"]
        assert {item["refused"] for item in page["items"]} == {"NotImplemented"}


async def test_a_scan_is_bounded_and_resumes():
    rig = Rig()
    await rig.register("CS1")
    async with served(rig, records_max=10) as (gateway, client):
        session, _ = await enter(gateway)
        for n in range(35):
            session.receive(call(str(n), "Unknown"))
            await rig.until(lambda n=n: len(rig.frames()) == n + 1)

        seen, params = [], {"limit": 7}
        for _ in range(20):
            page = (await client.get("/gateway/stations/CS1/frames", params=params)).json()
            seen += [item["messageId"] for item in page["items"]]
            params["since"] = page["cursor"]
            if page["complete"]:
                break

        assert seen == [str(n) for n in range(35)]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/gateway/stations/CS9/frames", 404),
        ("/gateway/stations/CS1/frames?since=yesterday", 422),
        ("/gateway/stations/CS1/frames?since=2026-01-01T00:00:00", 422),
        ("/gateway/stations/CS1/frames?since=AAAA", 422),
        ("/gateway/stations/CS1/frames?since=%C3%A9", 422),
        ("/gateway/stations/CS1/frames?limit=0", 422),
        ("/gateway/stations/CS1/frames?limit=100000", 422),
        ("/gateway/stations/" + "x" * 49 + "/frames", 422),
        ("/gateway/nothing", 404),
    ],
)
async def test_bad_questions_get_a_problem(path, status):
    rig = Rig()
    await rig.register("CS1")
    async with served(rig) as (_, client):
        answer = await client.get(path)

        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


async def test_nobody_looks_without_a_key():
    async with served(Rig()) as (_, client):
        for path in ("/gateway/connections", "/gateway/stations/CS1/frames"):
            assert (await client.get(path, headers={"Authorization": "Bearer wrong"})).status_code == 401


def test_secrets_and_id_tokens_are_hidden_whatever_the_frame_is():
    password = {"setVariableData": [{"attributeValue": "s3cret", "variable": {"name": "BasicAuthPassword"}}]}
    other = {"setVariableData": [{"attributeValue": "60", "variable": {"name": "HeartbeatInterval"}}]}

    assert "s3cret" not in str(shown(call("1", "SetVariables", password)))
    assert "60" in str(shown(call("1", "SetVariables", other)))
    assert "PEM" not in str(shown(call("1", "InstallCertificate", {"certificate": "PEM"})))
    assert "DEADBEEF" not in str(shown(b'[2,"1","Authorize",{"idToken":{"idToken":"DEADBEEF"'))
    assert shown(b"\xff") == "\ufffd"


def test_what_signs_a_url_is_hidden_in_frames_too() -> None:
    url = "https://me:hunter2@b.example/log?sv=1&sig=hunter2"
    assert shown(orjson.dumps([2, "a", "DataTransfer", {"vendorId": "x", "data": url}])) == [
        2, "a", "DataTransfer", {"vendorId": "x", "data": "https://[hidden]@b.example/log?sv=1&sig=[hidden]"},
    ]  # fmt: skip


def test_nothing_is_written_here_that_an_audit_would_have_to_name() -> None:
    """The gateway has no service's engine behind it, which would note who asked (`ocppcore.audit`)."""
    assert {method for route in router.routes for method in getattr(route, "methods", ())} == {"GET"}
