"""Effects: what cannot be computed from state and record, performed outside the loop at least once per asking event.

The result comes back as a record on the service's requests, with an id derived from the event: it is decided once.
"""

import asyncio

import msgspec
import structlog
from tenacity import AsyncRetrying, stop_after_attempt, wait_exponential_jitter

from ocppcore.clock import Clock
from ocppcore.engine.batch import PendingEffect, effect_request_id
from ocppcore.envelope import Request, request_record
from ocppcore.log import Log
from ocppcore.service import EffectResult, Service

log = structlog.get_logger(__name__)
ATTEMPTS = 5
QUEUE_MAX = 10_000
FAILED = "csms.effect_failed.v1"


class Effects:
    """The workers of one service in one process."""

    def __init__(self, service: Service, log_: Log, clock: Clock, partitions: int, at_once: int) -> None:
        self._service = service
        self._log = log_
        self._clock = clock
        self._partitions = partitions
        self._at_once = at_once
        self._queue: asyncio.Queue[tuple[str, PendingEffect]] = asyncio.Queue()
        self._known: set[str] = set()

    def start(self, id_: str, pending: PendingEffect) -> None:
        """Queue an effect; beyond the queue's limit it stays in the store until the cell is opened again."""
        if id_ not in self._known and self._queue.qsize() < QUEUE_MAX:
            self._known.add(id_)
            self._queue.put_nowait((id_, pending))

    async def run(self) -> None:
        """Work for ever."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._at_once):
                group.create_task(self._worker())

    async def _worker(self) -> None:
        while True:
            id_, pending = await self._queue.get()
            result = await self._perform(id_, pending)
            request = Request(
                effect_request_id(id_), result.type, pending.key, msgspec.json.encode(result.body), self._clock(),
                f"/{self._service.name}/effects", "", "", "",
            )  # fmt: skip
            await self._log.append([request_record(request, self._service.name, self._partitions)])
            self._known.discard(id_)

    async def _perform(self, id_: str, pending: PendingEffect) -> EffectResult:
        event_type = self._service.events[pending.event_type]
        effect = self._service.effects[event_type]
        event = msgspec.json.decode(pending.event, type=event_type)
        try:
            async for attempt in AsyncRetrying(
                stop=stop_after_attempt(ATTEMPTS), wait=wait_exponential_jitter(multiplier=0.2, max=10), reraise=True
            ):
                with attempt:
                    return await effect(event)
        except Exception as error:  # a mistake in it would come again at every start
            said = repr(error) if isinstance(error, OSError) else type(error).__name__  # others may quote what came in
            log.error("effect failed", service=self._service.name, effect=pending.event_type, id=id_, error=said)
            return EffectResult(FAILED, {"effect": pending.event_type, "error": said})
        raise AssertionError("retries ended without a result")
