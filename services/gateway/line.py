"""Costly work for strangers, a little at a time, in a fair order: a crowd waits for itself.

Who has least under way and waiting, by its station and by its source, is next; when there are too many, one of those
who have most makes room. So whoever guesses at one station, or from one address, leaves the others their turns.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class TooBusy(Exception):
    """No turn: too many wait, and this one was not among those who have fewest."""


class _Waiting:
    """`turn` becomes True when it has come, False when there is none."""

    __slots__ = ("source", "station", "turn")

    def __init__(self, station: str, source: str, turn: "asyncio.Future[bool]") -> None:
        self.station = station
        self.source = source
        self.turn = turn


class Line:
    """`at_once` pieces of work under way, `waiting_max` that wait, of one station `station_max`, none for longer than
    `wait_s`."""

    def __init__(self, at_once: int, waiting_max: int, station_max: int, wait_s: float) -> None:
        self._free = at_once
        self._waiting_max = waiting_max
        self._station_max = station_max
        self._wait_s = wait_s
        self._waiting: dict[_Waiting, None] = {}
        self._stations: Counter[str] = Counter()
        self._sources: Counter[str] = Counter()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @asynccontextmanager
    async def turn(self, station: str, source: str) -> AsyncIterator[None]:
        """Entered when it is one's turn. Raises TooBusy."""
        me = _Waiting(station, source, asyncio.get_running_loop().create_future())
        self._count(me, 1)
        try:
            await self._come(me)
            yield
        finally:
            self._waiting.pop(me, None)
            self._count(me, -1)
            if me.turn.done() and not me.turn.cancelled() and me.turn.result():
                self._free += 1
                self._next()

    async def _come(self, me: _Waiting) -> None:
        self._waiting[me] = None
        self._next()
        if not me.turn.done():
            self._make_room(me)
        try:
            async with asyncio.timeout(self._wait_s):
                mine = await asyncio.shield(me.turn)
        except TimeoutError:
            raise TooBusy from None
        if not mine:
            raise TooBusy

    def _make_room(self, me: _Waiting) -> None:
        """Of equals the one that came last has to go."""
        same = [one for one in reversed(self._waiting) if one.station == me.station]
        if len(same) > self._station_max:
            self._dismiss(max(same, key=self._load))
        elif len(self._waiting) > self._waiting_max:
            self._dismiss(max(reversed(self._waiting), key=self._load))

    def _dismiss(self, one: _Waiting) -> None:
        del self._waiting[one]
        one.turn.set_result(False)

    def _next(self) -> None:
        while self._free and self._waiting:
            one = min(self._waiting, key=self._load)
            del self._waiting[one]
            self._free -= 1
            one.turn.set_result(True)

    def _load(self, one: _Waiting) -> int:
        return self._stations[one.station] + self._sources[one.source]

    def _count(self, one: _Waiting, by: int) -> None:
        for counts, key in ((self._stations, one.station), (self._sources, one.source)):
            counts[key] += by
            if not counts[key]:
                del counts[key]
