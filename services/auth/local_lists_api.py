"""HTTP API of Local Authorization Lists (D01, D02): rules, what each station has, and bringing it up to date."""

import uuid
from typing import Annotated, Any, cast

import msgspec
from fastapi import APIRouter, Path, Response

from ocppcore.clock import to_rfc3339
from ocppcore.contracts.local_lists import ListRule, PutListRule, RemoveListRule, SyncLocalList
from ocppcore.http.auth import Caller, require
from ocppcore.http.commands import CommandDesk
from ocppcore.http.pages import Page, Wanted, wanted
from ocppcore.http.problems import Problem, documented
from ocppcore.http.progress import Progress, Row
from ocppcore.http.requests import RESPONSES, Write, writing
from ocppcore.pseudonym import Pseudonyms
from ocppcore.store import Among, StateKey, Store, Value
from ocppcore.topics import normalise
from services.auth.domain.local_list import RULES
from services.auth.domain.local_list_tables import LISTS, OPEN, SYNCS
from services.auth.domain.token import DriverKey
from services.auth.drivers import Drivers, Sealed
from services.auth.local_list_bodies import (
    TOKENS_MAX,
    ListShown,
    ListState,
    NamedToken,
    RuleBody,
    RuleId,
    RuleShown,
    RuleStations,
    RuleTokensShown,
    RuleWritten,
    SyncBody,
    SyncShown,
)
from services.auth.projections import TOKENS

RulePath = Annotated[RuleId, Path(alias="ruleId", description="Compared in any case")]
StationPath = Annotated[str, Path(alias="stationId", max_length=48)]
OperationPath = Annotated[str, Path(alias="operationId", max_length=36)]


def router(store: Store, desk: CommandDesk, pseudonyms: Pseudonyms, drivers: Drivers) -> APIRouter:
    """The routes under `/auth`."""
    made = APIRouter(tags=["local lists"])
    _rules(made, store, pseudonyms, drivers)
    _lists(made, store, desk)
    return made


def _rules(made: APIRouter, store: Store, pseudonyms: Pseudonyms, drivers: Drivers) -> None:
    @made.put(
        "/local-lists/{ruleId}", summary="Create or replace a rule for local lists", response_model=RuleWritten,
        responses=RESPONSES | {201: {"model": RuleWritten}},
    )  # fmt: skip
    async def put(id_: RulePath, body: RuleBody, write: Annotated[Write, writing("operator")]) -> Response:
        """Stations whose `automatic.localList` is on get the tokens that it selects, within seconds."""
        key = normalise(id_)
        wanted_rule = PutListRule(rule=body.rule(key, pseudonyms))
        return await write(PutListRule.NAME, key, wanted_rule, location=f"/auth/local-lists/{key}")

    @made.delete(
        "/local-lists/{ruleId}", status_code=204, summary="Remove a rule", responses=RESPONSES | documented(404)
    )
    async def remove(id_: RulePath, write: Annotated[Write, writing("operator")]) -> Response:
        """What it alone gave to stations is taken off them."""
        return await write(RemoveListRule.NAME, normalise(id_), RemoveListRule())

    @made.get(
        "/local-lists", summary="Rules for local lists", dependencies=[require("viewer")],
        responses=documented(401, 403, 422),
    )  # fmt: skip
    async def rules(page: Annotated[Wanted, wanted(str)]) -> Page[RuleShown]:
        rows = await store.select(RULES, after=cast(Any, page.after), limit=page.limit + 1)
        found = page.page(rows, lambda row: (cast(str, row["id"]),))
        return Page(items=[await shown(row) for row in found.items], next=found.next)

    @made.get(
        "/local-lists/{ruleId}", summary="A rule", dependencies=[require("viewer")],
        responses=documented(401, 403, 404, 422),
    )  # fmt: skip
    async def rule(id_: RulePath) -> RuleShown:
        rows = await store.select(RULES, {"id": normalise(id_)}, limit=1)
        if not rows:
            raise Problem(404, "There is no such rule.", title="Unknown rule")
        return await shown(rows[0])

    async def shown(row: Row) -> RuleShown:
        found = msgspec.json.decode(str(row["rule"]), type=ListRule)
        stations, tokens = found.applies_to, found.selects
        named = await values(tokens.ids)
        return RuleShown(
            id=found.id,
            stations=RuleStations(
                all=stations.all, sites=list(stations.sites), groups=list(stations.groups), ids=list(stations.ids)
            ),
            tokens=RuleTokensShown(
                all=tokens.all,
                groups=list(tokens.groups),
                tags=list(tokens.tags),
                idTokens=named,
                unknownIdTokens=len(tokens.ids) - len(named),
            ),
            withRefused=found.refused,
            changedAt=_time(row["changed_at"]),
        )

    async def values(tokens: tuple[str, ...]) -> list[NamedToken]:
        if not tokens:
            return []
        rows = await store.select(TOKENS, among=Among("token", tokens), limit=TOKENS_MAX)
        keys = await store.load([StateKey(DriverKey.KIND, str(row["token"])) for row in rows])
        found = []
        for row in rows:
            data = keys.get(StateKey(DriverKey.KIND, str(row["token"])))
            if data is not None:
                sealed = Sealed(str(row["sealed"]), msgspec.json.decode(data, type=DriverKey).sealed)
                found.append(NamedToken(type=cast(Any, row["type"]), idToken=drivers.open(str(row["token"]), sealed)))
        return found


