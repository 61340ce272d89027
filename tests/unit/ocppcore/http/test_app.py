import pytest
from fastapi import APIRouter
from prometheus_client import CollectorRegistry

from ocppcore.http.app import service_app
from ocppcore.http.auth import Authenticator, require
from tests.unit.ocppcore.http.conftest import OPERATOR, SECRET, VIEWER, Keys, World

BEARER = {"Authorization": ""}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/device/nothing", 404),
        ("GET", "/nothing", 404),
        ("DELETE", "/device/stations/CS-1", 405),
        ("GET", "/device/stations/unknown", 404),
        ("GET", "/device/numbers?limit=x", 422),
        ("GET", "/device/stations/broken", 500),
        ("GET", "/device/stations/a%00b", 400),
        ("GET", "/device/numbers?limit=1&x=%00", 400),
    ],
)
async def test_every_error_is_a_problem(world: World, method: str, path: str, status: int) -> None:
    answer = await world.client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert (body["type"], body["status"]) == ("about:blank", status)
    assert body["traceId"] == answer.headers["traceparent"].split("-")[1]
    assert "secret inside" not in answer.text


async def test_a_method_that_is_not_allowed_names_those_that_are(world: World) -> None:
    answer = await world.client.delete("/device/stations/CS-1")
    assert answer.headers["allow"] == "GET"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body.id"),
        ({"id": 7}, "body.id"),
        ({"id": "x" * 49}, "body.id"),
        ({"id": "x", "securityProfile": "one"}, "body.securityProfile"),
        ({"id": "x", "evses": [1, "two"]}, "body.evses.1"),
        ([], "body"),
    ],
)
async def test_invalid_values_name_their_field_and_are_not_repeated(world: World, body: object, field: str) -> None:
    answer = await world.client.post("/device/stations", json=body)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert "xxx" not in answer.text
    assert world.gate.asked == []


async def test_hundreds_of_errors_are_not_all_listed(world: World) -> None:
    answer = await world.client.post("/device/stations", json={"id": "x", "evses": ["n"] * 300})
    assert len(answer.json()["errors"]) == 50


async def test_health_and_readiness_need_no_key(world: World) -> None:
    world.client.headers.pop("Authorization")
    assert (await world.client.get("/healthz")).text == "ok\n"
    ready = await world.client.get("/readyz")
    assert (ready.status_code, ready.json()) == (200, {"ready": True, "checks": {"device": True}})
    world.ready["device"] = False
    ready = await world.client.get("/readyz")
    assert (ready.status_code, ready.json()) == (503, {"ready": False, "checks": {"device": False}})


async def test_requests_are_counted_by_route_and_never_by_what_a_client_chose(world: World) -> None:
    await world.client.get("/device/stations/SECRET-1")
    await world.client.get("/device/stations/SECRET-2")
    await world.client.get("/device/SECRET-3")
    await world.client.request("SECRET4", "/SECRET-5")
    await world.client.get("/device/numbers", headers={"Authorization": "Bearer SECRET-6"})
    metrics = (await world.client.get("/metrics")).text
    assert (
        'csms_http_requests_total{method="GET",route="/stations/{stationId}",service="device",status="200"} 2.0'
        in metrics
    )
    assert 'csms_http_requests_total{method="GET",route="other",service="device",status="404"} 1.0' in metrics
    assert 'csms_http_requests_total{method="other",route="other",service="",status="404"} 1.0' in metrics
    assert "csms_http_request_seconds_bucket" in metrics
    assert "SECRET" not in metrics


