"""An application with a few routes, its engine played by a dictionary, and a client for it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Annotated

import httpx
import msgspec
import pytest
from fastapi import APIRouter, FastAPI, Response
from prometheus_client import CollectorRegistry
from pydantic import BaseModel, Field
from starlette.types import ASGIApp

from ocppcore import envelope
from ocppcore.http.app import build_app, service_app
from ocppcore.http.auth import Authenticator, Caller, hash_key, require
from ocppcore.http.pages import Page, Wanted, wanted
from ocppcore.http.problems import Problem
from ocppcore.http.requests import RESPONSES, Write, Writes, writing
from ocppcore.log import LogUnavailable
from ocppcore.service import Operation

SECRET = b"s" * 32
VIEWER, OPERATOR, ADMIN = "viewer-key", "operator-key", "admin-key"


class Keys:
    def __init__(self) -> None:
        self.known = {
            hash_key(VIEWER, SECRET): Caller("v", "viewer"),
            hash_key(OPERATOR, SECRET): Caller("o", "operator"),
            hash_key(ADMIN, SECRET): Caller("a", "admin"),
        }

    async def find(self, hash_: str) -> Caller | None:
        return self.known.get(hash_)


@dataclass
class Gate:
    """Decides each request id once, as the engine does; `hold` keeps outcomes back until it is set."""

    decide: Callable[[envelope.Request], tuple[int, object]] = lambda request: (200, {"key": request.key})
    asked: list[envelope.Request] = field(default_factory=list)
    outcomes: dict[str, Operation] = field(default_factory=dict)
    hold: asyncio.Event = field(default_factory=asyncio.Event)
    down: bool = False
    is_in_force: bool = True

    async def submit(self, request: envelope.Request, wait_s: float) -> Operation | None:
        if self.down:
            raise LogUnavailable("no broker")
        self.asked.append(request)
        if not self.hold.is_set():
            return None
        return self.settle(request)

    def settle(self, request: envelope.Request) -> Operation:
        if request.id not in self.outcomes:
            status, body = self.decide(request)
            raw = msgspec.Raw(msgspec.json.encode(body))
            self.outcomes[request.id] = Operation(
                status=status, body=raw, at=1, fingerprint=request.fingerprint, spreads=True
            )
        return self.outcomes[request.id]

    async def find(self, request_id: str) -> Operation | None:
        return self.outcomes.get(request_id)

    async def in_force(self, wait_s: float) -> bool:
        return self.is_in_force


class Station(BaseModel):
    id: str = Field(max_length=48)
    securityProfile: int = 1
    evses: list[int] = []


router = APIRouter()


@router.post("/stations", responses=RESPONSES)
async def post_station(station: Station, write: Annotated[Write, writing("operator")]) -> Response:
    body = msgspec.json.encode(station.model_dump())
    location = f"/device/stations/{station.id}"
    return await write("device.PutStation.v1", station.id.casefold(), body, location=location, once={"password": "p"})


@router.put("/in-force", responses=RESPONSES)
async def put_in_force(write: Annotated[Write, writing("admin")]) -> Response:
    return await write("device.Change.v1", "k", b"{}")


@router.get("/stations/{stationId}", dependencies=[require("viewer")])
async def get_station(stationId: str) -> dict[str, str]:
    if stationId == "broken":
        raise RuntimeError("secret inside")
    if stationId == "unknown":
        raise Problem(404, f"No station {stationId}.")
    return {"id": stationId}


@router.get("/numbers", dependencies=[require("viewer")])
async def get_numbers(page: Annotated[Wanted, wanted(int)]) -> Page[int]:
    after = int(page.after[0]) if page.after else -1  # type: ignore[arg-type]
    found = [number for number in range(120) if number > after][: page.limit + 1]
    return page.page(found, lambda number: (number,))


@dataclass
class World:
    client: httpx.AsyncClient
    gate: Gate
    keys: Keys
    app: ASGIApp
    device: FastAPI
    now: list[int]
    ready: dict[str, bool]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    gate, keys, now, ready = Gate(), Keys(), [1_700_000_000_000], {"device": True}
    gate.hold.set()
    authenticator = Authenticator(keys, SECRET)
    writes = Writes("device", gate, lambda: now[0], SECRET, wait_s=10.0)
    device = service_app(
        "device",
        [router],
        authenticator=authenticator,
        writes=writes,
        body_bytes_max=10_000,
    )
    app = build_app({"device": device}, registry=CollectorRegistry(), ready={"device": lambda: ready["device"]})
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    headers = {"Authorization": f"Bearer {ADMIN}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://csms", headers=headers) as client:
        yield World(client, gate, keys, app, device, now, ready)
