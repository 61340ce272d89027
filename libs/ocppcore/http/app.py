"""The applications: one per service, under its own prefix, and around them health, readiness, metrics and a name in
the logs for every request. The same whether a process runs one service or all of them."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import fastapi_offline
import structlog
from fastapi import APIRouter, FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ocppcore import telemetry
from ocppcore.http import problems
from ocppcore.http.auth import Authenticator, Door, assert_closed, requirements
from ocppcore.http.body import BodyGuard
from ocppcore.http.paths import template
from ocppcore.http.refusals import Noted, Refusals
from ocppcore.http.requests import Writes, operations

ASSETS: Final = Path(fastapi_offline.__file__).parent / "static"
"""Swagger UI as shipped in a package: the documentation works without a network."""
ASSET_NAMES: Final = ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png")
BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

API_HEADERS: Final = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
DOCS_POLICY: Final = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'"
)

Ready = Callable[[], Awaitable[bool] | bool]

logger = structlog.get_logger(__name__)


def service_app(
    service: str,
    routers: Sequence[APIRouter],
    *,
    authenticator: Authenticator,
    writes: Writes | None,
    body_bytes_max: int,
    raw_paths: str = "",
    description: str = "",
    refusals: Refusals | None = None,
    state: Mapping[str, Any] | None = None,
) -> FastAPI:
    """The API of one service: its routers, `/operations/{id}` (with `writes`), `/openapi.json` and `/docs`.

    Handlers find `state` under its names on `request.app.state`. `refusals` hears of what was turned away.
    `raw_paths`: see `BodyGuard`. Raises AssertionError for a route without a scope.
    """
    app = FastAPI(
        title=f"CSMS: {service}",
        version="1",
        description=description,
        openapi_url="/openapi.json",
        docs_url=None,
        redoc_url=None,
        responses=problems.documented(401, 403, 422),
        separate_input_output_schemas=False,
    )
    for name, value in {**(state or {}), "writes": writes}.items():
        setattr(app.state, name, value)
    problems.install(app)
    for router in routers:
        app.include_router(router)
    if writes is not None:
        app.include_router(operations)
    _document(app)
    public = {"/openapi.json", "/docs", *(f"/docs/{name}" for name in ASSET_NAMES)}
    # The last one added is the outermost.
    app.add_middleware(BodyGuard, bytes_max=body_bytes_max, raw_paths=raw_paths)
    app.add_middleware(Door, authenticator=authenticator, public=public)
    assert_closed(app)
    if refusals is not None:
        paths = [str(route.path) for route, _ in requirements(app)]
        app.add_middleware(Noted, service=service, refusals=refusals, paths=paths)
    return app


def _document(app: FastAPI) -> None:
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        schema = plain()
        schemas = schema.setdefault("components", {}).setdefault("schemas", {})
        if "Problem" not in schemas:
            model = problems.ProblemModel.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= model.pop("$defs", {})
            schemas["Problem"] = model
            # 422 is a problem here; the framework's own form of it is never sent.
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            for route, asked in requirements(app):
                assert asked is not None
                for method in route.methods or ():
                    schema["paths"][template(str(route.path))][method.lower()] |= {
                        "x-csms-role": asked.scope,
                        "x-csms-stations": asked.stations,
                    }
        return schema

    app.openapi = openapi  # type: ignore[method-assign]

    async def docs(request: Request) -> HTMLResponse:
        root = request.scope.get("root_path", "")
        page = get_swagger_ui_html(
            openapi_url=f"{root}/openapi.json",
            title=app.title,
            swagger_js_url=f"{root}/docs/{ASSET_NAMES[0]}",
            swagger_css_url=f"{root}/docs/{ASSET_NAMES[1]}",
            swagger_favicon_url=f"{root}/docs/{ASSET_NAMES[2]}",
            swagger_ui_parameters={"persistAuthorization": True, "tryItOutEnabled": True},
        )
        page.headers["content-security-policy"] = DOCS_POLICY
        return page

    app.add_route("/docs", docs, include_in_schema=False)
    app.mount("/docs", StaticFiles(directory=ASSETS))


def build_app(
    services: Mapping[str, ASGIApp],
    *,
    registry: CollectorRegistry,
    ready: Mapping[str, Ready],
    title: str = "CSMS",
) -> ASGIApp:
    """All of a process: each service under `/{name}`, `/healthz` (it runs), `/readyz` (all of `ready` say so; else
    503 naming those that do not), `/metrics`."""
    app = FastAPI(title=title, openapi_url=None, docs_url=None, redoc_url=None)
    problems.install(app)

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        said = {name: await _ask(check) for name, check in ready.items()}
        return JSONResponse({"ready": all(said.values()), "checks": said}, 200 if all(said.values()) else 503)

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    for path, endpoint in {"/healthz": healthz, "/readyz": readyz, "/metrics": metrics}.items():
        app.add_route(path, endpoint, include_in_schema=False)
    for name, service in services.items():
        app.mount(f"/{name}", service)
    return Observed(app, registry)


async def _ask(check: Ready) -> bool:
    said = check()
    return said if isinstance(said, bool) else await said


class Observed:
    """ASGI: every request has a trace, a line in the log, a place in the metrics, and careful headers.

    Requests are named by their route (`/auth/tokens/{type}/{idToken}`): their paths may hold idTokens.
    """

    def __init__(self, app: ASGIApp, registry: CollectorRegistry) -> None:
        self._app = app
        labels = ("service", "method", "route", "status")
        self._requests = Counter("csms_http_requests", "Requests answered", labels, registry=registry)
        self._seconds = Histogram(
            "csms_http_request_seconds",
            "From a request to its answer",
            labels[:3],
            buckets=BUCKETS_S,
            registry=registry,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 0
        began = time.perf_counter()

        async def guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in API_HEADERS.items():
                    headers.setdefault(name, value)
                if traceparent := telemetry.current():
                    headers["traceparent"] = traceparent
            await send(message)

        parent = telemetry.extract(Headers(scope=scope))
        with telemetry.span("HTTP request", parent, root=True, method=scope["method"]) as sampled:
            try:
                if sampled and telemetry.current() == sampled:
                    await self._app(scope, receive, guarded)
                else:
                    with telemetry.followed(sampled):
                        await self._app(scope, receive, guarded)
            finally:
                self._note(scope, status, time.perf_counter() - began)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        service, route = _route(scope)
        self._requests.labels(service, _method(scope), route, str(status)).inc()
        self._seconds.labels(service, _method(scope), route).observe(seconds)
        level = logger.warning if status >= 500 else logger.debug if service == "" else logger.info
        named = f"/{service}/{route.lstrip('/')}" if service else route
        level("request", method=_method(scope), route=named, status=status, ms=round(seconds * 1000, 1))


def _method(scope: Scope) -> str:
    """Bounded: a client may send any word as its method."""
    method: str = scope["method"]
    return method if method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} else "other"


def _route(scope: Scope) -> tuple[str, str]:
    """(service, route template); what matched none is `other`, so that nobody makes metrics grow."""
    route = template(getattr(scope.get("route"), "path", ""))
    service = scope.get("root_path", "").strip("/").partition("/")[0]
    return service, route or "other"
