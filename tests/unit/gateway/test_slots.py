"""Slots: who holds which partition of the outbound topic."""

import asyncio
import random

import pytest

from ocppcore import topics
from ocppcore.envelope import GatewayLease, lease_record, parse_json
from services.gateway.slots import NoFreeSlot, SlotLost, Slots
from tests.unit.gateway.rig import Rig


class Time:
    def __init__(self) -> None:
        self.now = 1_700_000_000_000

    def __call__(self) -> int:
        return self.now


def slots(rig: Rig, name: str, count: int = 8, lease_ms: int = 10_000) -> Slots:
    return Slots(rig.log, rig.clock, name, count, lease_ms, random.Random(name))


def leases(rig: Rig) -> list[GatewayLease]:
    return [parse_json(record, GatewayLease) for record in rig.records(topics.GATEWAYS)]


async def test_gateways_take_different_slots_even_at_once():
    rig = Rig()
    holders = await asyncio.gather(*(slots(rig, f"gw{n}").claim() for n in range(8)))

    assert sorted(holder.slot for holder in holders) == list(range(8))
    with pytest.raises(NoFreeSlot):
        await slots(rig, "gw9").claim()


async def test_a_claim_is_never_at_position_0_where_a_renewal_would_read_as_another_claim():
    rig = Rig()

    holder = await slots(rig, "gw").claim()

    assert holder.claim > 0
    assert leases(rig)[-1].claim == holder.claim, "renewed at once"


async def test_a_slot_is_free_again_when_its_lease_ran_out_or_it_was_released():
    rig = Rig(Time())
    first, second = slots(rig, "gw1", 1), slots(rig, "gw2", 1)
    held = await first.claim()
    with pytest.raises(NoFreeSlot):
        await second.claim()

    await first.release()
    assert (await second.claim()).claim > held.claim
    rig.clock.now += 10_000
    assert (await first.claim()).gateway == "gw1"


async def test_a_slot_of_which_only_renewals_are_left_on_the_compacted_topic_is_not_free():
    rig = Rig(Time())
    renewal = GatewayLease(slot=0, gateway="gw1", until=rig.clock() + 10_000, claim=7)
    await rig.log.append([lease_record(renewal, rig.clock())])

    with pytest.raises(NoFreeSlot):
        await slots(rig, "gw2", 1).claim()


async def test_the_lease_is_renewed_while_it_is_kept():
    rig = Rig()
    mine = slots(rig, "gw", lease_ms=30)
    held = await mine.claim()
    keeping = asyncio.create_task(mine.keep())

    await rig.until(lambda: len(leases(rig)) >= 6)

    assert not keeping.done()
    assert {lease.claim for lease in leases(rig)[2:]} == {held.claim}
    keeping.cancel()


async def test_a_gateway_whose_lease_ran_out_has_lost_its_slot():
    rig = Rig(Time())
    mine = slots(rig, "gw")
    await mine.claim()

    rig.clock.now += 10_000  # as after a pause of the whole process

    with pytest.raises(SlotLost):
        await asyncio.wait_for(mine.keep(), 5)


async def test_a_lease_that_cannot_be_renewed_in_time_is_lost():
    rig = Rig()
    mine = slots(rig, "gw", lease_ms=60)
    await mine.claim()

    async def stuck(point: str) -> None:
        await asyncio.Event().wait()

    rig.cluster.interrupt = stuck
    with pytest.raises(SlotLost, match="renewed in time"):
        await asyncio.wait_for(mine.keep(), 5)


async def test_the_distance_to_the_log_s_clock_is_known():
    rig = Rig(Time())
    ahead = Slots(rig.log, lambda: rig.clock() + 5000, "gw", 8, 10_000, random.Random(0))

    await ahead.claim()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(ahead.keep(), 0.05)

    assert ahead.skew_ms == 5000
