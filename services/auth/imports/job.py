"""An import of tokens as a job that counts: which parts are done, what became of their lines. Pure.

A part is sent again until it is counted; it is counted once, and its tokens, whose requests have ids of their own, are
decided once. So whoever sends parts may die at any moment and begin again with those that are not done.
"""

from collections.abc import Iterable
from typing import ClassVar, Final

from ocppcore.contracts.imports import (
    CountImportPart,
    FinishImport,
    ImportEvent,
    StartImport,
    TokenImportCounted,
    TokenImportFinished,
    TokenImportStarted,
)
from ocppcore.service import (
    Aggregate,
    Context,
    Fold,
    Need,
    Outcome,
    Part,
    Put,
    RequestHandler,
    Result,
    View,
    problem,
)
from ocppcore.store import Table, Upsert

PARTS_MAX: Final = 100_000
REFUSALS_MAX: Final = 10_000
"""Kept with their reasons, of one import; more are counted."""

IMPORTS = Table(
    "token_imports",
    {
        "import_id": "text",
        "name": "text",
        "state": "text",
        "parts": "bigint",
        "lines": "bigint",
        "created": "bigint",
        "replaced": "bigint",
        "refused": "bigint",
        "started_at": "bigint",
        "changed_at": "bigint",
        "actor": "text",
    },
    ("import_id",),
    indexes=(("started_at", "import_id"),),
)

PARTS = Table(
    "token_import_parts",
    {
        "import_id": "text",
        "part": "bigint",
        "digest": "text",
        "lines": "bigint",
        "created": "bigint",
        "replaced": "bigint",
        "refused": "bigint",
    },
    ("import_id", "part"),
)

REFUSALS = Table(
    "token_import_refusals",
    {"import_id": "text", "line": "bigint", "field": "text", "reason": "text"},
    ("import_id", "line", "field"),
)


class Import(Aggregate, frozen=True, kw_only=True, omit_defaults=True):
    """id = the import's."""

    KIND: ClassVar[str] = "TokenImport"
    name: str
    at: int
    actor: str = ""
    parts: int = 0
    lines: int = 0
    created: int = 0
    replaced: int = 0
    refused: int = 0
    finished: bool = False


class Done(Aggregate, frozen=True, kw_only=True):
    """A part that is counted; id = import/part."""

    KIND: ClassVar[str] = "TokenImportPart"
    digest: str


def part_key(import_id: str, part: int) -> str:
    return f"{import_id}/{part}"


def _job(import_id: str) -> tuple[Need, ...]:
    return ((Import, import_id),)


def start(body: StartImport, view: View, context: Context) -> Outcome:
    """201; 200 where it was started before."""
    shown = {"id": context.station}
    if view.get(Import, context.station):
        return Outcome(result=Result(200, shown))
    started = TokenImportStarted(at=context.now, import_id=context.station, name=body.name, actor=context.actor)
    return Outcome((started,), result=Result(201, shown))


def count(body: CountImportPart, view: View, context: Context) -> Outcome:
    """200, also again; 409 for other content under the same number, or when the import is finished."""
    job, done = view.get(Import, context.station), view.get(Done, part_key(context.station, body.part))
    if job is None:
        return Outcome(result=problem(404, "Unknown import", "no such import was started"))
    if done is not None:
        if done.digest != body.digest:
            return Outcome(result=problem(409, "Another part", f"part {body.part} was sent with other content"))
        return Outcome(result=Result(200, {}))
    if job.finished:
        return Outcome(result=problem(409, "Import finished", "the import takes no more parts"))
    counted = TokenImportCounted(
        at=context.now,
        import_id=context.station,
        part=body.part,
        digest=body.digest,
        lines=body.lines,
        created=body.created,
        replaced=body.replaced,
        refusals=body.refusals,
    )
    return Outcome((counted,), result=Result(200, {}))


def finish(body: FinishImport, view: View, context: Context) -> Outcome:
    """200; 409 while parts are missing."""
    job = view.get(Import, context.station)
    if job is None:
        return Outcome(result=problem(404, "Unknown import", "no such import was started"))
    if job.finished:
        return Outcome(result=Result(200, {}))
    if job.parts != body.parts:
        return Outcome(result=problem(409, "Parts missing", f"{job.parts} of {body.parts} parts are there"))
    finished = TokenImportFinished(at=context.now, import_id=context.station, actor=context.actor)
    return Outcome((finished,), result=Result(200, {}))


def evolve(event: ImportEvent, view: View) -> Iterable[Put]:
    id_ = event.import_id
    yield Put(id_, _evolved(event, view.get(Import, id_)))
    if isinstance(event, TokenImportCounted):
        yield Put(part_key(id_, event.part), Done(digest=event.digest))


def _evolved(event: ImportEvent, known: Import | None) -> Import:
    job = known or Import(name="", at=event.at)
    match event:
        case TokenImportStarted():
            return Import(name=event.name, at=event.at, actor=event.actor)
        case TokenImportCounted():
            return _with(
                job,
                parts=job.parts + 1,
                lines=job.lines + event.lines,
                created=job.created + event.created,
                replaced=job.replaced + event.replaced,
                refused=job.refused + len({one.line for one in event.refusals}),
            )
        case TokenImportFinished():
            return _with(job, finished=True)
    raise AssertionError(f"{type(event).__name__} is not about an import")


def _with(job: Import, **changes: object) -> Import:
    values = {name: getattr(job, name) for name in job.__struct_fields__} | changes
    return Import(**values)


def project(event: ImportEvent, view: View) -> Iterable[Upsert]:
    """Before `evolve`: how many refusals there were."""
    before = view.get(Import, event.import_id)
    job, id_ = _evolved(event, before), event.import_id
    yield Upsert(
        IMPORTS,
        (
            id_, job.name, "finished" if job.finished else "open", job.parts, job.lines, job.created, job.replaced,
            job.refused, job.at, event.at, job.actor,
        ),
    )  # fmt: skip
    if isinstance(event, TokenImportCounted):
        refused = len({one.line for one in event.refusals})
        yield Upsert(PARTS, (id_, event.part, event.digest, event.lines, event.created, event.replaced, refused))
        room = max(0, REFUSALS_MAX - (before.refused if before else 0))
        for one in event.refusals[:room]:
            yield Upsert(REFUSALS, (id_, one.line, one.field, one.reason))


def part() -> Part:
    """Requests, folds and tables of imports."""

    def fold(event: type[ImportEvent]) -> Fold[ImportEvent]:
        return Fold(event, lambda one: _job(one.import_id), evolve, project, project_first=True)

    return Part(
        requests=(
            RequestHandler(StartImport.NAME, StartImport, start, lambda _, id_: _job(id_)),
            RequestHandler(
                CountImportPart.NAME,
                CountImportPart,
                count,
                lambda body, id_: (*_job(id_), (Done, part_key(id_, body.part))),
            ),
            RequestHandler(FinishImport.NAME, FinishImport, finish, lambda _, id_: _job(id_)),
        ),
        folds=(fold(TokenImportStarted), fold(TokenImportCounted), fold(TokenImportFinished)),
        aggregates=(Import, Done),
        tables=(IMPORTS, PARTS, REFUSALS),
    )
