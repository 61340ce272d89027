"""HTTP API of Authorization Caches (C11): clear that of a station, and see where a token may be in one. No rules."""

from collections.abc import Sequence
from typing import Annotated, Final, Literal, cast

import orjson
from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel

from ocppcore.clock import to_rfc3339
from ocppcore.contracts.auth import Cached, ClearCache
from ocppcore.http.auth import require
from ocppcore.http.commands import OPEN, CommandDesk
from ocppcore.http.problems import documented
from ocppcore.http.progress import begin
from ocppcore.http.requests import RESPONSES, Write, writing
from ocppcore.pseudonym import Pseudonyms
from ocppcore.store import Store
from services.auth.bodies import IdToken, TokenType
from services.auth.domain.caches import CACHED, STATIONS_MAX, FindCached

QUEUE_S_MAX: Final = 7 * 24 * 3600


class CacheShown(BaseModel):
    """`state`: asked, cleared (the station said so), rejected (it has no cache, or keeps it), failed (no answer)."""

    stationId: str
    commandId: str
    state: Literal["asked", "cleared", "rejected", "failed"]


class CachedShown(BaseModel):
    """A station that was told Accepted and may have kept that."""

    stationId: str
    since: str


def finding(store: Store) -> FindCached:
    """Where a token may be in a cache."""

    async def find(pseudonym: str) -> Sequence[Cached]:
        rows = await store.select(CACHED, {"token": pseudonym}, limit=STATIONS_MAX)
        return [Cached(cast(str, row["station"]), cast(int, row["at"])) for row in rows]

    return find


def router(store: Store, desk: CommandDesk, pseudonyms: Pseudonyms) -> APIRouter:
    """The routes under `/auth`."""
    made = APIRouter(tags=["authorization caches"])
    find = finding(store)

    @made.post(
        "/stations/{stationId}/cache:clear", summary="Clear a station's Authorization Cache", response_model=CacheShown,
        responses=RESPONSES | documented(404),
    )  # fmt: skip
    async def clear(
        station: Annotated[str, Path(alias="stationId", max_length=48)],
        write: Annotated[Write, writing("operator")],
        queue_for: Annotated[
            int, Query(alias="queueFor", ge=0, le=QUEUE_S_MAX, description="Seconds to wait for a station that is away")
        ] = 0,
    ) -> Response:
        """Answers when the station has (C11)."""
        found = await desk.station(station)
        ask = desk.ask(found, "ClearCache", b"{}", queue_for_ms=queue_for * 1000)
        begun = await begin(write, ClearCache.NAME, found.key, ClearCache(ask=ask))
        if isinstance(begun, Response):
            return begun
        command_id = str(begun.body["commandId"])
        row = await desk.ended(command_id, begun.left_s())
        status = str(row["status"]) if row else OPEN[0]
        response = orjson.loads(str(row["response"])) if row and row["response"] else {}
        state: Literal["asked", "cleared", "rejected", "failed"] = "failed"
        if status in OPEN:
            state = "asked"
        elif status == "answered":
            state = "cleared" if response.get("status") == "Accepted" else "rejected"
        shown = CacheShown(stationId=found.id, commandId=command_id, state=state)
        headers = {"Location": f"/auth/commands/{command_id}"}
        return Response(shown.model_dump_json(), 202 if state == "asked" else 200, headers, "application/json")

    @made.get(
        "/caches", summary="Stations that may hold a token in their cache", dependencies=[require("viewer")],
        responses=documented(401, 403, 422),
    )  # fmt: skip
    async def cached(
        kind: Annotated[TokenType, Query(alias="type")], value: Annotated[IdToken, Query(alias="idToken")]
    ) -> list[CachedShown]:
        """At most the first 1000: each that answered Accepted, until it was told otherwise."""
        rows = await find(pseudonyms.of(kind, value))
        return [CachedShown(stationId=one.station, since=to_rfc3339(one.at)) for one in rows]

    return made