async def test_openapi_names_security_problems_and_no_form_of_error_that_is_never_sent(world: World) -> None:
    world.client.headers.pop("Authorization")
    schema = (await world.client.get("/device/openapi.json")).json()
    assert schema["servers"] == [{"url": "/device"}]
    assert schema["components"]["securitySchemes"] == {
        "Bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key, or a token of an OpenID Connect issuer",
        }
    }
    assert set(schema["paths"]) == {
        "/stations",
        "/stations/{stationId}",
        "/in-force",
        "/numbers",
        "/operations/{operationId}",
    }
    for path in schema["paths"].values():
        for operation in path.values():
            assert operation["security"] == [{"Bearer": []}]
            for status in ("401", "422"):
                content = operation["responses"][status]["content"]
                assert content == {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    post = schema["paths"]["/stations"]["post"]
    assert {parameter["name"] for parameter in post["parameters"]} == {"prefer", "idempotency-key"}
    assert "202" in post["responses"]
    assert "errors" in schema["components"]["schemas"]["Problem"]["properties"]
    assert "HTTPValidationError" not in schema["components"]["schemas"]


async def test_documentation_works_without_a_network(world: World) -> None:
    world.client.headers.pop("Authorization")
    page = await world.client.get("/device/docs")
    assert page.status_code == 200
    assert "'/device/openapi.json'" in page.text
    assert "http://" not in page.text
    assert "https://" not in page.text
    for name in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"):
        assert f"/device/docs/{name}" in page.text
        assert (await world.client.get(f"/device/docs/{name}")).status_code == 200
    assert (await world.client.get("/device/docs/redoc.standalone.js")).status_code == 401


async def test_answers_carry_careful_headers(world: World) -> None:
    headers = (await world.client.get("/device/numbers")).headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("default-src 'none'")


async def test_a_trace_that_a_client_began_goes_on(world: World) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
    answer = await world.client.get("/device/numbers", headers={"traceparent": trace})
    assert answer.headers["traceparent"] == trace
    other = await world.client.get("/device/numbers", headers={"traceparent": "nonsense"})
    assert other.headers["traceparent"].split("-")[1] not in (trace.split("-")[1], "")


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (None, 401),
        ("", 401),
        ("Bearer", 401),
        ("Bearer ", 401),
        ("Bearer wrong", 401),
        (f"Basic {OPERATOR}", 401),
        (f"Bearer {OPERATOR} x", 401),
        ("Bearer " + "x" * 501, 401),
        ("Bearer ü", 401),
        (f"Bearer {VIEWER}", 403),
        (f"bearer {OPERATOR}", 200),
    ],
)
async def test_a_write_needs_a_key_of_its_scope(world: World, authorization: str | None, status: int) -> None:
    world.client.headers.pop("Authorization")
    headers = {} if authorization is None else {b"Authorization": authorization.encode()}
    answer = await world.client.post("/device/stations", json={"id": "CS-1"}, headers=headers)
    assert answer.status_code == status
    assert len(world.gate.asked) == (status == 200)
    if status == 401:
        assert answer.headers["www-authenticate"] == 'Bearer realm="csms"'


async def test_nobody_without_a_key_learns_which_paths_there_are(world: World) -> None:
    world.client.headers.pop("Authorization")
    for path in ("/device/stations/CS-1", "/device/nothing", "/device/", "/device/docs/../stations/CS-1"):
        assert (await world.client.get(path)).status_code == 401


async def test_higher_scopes_include_lower_ones(world: World) -> None:
    for key, status in ((VIEWER, 403), (OPERATOR, 403)):
        answer = await world.client.put("/device/in-force", headers={"Authorization": f"Bearer {key}"})
        assert answer.status_code == status
    for key in (VIEWER, OPERATOR):
        answer = await world.client.get("/device/numbers", headers={"Authorization": f"Bearer {key}"})
        assert answer.status_code == 200


def test_a_route_without_a_scope_is_not_built() -> None:
    open_to_all = APIRouter()

    @open_to_all.get("/open")
    async def get_open() -> None: ...

    closed = APIRouter(dependencies=[require("viewer")])

    @closed.get("/closed")
    async def get_closed() -> None: ...

    authenticator = Authenticator(Keys(), SECRET)
    service_app("x", [closed], authenticator=authenticator, writes=None, body_bytes_max=1000)
    with pytest.raises(AssertionError, match="/open requires no scope"):
        service_app("x", [open_to_all], authenticator=authenticator, writes=None, body_bytes_max=1000)


def test_one_process_has_one_registry() -> None:
    registry = CollectorRegistry()
    assert list(registry.collect()) == []
