"""The door of the APIs: Bearer API keys, or tokens (`oidc.py`). Closed by default: a route names the scope it needs, or
there is no route; and who reaches some stations only gets no further than routes about one of them.

Keys are long and random, so their stored form is a keyed hash: a stolen table tells nothing, and a look-up is as
quick for a wrong key as for a right one.
"""

import asyncio
import hashlib
from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any, Final, Literal, NamedTuple, Protocol

import msgspec
import structlog
from fastapi import Depends, FastAPI, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as ASGIScope

from ocppcore import topics
from ocppcore.clock import Clock, system_clock
from ocppcore.contracts.auth import ApiKeyState, Scope
from ocppcore.http.oidc import Tokens, is_token
from ocppcore.http.problems import Problem
from ocppcore.http.reach import SCOPES, Caller
from ocppcore.log import Log, Record, TopicPartition
from ocppcore.newest import Newest

__all__ = ["SCOPES", "Authenticator", "Caller", "Door", "KeyRing", "assert_closed", "hash_key", "require"]

KEY_CHARACTERS_MAX: Final = 500
FETCH_RECORDS_MAX: Final = 1000
FETCH_WAIT_S: Final = 5.0

logger = structlog.get_logger(__name__)


class KeysBehind(Exception):
    """The copy of the API keys has not caught up: nobody can say that a key is unknown."""


class ApiKeys(Protocol):
    """The keys that are in force, by `hash_key`."""

    async def find(self, hash_: str) -> Caller | None:
        """Raises KeysBehind."""


def hash_key(key: str, secret: bytes) -> str:
    """The stored form of an API key; `secret` is `CSMS_PASSWORD_KEY`. 64 hexadecimal digits."""
    short = hashlib.blake2b(secret, digest_size=32).digest()
    return hashlib.blake2b(
        key.encode(errors="surrogatepass"), digest_size=32, key=short, person=b"csms-api-key"
    ).hexdigest()


class _Known(NamedTuple):
    caller: Caller
    expires_at: int | None


class KeyRing:
    """This process's copy of `auth.apikeys`, in memory. `run` follows the topic; `find` waits for what it lacks."""

    def __init__(self, log: Log, partitions: int, wait_s: float = 2.0, clock: Clock = system_clock) -> None:
        self._log = log
        self._clock = clock
        self._partitions = [TopicPartition(topics.APIKEYS, number) for number in range(partitions)]
        self._wait_s = wait_s
        self._by_hash: dict[str, _Known] = {}
        self._hash_by_id: dict[str, str] = {}
        self._newest = Newest()
        self._positions: dict[TopicPartition, int] = {}
        self._moved = asyncio.Condition()
        self._lock = asyncio.Lock()
        self._questions = self._answered = 0
        self.ready = asyncio.Event()
        """Set once it has read what was there when it began."""

    async def run(self) -> None:
        """Follow the topic until cancelled. Raises LogUnavailable, PositionLost."""
        self._positions = dict(await self._log.starts(self._partitions))
        ends = await self._log.ends(self._partitions)
        reader = self._log.reader()
        try:
            reader.assign(self._positions)
            while True:
                if not self.ready.is_set() and self._reached(ends):
                    self.ready.set()
                records = await reader.fetch(FETCH_RECORDS_MAX, FETCH_WAIT_S if self.ready.is_set() else 0.1)
                for record in records:
                    self.apply(record)
                    self._positions[TopicPartition(record.topic, record.partition)] = record.position + 1
                async with self._moved:
                    self._moved.notify_all()
        finally:
            await reader.close()

    def apply(self, record: Record) -> None:
        """Fold one record. One that cannot be read takes its key out of force; one that came late changes nothing."""
        if not self._newest.takes(record):
            return
        self._by_hash.pop(self._hash_by_id.pop(record.key, ""), None)
        try:
            state = msgspec.json.decode(record.value, type=ApiKeyState)
        except msgspec.DecodeError as error:
            logger.error("an API key's record cannot be read", key_id=record.key, error=str(error))
            return
        if not state.deleted and not state.disabled:
            self._by_hash[state.hash] = _Known(Caller(state.id, state.scope, state.stations), state.expires_at)
            self._hash_by_id[record.key] = state.hash

    async def find(self, hash_: str) -> Caller | None:
        """The key of this hash. One that was created a moment before is waited for, then found. Raises KeysBehind."""
        found = self._by_hash.get(hash_)
        if found is None:
            await self._catch_up()
            found = self._by_hash.get(hash_)
        if found is None or (found.expires_at is not None and found.expires_at <= self._clock()):
            return None
        return found.caller

    async def _catch_up(self) -> None:
        """Have read what the log held when this was called. Many wrong keys at once ask the log once."""
        self._questions += 1
        question = self._questions
        try:
            async with asyncio.timeout(self._wait_s), self._lock:
                if self._answered < question:
                    asked = self._questions
                    await self._reach_end()
                    self._answered = asked
        except TimeoutError:
            raise KeysBehind from None

    async def followed(self) -> bool:
        """Wait until it has read to the log's end as it is now, or the time for that is over; whether it has."""
        try:
            await self._catch_up()
        except KeysBehind:
            return False
        return True

    async def _reach_end(self) -> None:
        await self.ready.wait()
        ends = await self._log.ends(self._partitions)
        async with self._moved:
            await self._moved.wait_for(lambda: self._reached(ends))

    def _reached(self, ends: Mapping[TopicPartition, int]) -> bool:
        return all(self._positions.get(partition, 0) >= end for partition, end in ends.items())


