import asyncio

import httpx
import pytest

from ocppcore import envelope
from ocppcore.http.requests import preference
from tests.unit.ocppcore.http.conftest import ADMIN, OPERATOR, World

STATION = {"id": "CS-1"}


def post(world: World, body: object = None, key: str = ADMIN, **headers: str) -> "asyncio.Task[httpx.Response]":
    authorization = {"Authorization": f"Bearer {key}"}
    return asyncio.ensure_future(
        world.client.post("/device/stations", json=body or STATION, headers=authorization | headers)
    )


async def test_a_write_answers_with_its_outcome_and_says_who_asked(world: World) -> None:
    world.gate.decide = lambda request: (201, {"id": "CS-1"})
    answer = await post(world, traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    assert answer.status_code == 201
    assert answer.headers["location"] == "/device/stations/CS-1"
    assert answer.json() == {"id": "CS-1", "password": "p"}
    (request,) = world.gate.asked
    assert (request.type, request.key, request.actor) == ("device.PutStation.v1", "cs-1", "a")
    assert (request.source, request.received_at) == ("/device/http", world.now[0])
    assert request.body == b'{"id":"CS-1","securityProfile":1,"evses":[]}'
    assert request.traceparent.split("-")[1] == "0af7651916cd43dd8448eb211c80319c"


async def test_an_outcome_without_content_has_no_body(world: World) -> None:
    world.gate.decide = lambda request: (204, None)
    answer = await post(world)
    assert (answer.status_code, answer.content) == (204, b"")
    assert "content-type" not in answer.headers


async def test_a_refusal_is_a_problem_and_shows_nothing_that_is_shown_once(world: World) -> None:
    world.gate.decide = lambda request: (409, {"type": "about:blank", "title": "Conflict", "status": 409})
    answer = await post(world)
    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"
    said = answer.json()
    assert said.pop("traceId") == answer.headers["traceparent"].split("-")[1]
    assert said == {"type": "about:blank", "title": "Conflict", "status": 409}


@pytest.mark.parametrize("prefer", ["respond-async", "wait=0", "wait=1, respond-async"])
async def test_a_write_that_is_not_done_is_accepted_and_can_be_asked_for(world: World, prefer: str) -> None:
    world.gate.hold.clear()
    world.gate.decide = lambda request: (201, {"id": "CS-1"})
    answer = await post(world, Prefer=prefer)
    assert answer.status_code == 202
    assert answer.headers["preference-applied"] == prefer
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["status"] == "pending"
    assert answer.json()["password"] == "p"
    location = answer.headers["location"]
    assert location == f"/device/operations/{answer.json()['id']}"
    assert (await world.client.get(location)).json()["status"] == "pending"
    world.gate.settle(world.gate.asked[0])
    done = (await world.client.get(location)).json()
    assert done == {"id": answer.json()["id"], "status": "done", "result": {"status": 201, "body": {"id": "CS-1"}}}


async def test_an_operation_is_known_to_its_caller_alone_and_for_a_day(world: World) -> None:
    location = (await post(world, Prefer="respond-async", key=OPERATOR)).headers.get("location")
    assert location is None  # it was done at once
    world.gate.hold.clear()
    location = (await post(world, Prefer="respond-async", key=OPERATOR)).headers["location"]
    mine = {"Authorization": f"Bearer {OPERATOR}"}
    assert (await world.client.get(location, headers=mine)).status_code == 200
    assert (await world.client.get(location)).status_code == 404
    assert (await world.client.get(location[:-1] + "x", headers=mine)).status_code == 404
    assert (await world.client.get("/device/operations/x", headers=mine)).status_code == 404
    assert (await world.client.get("/device/operations/--%C3%A9", headers=mine)).status_code == 404
    world.now[0] += 24 * 3600 * 1000
    assert (await world.client.get(location, headers=mine)).status_code == 404


async def test_a_repeat_with_its_key_gets_the_first_outcome_and_asks_nothing(world: World) -> None:
    world.gate.decide = lambda request: (201, {"id": "CS-1"})
    first = await post(world, **{"Idempotency-Key": "k1"})
    again = await post(world, **{"Idempotency-Key": "k1"})
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == {"id": "CS-1", "password": "p"}
    assert again.json() == {"id": "CS-1"}
    assert len(world.gate.asked) == 1


async def test_the_same_key_with_another_body_is_refused(world: World) -> None:
    await post(world, **{"Idempotency-Key": "k1"})
    other = await post(world, {"id": "CS-2"}, **{"Idempotency-Key": "k1"})
    assert other.status_code == 422
    assert other.json()["errors"][0]["field"] == "header.Idempotency-Key"
    assert len(world.gate.asked) == 1


async def test_writes_that_race_under_one_key_are_decided_once(world: World) -> None:
    world.gate.hold.clear()
    await post(world, **{"Idempotency-Key": "k1"})
    await post(world, **{"Idempotency-Key": "k1"})
    await post(world, {"id": "CS-2"}, **{"Idempotency-Key": "k1"})
    assert len({request.id for request in world.gate.asked}) == 1
    world.gate.settle(world.gate.asked[0])
    world.gate.hold.set()
    assert "password" not in (await post(world, **{"Idempotency-Key": "k1"})).json()
    assert (await post(world, {"id": "CS-2"}, **{"Idempotency-Key": "k1"})).status_code == 422


async def test_the_password_of_a_lost_race_is_not_shown(world: World) -> None:
    """Two posts under one key reach the log, the second is answered with the first one's outcome."""
    asked: list[envelope.Request] = []
    submit = world.gate.submit

    async def late(request: envelope.Request, wait_s: float) -> object:
        if not asked:
            asked.append(request)
            await submit(request._replace(fingerprint=request.fingerprint[:-1] + "#"), wait_s)
        return await submit(request, wait_s)

    world.gate.submit = late  # type: ignore[method-assign, assignment]
    answer = await post(world, **{"Idempotency-Key": "k1"})
    assert answer.status_code == 200
    assert "password" not in answer.json()


async def test_keys_of_callers_do_not_meet_and_writes_without_one_are_all_new(world: World) -> None:
    await post(world, key=ADMIN, **{"Idempotency-Key": "k1"})
    await post(world, {"id": "CS-2"}, key=OPERATOR, **{"Idempotency-Key": "k1"})
    await post(world)
    await post(world)
    assert len({request.id for request in world.gate.asked}) == 4


@pytest.mark.parametrize("key", ["", "with space", "ü", "x" * 201])
async def test_a_key_that_is_none_is_refused(world: World, key: str) -> None:
    answer = await world.client.post("/device/stations", json=STATION, headers={b"Idempotency-Key": key.encode()})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "header.idempotency-key"
    assert world.gate.asked == []


async def test_a_change_not_in_force_everywhere_is_accepted_only(world: World) -> None:
    assert (await world.client.put("/device/in-force")).status_code == 200
    world.gate.is_in_force = False
    answer = await world.client.put("/device/in-force", headers={"Idempotency-Key": "once"})
    assert answer.status_code == 202
    again = await world.client.put("/device/in-force", headers={"Idempotency-Key": "once"})
    assert again.status_code == 202
    assert (await world.client.get(answer.headers["location"])).json()["status"] == "pending"
    world.gate.is_in_force = True
    assert (await world.client.get(answer.headers["location"])).json()["result"]["status"] == 200
    assert (await world.client.put("/device/in-force", headers={"Idempotency-Key": "once"})).status_code == 200


async def test_without_the_log_nothing_is_claimed(world: World) -> None:
    world.gate.down = True
    answer = await post(world)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "2"
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("prefer", "wait_s", "applied"),
    [
        ("", 10.0, ""),
        ("wait=3", 3.0, "wait=3"),
        ('wait="3"', 3.0, "wait=3"),
        ("Wait = 3", 3.0, "wait=3"),
        ("wait=3, wait=5", 3.0, "wait=3"),
        ("wait=9999", 60.0, "wait=60"),
        ("wait=-1", 10.0, ""),
        ("wait=1e3", 10.0, ""),
        ("wait", 10.0, ""),
        ("respond-async", 0.0, "respond-async"),
        ("respond-async, wait=7", 7.0, "wait=7, respond-async"),
        ("handling=lenient; x=y, respond-async; z", 0.0, "respond-async"),
        (",,;=,", 10.0, ""),
    ],
)
def test_preferences_are_read_as_rfc_7240_says(prefer: str, wait_s: float, applied: str) -> None:
    assert preference(prefer, 10.0) == (wait_s, applied)
