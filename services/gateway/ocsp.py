"""Client certificates asked about at their authority's OCSP responder (A00.FR.702), beside the handshakes.

Workers ask; a handshake looks at what is remembered. Only the first one with a certificate waits, and not for long. An
answer is asked for again when half of its time has passed, also for stations that stay connected: one that turns out
to be revoked is closed. Without an answer a station is let in, or, where that is set, refused (`hard_fail`). Who was
revoked stays so until a responder says that it is good.
"""

import asyncio
import contextlib
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final

import httpx
import structlog

from ocppcore.bounded import TooLong, whole
from ocppcore.clock import Clock
from services.gateway.domain.certificates import ClientCertificate
from services.gateway.domain.ocsp import Answer, BadAnswer, Question, judge

AGAIN_MS: Final = 60_000
"""Until a responder that did not answer is asked once more about a certificate."""
LOOK_S: Final = 30.0
ANSWER_BYTES_MAX: Final = 65_536
REVOKED: Final = "certificate_revoked"
UNCHECKED: Final = "certificate_unchecked"

Fetch = Callable[[str, bytes], Awaitable[bytes]]
log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class OcspRules:
    """`responders`: who may be asked, as `HOST` or `HOST:PORT`; empty: nobody is. `wait_s`: for a handshake's first
    answer, `timeout_s`: for a responder's; `waiting_max`: questions that wait, `remembered_max`: answers."""

    responders: frozenset[str] = frozenset()
    hard_fail: bool = False
    wait_s: float = 2.0
    timeout_s: float = 5.0
    at_once: int = 8
    waiting_max: int = 1000
    remembered_max: int = 20_000


@dataclass(frozen=True, slots=True)
class _Known:
    """`again`: when to ask once more, ms."""

    question: Question
    answer: Answer
    again: int


class Ocsp:
    """`revoked` hears the fingerprint of a certificate that was good when it came; `connected`: those in use now.

    `counts`: answers by status, and `none`."""

    def __init__(
        self,
        rules: OcspRules,
        clock: Clock,
        revoked: Callable[[str], None],
        connected: Callable[[], Iterable[str]],
        fetch: Fetch | None = None,
        counts: Counter[str] | None = None,
    ) -> None:
        self._rules = rules
        self._clock = clock
        self._revoked = revoked
        self._connected = connected
        self._fetch = fetch
        self._counts: Counter[str] = Counter() if counts is None else counts
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._asked: dict[str, asyncio.Future[None]] = {}
        self._queue: asyncio.Queue[tuple[str, Question]] = asyncio.Queue(rules.waiting_max)
        self._silent: set[str] = set()

    def __len__(self) -> int:
        return len(self._known)

    def has_revoked(self, fingerprint: str) -> bool:
        """Whether the last answer about it was that it is revoked."""
        known = self._known.get(fingerprint)
        return known is not None and known.answer.status == "revoked"

    async def refuses(self, certificate: ClientCertificate) -> str:
        """Why it opens nothing, in a word for metrics; "" if it does, or if there is nobody to ask."""
        if certificate.ocsp is None:
            return ""
        key, now = certificate.fingerprint, self._clock()
        known = self._known.get(key)
        if known is None or now >= known.answer.until:
            if known is None or now >= known.again:
                await self._first(key, certificate.ocsp)
        elif now >= known.again:
            self._ask(key, known.question)
        return self._verdict(key)

    async def run(self) -> None:
        """Work until cancelled, if there is anybody to ask."""
        if not self._rules.responders:
            return
        async with contextlib.AsyncExitStack() as stack:
            fetch = self._fetch
            if fetch is None:
                client = httpx.AsyncClient(timeout=self._rules.timeout_s, follow_redirects=False, trust_env=False)
                fetch = _post(await stack.enter_async_context(client))
            async with asyncio.TaskGroup() as group:
                for _ in range(self._rules.at_once):
                    group.create_task(self._work(fetch))
                while True:
                    await asyncio.sleep(LOOK_S)
                    self.look()

    def look(self) -> None:
        """Ask again about certificates that are in use, in good time."""
        now = self._clock()
        for key in set(self._connected()):
            known = self._known.get(key)
            if known is not None and now >= known.again:
                self._ask(key, known.question)

    def _verdict(self, key: str) -> str:
        known = self._known.get(key)
        if self.has_revoked(key):
            return REVOKED
        if known is not None and known.answer.status == "good" and self._clock() < known.answer.until:
            return ""
        return UNCHECKED if self._rules.hard_fail else ""

    async def _first(self, key: str, question: Question) -> None:
        done = self._ask(key, question)
        if done is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._rules.wait_s):
                    await asyncio.shield(done)

    def _ask(self, key: str, question: Question) -> "asyncio.Future[None] | None":
        """Have it asked; None where too many questions wait already."""
        if (under_way := self._asked.get(key)) is not None:
            return under_way
        try:
            self._queue.put_nowait((key, question))
        except asyncio.QueueFull:
            return None
        made = self._asked[key] = asyncio.get_running_loop().create_future()
        return made

    async def _work(self, fetch: Fetch) -> None:
        while True:
            key, question = await self._queue.get()
            try:
                await self._find_out(key, question, fetch)
            finally:
                done = self._asked.pop(key)
                if not done.done():
                    done.set_result(None)

    async def _find_out(self, key: str, question: Question, fetch: Fetch) -> None:
        before = self._known.get(key)
        try:
            async with asyncio.timeout(self._rules.timeout_s):
                said = await fetch(question.url, question.request)
            now = self._clock()
            answer = judge(question, said, now)
        except (OSError, httpx.HTTPError, httpx.InvalidURL, BadAnswer, TooLong) as error:
            self._counts["none"] += 1
            self._failed(question.url, error)
            now = self._clock()
            kept = before.answer if before is not None else Answer("unknown", 0)
            self._remember(key, _Known(question, kept, now + AGAIN_MS))
            return
        self._counts[answer.status] += 1
        self._silent.discard(question.url)
        self._remember(key, _Known(question, answer, now + (answer.until - now) // 2))
        if answer.status == "revoked" and (before is None or before.answer.status != "revoked"):
            log.warning("a client certificate is revoked", fingerprint=key, responder=question.url)
            self._revoked(key)

    def _failed(self, url: str, error: Exception) -> None:
        """Say it once, until the responder answers again."""
        if url not in self._silent and len(self._silent) < self._rules.remembered_max:
            self._silent.add(url)
            log.warning("an OCSP responder gives no answer", responder=url, error=str(error) or type(error).__name__)

    def _remember(self, key: str, known: _Known) -> None:
        self._known[key] = known
        self._known.move_to_end(key)
        if len(self._known) > self._rules.remembered_max:
            self._known.popitem(last=False)


def _post(client: httpx.AsyncClient) -> Fetch:
    async def post(url: str, body: bytes) -> bytes:
        headers = {"Content-Type": "application/ocsp-request", "Accept": "application/ocsp-response"}
        async with client.stream("POST", url, content=body, headers=headers) as response:
            if response.status_code != httpx.codes.OK:
                raise BadAnswer(f"HTTP {response.status_code}")
            return await whole(response.aiter_raw(), ANSWER_BYTES_MAX)

    return post