def _lists(made: APIRouter, store: Store, desk: CommandDesk) -> None:
    syncs = Progress(store, SYNCS, (OPEN,))

    @made.get("/station-local-lists", summary="Stations' local lists", responses=documented(401, 403, 422))
    async def lists(
        caller: Annotated[Caller, require("viewer", within=True)],
        page: Annotated[Wanted, wanted(str)],
        state: ListState | None = None,
    ) -> Page[ListShown]:
        """Of stations that were ever sent one, or are to be."""
        where: dict[str, Value] = {"state": state} if state else {}
        rows = await store.select(
            LISTS, where, after=cast(Any, page.after), limit=page.limit + 1, among=caller.among("station")
        )
        found = page.page(rows, lambda row: (cast(str, row["station"]),))
        return Page(items=[_list_shown(row) for row in found.items], next=found.next)

    @made.get(
        "/stations/{stationId}/local-list", summary="A station's local list", dependencies=[require("viewer")],
        responses=documented(401, 403, 404),
    )  # fmt: skip
    async def station_list(station: StationPath) -> ListShown:
        rows = await store.select(LISTS, {"station": normalise(station)}, limit=1)
        if not rows:
            raise Problem(404, "This station was never sent a local list.", title="No local list")
        return _list_shown(rows[0])

    @made.post(
        "/stations/{stationId}/local-list:sync", summary="Bring a station's local list up to date (D01, D02)",
        response_model=SyncShown, responses=RESPONSES | documented(404, 429),
    )  # fmt: skip
    async def sync(station: StationPath, body: SyncBody, write: Annotated[Write, writing("operator")]) -> Response:
        """Asks for its version, then sends what differs from what the rules give, in as many messages as it takes.
        Answers when the station has all of it, or will not."""
        found = await desk.station(station)
        wanted_sync = SyncLocalList(
            operation_id=str(uuid.uuid4()), identity=found.id, wait_ms=body.effectWithin * 1000, full=body.full
        )
        return await syncs.asked(
            write, SyncLocalList.NAME, found.key, wanted_sync,
            show=_sync_shown, place=f"/auth/stations/{found.id}/local-list-syncs",
        )  # fmt: skip

    @made.get(
        "/stations/{stationId}/local-list-syncs/{operationId}", summary="What became of it",
        dependencies=[require("viewer")], responses=documented(401, 403, 404),
    )  # fmt: skip
    async def one(station: StationPath, operation_id: OperationPath) -> SyncShown:
        row = await syncs.row(operation_id)
        if row is None or row["station"] != normalise(station):
            raise Problem(404, "No such operation at this station.")
        return _sync_shown(row)


def _list_shown(row: Row) -> ListShown:
    return ListShown.model_validate(
        {
            "stationId": row["identity"],
            "state": row["state"],
            "automatic": row["automatic"],
            "version": row["version"] or None,
            "entries": row["entries"],
            "reason": row["reason"],
            "changedAt": _time(row["changed_at"]),
        }
    )


def _sync_shown(row: Row) -> SyncShown:
    return SyncShown.model_validate(
        {
            "operationId": row["operation_id"],
            "stationId": row["identity"],
            "state": row["state"],
            "version": row["version"] or None,
            "entries": row["entries"],
            "reason": row["reason"],
            "askedAt": _time(row["asked_at"]),
            "changedAt": _time(row["changed_at"]),
        }
    )


def _time(ms: Value) -> str:
    return to_rfc3339(cast(int, ms))