class Authenticator:
    """Turns a Bearer key, or with `tokens` an issuer's token, into a Caller."""

    def __init__(self, keys: ApiKeys, secret: bytes, tokens: Tokens | None = None) -> None:
        self._keys = keys
        self._secret = secret
        self._tokens = tokens

    async def caller(self, key: str) -> Caller:
        """Raises Problem 401 for a key that is none, 503 while that cannot be said."""
        if self._tokens is not None and is_token(key):
            return await self._tokens.caller(key)
        if not key or len(key) > KEY_CHARACTERS_MAX:
            raise unauthorized("An API key is needed: Authorization: Bearer KEY.")
        try:
            found = await self._keys.find(hash_key(key, self._secret))
        except KeysBehind:
            raise Problem(503, "The API keys have not been read up to now.", headers={"Retry-After": "2"}) from None
        if found is None:
            raise unauthorized("This API key is not in force.")
        return found


def unauthorized(detail: str) -> Problem:
    return Problem(401, detail, headers={"WWW-Authenticate": 'Bearer realm="csms"'})


class Door:
    """ASGI: lets nobody in without a known API key or token, before a byte of the body is read. `public`: open paths.

    Whom it lets in is in the scope, where `require` finds him.
    """

    def __init__(self, app: ASGIApp, authenticator: Authenticator, public: Collection[str]) -> None:
        self._app = app
        self._authenticator = authenticator
        self._public = public

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "").removeprefix(scope.get("root_path", ""))
        if scope["type"] == "http" and path not in self._public:
            kind, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
            try:
                scope[_CALLER] = await self._authenticator.caller(key.strip() if kind.lower() == "bearer" else "")
            except Problem as problem:
                problem.headers["Connection"] = "close"
                await problem.response()(scope, receive, send)
                return
        await self._app(scope, receive, send)


_CALLER: Final = "csms.caller"
_REQUIRES: Final = "__csms_requires__"
STATION: Final = "stationId"
"""The path parameter that names a station, in every route that has one."""
_bearer = HTTPBearer(
    auto_error=False, scheme_name="Bearer", description="An API key, or a token of an OpenID Connect issuer"
)

Stations = Literal["path", "within", "all"]
"""Whom a route lets in of those who reach some stations only: `path`, who reach the station in its path; `within`, all,
and it shows and changes nothing beyond their stations itself; `all`, none of them."""


class Requirement(NamedTuple):
    """What a route asks of its caller."""

    scope: Scope
    stations: Stations


def require(scope: Scope, *, within: bool = False) -> Any:
    """A dependency that lets in callers with this scope or a higher one, and is the Caller.

    `caller: Annotated[Caller, require("operator")]`, or `dependencies=[require("viewer")]` for a whole router. A route
    with `{stationId}` in its path is for those who reach this station, any other for those who reach all; `within`:
    the route itself keeps a caller within his stations.
    """

    async def caller(request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> Caller:
        known: Caller = request.scope[_CALLER]
        if not known.may(scope):
            raise Problem(403, f"This needs the scope {scope}; the caller has {known.scope}.")
        station = request.path_params.get(STATION)
        if station is not None:
            check_reach(known, station)
        elif known.stations is not None and not within:
            raise Problem(403, "This concerns all stations; the caller reaches some only.")
        return known

    setattr(caller, _REQUIRES, (scope, within))
    return Depends(caller)


def caller_of(scope: ASGIScope) -> Caller | None:
    """Whom the Door let in; None where it refused, or was not asked."""
    found: Caller | None = scope.get(_CALLER)
    return found


def check_reach(caller: Caller, station_id: str) -> None:
    """Raise Problem 403 for a station that the caller does not reach, whether or not there is one of this id."""
    if not caller.reaches(station_id):
        raise Problem(403, "This station is not among those that the caller reaches.")


def requirements(app: FastAPI) -> Iterator[tuple[RouteContext, Requirement | None]]:
    """Every route of the API and what it asks; None: it asks for nothing."""
    for route in iter_route_contexts(app.routes):
        if isinstance(route.original_route, APIRoute):
            yield route, _requirement(str(route.path), list(_required(route.dependant)))


def _requirement(path: str, asked: list[tuple[Scope, bool]]) -> Requirement | None:
    if not asked:
        return None
    scope = max((scope for scope, _ in asked), key=SCOPES.index)
    if f"{{{STATION}}}" in path:
        return Requirement(scope, "path")
    return Requirement(scope, "within" if all(within for _, within in asked) else "all")


def _required(dependant: Dependant) -> Iterator[tuple[Scope, bool]]:
    if own := getattr(dependant.call, _REQUIRES, None):
        yield own
    for inner in dependant.dependencies:
        yield from _required(inner)


def assert_closed(app: FastAPI) -> None:
    """Raise AssertionError if a route asks for no scope, or names a station by another parameter than `STATION`."""
    for route, asked in requirements(app):
        assert asked, f"{route.path} requires no scope"
        assert "/stations/{" not in str(route.path) or asked.stations == "path", f"{route.path} hides its station"
