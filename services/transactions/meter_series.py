"""Reads series of meter values: samples from the stream, figures of hours from their table. IO, no rule.

Samples are where they always were, on `transactions.meter`; the rows of MeterHourBegun say in which hours of our clock
those of a time came. What is read at once is bounded by MESSAGES_MAX.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, NamedTuple

import msgspec

from ocppcore.clock import Clock
from ocppcore.contracts.metering import MeterHourDue, RolledSeries, RollUp
from ocppcore.contracts.transactions import MeterValuesReceived
from ocppcore.errors import CsmsError
from ocppcore.service import EffectResult
from ocppcore.store import Store, Table, Value
from ocppcore.topics import METER, normalise
from services.transactions.domain.figures import Figures, SeriesKey, over
from services.transactions.domain.measurands import Sample, samples
from services.transactions.domain.meter_hours import ARRIVALS, HOUR_MS, HOURS, ROLLED, hour_of
from services.transactions.domain.transaction import TRANSACTIONS

CLOCKS_MS: Final = 5_000
"""The store's clock may be behind the gateways' by this."""
PAGE: Final = 500
MESSAGES_MAX: Final = 20_000
HOURS_PAGE: Final = 5000
ROWS_MAX: Final = 100_000
"""Rows of hours read for one answer."""
DAY_MS: Final = 86_400_000

_event = msgspec.json.Decoder(MeterValuesReceived)


class TooMuch(CsmsError):
    """More samples or rows than one answer may be made of: ask for a shorter time or longer steps."""


class Said(NamedTuple):
    """A sample with the place it was said at."""

    evse_id: int
    transaction_id: str
    seq_no: int | None
    sample: Sample


@dataclass(frozen=True)
class SeriesReader:
    """Reads one service's store. `kept_days`: how long samples are kept."""

    store: Store
    clock: Clock
    kept_days: int

    async def said(self, station: str, since: int, until: int) -> list[Said]:
        """All samples of a station (normalised) taken in [since, until), in the order in which they came.

        Raises TooMuch.
        """
        arrived = await self._arrived(station, hour_of(since), until)
        found = []
        evses: dict[str, int | None] = {}
        async for event in self._messages(station, arrived):
            evse_id = event.evse_id
            if evse_id is None:
                evse_id = await self._evse(station, event.transaction_id, evses)
            if evse_id is None:
                continue
            found += [
                Said(evse_id, event.transaction_id, event.seq_no, sample)
                for sample in samples(event.meter_values)
                if since <= sample.at < until
            ]
        return found

    async def hours(self, station: str, evse_id: int, since: int, until: int) -> dict[SeriesKey, dict[int, Figures]]:
        """The figures of each hour that begins in [since, until), from the table, or else from its samples.

        Raises TooMuch.
        """
        found: dict[SeriesKey, dict[int, Figures]] = defaultdict(dict)
        async for row in self._rolled(station, evse_id, since, until):
            key = SeriesKey(*(str(row[of]) for of in ("kind", "measurand", "phase", "location", "unit")))
            found[key][int(row["hour"] or 0)] = _figures(row)
        # What came after the figures were made shows when the hour is rolled up again.
        done = {hour for (hour,) in await self._all(ROLLED, ("hour",), station, since, until)}
        begun = {hour for hour, _ in await self._all(ARRIVALS, ("hour", "arrived"), station, since, until)}
        for begin, end in _runs(sorted(begun - done)):
            fresh = [one.sample for one in await self.said(station, begin, end) if one.evse_id == evse_id]
            for key, spans in over(fresh, HOUR_MS).items():
                found[key].update(spans)
        return dict(found)

    async def roll_up(self, event: MeterHourDue) -> EffectResult:
        """The figures of an hour, of all EVSEs of a station; an effect."""
        arrived = await self._arrived(event.station, event.hour, event.hour + HOUR_MS)
        partial = any(hour < self.clock() - self.kept_days * DAY_MS + HOUR_MS for hour in arrived)
        by_evse: dict[int, list[Sample]] = defaultdict(list)
        for one in await self.said(event.station, event.hour, event.hour + HOUR_MS):
            by_evse[one.evse_id].append(one.sample)
        series = tuple(rolled for evse in sorted(by_evse) for rolled in _roll(evse, by_evse[evse]))
        return EffectResult(RollUp.NAME, RollUp(hour=event.hour, series=series, partial=partial))

    async def _arrived(self, station: str, since: int, until: int) -> list[int]:
        """The hours of our clock in which samples came of hours that begin in [since, until), sorted."""
        rows = await self._all(ARRIVALS, ("hour", "arrived"), station, since, until)
        return sorted({arrived for _, arrived in rows})

    async def _all(
        self, table: Table, columns: tuple[str, ...], station: str, since: int, until: int
    ) -> list[tuple[int, ...]]:
        """The rows of a station's hours that begin in [since, until); `columns` are the key but for the station."""
        found: list[tuple[int, ...]] = []
        after: tuple[Value, ...] = (since - 1, "", *(0 for _ in columns[1:]))
        while len(found) < ROWS_MAX:
            rows = await self.store.select(table, {"station": station}, after=after, order=("hour",), limit=HOURS_PAGE)
            for row in rows:
                if int(row["hour"] or 0) >= until:
                    return found
                found.append(tuple(int(row[of] or 0) for of in columns))
            if len(rows) < HOURS_PAGE:
                return found
            after = (found[-1][0], station, *found[-1][1:])
        raise TooMuch(f"more than {ROWS_MAX} hours")

    async def _messages(self, station: str, arrived: Sequence[int]) -> AsyncIterator[MeterValuesReceived]:
        """What came in these hours of our clock; rows were stored in the order of that clock, and not before it."""
        read = 0
        for begin, end in _runs(arrived):
            after = (begin - CLOCKS_MS, -1)
            while True:
                rows = await self.store.stream_of(METER, station, after, PAGE)
                read += len(rows)
                if read > MESSAGES_MAX:
                    raise TooMuch(f"more than {MESSAGES_MAX} messages with meter values")
                events = [_event.decode(record.value) for _, record in rows]
                for event in events:
                    if begin <= event.at < end:
                        yield event
                if len(rows) < PAGE or events[-1].at >= end:
                    break
                after = (rows[-1][0], rows[-1][1].number)

    async def _evse(self, station: str, transaction_id: str, known: dict[str, int | None]) -> int | None:
        """The EVSE that a transaction named in another event than this one."""
        key = normalise(transaction_id)
        if key not in known:
            rows = await self.store.select(TRANSACTIONS, {"station": station, "key": key}, limit=1)
            known[key] = int(rows[0]["evse_id"]) if rows and rows[0]["evse_id"] is not None else None
        return known[key]

    async def _rolled(self, station: str, evse_id: int, since: int, until: int) -> AsyncIterator[Mapping[str, Value]]:
        where: dict[str, Value] = {"station": station, "evse_id": evse_id}
        after: tuple[Value, ...] = (since - 1, "", 0, "", "", "", "", "")
        read = 0
        while True:
            rows = await self.store.select(HOURS, where, after=after, order=("hour",), limit=HOURS_PAGE)
            for row in rows:
                if int(row["hour"] or 0) >= until:
                    return
                yield row
            read += len(rows)
            if read > ROWS_MAX:
                raise TooMuch(f"more than {ROWS_MAX} figures of hours")
            if len(rows) < HOURS_PAGE:
                return
            after = tuple(rows[-1][of] for of in ("hour", *(of for of in HOURS.key if of != "hour")))


