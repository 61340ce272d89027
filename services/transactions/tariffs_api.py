"""HTTP API of tariffs: put, assign, read, remove. No rules but what is wrong with a tariff (`domain/tariff.py`)."""

from typing import Annotated, Any, TypeVar, cast

import msgspec
from fastapi import APIRouter, Path, Response

from ocppcore.contracts.tariffs import AssignTariff, PutTariff, RemoveTariff
from ocppcore.http.auth import require
from ocppcore.http.pages import Page, Wanted, wanted
from ocppcore.http.problems import FieldError, Problem, documented
from ocppcore.http.requests import RESPONSES, Write, writing
from ocppcore.pseudonym import Pseudonyms
from ocppcore.store import Store, Value
from ocppcore.tariff import Tariff, TariffState
from ocppcore.topics import normalise
from services.transactions.domain.tariff import TARIFFS_TABLE, VERSIONS_TABLE, problems, represent, represent_version
from services.transactions.tariff_bodies import (
    AssignmentsBody,
    AssignmentsShown,
    TariffBody,
    TariffId,
    TariffShown,
    VersionShown,
)

S = TypeVar("S", bound=msgspec.Struct)
TariffPath = Annotated[TariffId, Path(alias="tariffId", description="Compared in any case")]


def router(store: Store, pseudonyms: Pseudonyms) -> APIRouter:
    """The routes under `/transactions/tariffs`."""
    made = APIRouter(tags=["tariffs"])

    @made.put(
        "/tariffs/{tariffId}", summary="Create a tariff, or put another version of it", response_model=TariffShown,
        responses=RESPONSES | documented(409) | {201: {"model": TariffShown}},
    )  # fmt: skip
    async def put(id_: TariffPath, body: TariffBody, write: Annotated[Write, writing("operator")]) -> Response:
        """A version that is in force ends where the new one begins; validities of planned ones must not overlap.

        Transactions under way go on with the new version from their next event on, and their drivers are told (I06).
        """
        tariff = body.tariff(id_)
        faults = [
            FieldError(f"body.{found.partition(': ')[0]}", found.partition(": ")[2]) for found in problems(tariff)
        ]
        if faults:
            raise Problem(422, f"{faults[0].field}: {faults[0].detail}", title="Invalid request", errors=faults)
        return await write(
            PutTariff.NAME, normalise(id_), PutTariff(tariff=tariff), location=f"/transactions/tariffs/{id_}"
        )

    @made.put(
        "/tariffs/{tariffId}/assignments", summary="Say whom a tariff is for", response_model=AssignmentsShown,
        responses=RESPONSES | documented(404),
    )  # fmt: skip
    async def assign(id_: TariffPath, body: AssignmentsBody, write: Annotated[Write, writing("operator")]) -> Response:
        """In place of what was said before. Stations that it names must be registered.

        A token's own tariff comes before its group's, that before the station's, that before the default; of two for
        the same the one assigned last counts. One without a version in force is passed over.
        """
        asked = AssignTariff(assignments=body.assignments(pseudonyms))
        return await write(AssignTariff.NAME, normalise(id_), asked)

    @made.delete(
        "/tariffs/{tariffId}", status_code=204, summary="Remove a tariff", responses=RESPONSES | documented(404)
    )
    async def remove(id_: TariffPath, write: Annotated[Write, writing("operator")]) -> Response:
        """Transactions under way go on by the next one that is for them."""
        return await write(RemoveTariff.NAME, normalise(id_), RemoveTariff())

    @made.get(
        "/tariffs/{tariffId}", summary="A tariff", dependencies=[require("viewer")],
        responses=documented(401, 403, 404, 422),
    )  # fmt: skip
    async def tariff(id_: TariffPath) -> TariffShown:
        return TariffShown.model_validate(represent(await kept(id_)))

    @made.get(
        "/tariffs/{tariffId}/assignments", summary="Whom a tariff is for", dependencies=[require("viewer")],
        responses=documented(401, 403, 404, 422),
    )  # fmt: skip
    async def assignments(id_: TariffPath) -> AssignmentsShown:
        return AssignmentsShown.model_validate(represent(await kept(id_))["assignments"])

    @made.get(
        "/tariffs/{tariffId}/versions", summary="All versions of a tariff there ever were",
        dependencies=[require("viewer")], responses=documented(401, 403, 422),
    )  # fmt: skip
    async def versions(id_: TariffPath, page: Annotated[Wanted, wanted(int, str)]) -> Page[VersionShown]:
        """The newest first, also of a tariff that was removed."""
        rows = await store.select(
            VERSIONS_TABLE, {"tariff": normalise(id_)}, after=cast(Any, page.after), order=("version",),
            descending=True, limit=page.limit + 1,
        )  # fmt: skip
        found = page.page(rows, lambda row: cast(Any, (row["version"], row["ref"])))
        shown = [represent_version(_read(row["entry"], Tariff)) for row in found.items]
        return Page(items=[VersionShown.model_validate(one) for one in shown], next=found.next)

    @made.get("/tariffs", summary="All tariffs", dependencies=[require("viewer")], responses=documented(401, 403, 422))
    async def tariffs(page: Annotated[Wanted, wanted(str)]) -> Page[TariffShown]:
        """By their ids."""
        rows = await store.select(TARIFFS_TABLE, after=cast(Any, page.after), limit=page.limit + 1)
        found = page.page(rows, lambda row: (cast(str, row["key"]),))
        shown = [represent(_read(row["entry"], TariffState)) for row in found.items]
        return Page(items=[TariffShown.model_validate(one) for one in shown], next=found.next)

    async def kept(id_: str) -> TariffState:
        rows = await store.select(TARIFFS_TABLE, {"key": normalise(id_)}, limit=1)
        if not rows:
            raise Problem(404, "No such tariff is registered.", title="Unknown tariff")
        return _read(rows[0]["entry"], TariffState)

    return made


def _read(entry: Value, type_: type[S]) -> S:
    return msgspec.json.decode(cast(str, entry), type=type_)
