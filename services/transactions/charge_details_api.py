"""HTTP API of charge detail records: read, exported, shown as receipts, rated again. No rules."""

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Literal, cast

import msgspec
from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import StreamingResponse

from ocppcore import topics
from ocppcore.clock import to_rfc3339
from ocppcore.contracts.charge_details import ChargeDetail, ReRate
from ocppcore.contracts.device import StationState
from ocppcore.http.auth import Caller, require
from ocppcore.http.pages import Page, Wanted, wanted
from ocppcore.http.problems import FieldError, Problem, documented
from ocppcore.http.requests import RESPONSES, Write, writing
from ocppcore.pseudonym import Pseudonyms
from ocppcore.store import Among, Store, Value
from ocppcore.tariff import Tariff
from ocppcore.topics import normalise
from services.transactions import export, receipt
from services.transactions.bodies import ChargeLineShown, IdTokenType
from services.transactions.charge_details_bodies import ByTariffBody, ChargeDetailShown, ReRateBody, ReRated
from services.transactions.domain import rerating
from services.transactions.domain.charge_detail import CHARGE_DETAILS
from services.transactions.domain.tariff import VERSIONS_TABLE, problems

EXPORT_PAGE: Final = 500
ORDER: Final = ("made_at",)
Row = Mapping[str, Value]
Format = Literal["csv", "jsonl", "ocpi"]
MEDIA: Final[Mapping[Format, str]] = {
    "csv": "text/csv; charset=utf-8; header=present",
    "jsonl": "application/x-ndjson",
    "ocpi": "application/x-ndjson",
}

Station = Annotated[str | None, Query(alias="stationId", max_length=48)]
Token = Annotated[str | None, Query(max_length=64, description="Pseudonym of the idToken")]
Kind = Annotated[Literal["charge", "credit"] | None, Query()]
DetailPath = Annotated[str, Path(alias="detailId", max_length=32)]


def router(store: Store, pseudonyms: Pseudonyms) -> APIRouter:
    """The routes under `/charge-details`, and a driver's own."""
    made = APIRouter(tags=["charge detail records"])
    _listing(made, store, pseudonyms)
    _exporting(made, store)
    _one(made, store)
    _rerating(made, store)
    return made


def _listing(made: APIRouter, store: Store, pseudonyms: Pseudonyms) -> None:
    async def page_of(page: Wanted, where: Mapping[str, Value], among: Among | None) -> Page[ChargeDetailShown]:
        rows = await store.select(
            CHARGE_DETAILS,
            where,
            after=cast(Any, page.after),
            order=ORDER,
            descending=True,
            limit=page.limit + 1,
            among=among,
        )
        found = page.page(rows, lambda row: cast(Any, (row["made_at"], row["id"])))
        return Page(items=[_shown(row) for row in found.items], next=found.next)

    @made.get("/charge-details", summary="All charge detail records", responses=documented(401, 403, 422))
    async def details(
        caller: Annotated[Caller, require("viewer", within=True)],
        page: Annotated[Wanted, wanted(int, str)],
        station: Station = None,
        token: Token = None,
        kind: Kind = None,
    ) -> Page[ChargeDetailShown]:
        """The one that was made last comes first."""
        return await page_of(page, _where(station, token, kind), caller.among("station"))

    @made.get(
        "/drivers/{type}/{idToken}/charge-details", summary="A driver's charge detail records",
        responses=documented(401, 403, 422),
    )  # fmt: skip
    async def of_driver(
        type_: Annotated[IdTokenType, Path(alias="type")],
        id_token: Annotated[str, Path(alias="idToken", min_length=1, max_length=36)],
        caller: Annotated[Caller, require("viewer", within=True)],
        page: Annotated[Wanted, wanted(int, str)],
    ) -> Page[ChargeDetailShown]:
        """By the token itself: it is turned into its pseudonym, under which records are kept."""
        return await page_of(page, {"token": pseudonyms.of(type_, id_token)}, caller.among("station"))


def _exporting(made: APIRouter, store: Store) -> None:
    @made.get(
        "/charge-details:export", summary="Charge detail records as a file", response_class=StreamingResponse,
        responses=documented(401, 403, 422),
    )  # fmt: skip
    async def exported(
        caller: Annotated[Caller, require("viewer", within=True)],
        format_: Annotated[Format, Query(alias="format")] = "jsonl",
        station: Station = None,
        token: Token = None,
        kind: Kind = None,
        since: Annotated[datetime | None, Query(description="Made then or later")] = None,
        until: Annotated[datetime | None, Query(description="Made before then")] = None,
        country_code: Annotated[str, Query(alias="countryCode", pattern="^[A-Z]{2}$")] = "ZZ",
        party_id: Annotated[str, Query(alias="partyId", pattern="^[A-Z0-9]{3}$")] = "ZZZ",
        address: Annotated[str, Query(min_length=1, max_length=45)] = "unknown",
        city: Annotated[str, Query(min_length=1, max_length=45)] = "unknown",
        country: Annotated[str, Query(pattern="^([A-Z]{3})?$")] = "",
        latitude: Annotated[str, Query(pattern=r"^-?[0-9]{1,2}\.[0-9]{5,7}$")] = "0.00000",
        longitude: Annotated[str, Query(pattern=r"^-?[0-9]{1,3}\.[0-9]{5,7}$")] = "0.00000",
    ) -> StreamingResponse:
        """The one that was made first comes first. `countryCode` to `longitude` are for OCPI: who issues the CDRs, and
        where the stations stand, which is not known here."""
        party = export.Party(country_code, party_id, address, city, country, latitude, longitude)
        rows = _all(store, _where(station, token, kind), caller.among("station"), _ms(since), _ms(until))
        return StreamingResponse(_written(store, rows, format_, party), media_type=MEDIA[format_])


