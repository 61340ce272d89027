"""Holding a slot: the gateway's own partition of `ocpp.outbound`, claimed and renewed in `ocpp.gateways`.

The first claim in log order wins (`ocppcore.leases`). A gateway claims only a slot that looks free, so that claims
rarely meet, and gives up its slot, with all its sockets, as soon as it cannot renew the lease in time.
"""

import asyncio
import random
from typing import Final

import structlog

from ocppcore import topics
from ocppcore.clock import Clock
from ocppcore.envelope import GatewayLease, lease_record, parse_json
from ocppcore.leases import Holder, Leases
from ocppcore.log import Log, LogUnavailable, Record, TopicPartition

PARTITION: Final = TopicPartition(topics.GATEWAYS, 0)
SKEW_MAX_MS: Final = 2000

log = structlog.get_logger(__name__)


class SlotLost(Exception):
    """The lease ran out or another gateway holds the slot: every socket has to go."""


class NoFreeSlot(Exception):
    """All slots are held: more gateways than partitions of `ocpp.outbound`."""


class Slots:
    """One gateway's view of the slots. `lease_ms` is renewed every third of it."""

    def __init__(self, log_: Log, clock: Clock, gateway: str, slots: int, lease_ms: int, chance: random.Random) -> None:
        self._log = log_
        self._clock = clock
        self._gateway = gateway
        self._slots = slots
        self._lease_ms = lease_ms
        self._chance = chance
        self._leases = Leases()
        self._reader = log_.reader()
        self._next: int | None = None
        # Until when each slot was last promised to anybody. On a compacted topic a holder's claim may be gone and
        # only its renewals left, which the fold cannot tell from a stranger's: such a slot is not free either.
        self._promised: dict[int, int] = {}
        self._until = 0
        self.held: Holder | None = None
        self.skew_ms = 0

    async def claim(self, attempts: int = 20) -> Holder:
        """Claim a free slot. Raises NoFreeSlot, LogUnavailable."""
        if self._next is None:
            self._next = (await self._log.starts([PARTITION]))[PARTITION]
            self._reader.assign({PARTITION: self._next})
        self._until = 0
        for _ in range(attempts):
            await self._read_to((await self._log.ends([PARTITION]))[PARTITION])
            slot = self._free()
            position = await self._append(GatewayLease(slot=slot, gateway=self._gateway, until=self._new_until()))
            await self._read_to(position + 1)
            holder = self._leases.holder(slot, self._clock())
            if holder is None or holder.gateway != self._gateway:
                continue  # another gateway's claim came first
            if holder.claim == 0:
                continue  # a renewal of claim 0 would read as another claim: claim it again, further on
            self.held = holder
            try:
                await self._renew()
            except SlotLost as lost:
                log.warning("claim came to nothing", slot=slot, reason=str(lost))
                self.held = None
                continue
            log.info("slot claimed", slot=slot, claim=holder.claim)
            return holder
        raise NoFreeSlot(f"no slot of {self._slots} could be claimed in {attempts} attempts")

    @property
    def until(self) -> int:
        """When the lease ends, by this gateway's clock (ms)."""
        return self._until

    async def keep(self) -> None:
        """Renew until the slot is lost; raises SlotLost then."""
        period_ms = self._lease_ms // 3
        renew_at = self._clock() + period_ms
        while True:
            wait_ms = max(0, renew_at - self._clock())
            for record in await self._reader.fetch(100, wait_ms / 1000):
                self._apply(record)
            now = self._clock()
            held = self.held
            if held is None or now >= self._until or not self._leases.live(held.slot, held.claim, now):
                raise SlotLost(f"slot {held.slot if held else '?'} is not ours any more")
            if now >= renew_at:
                await self._renew()
                renew_at = now + period_ms

    async def release(self) -> None:
        """Give the slot up, for others to claim at once."""
        held, self.held = self.held, None
        if held is not None:
            lease = GatewayLease(
                slot=held.slot, gateway=self._gateway, until=self._clock(), claim=held.claim, released=True
            )
            await self._append(lease)

    async def close(self) -> None:
        await self._reader.close()

    async def _renew(self) -> None:
        held = self.held
        assert held is not None
        until = self._new_until()
        lease = GatewayLease(slot=held.slot, gateway=self._gateway, until=until, claim=held.claim)
        left_ms = self._lease_ms if self._until == 0 else max(0, self._until - self._clock())
        try:
            async with asyncio.timeout(left_ms / 1000):
                await self._append(lease)
        except TimeoutError:
            raise SlotLost(f"slot {held.slot}: the lease could not be renewed in time") from None
        self._until = until

    async def _append(self, lease: GatewayLease) -> int:
        [position] = await self._log.append([lease_record(lease, self._clock())])
        return position

    async def _read_to(self, end: int) -> None:
        try:
            async with asyncio.timeout(self._lease_ms / 1000):
                while self._next is None or self._next < end:
                    for record in await self._reader.fetch(1000, 1.0):
                        self._apply(record)
        except TimeoutError:
            raise LogUnavailable(f"{topics.GATEWAYS} could not be read up to {end}") from None

    def _apply(self, record: Record) -> None:
        self._next = record.position + 1
        self._leases.apply(record)
        lease = parse_json(record, GatewayLease)
        self._promised[lease.slot] = 0 if lease.released else max(lease.until, self._promised.get(lease.slot, 0))
        if lease.gateway == self._gateway and not lease.released:
            self.skew_ms = lease.until - self._lease_ms - record.appended_at

    def _free(self) -> int:
        now = self._clock()
        mine = [
            slot
            for slot in range(self._slots)
            if (holder := self._leases.holder(slot, now)) and holder.gateway == self._gateway
        ]
        taken = self._leases.taken(now)
        free = mine or [slot for slot in range(self._slots) if slot not in taken and self._promised.get(slot, 0) <= now]
        if not free:
            raise NoFreeSlot(f"all {self._slots} slots are held")
        return self._chance.choice(free)

    def _new_until(self) -> int:
        return self._clock() + self._lease_ms
