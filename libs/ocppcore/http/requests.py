"""A write over HTTP: turned into a request record, decided by the engine, answered with its outcome.

By default the answer waits for the outcome (`Prefer: wait=n`, RFC 7240); not done by then, or with `Prefer:
respond-async`, it is 202 and the `Location` of an operation that any replica can answer. With an `Idempotency-Key` a
repeat within 24 hours gets the first one's outcome, and another request under the same key is refused with 422.
"""

import asyncio
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal, NamedTuple, Protocol

import msgspec
import orjson
from fastapi import APIRouter, Depends, Header, Request, Response
from pydantic import BaseModel, Field

from ocppcore import envelope, telemetry
from ocppcore.clock import Clock
from ocppcore.contracts.auth import Scope
from ocppcore.http import problems
from ocppcore.http.auth import Caller, require
from ocppcore.http.problems import FieldError, Problem
from ocppcore.http.refusals import DECIDED, asked
from ocppcore.service import Operation

WAIT_S_MAX: Final = 60.0
KEPT_MS: Final = 24 * 3600 * 1000
POLL_AGAIN_S: Final = 1
LOOK_S: Final = 0.5
"""How long a look at an operation waits for the change to be in force."""
IDEMPOTENCY_KEY: Final = r"^[\x21-\x7e]{1,200}$"


class RequestGate(Protocol):
    """Where writes are decided; `ocppcore.engine.loop.Engine` is one. Raises LogUnavailable, StoreUnavailable."""

    async def submit(self, request: envelope.Request, wait_s: float) -> Operation | None:
        """Append it durably; its outcome, or None when that has not come within `wait_s`. A repeat of its id gets
        the outcome of the first."""

    async def find(self, request_id: str) -> Operation | None:
        """The outcome of a request; None while there is none, or 24 hours after."""

    async def in_force(self, wait_s: float) -> bool:
        """Wait, at most so long, until every process has read what was decided; whether they have."""


class Preference(NamedTuple):
    """What `Prefer` asks: how long to wait for the outcome, and what of it was heeded (`Preference-Applied`)."""

    wait_s: float
    applied: str


def preference(prefer: str, wait_s: float) -> Preference:
    """RFC 7240; what is not understood is ignored. `wait_s`: without a preference."""
    asked: dict[str, str] = {}
    for part in prefer.split(","):
        name, _, value = part.partition(";")[0].partition("=")
        asked.setdefault(name.strip().lower(), value.strip().strip('"'))
    applied = []
    if re.fullmatch(r"[0-9]{1,6}", asked.get("wait", "")):
        wait_s = min(float(asked["wait"]), WAIT_S_MAX)
        applied.append(f"wait={wait_s:.0f}")
    if "respond-async" in asked:
        wait_s = wait_s if applied else 0.0
        applied.append("respond-async")
    return Preference(wait_s, ", ".join(applied))


class OperationModel(BaseModel):
    """What became of a write. `result` holds the HTTP status and body that a waiting caller would have got."""

    id: str
    status: Literal["pending", "done"]
    result: dict[str, Any] | None = Field(None, examples=[{"status": 201, "body": {"id": "CS-1"}}])


class Outcome(NamedTuple):
    """`operation` None: still pending. `first`: decided for this very request, not for an earlier one of its key."""

    operation: Operation | None
    first: bool


@dataclass(frozen=True)
class Writes:
    """What all writes of one service share; `secret` signs the ids of operations."""

    service: str
    gate: RequestGate
    clock: Clock
    secret: bytes
    wait_s: float

    def digest(self, *parts: bytes) -> str:
        """32 hexadecimal digits over the parts, under the secret."""
        return hmac.new(self.secret, b"".join(len(p).to_bytes(4) + p for p in parts), hashlib.sha256).hexdigest()[:32]

    def operation_id(self, caller: Caller, core: str) -> str:
        issued = f"{self.clock():x}"
        return f"{core}-{issued}-{self._mark(caller, core, issued)}"

    def read_operation_id(self, caller: Caller, id_: str) -> str | None:
        """The core of an id that this caller was given within the last 24 hours, else None."""
        core, _, rest = id_.partition("-")
        issued, _, mark = rest.partition("-")
        if not hmac.compare_digest(mark.encode(), self._mark(caller, core, issued).encode()):
            return None
        return core if self.clock() - int(issued, 16) < KEPT_MS else None

    def _mark(self, caller: Caller, core: str, issued: str) -> str:
        return self.digest(b"operation", caller.id.encode(), core.encode(), issued.encode())[:16]


