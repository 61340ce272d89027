"""HTTP API of security events: what stations reported (A04) and what the CSMS observed (A00.FR.408)."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter, Query

from ocppcore.clock import to_rfc3339
from ocppcore.http.auth import Caller, require
from ocppcore.http.pages import Page, Wanted, wanted
from ocppcore.http.problems import documented
from ocppcore.store import Store, Value
from ocppcore.topics import normalise
from services.device.changes_bodies import SecurityEventShown
from services.device.domain.security_event import SECURITY_EVENTS


def router(store: Store) -> APIRouter:
    """The routes under `/device`."""
    made = APIRouter(tags=["security events"])

    @made.get("/security-events", summary="Security events of stations", responses=documented(401, 403, 422))
    async def listed(
        caller: Annotated[Caller, require("viewer", within=True)],
        page: Annotated[Wanted, wanted(int, str, int)],
        station: Annotated[str | None, Query(alias="stationId", max_length=48)] = None,
        type_: Annotated[str | None, Query(alias="type", max_length=50)] = None,
        critical: Annotated[bool | None, Query(description="By the standard's list")] = None,
        observed_by: Annotated[
            Literal["station", "csms"] | None, Query(alias="observedBy", description="Who saw it")
        ] = None,
    ) -> Page[SecurityEventShown]:
        """As they came, the newest first; they stay when the station is removed."""
        asked: dict[str, Value] = {
            "station": normalise(station) if station else None,
            "type": type_,
            "critical": critical,
            "observed_by": observed_by,
        }
        rows = await store.select(
            SECURITY_EVENTS,
            {column: value for column, value in asked.items() if value is not None},
            after=cast(Any, page.after),
            order=("received_at",),
            descending=True,
            limit=page.limit + 1,
            among=caller.among("station"),
        )
        found = page.page(rows, lambda row: cast(Any, (row["received_at"], row["station"], row["number"])))
        return Page(items=[_shown(row) for row in found.items], next=found.next)

    return made


def _shown(row: Mapping[str, Value]) -> SecurityEventShown:
    return SecurityEventShown.model_validate(
        {
            "stationId": row["identity"],
            "number": row["number"],
            "type": row["type"],
            "critical": row["critical"],
            "timestamp": to_rfc3339(cast(int, row["timestamp"])),
            "receivedAt": to_rfc3339(cast(int, row["received_at"])),
            "techInfo": row["tech_info"],
            "observedBy": row["observed_by"],
        }
    )
