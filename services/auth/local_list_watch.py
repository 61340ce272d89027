"""Sees that a station's list is not what the rules give any more, and has it brought up to date, unasked.

Every process looks after the stations of the cells that it owns. A look costs the rules, one row for each label that
they name and cell, and a comparison in memory for each station; what follows is one request for each station whose
list has changed, at most so many a look. Many changes between two looks are one. Nothing is lost with a process: what
was last brought to a station stands in its row.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import msgspec
import structlog

from ocppcore import topics
from ocppcore.clock import Clock
from ocppcore.contracts.device import StationState
from ocppcore.contracts.local_lists import FollowLocalList, ListRule
from ocppcore.envelope import Request, request_record
from ocppcore.errors import Unavailable
from ocppcore.log import Log, NewRecord, Record, TopicPartition
from ocppcore.newest import Newest
from ocppcore.store import Store, Value
from services.auth.domain import local_list
from services.auth.domain.local_list_tables import LISTS
from services.auth.local_list_worker import read_marks, read_rules

log = structlog.get_logger(__name__)
FETCH: Final = 1000
PAGE: Final = 1000
SLICE: Final = 200
"""Stations compared before others get their turn."""


class Noted(NamedTuple):
    """What was last asked for a station."""

    automatic: bool
    fingerprint: str


class Watcher:
    """`cells`: those that this process owns. `every_s`: between looks, `most`: stations that one look sets going."""

    def __init__(
        self, store: Store, log_: Log, clock: Clock, partitions: int, cells: Callable[[], frozenset[int]],
        every_s: float = 5.0, most: int = 100,
    ) -> None:  # fmt: skip
        self._store = store
        self._log = log_
        self._clock = clock
        self._partitions = partitions
        self._cells = cells
        self._every_s = every_s
        self._most = most
        self._stations: dict[str, StationState] = {}
        self._newest = Newest()
        self._noted: dict[str, Noted] = {}
        self._owned: frozenset[int] | None = None
        self._seen: tuple[list[ListRule], dict[str, str]] | None = None

    async def run(self) -> None:
        """Look for ever. What the log or the store cannot do now is tried again at the next look."""
        reader = self._log.reader()
        places = [TopicPartition(topics.STATIONS, n) for n in range(self._partitions)]
        try:
            positions = dict(await self._log.starts(places))
            ends = await self._log.ends(places)
            reader.assign(positions)
            looked = 0.0
            loop = asyncio.get_running_loop()
            while True:
                for record in await reader.fetch(FETCH, self._every_s / 2):
                    self.apply(record)
                    positions[TopicPartition(record.topic, record.partition)] = record.position + 1
                behind = any(positions[tp] < end for tp, end in ends.items())
                if not behind and loop.time() - looked >= self._every_s:
                    looked = loop.time()
                    try:
                        await self.look()
                    except Unavailable as error:
                        log.warning("local lists cannot be looked at now", error=str(error))
        finally:
            await reader.close()

    def apply(self, record: Record) -> None:
        """A record of `device.stations`: of a station whose list is looked after, what its list depends on."""
        if not self._newest.takes(record):
            return
        state = msgspec.json.decode(record.value, type=StationState) if record.value else None
        before = self._stations.pop(record.key, None)
        if state is not None and not state.deleted and state.automatic.local_list:
            limit = state.limits.get("SendLocalList")
            self._stations[record.key] = StationState(
                id=state.id,
                security_profile=1,
                credential=None,
                registration="Accepted",
                evses=state.evses,
                limits={"SendLocalList": limit} if limit else {},
                automatic=state.automatic,
                site=state.site,
                groups=state.groups,
            )
        if before != self._stations.get(record.key):
            self._seen = None

    async def look(self) -> int:
        """Ask for what has changed; returns for how many stations. Raises StoreUnavailable, LogUnavailable."""
        rules = await read_rules(self._store)
        marks = await read_marks(self._store, rules)
        owned = self._cells()
        if owned != self._owned:
            await self._reload(owned)
        elif self._seen == (rules, marks):
            return 0
        wanted = await self._wanted(rules, marks)
        if wanted:
            await self._log.append([self._record(station, body) for station, body in wanted])
        for station, body in wanted:
            self._noted[station] = Noted(body.automatic, body.fingerprint)
        self._seen = (rules, marks) if len(wanted) < self._most else None
        return len(wanted)

    async def _reload(self, owned: frozenset[int]) -> None:
        """What the rows of the stations in these cells say."""
        self._noted, self._seen = {}, None
        after: tuple[Value, ...] | None = None
        while True:
            rows = await self._store.select(LISTS, after=after, limit=PAGE)
            for row in rows:
                station = str(row["station"])
                if topics.partition_of(station, self._partitions) in owned:
                    self._noted[station] = Noted(bool(row["automatic"]), str(row["fingerprint"]))
            if len(rows) < PAGE:
                break
            after = (rows[-1]["station"],)
        self._owned = owned

    async def _wanted(self, rules: Sequence[ListRule], marks: dict[str, str]) -> list[tuple[str, FollowLocalList]]:
        found: list[tuple[str, FollowLocalList]] = []
        owned = self._owned or frozenset()
        for n, (station, state) in enumerate(list(self._stations.items())):
            if n % SLICE == SLICE - 1:
                await asyncio.sleep(0)
            if topics.partition_of(station, self._partitions) not in owned:
                continue
            mine = [rule for rule in rules if local_list.matches(rule.applies_to, station, state)]
            noted = self._noted.get(station)
            if not mine and (noted is None or not noted.automatic):
                continue
            now = local_list.fingerprint(mine, marks, state)
            if noted != Noted(True, now):
                found.append((station, FollowLocalList(identity=state.id, automatic=True, fingerprint=now)))
                if len(found) >= self._most:
                    return found
        for station, noted in list(self._noted.items()):
            if noted.automatic and station not in self._stations:
                found.append((station, FollowLocalList(identity=station, automatic=False)))
                if len(found) >= self._most:
                    return found
        return found

    def _record(self, station: str, body: FollowLocalList) -> NewRecord:
        now = self._clock()
        request = Request(
            f"auth/local-list/{station}/{body.fingerprint}/{now}", FollowLocalList.NAME, station,
            msgspec.json.encode(body), now, "/auth/local-lists", "", "", "",
        )  # fmt: skip
        return request_record(request, "auth", self._partitions)