class Write:
    """One HTTP request that changes something: call it to have the change decided and to answer."""

    def __init__(
        self,
        writes: Writes,
        caller: Caller,
        prefer: Preference,
        idempotency_key: str,
        fingerprint: str,
        request: Request,
    ) -> None:
        self.caller = caller
        self._request = request
        self.wait_s = prefer.wait_s
        self._writes = writes
        self._prefer = prefer
        self._repeatable = bool(idempotency_key)
        digest = writes.digest(b"idempotency", caller.id.encode(), idempotency_key.encode())
        self._core = digest if idempotency_key else secrets.token_hex(16)
        self._fingerprint = fingerprint
        self._nonce = secrets.token_hex(8)
        self.request_id = _request_id(caller, self._core)

    async def outcome(self, type_: str, key: str, body: msgspec.Struct | bytes, wait_s: float) -> Outcome:
        """Have it decided. Raises Problem 422 if the Idempotency-Key was used for something else."""
        began = asyncio.get_running_loop().time()
        known = await self._writes.gate.find(self.request_id) if self._repeatable else None
        if known is not None and known.status != HTTPStatus.SERVICE_UNAVAILABLE:
            return await self._in_force(self._compared(known), wait_s)
        request = envelope.Request(
            id=self.request_id,
            type=type_,
            key=key,
            body=body if isinstance(body, bytes) else msgspec.json.encode(body),
            received_at=self._writes.clock(),
            source=f"/{self._writes.service}/http",
            actor=self.caller.id,
            fingerprint=f"{self._fingerprint}/{self._nonce}",
            traceparent=telemetry.current(),
            asked=asked(self._request, self._writes.service),
        )
        self._request.scope[DECIDED] = True
        operation = await self._writes.gate.submit(request, wait_s)
        if operation is None:
            return Outcome(None, first=True)
        left = wait_s - (asyncio.get_running_loop().time() - began)
        return await self._in_force(self._compared(operation), max(0.0, left))

    async def _in_force(self, outcome: Outcome, wait_s: float) -> Outcome:
        """A change that copies elsewhere have not read yet is not done yet."""
        operation = outcome.operation
        if operation is None or await is_in_force(self._writes.gate, operation, wait_s):
            return outcome
        return outcome._replace(operation=None)

    async def __call__(
        self,
        type_: str,
        key: str,
        body: msgspec.Struct | bytes,
        *,
        location: str = "",
        once: Mapping[str, Any] | None = None,
    ) -> Response:
        """Have it decided and answer: with its outcome, a problem, or 202 when it is not done, or not in force, yet.

        `body`: the request record's, of this `type_`, for the aggregate `key` (normalised). `location`: the resource,
        for 201. `once`: members shown to the first caller only and kept nowhere (a password that was just made).
        """
        operation, first = await self.outcome(type_, key, body, self.wait_s)
        shown = dict(once or {}) if first else {}
        if operation is None:
            return self.pending(shown)
        return self.answer(operation, location, shown)

    def pending(self, shown: Mapping[str, Any]) -> Response:
        """202: the outcome is to be asked for."""
        id_ = self._writes.operation_id(self.caller, self._core)
        headers = {"Location": f"/{self._writes.service}/operations/{id_}", "Retry-After": str(POLL_AGAIN_S)}
        body = orjson.dumps({"id": id_, "status": "pending", "result": None, **shown})
        return self._response(body, HTTPStatus.ACCEPTED, headers, "application/json")

    def answer(self, operation: Operation, location: str, shown: Mapping[str, Any]) -> Response:
        """The outcome, as the one who waited for it gets it."""
        headers = {}
        if operation.status == HTTPStatus.CREATED and location:
            headers["Location"] = location
        if operation.status == HTTPStatus.SERVICE_UNAVAILABLE:
            headers["Retry-After"] = str(problems.RETRY_AFTER_S)
        refused = operation.status >= HTTPStatus.BAD_REQUEST
        body = bytes(operation.body)
        if operation.status == HTTPStatus.NO_CONTENT:
            body = b""
        elif refused and (traceparent := telemetry.current()):
            body = orjson.dumps(orjson.loads(body) | {"traceId": traceparent.split("-")[1]})
        elif shown and not refused:
            body = orjson.dumps(orjson.loads(body) | dict(shown))
        return self._response(body, operation.status, headers, problems.MEDIA_TYPE if refused else "application/json")

    def _response(self, body: bytes, status: int, headers: dict[str, str], media_type: str) -> Response:
        if self._prefer.applied:
            headers["Preference-Applied"] = self._prefer.applied
        return Response(body, status, headers, media_type if body else None)

    def _compared(self, operation: Operation) -> Outcome:
        fingerprint, _, nonce = operation.fingerprint.partition("/")
        if fingerprint != self._fingerprint:
            self._request.scope[DECIDED] = False
            fault = FieldError("header.Idempotency-Key", "was used for another request within the last 24 hours")
            raise Problem(422, f"{fault.field} {fault.detail}", title="Idempotency-Key in use", errors=[fault])
        return Outcome(operation, first=nonce == self._nonce)


