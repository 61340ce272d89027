"""One gateway: a slot held by a lease, the log read and written, connections served, a drain at the end.

Listeners (`ws.py`) are opened when the first slot is held and the copy of the stations has caught up. Without its
slot a gateway closes every connection and claims another.
"""

import asyncio
import contextlib
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, Protocol

import structlog

from ocppcore import topics
from ocppcore.clock import Clock
from ocppcore.log import Log, LogError, Reader, Record, TopicPartition
from ocppcore.seal import Seal
from services.gateway.authorities import Authorities
from services.gateway.copies import StationsCopy
from services.gateway.domain.admission import Knock
from services.gateway.domain.certificates import Issuers
from services.gateway.domain.connection import Limits
from services.gateway.domain.grants import CERTIFICATE_REVOKED, Grant
from services.gateway.door import Admitted, Door, Refused, Rules
from services.gateway.hub import Hub
from services.gateway.ocsp import Ocsp, OcspRules
from services.gateway.passwords import Passwords
from services.gateway.session import Session, Transport
from services.gateway.slots import SKEW_MAX_MS, SlotLost, Slots

DRAIN_STEP_S: Final = 0.05
FETCH_WAIT_S: Final = 5.0
LAST_WORDS_S: Final = 2.0

log = structlog.get_logger(__name__)


class Listener(Protocol):
    """Accepts sockets for a gateway."""

    async def start(self, gateway: "Gateway") -> None: ...

    async def stop(self) -> None:
        """Accept no more; sockets that are open stay open."""

    async def close(self) -> None:
        """Wait for the sockets to close, then cut what is left."""


