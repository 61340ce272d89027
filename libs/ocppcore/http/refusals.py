"""Requests that were turned away at the door, counted, and noted by the service now and then (`ocppcore.audit`).

Whatever is thrown at an API costs the log one record in ten seconds with so many kinds of refusals; what has no place
among them is counted together. What was counted is lost when the process is killed: at most those ten seconds.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

import msgspec
import structlog
from starlette.requests import Request as HttpRequest
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ocppcore import envelope
from ocppcore.audit import NOBODY, REFUSALS, REFUSED, NoteRefused, Refused
from ocppcore.clock import Clock
from ocppcore.http.auth import caller_of
from ocppcore.http.paths import template
from ocppcore.log import LogUnavailable

EVERY_S: Final = 10.0
KINDS_MAX: Final = 20
ADDRESS_CHARACTERS_MAX: Final = 64
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
KEPT_OUT: Final = frozenset({401, 403})
DECIDED: Final = "csms.decided"
"""In the scope of a request that a service was asked to decide: it says itself what came of it."""

Append = Callable[[envelope.Request], Awaitable[None]]
"""Appends a request record of this service. Raises LogUnavailable."""

logger = structlog.get_logger(__name__)


class _Kind(NamedTuple):
    actor: str
    method: str
    route: str
    address: str
    status: int


class Refusals:
    """Of one service in one process. `run` notes them until it is cancelled."""

    def __init__(self, service: str, append: Append, clock: Clock, every_s: float = EVERY_S) -> None:
        self._service = service
        self._append = append
        self._clock = clock
        self._every_s = every_s
        self._times: dict[_Kind, int] = {}
        self._since = clock()

    def note(self, actor: str, asked: envelope.Asked, status: int) -> None:
        """Count one that was turned away."""
        if not self._times:
            self._since = self._clock()
        kind = _Kind(actor, asked.method, asked.route, asked.address, status)
        if kind not in self._times and len(self._times) >= KINDS_MAX:
            kind = _Kind(NOBODY, "", "", "", status if status in KEPT_OUT else 400)
        self._times[kind] = self._times.get(kind, 0) + 1

    async def run(self) -> None:
        """Have the service note what was counted, now and then."""
        while True:
            await asyncio.sleep(self._every_s)
            await self.flush()

    async def flush(self) -> None:
        """Have it noted now. While the log does not answer, what was counted stays counted."""
        if not self._times:
            return
        counted, self._times = self._times, {}
        some = tuple(Refused(times=times, since=self._since, **kind._asdict()) for kind, times in counted.items())
        request = envelope.Request(
            f"refusals/{uuid.uuid4()}", REFUSED, REFUSALS, msgspec.json.encode(NoteRefused(refused=some)),
            self._clock(), f"/{self._service}/http", "", "", "",
        )  # fmt: skip
        try:
            await self._append(request)
        except LogUnavailable as error:
            logger.warning("refusals are not noted yet", service=self._service, error=str(error))
            for kind, times in self._times.items():
                counted[kind] = counted.get(kind, 0) + times
            self._times = dict(list(counted.items())[: KINDS_MAX + len(KEPT_OUT) + 1])


class Noted:
    """ASGI: tells `refusals` of every request that was turned away, and of no part of it that could be a secret."""

    def __init__(self, app: ASGIApp, service: str, refusals: Refusals, paths: Sequence[str]) -> None:
        self._app = app
        self._service = service
        self._refusals = refusals
        self._paths = [(compile_path(path)[0], template(path)) for path in paths]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        await self._app(scope, receive, watched)
        changes = scope["method"] not in READING and not scope.get(DECIDED)
        if status in KEPT_OUT or (changes and 400 <= status < 500):
            caller = caller_of(scope)
            self._refusals.note(caller.id if caller else NOBODY, self._asked(scope), status)

    def _asked(self, scope: Scope) -> envelope.Asked:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        route = next((template for regex, template in self._paths if regex.match(path)), "/other")
        return envelope.Asked(_method(scope), f"/{self._service}{route}", address(scope))


def asked(request: HttpRequest, service: str) -> envelope.Asked:
    """How this request came; its route is known by then."""
    route = template(getattr(request.scope.get("route"), "path", "/other"))
    return envelope.Asked(_method(request.scope), f"/{service}{route}", address(request.scope))


def address(scope: Scope) -> str:
    """Where a request comes from; what a trusted proxy said is bounded and without blanks."""
    client = scope.get("client")
    said = "".join(letter for letter in str(client[0]) if letter.isprintable() and letter != " ") if client else ""
    return said[:ADDRESS_CHARACTERS_MAX]


def _method(scope: Scope) -> str:
    return scope["method"] if scope["method"] in METHODS else "other"