async def is_in_force(gate: RequestGate, operation: Operation, wait_s: float) -> bool:
    """Whether everybody who must know of a change does; one that was refused, or is nobody else's business, is."""
    return operation.status >= HTTPStatus.BAD_REQUEST or not operation.spreads or await gate.in_force(wait_s)


def _request_id(caller: Caller, core: str) -> str:
    return f"http/{caller.id}/{core}"


def writing(scope: Scope, *, within: bool = False) -> Any:
    """A dependency for routes that change something: `write: Annotated[Write, writing("operator")]`; see `require`."""

    async def make(
        request: Request,
        caller: Annotated[Caller, require(scope, within=within)],
        prefer: Annotated[str, Header(max_length=200, description="`wait=SECONDS` or `respond-async` (RFC 7240)")] = "",
        idempotency_key: Annotated[
            str | None, Header(pattern=IDEMPOTENCY_KEY, description="A repeat within 24 h gets the first outcome")
        ] = None,
    ) -> Write:
        writes: Writes = request.app.state.writes
        url = request.url
        fingerprint = writes.digest(
            b"body", request.method.encode(), url.path.encode(), url.query.encode(), await request.body()
        )
        return Write(writes, caller, preference(prefer, writes.wait_s), idempotency_key or "", fingerprint, request)

    return Depends(make)


RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    202: {
        "description": "Accepted: not done yet, ask at Location",
        "model": OperationModel,
        "headers": {"Location": {"schema": {"type": "string"}}, "Retry-After": {"schema": {"type": "integer"}}},
    },
    **problems.documented(400, 401, 403, 413, 415, 422, 503),
}
"""For `responses=` of routes that change something."""

operations = APIRouter(tags=["operations"])


@operations.get(
    "/operations/{operationId}",
    summary="What became of a write",
    responses=problems.documented(401, 404, 503),
)
async def operation(
    request: Request, operationId: str, caller: Annotated[Caller, require("viewer", within=True)]
) -> OperationModel:
    """The outcome of a write that was answered with 202; kept for 24 hours, for the caller who asked for it."""
    writes: Writes = request.app.state.writes
    core = writes.read_operation_id(caller, operationId)
    if core is None:
        raise Problem(404, "No such operation, or it ended more than 24 hours ago, or another caller's.")
    found = await writes.gate.find(_request_id(caller, core))
    if found is None or not await is_in_force(writes.gate, found, LOOK_S):
        return OperationModel(id=operationId, status="pending", result=None)
    return OperationModel(
        id=operationId, status="done", result={"status": found.status, "body": orjson.loads(bytes(found.body))}
    )
