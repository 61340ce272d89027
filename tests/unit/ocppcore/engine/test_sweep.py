"""Connections of gateways that are gone are ended; a sweep that takes long ends no other."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import msgspec

from ocppcore import topics
from ocppcore.commands import LOST, Lost
from ocppcore.engine.sweep import Sweeper
from ocppcore.envelope import GatewayLease, lease_record
from ocppcore.memory import MemoryCluster, MemoryLog, MemoryStore, MemoryTables
from ocppcore.service import Connection
from ocppcore.store import StateKey, StateWrite
from tests.unit.ocppcore.engine import test_loop
from tests.unit.ocppcore.engine.test_loop import until, virtual
from tests.unit.ocppcore.engine.toy import PARTITIONS, START, Toy

LEASE_MS = 4000


def made() -> Toy:
    """A cluster with its topics. A claim at position 0 counts for nothing: another gateway's was there before."""
    toy = test_loop.made()
    wanted = {
        topics.CONNECTIONS: PARTITIONS,
        topics.frames("device"): PARTITIONS,
        topics.requests("device"): PARTITIONS,
    }
    toy.cluster.declare({topics.GATEWAYS: 1, **wanted})
    lease(toy.cluster, 1)
    return toy


def connect(tables: MemoryTables, station: str, slot: int, claim: int) -> None:
    state = Connection(
        identity=station, slot=slot, epoch=0, claim=claim, connected=True, subprotocol="ocpp2.0.1", at=START
    )
    tables.states[StateKey(Connection.KIND, station)] = StateWrite(0, msgspec.json.encode(state), False, None)


def lease(cluster: MemoryCluster, slot: int, claim: int = 0) -> int:
    """Claim the slot, or renew the claim; the record's position."""
    until_ = cluster.clock() + LEASE_MS
    return cluster.put(
        lease_record(GatewayLease(slot=slot, gateway=f"gw-{slot}", until=until_, claim=claim), cluster.clock())
    )


def told(cluster: MemoryCluster) -> list[tuple[str, int, int]]:
    """(station, slot, claim) of each connection that was called lost."""
    found = []
    for part in cluster.partitions[topics.requests("device")]:
        for record in part:
            if record.headers["ce_type"] == LOST:
                body = msgspec.json.decode(record.value, type=Lost)
                found.append((record.key, body.slot, body.claim))
    return found


async def passed(cluster: MemoryCluster, seconds: int) -> None:
    """So much virtual time later."""
    due = cluster.clock() + seconds * 1000
    await until(lambda: cluster.clock() >= due)


class SlowScan(MemoryStore):
    """A store whose first scan takes that long, while `meanwhile` happens."""

    def __init__(self, tables: MemoryTables, seconds: int, cluster: MemoryCluster, renewed: dict[int, int]) -> None:
        super().__init__(tables, clock=cluster.clock)
        self._seconds, self._cluster, self._renewed = seconds, cluster, renewed
        self.scanned = 0

    async def scan(self, kind: str, cell: int, after: str, limit: int) -> Sequence[tuple[str, bytes]]:
        while self._seconds:
            self._seconds -= 1
            await passed(self._cluster, 1)
            for slot, claim in self._renewed.items():
                lease(self._cluster, slot, claim)
        self.scanned += 1
        return await super().scan(kind, cell, after, limit)


async def swept(toy: Toy, renewed: dict[int, int], *, took_s: int) -> list[tuple[str, int, int]]:
    store = SlowScan(toy.tables, took_s, toy.cluster, renewed)
    sweeper = Sweeper(
        toy.service(), MemoryLog(toy.cluster), store, toy.cluster.clock, PARTITIONS, lambda: [0], lambda _: {}
    )
    task = asyncio.create_task(sweeper.run())
    try:
        await until(lambda: store.scanned >= 2, task)
        await passed(toy.cluster, 2)
        return told(toy.cluster)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@virtual
async def test_a_sweep_that_takes_longer_than_a_lease_ends_no_connection_that_lives() -> None:
    toy = made()
    claim = lease(toy.cluster, 3)
    connect(toy.tables, "cs-1", 3, claim)
    assert await swept(toy, {3: claim}, took_s=12) == []


@virtual
async def test_a_gateway_that_came_during_the_sweep_is_known_to_it() -> None:
    toy = made()
    connect(toy.tables, "cs-1", 4, 1)
    assert await swept(toy, {4: 0}, took_s=1) == []


@virtual
async def test_the_connection_of_a_gateway_whose_lease_ended_is_lost() -> None:
    toy = made()
    claim = lease(toy.cluster, 3)
    connect(toy.tables, "cs-1", 3, claim)
    connect(toy.tables, "cs-2", 5, 999)
    found = await swept(toy, {}, took_s=12)
    assert set(found) == {("cs-1", 3, claim), ("cs-2", 5, 999)}