def _runs(hours: Iterable[int]) -> list[tuple[int, int]]:
    """Sorted hours as [begin, end) without those that follow one another."""
    runs: list[tuple[int, int]] = []
    for hour in hours:
        if runs and runs[-1][1] == hour:
            runs[-1] = (runs[-1][0], hour + HOUR_MS)
        else:
            runs.append((hour, hour + HOUR_MS))
    return runs


def _roll(evse_id: int, found: Iterable[Sample]) -> Iterable[RolledSeries]:
    for key, spans in sorted(over(found, HOUR_MS).items()):
        for figures in spans.values():
            yield RolledSeries(
                evse_id=evse_id,
                kind=key.kind,
                measurand=key.measurand,
                phase=key.phase,
                location=key.location,
                unit=key.unit,
                count=figures.count,
                min=_text(figures.min),
                max=_text(figures.max),
                sum=_text(figures.sum),
                first_at=figures.first_at,
                first=_text(figures.first),
                last_at=figures.last_at,
                last=_text(figures.last),
                energy=_text(figures.energy),
                drops=figures.drops,
            )


def _figures(row: Mapping[str, Value]) -> Figures:
    def number(of: str) -> Decimal:
        return Decimal(str(row[of]))

    def whole(of: str) -> int:
        return int(row[of] or 0)

    return Figures(
        whole("count"),
        number("min"),
        number("max"),
        number("sum"),
        whole("first_at"),
        number("first"),
        whole("last_at"),
        number("last"),
        number("energy"),
        whole("drops"),
    )


def _text(value: Decimal) -> str:
    return format(value, "f")