class Trust(Protocol):
    """Whom certificates of stations are trusted by, and which were revoked; `Tls` is one."""

    authorities: Authorities

    @property
    def changes(self) -> int:
        """Another number after every change."""

    def objection(self, fingerprint: str, serial_number: int, issuers: Issuers) -> str:
        """Why a certificate opens nothing any more, "" if it does."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """What a gateway needs to know; `settings.py` reads it. `cells` and `slots` are partition counts."""

    cells: int
    slots: int
    limits: Limits = field(default_factory=Limits)
    lease_ms: int = 10_000
    tick_s: float = 0.25
    catch_up_s: float = 2.0
    drain_s: float = 10.0
    handled_max: int = 20_000
    append_bytes_max: int = 32 * 1024 * 1024
    fetch_max: int = 1000
    rules: Rules = field(default_factory=Rules)
    ocsp: OcspRules = field(default_factory=OcspRules)


class Gateway:
    """To be built inside a running event loop. `name` tells gateways apart in `ocpp.gateways`."""

    def __init__(
        self,
        log_: Log,
        numbers: Numbers,
        clock: Clock,
        passwords: Passwords,
        seal: Seal,
        name: str,
        *,
        listeners: Sequence[Listener] = (),
        trust: Trust | None = None,
        chance: random.Random | None = None,
        new_trace: Callable[[], str] = str,
    ) -> None:
        self._log = log_
        self._numbers = numbers
        self._passwords = passwords
        self._listeners = listeners
        self._stop = asyncio.Event()
        self._released = asyncio.Event()
        self._running = False
        self._caught_up = False
        self._opened = False
        self.name = name
        self.stations = StationsCopy()
        self.authorities = trust.authorities if trust is not None else Authorities()
        self._trust = trust
        self._trust_seen = trust.changes if trust is not None else 0
        self.hub = Hub(
            log_,
            clock,
            self.stations,
            seal,
            new_trace,
            cells=numbers.cells,
            limits=numbers.limits,
            handled_max=numbers.handled_max,
            append_bytes_max=numbers.append_bytes_max,
        )
        self.stats = self.hub.stats
        self.ocsp = Ocsp(
            numbers.ocsp,
            clock,
            self.hub.revoked,
            lambda: (session.grant.fingerprint for session in self.hub.sessions.values()),
            counts=self.stats.ocsp,
        )
        self.hub.objection = self._objection
        self._door = Door(
            log_,
            self.stations,
            passwords,
            clock,
            self.stats,
            numbers.rules,
            cells=numbers.cells,
            catch_up_s=numbers.catch_up_s,
            record=self.hub.refused,
            online=self.ocsp.refuses,
        )
        self._slots = Slots(log_, clock, name, numbers.slots, numbers.lease_ms, chance or random.SystemRandom())
        self.hub.lease_until = lambda: self._slots.until
        self.stats.gauges.update(
            connections=lambda: len(self.hub.sessions),
            connections_held_back=lambda: len(self.hub.held_back),
            stations_known=lambda: len(self.stations),
            append_bytes_in_flight=lambda: self.hub.appender.bytes_in_flight,
            slot=lambda: self.hub.holder.slot if self.hub.holder else -1,
        )

    def not_ready(self) -> str | None:
        """Why no station can be served now, None when they can."""
        if self.hub.draining:
            return "the gateway is stopping"
        if self.hub.holder is None:
            return "the gateway holds no slot"
        if not self._caught_up or not self._opened:
            return "the gateway is starting"
        if abs(self._slots.skew_ms) > SKEW_MAX_MS:
            return f"the clock is {self._slots.skew_ms} ms away from the log's"
        return None

    async def admit(self, identity: str, knock: Knock) -> Admitted | Refused:
        """Whether a station may connect now."""
        reason = self.not_ready()
        if reason is not None:
            return Refused(HTTPStatus.SERVICE_UNAVAILABLE, reason)
        return await self._door.admit(identity, knock)

    async def knows(self, identity: str) -> bool:
        """Whether a station of this identity is registered."""
        return await self._door.knows(identity)

    async def connect(
        self, admitted: Admitted, identity: str, subprotocol: str, transport: Transport
    ) -> Session | Refused:
        """See `Hub.connect`."""
        return await self.hub.connect(admitted, identity, subprotocol, transport)

    def failed(self, source: str, cause: str) -> None:
        """See `Door.failed`."""
        self._door.failed(source, cause)

    async def followed(self) -> bool:
        """Wait until the copy of the stations has read to the log's end as it is now, or the time for that is over;
        whether it has."""
        if not self._caught_up:
            return True
        return await self.stations.reach(await self._door.ends(), self._numbers.catch_up_s)

    async def run(self) -> None:
        """Serve until `drain` has finished.

        Raises (maybe in an ExceptionGroup) LogError when the log fails, NoFreeSlot when all slots are held, OSError
        when a port is taken.
        """
        self._running = True
        tail, outbound = self._log.reader(), self._log.reader()
        try:
            await self._follow(tail)
            while not self._stop.is_set():
                await self._serve(tail, outbound)
            await self._slots.release()
            self._released.set()
        finally:
            self._running = False
            self._released.set()
            self.hub.end_all("gateway is stopping")
            for listener in self._listeners:
                await listener.close()
            with contextlib.suppress(LogError, TimeoutError):
                async with asyncio.timeout(LAST_WORDS_S):
                    await self.hub.appender.idle()
            for reader in (tail, outbound):
                await reader.close()
            await self._slots.close()
            self._passwords.close()

    async def drain(self) -> None:
        """Admit nobody, finish what is in flight, close with 1012 spread over `drain_s`, give the slot up."""
        hub, half_s = self.hub, self._numbers.drain_s / 2
        hub.draining = True
        for listener in self._listeners:
            await listener.stop()
        sessions = list(hub.sessions.values())
        share = math.ceil(len(sessions) * DRAIN_STEP_S / max(half_s, DRAIN_STEP_S)) or 1
        for start in range(0, len(sessions), share):
            for session in sessions[start : start + share]:
                if not session.closed:
                    session.carry_out(session.connection.drain(hub.clock()))
            await asyncio.sleep(DRAIN_STEP_S)
        if not await hub.emptied(half_s):
            hub.end_all("gateway is stopping")
        await hub.appender.idle()
        self._stop.set()
        if self._running:
            await self._released.wait()

    async def _follow(self, tail: Reader) -> None:
        """Read connections from their end, stations and authorities from their start; returns once all is known."""

        def of(topic: str) -> list[TopicPartition]:
            return [TopicPartition(topic, cell) for cell in range(self._numbers.cells)]

        connections = await self._log.ends(of(topics.CONNECTIONS))
        stations = await self._log.starts(of(topics.STATIONS))
        authorities = await self._log.starts(of(topics.AUTHORITIES))
        self.stations.start({tp.partition: position for tp, position in stations.items()})
        tail.assign({**connections, **stations, **authorities})
        ends = await self._log.ends(of(topics.AUTHORITIES))
        unread = {tp for tp, start in authorities.items() if ends[tp] > start}
        wanted = await self._door.ends()
        while unread or not self.stations.has_reached(wanted):
            for record in await tail.fetch(self._numbers.fetch_max, 1.0):
                self._observe(record)
                tp = TopicPartition(record.topic, record.partition)
                if record.position + 1 >= ends.get(tp, 0):
                    unread.discard(tp)
        self._caught_up = True

    def _observe(self, record: Record) -> None:
        if record.topic != topics.AUTHORITIES:
            self.hub.observe(record)
        elif revoked := self.authorities.apply(record):
            self.hub.revoked(revoked)

    async def _serve(self, tail: Reader, outbound: Reader) -> None:
        """Hold a slot and serve on it, until it is lost or the gateway has drained."""
        holder = await self._slots.claim()
        outbound.assign(await self._log.ends([TopicPartition(topics.OUTBOUND, holder.slot)]))
        self.hub.holder = holder
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._slots.keep()),
                    group.create_task(self._read(outbound, self.hub.deliver)),
                    group.create_task(self._read(tail, self._observe)),
                    group.create_task(self._ticking()),
                    group.create_task(self.hub.appender.failing()),
                    group.create_task(self.ocsp.run()),
                ]
                await self._open()
                await self._stop.wait()
                for task in tasks:
                    task.cancel()
        except* SlotLost as lost:
            log.error("slot lost", slot=holder.slot, reason=str(lost.exceptions[0]))
            if (current := asyncio.current_task()) and current.cancelling():
                raise asyncio.CancelledError from None  # dropped by the group, as it came with an error
        finally:
            self.hub.holder = None
            self.hub.end_all("the gateway lost its slot")

    def _objection(self, grant: Grant) -> str:
        fingerprint, issuers = grant.fingerprint, grant.issuers
        shown = (fingerprint, *(issuers.fingerprints if issuers is not None else ()))
        if any(map(self.authorities.has_revoked, shown)) or self.ocsp.has_revoked(fingerprint):
            return CERTIFICATE_REVOKED
        if self._trust is None or issuers is None:
            return ""
        return self._trust.objection(fingerprint, grant.certificate_serial, issuers)

    def _look_at_trust(self) -> None:
        """Many changes may come in one go: connections are looked at once for all of them."""
        if self._trust is not None and self._trust.changes != self._trust_seen:
            self._trust_seen = self._trust.changes
            self.hub.look_at_certificates()

    async def _open(self) -> None:
        if not self._opened:
            for listener in self._listeners:
                await listener.start(self)
            self._opened = True

    async def _read(self, reader: Reader, handle: Callable[[Record], None]) -> None:
        while True:
            for record in await reader.fetch(self._numbers.fetch_max, FETCH_WAIT_S):
                handle(record)

    async def _ticking(self) -> None:
        while True:
            await asyncio.sleep(self._numbers.tick_s)
            self.hub.tick()
            self._look_at_trust()