async def _all(
    store: Store, where: Mapping[str, Value], among: Among | None, since: int | None, until: int | None
) -> AsyncIterator[list[ChargeDetail]]:
    """Page after page, oldest first: never more than one in memory."""
    after: tuple[Value, ...] | None = None if since is None else (since, "")
    while True:
        rows = await store.select(CHARGE_DETAILS, where, after=after, order=ORDER, limit=EXPORT_PAGE, among=among)
        due = [row for row in rows if until is None or int(row["made_at"] or 0) < until]
        yield [_detail(row) for row in due]
        if len(due) < EXPORT_PAGE:
            return
        after = (rows[-1]["made_at"], rows[-1]["id"])


async def _written(
    store: Store, pages: AsyncIterator[list[ChargeDetail]], format_: Format, party: export.Party
) -> AsyncIterator[bytes]:
    if format_ == "csv":
        yield export.csv_header().encode()
    async for page in pages:
        match format_:
            case "csv":
                yield "".join(map(export.csv_row, page)).encode()
            case "jsonl":
                yield b"".join(map(export.json_line, page))
            case "ocpi":
                stations = await _stations(store, {one.station for one in page})
                yield b"".join(export.ocpi_line(one, party, stations.get(one.station)) for one in page)


async def _stations(store: Store, names: set[str]) -> Mapping[str, StationState]:
    rows = await store.copy_find(topics.STATIONS, sorted(names))
    return {key: msgspec.json.decode(row.value, type=StationState) for key, row in rows.items() if row.value}


def _one(made: APIRouter, store: Store) -> None:
    @made.get("/charge-details/{detailId}", summary="A charge detail record", responses=documented(401, 403, 404))
    async def detail(
        detail_id: DetailPath, caller: Annotated[Caller, require("viewer", within=True)]
    ) -> ChargeDetailShown:
        return _shown(await _found(store, detail_id, caller))

    @made.get(
        "/charge-details/{detailId}/receipt", summary="A receipt", response_class=Response,
        responses=documented(401, 403, 404, 422),
    )  # fmt: skip
    async def receipt_of(
        detail_id: DetailPath,
        caller: Annotated[Caller, require("viewer", within=True)],
        format_: Annotated[Literal["text", "html"], Query(alias="format")] = "text",
    ) -> Response:
        """For the driver: what was charged and what it cost, by the clock of the place."""
        one = _detail(await _found(store, detail_id, caller))
        if format_ == "html":
            return Response(receipt.html(one), media_type="text/html")
        return Response(receipt.text(one), media_type="text/plain")


async def _found(store: Store, detail_id: str, caller: Caller) -> Row:
    rows = await store.select(CHARGE_DETAILS, {"id": detail_id}, limit=1)
    if not rows or not caller.reaches(str(rows[0]["station"])):
        raise Problem(404, "No such charge detail record.")
    return rows[0]


def _rerating(made: APIRouter, store: Store) -> None:
    @made.post(
        "/charge-details:rerate", summary="What records would cost by another tariff",
        responses=documented(401, 403, 404, 413, 415, 422),
    )  # fmt: skip
    async def rerated(
        body: ReRateBody,
        caller: Annotated[Caller, require("viewer", within=True)],
        page: Annotated[Wanted, wanted(int, str)],
    ) -> ReRated:
        """One page of the newest records of their transactions, oldest first, and every difference explained. Nothing
        is changed: see `/charge-details/{detailId}:rerate`."""
        tariff = await _tariff(store, body)
        where = _where(body.stationId, body.token, None)
        rows = await store.select(
            CHARGE_DETAILS, where, after=cast(Any, page.after), order=ORDER, limit=page.limit + 1,
            among=caller.among("station"),
        )  # fmt: skip
        found = page.page(rows, lambda row: cast(Any, (row["made_at"], row["id"])))
        details = [one for one in map(_detail, found.items) if one.kind == "charge" and _names(one, body.ratedBy)]
        differences = [
            (one, found_difference) for one in details if (found_difference := rerating.difference(one, tariff))
        ]
        newest = await _newest(store, [one for one, _ in differences])
        items = [msgspec.to_builtins(other) for one, other in differences if one.id in newest]
        return ReRated.model_validate({"rated": len(details), "items": items, "next": found.next})

    @made.post(
        "/charge-details/{detailId}:rerate", summary="Rate a record by another tariff",
        responses=RESPONSES | documented(404, 409),
    )  # fmt: skip
    async def rerate(
        body: ByTariffBody, detail_id: DetailPath, write: Annotated[Write, writing("admin", within=True)]
    ) -> Response:
        """A credit of this record and a new one; `made`: their ids, none where it costs the same. 409 where the record
        is not the newest of its transaction any more."""
        row = await _found(store, detail_id, write.caller)
        wanted_rate = ReRate(
            transaction_id=str(row["transaction_id"]), detail_id=detail_id, tariff=await _tariff(store, body)
        )
        return await write(ReRate.NAME, str(row["station"]), wanted_rate)


