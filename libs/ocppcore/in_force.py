"""Whether a change is in force everywhere: every process that holds copies of others' state says how far it has read.

Each process has one record in `csms.copies`: until when it counts as alive, its newest question, and which questions
of others it has answered. A question means: read on to the log's end as it is now. It is asked only after a change
that other copies must see, and one question serves all changes that wait. A process announces itself before it looks
how far it has to catch up: whoever is not known here yet reads this change before it serves.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import msgspec
import structlog

from ocppcore import topics
from ocppcore.clock import Clock
from ocppcore.envelope import BadRecord, ce_headers, parse_json
from ocppcore.log import Log, NewRecord, Record, TopicPartition

log = structlog.get_logger(__name__)

Follower = Callable[[], Awaitable[bool]]
"""Waits, for a bounded time, until a copy has read to the log's end as it is now; whether it has."""

LEASE_MS = 6000
RENEW_S = 2.0
SKEW_MS = 2000
"""By how much the clocks of processes may differ."""
FORGOTTEN_MS = 24 * 3600 * 1000
FETCH_MAX = 500
FETCH_WAIT_S = 0.5
AGAIN_S = 0.2
COPIES = TopicPartition(topics.COPIES, 0)


class Word(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a process says; a newer word replaces the older. `answered`: by process, the newest question it has read
    far enough for. `gone`: it has stopped."""

    until: int
    asked: int = 0
    answered: dict[str, int] = {}
    gone: bool = False


class InForce:
    """One per process, under a name of its own. `followers`: every copy of another service's state in this process."""

    def __init__(self, log_: Log, clock: Clock, name: str) -> None:
        self.followers: list[Follower] = []
        self._log = log_
        self._clock = clock
        self._name = name
        self._peers: dict[str, Word] = {}
        self._position = 0
        self._asked = 0
        self._answered: dict[str, int] = {}
        self._tickets = 0
        self._served = 0
        self._asking = asyncio.Lock()
        self._moved = asyncio.Condition()
        self._questions = asyncio.Event()
        self._reading = False
        self._gone = False

    async def announce(self) -> None:
        """Say that this process is there: before its copies look how far they have to read."""
        await self._say()

    async def run(self) -> None:
        """Listen, answer and renew until cancelled, then say goodbye. Raises LogError."""
        reader = self._log.reader()
        self._position = (await self._log.starts([COPIES]))[COPIES]
        reader.assign({COPIES: self._position})
        self._reading = True
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._renew())
                group.create_task(self._answer())
                while True:
                    for record in await reader.fetch(FETCH_MAX, FETCH_WAIT_S):
                        self._apply(record)
                        self._position = record.position + 1
                    async with self._moved:  # also when nothing came: a lease may be over
                        self._moved.notify_all()
        finally:
            self._reading = False
            await reader.close()

    async def leave(self) -> None:
        """Say that this process is gone: nobody waits for it any more."""
        self._gone = True
        await self._say()

    async def everywhere(self, wait_s: float) -> bool:
        """Wait, at most so long, until all copies have read what is on the log now; whether they have."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                return await self._all_have_read()
        return False

    async def _all_have_read(self) -> bool:
        if not await self._here():
            return False
        if not self._reading:
            return True  # nobody listens for others: a process on its own
        end = (await self._log.ends([COPIES]))[COPIES]
        async with self._moved:
            await self._moved.wait_for(lambda: self._position >= end)
        if not self._alive():
            return True
        number = await self._ask()
        async with self._moved:
            await self._moved.wait_for(lambda: self._answered_by_all(number))
        return True

    async def _here(self) -> bool:
        return all(await asyncio.gather(*(followed() for followed in self.followers)))

    def _alive(self) -> list[Word]:
        now = self._clock()
        return [word for word in self._peers.values() if word.until + SKEW_MS > now]

    def _answered_by_all(self, number: int) -> bool:
        return all(word.answered.get(self._name, 0) >= number for word in self._alive())

    async def _ask(self) -> int:
        """The number of a question that was asked after this was called."""
        self._tickets += 1
        ticket = self._tickets
        async with self._asking:
            if self._served < ticket:
                tickets = self._tickets
                self._asked += 1
                await self._say()
                self._served = tickets
            return self._asked

    async def _say(self) -> None:
        now = self._clock()
        word = Word(until=now + LEASE_MS, asked=self._asked, answered=dict(self._answered), gone=self._gone)
        id_ = f"{self._name}/{now}/{self._asked}"
        headers = ce_headers(id_, f"{topics.COPIES}.v1", "/csms", self._name, now)
        await self._log.append([NewRecord(topics.COPIES, 0, self._name, msgspec.json.encode(word), headers)])

    def _apply(self, record: Record) -> None:
        if record.key == self._name:
            return
        try:
            word = parse_json(record, Word)
        except BadRecord as error:
            log.error("what a process said of its copies cannot be read", error=str(error))
            return
        if word.gone or word.until < self._clock() - FORGOTTEN_MS:
            self._peers.pop(record.key, None)
            self._answered.pop(record.key, None)
            return
        self._peers[record.key] = word
        if word.asked > self._answered.get(record.key, 0):
            self._questions.set()

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_S)
            await self._say()

    async def _answer(self) -> None:
        """Answer all questions that are open at once; copies that stay behind keep the answer back."""
        while True:
            await self._questions.wait()
            self._questions.clear()
            asked = {name: word.asked for name, word in self._peers.items()}
            if not await self._here():
                self._questions.set()
                await asyncio.sleep(AGAIN_S)
                continue
            new = {name: number for name, number in asked.items() if number > self._answered.get(name, 0)}
            if new:
                self._answered.update(new)
                await self._say()
