"""HTTP API of meter values over time (block J): samples, down-sampled figures, a plot. No rules."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Final, NamedTuple, cast

import orjson
from fastapi import APIRouter, Depends, Header, Path, Query, Response
from pydantic import AwareDatetime

from ocppcore.clock import to_rfc3339
from ocppcore.http.auth import Caller, require
from ocppcore.http.commands import CommandDesk
from ocppcore.http.pages import Page, Wanted
from ocppcore.http.pages import wanted as page_wanted
from ocppcore.http.problems import Problem, documented
from ocppcore.store import Store, Value
from ocppcore.topics import normalise
from services.transactions.domain.energy import EXACT
from services.transactions.domain.figures import Figures, SeriesKey, coarser, is_register, key_of, linked, over
from services.transactions.domain.meter_gaps import GAPS
from services.transactions.domain.meter_hours import HOUR_MS
from services.transactions.meter_bodies import GapShown, Kind, MeterShown, PointShown, SeriesShown, StepShown
from services.transactions.meter_plot import Line, plot
from services.transactions.meter_series import Said, SeriesReader, TooMuch

EVSE_MAX: Final = 2**31 - 1
DAY_MS: Final = 24 * HOUR_MS
RANGE_MAX_MS: Final = 10 * 366 * DAY_MS
POINTS_MAX: Final = 5000
"""Samples in one answer, and steps of one series."""
SVG: Final = "image/svg+xml"
MILLI: Final = Decimal("0.001")


class Asked(NamedTuple):
    """What is wanted: `since` to `until` in ms, `step_ms` None: samples."""

    since: int
    until: int
    step_ms: int | None
    measurand: str | None
    kind: Kind | None

    def wants(self, key: SeriesKey) -> bool:
        return self.measurand in (None, key.measurand) and self.kind in (None, key.kind)


def router(reader: SeriesReader, desk: CommandDesk) -> APIRouter:
    """The routes under `/stations/{stationId}/evses/{evseId}/meter`."""
    made = APIRouter(tags=["meter values"])

    def asked(
        since: Annotated[AwareDatetime | None, Query(alias="from", description="Default: a day before `to`")] = None,
        until: Annotated[AwareDatetime | None, Query(alias="to", description="Default: now")] = None,
        step: Annotated[
            int | None, Query(ge=1, le=366 * 86_400, description="Seconds; from 3600 on a multiple of it, by the hour")
        ] = None,
        measurand: Annotated[str | None, Query(max_length=50, examples=["Power.Active.Import"])] = None,
        kind: Kind | None = None,
    ) -> Asked:
        return wanted(reader.clock(), since, until, step, measurand, kind)

    async def answer(station_id: str, evse_id: int, ask: Asked, image: bool) -> Response:
        station = await desk.station(station_id)
        try:
            shown, lines = await _read(reader, station.key, station.id, evse_id, ask)
        except TooMuch as error:
            raise Problem(422, f"{error}: ask for less time, or a step of 3600 or more", title="Too much") from None
        if not image:
            return Response(shown.model_dump_json(by_alias=True), media_type="application/json")
        title = f"{station.id}, EVSE {evse_id}" if evse_id else f"{station.id}, whole station"
        return Response(plot(title, ask.since, ask.until, lines), media_type=SVG)

    place = "/stations/{stationId}/evses/{evseId}/meter"
    responses = documented(401, 403, 404, 422)
    content: dict[int | str, dict[str, Any]] = {200: {"content": {SVG: {}}}}

    @made.get(
        place, summary="Meter values", response_model=MeterShown, dependencies=[require("viewer")],
        responses=responses | content,
    )  # fmt: skip
    async def meter(
        station: Annotated[str, Path(alias="stationId", max_length=48)],
        evse: Annotated[int, Path(alias="evseId", ge=0, le=EVSE_MAX)],
        ask: Annotated[Asked, Depends(asked)],
        accept: Annotated[str, Header()] = "",
    ) -> Response:
        """JSON, or a plot for `Accept: image/svg+xml`. Without `step` samples as they came, at most 5000."""
        return await answer(station, evse, ask, _prefers_svg(accept))

    @made.get(
        f"{place}.svg", summary="A plot of meter values", response_class=Response, dependencies=[require("viewer")],
        responses=responses | content,
    )  # fmt: skip
    async def meter_plot(
        station: Annotated[str, Path(alias="stationId", max_length=48)],
        evse: Annotated[int, Path(alias="evseId", ge=0, le=EVSE_MAX)],
        ask: Annotated[Asked, Depends(asked)],
    ) -> Response:
        """A panel for each measurand; steps are drawn as their average, within least and most."""
        return await answer(station, evse, ask, image=True)

    _gaps(made, reader.store)
    return made


def _gaps(made: APIRouter, store: Store) -> None:
    @made.get("/meter-gaps", summary="Energy between transactions", responses=documented(401, 403, 422))
    async def gaps(
        caller: Annotated[Caller, require("viewer", within=True)],
        page: Annotated[Wanted, page_wanted(int, str, str)],
        station: Annotated[str | None, Query(alias="stationId", max_length=48)] = None,
        evse: Annotated[int | None, Query(alias="evseId", ge=0, le=EVSE_MAX)] = None,
    ) -> Page[GapShown]:
        """Those noticed last come first; a gap that a late transaction explains is no more."""
        asked: dict[str, Value] = {"station": normalise(station) if station else None, "evse_id": evse}
        rows = await store.select(
            GAPS,
            {column: value for column, value in asked.items() if value is not None},
            after=cast(Any, page.after),
            order=("noticed_at",),
            descending=True,
            limit=page.limit + 1,
            among=caller.among("station"),
        )
        found = page.page(rows, lambda row: cast(Any, (row["noticed_at"], row["station"], row["after_key"])))
        return Page(items=[_gap(row) for row in found.items], next=found.next)


def _gap(row: Mapping[str, Value]) -> GapShown:
    return GapShown.model_validate(
        {
            "stationId": row["station"],
            "evseId": row["evse_id"],
            "before": row["before"],
            "after": row["after"],
            "endedWh": row["ended_wh"],
            "startedWh": row["started_wh"],
            "missingWh": row["missing_wh"],
            "endedAt": to_rfc3339(int(row["ended_at"] or 0)),
            "startedAt": to_rfc3339(int(row["started_at"] or 0)),
            "noticedAt": to_rfc3339(int(row["noticed_at"] or 0)),
        }
    )


def wanted(
    now: int, since: datetime | None, until: datetime | None, step: int | None, measurand: str | None,
    kind: Kind | None,
) -> Asked:  # fmt: skip
    """The time and step asked for, bounded. Raises Problem 422."""
    end = _ms(until) if until is not None else now
    begin = _ms(since) if since is not None else end - DAY_MS
    if begin >= end:
        raise Problem(422, "query.from must be before query.to", title="Invalid request")
    if end - begin > RANGE_MAX_MS:
        raise Problem(422, "query.from: ten years are the most", title="Invalid request")
    step_ms = None if step is None else step * 1000
    if step_ms is not None:
        if step_ms > HOUR_MS and step_ms % HOUR_MS:
            raise Problem(422, "query.step: beyond 3600 it is a multiple of it", title="Invalid request")
        if (end - begin) // step_ms > POINTS_MAX:
            raise Problem(422, f"query.step: more than {POINTS_MAX} steps", title="Invalid request")
        # Steps are whole: the first begins at or before `from`, the last holds the end.
        begin, end = begin - begin % step_ms, end + -end % step_ms
    return Asked(begin, end, step_ms, measurand, kind)


async def _read(
    reader: SeriesReader, station: str, identity: str, evse_id: int, ask: Asked
) -> tuple[MeterShown, list[Line]]:
    next_: int | None = None
    if ask.step_ms is None:
        said = [one for one in await reader.said(station, ask.since, ask.until) if _is_wanted(one, evse_id, ask)]
        said, next_ = _cut(sorted(said, key=lambda one: one.sample.at))
        series, lines = _samples(said)
    else:
        series, lines = _steps(await _figures(reader, station, evse_id, ask), ask.step_ms)
    shown = MeterShown.model_validate(
        {
            "stationId": identity,
            "evseId": evse_id,
            "from": to_rfc3339(ask.since),
            "to": to_rfc3339(ask.until),
            "step": ask.step_ms // 1000 if ask.step_ms is not None else None,
            "next": to_rfc3339(next_) if next_ is not None else None,
            "series": series,
        }
    )
    return shown, lines


def _is_wanted(one: Said, evse_id: int, ask: Asked) -> bool:
    return one.evse_id == evse_id and ask.wants(key_of(one.sample))


def _cut(said: list[Said]) -> tuple[list[Said], int | None]:
    """The first POINTS_MAX, those of one time together, and the time of the first that is left out."""
    if len(said) <= POINTS_MAX:
        return said, None
    edge = said[POINTS_MAX].sample.at
    kept = [one for one in said if one.sample.at < edge]
    return (kept, edge) if kept else (said[:POINTS_MAX], edge + 1)


async def _figures(reader: SeriesReader, station: str, evse_id: int, ask: Asked) -> dict[SeriesKey, dict[int, Figures]]:
    assert ask.step_ms is not None
    if ask.step_ms >= HOUR_MS:
        hours = await reader.hours(station, evse_id, ask.since, ask.until)
        return {key: coarser(key, spans, ask.step_ms) for key, spans in hours.items() if ask.wants(key)}
    said = await reader.said(station, ask.since, ask.until)
    return over((one.sample for one in said if _is_wanted(one, evse_id, ask)), ask.step_ms)


def _samples(said: Iterable[Said]) -> tuple[list[SeriesShown], list[Line]]:
    found: dict[SeriesKey, list[Said]] = defaultdict(list)
    for one in said:
        found[key_of(one.sample)].append(one)
    series = [_series(key).model_copy(update={"points": [_point(one) for one in found[key]]}) for key in sorted(found)]
    lines = []
    for key in sorted(found):
        good = [one.sample for one in found[key] if not one.sample.fault]
        if good:
            lines.append(_line(key, ((one.at, one.value, one.value, one.value) for one in good)))
    return series, lines


def _steps(figures: dict[SeriesKey, dict[int, Figures]], step_ms: int) -> tuple[list[SeriesShown], list[Line]]:
    series, lines = [], []
    for key in sorted(figures):
        spans = linked(key, figures[key])
        series.append(_series(key).model_copy(update={"steps": [_step(key, at, spans[at]) for at in sorted(spans)]}))
        lines.append(_line(key, (_drawn(key, at + step_ms // 2, spans[at]) for at in sorted(spans))))
    return series, lines


def _drawn(key: SeriesKey, at: int, of: Figures) -> tuple[int, Decimal, Decimal, Decimal]:
    return (at, of.last, of.last, of.last) if is_register(key) else (at, of.average, of.min, of.max)


def _line(key: SeriesKey, points: Iterable[tuple[int, Decimal, Decimal, Decimal]]) -> Line:
    label = " ".join(part for part in (key.phase, key.location, key.kind) if part)
    return Line(key.measurand, key.unit, label, tuple(points))


def _series(key: SeriesKey) -> SeriesShown:
    return SeriesShown.model_validate(
        {
            "measurand": key.measurand,
            "phase": key.phase or None,
            "location": key.location,
            "unit": key.unit,
            "kind": key.kind,
        }
    )


def _point(one: Said) -> PointShown:
    return PointShown.model_validate(
        {
            "at": to_rfc3339(one.sample.at),
            "value": _text(one.sample.value),
            "context": one.sample.context,
            "transactionId": one.transaction_id or None,
            "seqNo": one.seq_no,
            "signedMeterValue": orjson.loads(one.sample.signed) if one.sample.signed else None,
            "fault": one.sample.fault or None,
        }
    )


def _step(key: SeriesKey, at: int, of: Figures) -> StepShown:
    register = is_register(key)
    energy = of.energy if register else of.sum if key.measurand.endswith(".Interval") else None
    return StepShown(
        at=to_rfc3339(at),
        count=of.count,
        min=_text(of.min),
        max=_text(of.max),
        avg=_text(of.average.quantize(MILLI, context=EXACT)),
        first=_text(of.first),
        last=_text(of.last),
        energy=_text(energy) if energy is not None else None,
        drops=of.drops if register else None,
    )


def _prefers_svg(accept: str) -> bool:
    """Whether a plot is asked for before JSON is."""
    kinds = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    return SVG in kinds and "application/json" not in kinds[: kinds.index(SVG)]


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _text(value: Decimal) -> str:
    return format(value, "f")
