"""Gateways that went without a word: their connections and commands are ended in every cell.

A lease's end (or a new claim on the slot) is noticed here; before a cell is told, it must have read its frames and
connections to the log's end as it was then, so that every receipt of the dead gateway has been counted.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import msgspec

from ocppcore import topics
from ocppcore.clock import Clock
from ocppcore.commands import LOST, Lost
from ocppcore.envelope import Request, request_record
from ocppcore.leases import Leases
from ocppcore.log import Log, NewRecord, TopicPartition
from ocppcore.service import Aggregate, Connection, Link, Service
from ocppcore.store import Store

PAGE = 500
GRACE_MS = 3000
"""Gateways' clocks may be 2 s apart, and one writes to sockets until its lease ends: then every receipt is there."""
A = TypeVar("A", bound=Aggregate)


class Sweeper:
    """`cells` tells the owned cells, `read` what a cell has read of an input topic."""

    def __init__(
        self,
        service: Service,
        log: Log,
        store: Store,
        clock: Clock,
        partitions: int,
        cells: Callable[[], Iterable[int]],
        read: Callable[[int], Mapping[str, int]],
        every_s: float = 1.0,
    ) -> None:
        self._service = service
        self._log = log
        self._store = store
        self._clock = clock
        self._partitions = partitions
        self._cells = cells
        self._read = read
        self._every_s = every_s
        self._reader = log.reader()
        self._leases = Leases()
        self._gateways = TopicPartition(topics.GATEWAYS, 0)
        self._position: int | None = None
        self._swept: dict[int, frozenset[tuple[int, int]]] = {}

    def reopened(self, cell: int) -> None:
        """A cell has a new owner: look at all its connections again."""
        self._swept.pop(cell, None)

    def seen(self, cell: int, connection: Connection) -> None:
        """A cell heard of a connection: maybe late, of a gateway that is gone already."""
        if connection.connected and connection.claim and self._over(connection.slot, connection.claim):
            self._swept.pop(cell, None)

    def _over(self, slot: int, claim: int) -> bool:
        return self._leases.over(slot, claim, self._clock() - GRACE_MS)

    async def run(self) -> None:
        """Watch leases for ever and sweep owned cells when the set of live ones has changed."""
        while True:
            live = self._leases.standing(await self._read_leases(self._every_s))
            for cell in list(self._cells()):
                if self._swept.get(cell) != live and await self._sweep(cell):
                    self._swept[cell] = live

    async def _read_leases(self, wait_s: float) -> int:
        """Read to the log's end as it is now; the time up to which leases can be judged then."""
        at = self._clock() - GRACE_MS
        if self._position is None:
            self._position = (await self._log.starts([self._gateways]))[self._gateways]
            self._reader.assign({self._gateways: self._position})
        end = (await self._log.ends([self._gateways]))[self._gateways]
        while True:
            for record in await self._reader.fetch(PAGE, wait_s):
                self._leases.apply(record)
                self._position = record.position + 1
            if self._position >= end:
                return at
            wait_s = self._every_s

    async def _sweep(self, cell: int) -> bool:
        ends = await self._log.ends(
            [TopicPartition(topic, cell) for topic in (topics.frames(self._service.name), topics.CONNECTIONS)]
        )
        if any(self._read(cell).get(tp.topic, 0) < end for tp, end in ends.items()):
            return False
        await self._sweep_kind(cell, Connection, lambda c: [Link(c.slot, c.claim, c.epoch)] if c.connected else [])
        for kind, links in self._service.links.items():
            await self._sweep_kind(cell, kind, links)
        return True

    async def _sweep_kind(self, cell: int, kind: type[A], links: Callable[[A], Iterable[Link]]) -> None:
        after, now = "", self._clock()
        while page := await self._store.scan(kind.KIND, cell, after, PAGE):
            after = page[-1][0]
            held = [
                (station, link)
                for station, data in page
                for link in set(links(msgspec.json.decode(data, type=kind)))
                if link.claim
            ]
            # Read after the connections: their claims are among the leases then, and so are all renewals up to `at`,
            # however long the sweep takes.
            at = await self._read_leases(0) if held else 0
            lost = [
                self._request(station, link, now)
                for station, link in held
                if self._leases.over(link.slot, link.claim, at)
            ]
            if lost:
                await self._log.append(lost)

    def _request(self, station: str, link: Link, now: int) -> NewRecord:
        body = Lost(slot=link.slot, claim=link.claim, epoch=link.epoch)
        id_ = f"{self._service.name}/lost/{station}/{link.slot}/{link.claim}/{link.epoch}"
        request = Request(
            id_, LOST, station, msgspec.json.encode(body), now, f"/{self._service.name}/sweep", "", "", ""
        )
        return request_record(request, self._service.name, self._partitions)

    async def close(self) -> None:
        await self._reader.close()
