"""HTTP API of alarms about certificates (A02, error handling). No rules."""

from collections.abc import Mapping
from itertools import takewhile
from typing import Annotated, Any, cast

from fastapi import APIRouter, Query

from ocppcore.clock import to_rfc3339
from ocppcore.contracts.certificates import CertificateAlarm
from ocppcore.http.auth import Caller, require
from ocppcore.http.pages import Page, Wanted, wanted
from ocppcore.http.problems import documented
from ocppcore.store import Store, Value
from ocppcore.topics import normalise
from ocppcore.wire import DateTime
from services.auth.certificate_bodies import CertificateAlarmShown
from services.auth.domain.certificate_alarm import ALARMS


def router(store: Store) -> APIRouter:
    """The route under `/auth`."""
    made = APIRouter(tags=["certificates"])

    @made.get("/certificate-alarms", summary="Alarms about certificates", responses=documented(401, 403, 422))
    async def alarms(
        caller: Annotated[Caller, require("viewer", within=True)],
        page: Annotated[Wanted, wanted(int, str, str, str)],
        station: Annotated[str | None, Query(alias="stationId", max_length=48)] = None,
        what: CertificateAlarm | None = None,
        request_id: Annotated[str | None, Query(alias="requestId", max_length=64)] = None,
        since: Annotated[DateTime | None, Query(description="Raised then or later")] = None,
    ) -> Page[CertificateAlarmShown]:
        """The newest first. Each says why a station will not get its certificate by itself; they stay."""
        asked: dict[str, Value] = {
            "station": normalise(station) if station else None,
            "what": what,
            "request_id": request_id,
        }
        rows = await store.select(
            ALARMS,
            {column: value for column, value in asked.items() if value is not None},
            after=cast(Any, page.after),
            descending=True,
            limit=page.limit + 1,
            among=caller.among("station"),
        )
        from_ms = None if since is None else round(since.timestamp() * 1000)
        late = list(takewhile(lambda row: from_ms is None or cast(int, row["at"]) >= from_ms, rows))
        found = page.page(late, lambda row: cast(Any, tuple(row[name] for name in ALARMS.key)))
        return Page(items=[_shown(row) for row in found.items], next=found.next)

    return made


def _shown(row: Mapping[str, Value]) -> CertificateAlarmShown:
    return CertificateAlarmShown.model_validate(
        {
            "stationId": row["identity"],
            "what": row["what"],
            "reason": row["reason"],
            "requestId": row["request_id"] or None,
            "raisedAt": to_rfc3339(cast(int, row["at"])),
        }
    )