async def _newest(store: Store, details: list[ChargeDetail]) -> set[str]:
    """Those of them that no other one has taken the place of."""
    found = set()
    for one in details:
        where: dict[str, Value] = {"station": one.station, "key": normalise(one.transaction_id)}
        last = await store.select(CHARGE_DETAILS, where, order=("version",), descending=True, limit=1)
        found |= {str(row["id"]) for row in last}
    return found


def _names(one: ChargeDetail, tariff: str | None) -> bool:
    return tariff is None or any(line.tariff.partition("/")[2] == tariff for line in one.lines)


async def _tariff(store: Store, body: ByTariffBody) -> Tariff:
    if body.tariff is not None:
        tariff = body.tariff.tariff(body.tariffId)
        faults = [FieldError("body.tariff", found) for found in problems(tariff)]
        if faults:
            raise Problem(422, f"body.tariff.{faults[0].detail}", title="Invalid tariff", errors=faults)
        return tariff
    where: dict[str, Value] = {"tariff": normalise(body.tariffId)}
    if body.version is not None:
        where["version"] = body.version
    rows = await store.select(VERSIONS_TABLE, where, order=("version",), descending=True, limit=1)
    if not rows:
        raise Problem(404, "No such tariff, or no such version of it.", title="Unknown tariff")
    return msgspec.json.decode(str(rows[0]["entry"]), type=Tariff)


def _where(station: str | None, token: str | None, kind: str | None) -> dict[str, Value]:
    asked: dict[str, Value] = {"station": normalise(station) if station else None, "token": token, "kind": kind}
    return {column: value for column, value in asked.items() if value is not None}


def _detail(row: Row) -> ChargeDetail:
    return msgspec.json.decode(str(row["content"]), type=ChargeDetail)


SHOWN: Final[Mapping[str, Callable[[ChargeDetail], object]]] = {
    "id": lambda one: one.id,
    "version": lambda one: one.version,
    "kind": lambda one: one.kind,
    "why": lambda one: one.why,
    "credits": lambda one: one.credits or None,
    "completeness": lambda one: one.grade,
    "stationId": lambda one: one.identity,
    "transactionId": lambda one: one.transaction_id,
    "evseId": lambda one: one.evse_id,
    "connectorId": lambda one: one.connector_id,
    "token": lambda one: one.token or None,
    "tokenType": lambda one: one.token_type or None,
    "startedAt": lambda one: _time(one.started_at),
    "endedAt": lambda one: _time(one.ended_at),
    "clockOffset": lambda one: one.clock_offset_ms / 1000,
    "stoppedReason": lambda one: one.stopped_reason or None,
    "meterStartWh": lambda one: one.meter_start_wh,
    "meterStopWh": lambda one: one.meter_stop_wh,
    "meterDrops": lambda one: one.meter_drops,
    "energyWh": lambda one: format(one.energy_wh, "f"),
    "chargingSeconds": lambda one: one.charging_ms / 1000,
    "parkingSeconds": lambda one: one.parking_ms / 1000,
    "missing": lambda one: one.missing,
    "conflicts": lambda one: one.conflicts,
    "zone": lambda one: one.zone,
    "currency": lambda one: one.currency or None,
    "exclVat": lambda one: format(one.excl_vat, "f"),
    "inclVat": lambda one: format(one.incl_vat, "f"),
    "limit": lambda one: one.limit or None,
    "lines": lambda one: list(map(ChargeLineShown.of, one.lines)),
}


def _shown(row: Row) -> ChargeDetailShown:
    one = _detail(row)
    values = {name: value(one) for name, value in SHOWN.items()}
    return ChargeDetailShown.model_validate(values | {"madeAt": to_rfc3339(int(row["made_at"] or 0))})


def _time(ms: int | None) -> str | None:
    return None if ms is None else to_rfc3339(ms)


def _ms(moment: datetime | None) -> int | None:
    if moment is None:
        return None
    if moment.tzinfo is None:
        fault = FieldError("query.since", "since and until need a time zone")
        raise Problem(422, fault.detail, errors=[fault])
    return round(moment.timestamp() * 1000)
