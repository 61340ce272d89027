"""HTTP API of tokens in bulk: imports in parts, and an export. No rules.

A part is one request for each of its lines, decided like any other write of a token; the answer comes when all of them
are decided and counted. Memory: one part for each client that sends one.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, cast

import msgspec
import orjson
from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from ocppcore import envelope
from ocppcore.clock import Clock, to_rfc3339
from ocppcore.contracts.auth import PutToken
from ocppcore.contracts.imports import CountImportPart, FinishImport, Refusal, StartImport
from ocppcore.http.auth import require
from ocppcore.http.pages import Page, Wanted, wanted
from ocppcore.http.problems import FieldError, Problem, documented
from ocppcore.http.progress import Row, begin, look
from ocppcore.http.requests import RESPONSES, Write, writing
from ocppcore.pseudonym import Pseudonyms
from ocppcore.service import Operation
from ocppcore.store import StateKey, Store, Value
from services.auth.bodies import TokenShown
from services.auth.domain.token import DriverKey
from services.auth.drivers import Drivers, Sealed
from services.auth.imports import lines
from services.auth.imports.bodies import (
    FinishBody,
    ImportBody,
    ImportMade,
    ImportShown,
    PartCounted,
    PartShown,
    RefusalShown,
)
from services.auth.imports.job import IMPORTS, PARTS, PARTS_MAX, REFUSALS
from services.auth.projections import TOKENS

CSV: Final = "text/csv"
JSONL: Final = "application/x-ndjson"
RAW_PATHS: Final = r"/token-imports/[^/]+/parts/[^/]+"
"""Of requests whose body is no JSON."""
APPEND: Final = 500
DECIDED_WITHIN_S: Final = 60.0
LOOK_MAX_S: Final = 0.25
EXPORT_PAGE: Final = 500
REFUSALS_SHOWN: Final = 20
LINE_MAX: Final = 2**53

ImportPath = Annotated[str, Path(alias="importId", pattern=r"^[0-9a-f]{24}$")]
PartPath = Annotated[int, Path(alias="part", ge=0, lt=PARTS_MAX, description="From 0")]


@dataclass(frozen=True)
class Importing:
    """What imports need. `append`: makes requests durable, in order; `in_force`: waits, at most so long, until every
    process has read what was decided."""

    store: Store
    clock: Clock
    pseudonyms: Pseudonyms
    drivers: Drivers
    append: Callable[[Sequence[envelope.Request]], Awaitable[None]]
    in_force: Callable[[float], Awaitable[bool]]


def router(with_: Importing) -> APIRouter:
    """The routes under `/auth`."""
    made = APIRouter(tags=["tokens in bulk"])
    _jobs(made, with_)
    _parts(made, with_)
    _export(made, with_.store, with_.drivers)
    return made


def _jobs(made: APIRouter, with_: Importing) -> None:
    store = with_.store

    @made.post(
        "/token-imports", status_code=201, summary="Begin an import of tokens", response_model=ImportMade,
        responses=RESPONSES,
    )  # fmt: skip
    async def start(body: ImportBody, write: Annotated[Write, writing("operator")]) -> Response:
        """With an `Idempotency-Key`, the same import again: go on with the parts that are not done."""
        id_ = hashlib.blake2b(write.request_id.encode(), digest_size=12).hexdigest()
        return await write(StartImport.NAME, id_, StartImport(name=body.name), location=f"/auth/token-imports/{id_}")

    @made.post(
        "/token-imports/{importId}:finish", summary="All parts were sent", response_model=ImportShown,
        responses=RESPONSES | documented(404, 409),
    )  # fmt: skip
    async def finish(id_: ImportPath, body: FinishBody, write: Annotated[Write, writing("operator")]) -> Response:
        """200 once the tokens are in force everywhere, else 202."""
        begun = await begin(write, FinishImport.NAME, id_, FinishImport(parts=body.parts))
        if isinstance(begun, Response):
            return begun
        if not await with_.in_force(begun.left_s()):
            return write.pending({})
        row = (await store.select(IMPORTS, {"import_id": id_}, limit=1))[0]
        return Response(_shown(row).model_dump_json(), media_type="application/json")

    @made.get(
        "/token-imports", summary="Imports of tokens", dependencies=[require("viewer")],
        responses=documented(401, 403, 422),
    )  # fmt: skip
    async def imports(page: Annotated[Wanted, wanted(int, str)]) -> Page[ImportShown]:
        """Newest first."""
        rows = await store.select(
            IMPORTS, after=cast(Any, page.after), order=("started_at",), descending=True, limit=page.limit + 1
        )
        found = page.page(rows, lambda row: cast(Any, (row["started_at"], row["import_id"])))
        return Page(items=[_shown(row) for row in found.items], next=found.next)

    @made.get(
        "/token-imports/{importId}", summary="An import", dependencies=[require("viewer")],
        responses=documented(401, 403, 404, 422),
    )  # fmt: skip
    async def one(id_: ImportPath) -> ImportShown:
        return _shown(await _job(store, id_))

    @made.get(
        "/token-imports/{importId}/parts", summary="The parts that are done", dependencies=[require("viewer")],
        responses=documented(401, 403, 404, 422),
    )  # fmt: skip
    async def parts(id_: ImportPath, page: Annotated[Wanted, wanted(str, int)]) -> Page[PartShown]:
        await _job(store, id_)
        rows = await store.select(PARTS, {"import_id": id_}, after=cast(Any, page.after), limit=page.limit + 1)
        found = page.page(rows, lambda row: cast(Any, (row["import_id"], row["part"])))
        return Page(items=[_part(row) for row in found.items], next=found.next)

    @made.get(
        "/token-imports/{importId}/refusals", summary="Lines that were refused", dependencies=[require("viewer")],
        responses=documented(401, 403, 404, 422),
    )  # fmt: skip
    async def refusals(id_: ImportPath, page: Annotated[Wanted, wanted(str, int, str)]) -> Page[RefusalShown]:
        """The first 10,000 of an import."""
        await _job(store, id_)
        rows = await store.select(REFUSALS, {"import_id": id_}, after=cast(Any, page.after), limit=page.limit + 1)
        found = page.page(rows, lambda row: cast(Any, (row["import_id"], row["line"], row["field"])))
        return Page(
            items=[RefusalShown(**_only(row, "line", "field", "reason")) for row in found.items], next=found.next
        )


def _parts(made: APIRouter, with_: Importing) -> None:
    store = with_.store

    @made.put(
        "/token-imports/{importId}/parts/{part}", summary="A part of the file", response_model=PartCounted,
        responses=RESPONSES | documented(404, 409),
        openapi_extra={"requestBody": {"required": True, "content": {
            CSV: {"schema": {"type": "string", "description": "With a header line in each part"}},
            JSONL: {"schema": {"type": "string", "description": "One JSON object a line"}},
        }}},
    )  # fmt: skip
    async def put(
        request: Request,
        id_: ImportPath,
        part: PartPath,
        write: Annotated[Write, writing("operator")],
        line: Annotated[int, Query(ge=1, le=LINE_MAX, description="Number in the file of its first line")] = 1,
    ) -> Response:
        """At most 2000 lines. Send it again, the same, where the answer was lost or was 503: nothing counts twice."""
        raw = await request.body()
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        digest = hashlib.blake2b(b"%d\n" % line + kind.encode() + b"\n" + raw, digest_size=16).hexdigest()
        job = await _job(store, id_)
        rows = await store.select(PARTS, {"import_id": id_, "part": part}, limit=1)
        if not rows:
            if job["state"] != "open":
                raise Problem(409, "The import takes no more parts.", title="Import finished")
            counted = await decided(id_, part, digest, raw, "csv" if kind == CSV else "jsonl", line, write)
        else:
            counted = CountImportPart(part=part, digest=digest, lines=0, created=0, replaced=0)
        begun = await begin(write, CountImportPart.NAME, id_, counted)
        if isinstance(begun, Response):
            return begun
        row = (await store.select(PARTS, {"import_id": id_, "part": part}, limit=1))[0]
        first = [RefusalShown(line=one.line, field=one.field, reason=one.reason) for one in counted.refusals]
        shown = PartCounted(**_part(row).model_dump(), refusals=first[:REFUSALS_SHOWN])
        return Response(shown.model_dump_json(), media_type="application/json")

    async def decided(
        id_: str, part: int, digest: str, raw: bytes, format_: lines.Format, line: int, write: Write
    ) -> CountImportPart:
        try:
            wanted_tokens, refused, count = await asyncio.to_thread(
                lines.read, format_, raw, line, with_.pseudonyms.of, with_.drivers.seal
            )
        except lines.Unreadable as error:
            raise Problem(422, str(error), title="Unreadable part", errors=[FieldError("body", str(error))]) from None
        requests = {
            one.line: envelope.Request(
                f"import/{id_}/{digest}/{one.line}", PutToken.NAME, one.pseudonym, msgspec.json.encode(one.put),
                with_.clock(), "/auth/token-imports", write.caller.id, "", "",
            )
            for one in wanted_tokens
        }  # fmt: skip
        known = await outcomes({request.id for request in requests.values()})
        missing = [request for request in requests.values() if request.id not in known]
        for start in range(0, len(missing), APPEND):
            await with_.append(missing[start : start + APPEND])
        known |= await all_outcomes({request.id for request in missing})
        created = replaced = 0
        for number, request in requests.items():
            operation = known[request.id]
            if operation.status < 400:
                created += operation.status == 201
                replaced += operation.status != 201
            else:
                detail = str(orjson.loads(bytes(operation.body)).get("detail", ""))
                field, _, reason = detail.partition(": ") if operation.status == 422 else ("", "", detail)
                refused.append(Refusal(line=number, field=field, reason=reason[: lines.TEXT_MAX]))
        return CountImportPart(
            part=part, digest=digest, lines=count, created=created, replaced=replaced,
            refusals=tuple(sorted(refused, key=lambda one: one.line)),
        )  # fmt: skip

    async def all_outcomes(ids: set[str]) -> dict[str, Operation]:
        found: dict[str, Operation] = {}

        async def count() -> int:
            found.update(await outcomes(ids - found.keys()))
            return len(found)

        if await look(count, lambda seen: seen == len(ids), DECIDED_WITHIN_S, most_s=LOOK_MAX_S) < len(ids):
            raise Problem(503, "Not all lines are decided yet: send this part again.", headers={"Retry-After": "5"})
        return found

    async def outcomes(ids: set[str]) -> dict[str, Operation]:
        """Those that are decided; a copy that was behind (503) is asked again, under the same id."""
        data = await store.load([StateKey(Operation.KIND, id_) for id_ in sorted(ids)])
        found = {key.id: msgspec.json.decode(value, type=Operation) for key, value in data.items()}
        return {id_: operation for id_, operation in found.items() if operation.status != 503}


def _export(made: APIRouter, store: Store, drivers: Drivers) -> None:
    @made.get(
        "/tokens:export", summary="All tokens as a file", dependencies=[require("operator")],
        response_class=StreamingResponse, responses=documented(401, 403, 422) | {
            200: {"description": "The file", "content": {kind: {"schema": {"type": "string"}} for kind in (CSV, JSONL)}}
        },
    )  # fmt: skip
    async def export(
        format_: Annotated[lines.Format, Query(alias="format", description="JSON lines or CSV")] = "jsonl",
    ) -> StreamingResponse:
        """As an import takes it; read page by page, so it is as old as each page. Erased tokens are not in it."""

        async def pages() -> AsyncIterator[bytes]:
            if format_ == "csv":
                yield lines.header()
            after: tuple[Value, ...] | None = None
            while True:
                rows = await store.select(TOKENS, after=after, limit=EXPORT_PAGE)
                yield lines.write(format_, await _tokens(store, drivers, rows))
                if len(rows) < EXPORT_PAGE:
                    return
                after = (rows[-1]["token"],)

        name = f"tokens.{format_}"
        return StreamingResponse(
            pages(),
            media_type=CSV if format_ == "csv" else JSONL,
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )


async def _tokens(store: Store, drivers: Drivers, rows: Sequence[Row]) -> list[TokenShown]:
    """With their values, where the drivers' keys are there."""
    keys = await store.load([StateKey(DriverKey.KIND, str(row["token"])) for row in rows])
    found = []
    for row in rows:
        pseudonym = str(row["token"])
        data = keys.get(StateKey(DriverKey.KIND, pseudonym))
        value = None
        if data is not None:
            sealed = Sealed(str(row["sealed"]), msgspec.json.decode(data, type=DriverKey).sealed)
            value = drivers.open(pseudonym, sealed)
        found.append(TokenShown(**orjson.loads(str(row["entry"])), idToken=value))
    return found


async def _job(store: Store, id_: str) -> Row:
    rows = await store.select(IMPORTS, {"import_id": id_}, limit=1)
    if not rows:
        raise Problem(404, "No such import was started.", title="Unknown import")
    return rows[0]


def _only(row: Row, *names: str) -> dict[str, Any]:
    return {name: row[name] for name in names}


def _part(row: Row) -> PartShown:
    return PartShown(**_only(row, "part", "lines", "created", "replaced", "refused"))


def _shown(row: Row) -> ImportShown:
    return ImportShown(
        id=str(row["import_id"]),
        startedAt=to_rfc3339(cast(int, row["started_at"])),
        changedAt=to_rfc3339(cast(int, row["changed_at"])),
        **_only(row, "name", "state", "parts", "lines", "created", "replaced", "refused"),
    )
