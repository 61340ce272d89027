"""What was asked of a service over HTTP, by whom, from where, and what came of it: for administrators."""

from collections.abc import Mapping
from typing import Annotated, Any, cast

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from ocppcore.audit import TABLE
from ocppcore.clock import to_rfc3339
from ocppcore.http.auth import require
from ocppcore.http.pages import Page, Wanted, wanted
from ocppcore.http.problems import documented
from ocppcore.store import Store, Value
from ocppcore.topics import normalise


class AuditEntry(BaseModel):
    """A request that changes something, or requests that were turned away."""

    at: str = Field(description="When it was decided, or its refusal noted: at most ten seconds later")
    actor: str = Field(description="Id of an API key, or issuer#subject of a token; empty: nobody we know")
    method: str
    route: str = Field(description="A template: paths may hold idTokens", examples=["/device/stations/{stationId}"])
    address: str = Field(description="Where it came from; proxies count as set in CSMS_HTTP_TRUSTED_PROXIES")
    target: str = Field(description="What it is about: a station's id, a token's pseudonym, an API key's id")
    status: int = Field(description="HTTP status of the outcome")
    times: int = Field(description="More than 1: so many refusals of this kind")


def router(store: Store) -> APIRouter:
    """`GET /audit`, for administrators who reach all stations."""
    made = APIRouter(tags=["audit"])

    @made.get(
        "/audit", summary="Who asked for what", dependencies=[require("admin")], responses=documented(401, 403, 422)
    )
    async def audit(
        page: Annotated[Wanted, wanted(int, str)],
        actor: Annotated[str | None, Query(max_length=600)] = None,
        target: Annotated[str | None, Query(max_length=200, description="In any case")] = None,
    ) -> Page[AuditEntry]:
        """Every write that this service decided, and what was turned away, newest first."""
        asked = {"actor": actor, "target": normalise(target) if target is not None else None}
        where = {column: value for column, value in asked.items() if value is not None}
        rows = await store.select(
            TABLE, where, after=cast(Any, page.after), order=("at",), descending=True, limit=page.limit + 1
        )
        found = page.page(rows, lambda row: cast(Any, (row["at"], row["id"])))
        return Page(items=[_entry(row) for row in found.items], next=found.next)

    return made


def _entry(row: Mapping[str, Value]) -> AuditEntry:
    shown = {name: value for name, value in row.items() if name != "id"}
    return AuditEntry.model_validate({**shown, "at": to_rfc3339(cast(int, row["at"]))})
