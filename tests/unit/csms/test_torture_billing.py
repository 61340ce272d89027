"""The torture's judge of charge detail records can find fault."""

import msgspec

from csms.torture.judge import billed_as_said
from ocppcore.contracts.charge_details import ChargeDetailMade, MakeChargeDetail
from ocppcore.pseudonym import Pseudonyms
from ocppcore.service import Event
from services.transactions.service import parts
from tests.support.given import World
from tests.support.transaction_frames import event


def told(*arriving: int) -> list[Event]:
    """The events of a transaction of three, in this order, and what was billed of it."""
    world = World("transactions", parts(Pseudonyms(b"k")))
    said = [event("Started", 0, wh=1), event("Updated", 1, wh=3), event("Ended", 2, wh=9)]
    for place in arriving:
        world.call("TransactionEvent", said[place])
    for record in list(world.records):
        if record.headers["ce_type"] == MakeChargeDetail.NAME:
            world.ask(MakeChargeDetail.NAME, MakeChargeDetail(transaction_id="T1"), key="cs-1", actor="")
    return list(world.events)


def test_what_was_billed_as_said_is_no_fault() -> None:
    assert billed_as_said(told(0, 1, 2)) == billed_as_said(told(2, 0, 1)) == []
    assert billed_as_said(told(0, 2)) == [], "not whole, and not billed"


def test_what_is_billed_otherwise_is_a_fault() -> None:
    events = told(0, 1, 2)
    (made,) = [one for one in events if isinstance(one, ChargeDetailMade)]
    others = [one for one in events if one is not made]
    assert "0 charge detail records" in billed_as_said(others)[0]
    assert "2 charge detail records" in billed_as_said([*events, made])[0]
    more = msgspec.structs.replace(made.detail, energy_wh=made.detail.energy_wh + 1)
    assert "is not what the station said" in billed_as_said([*others, msgspec.structs.replace(made, detail=more)])[0]
    (fault,) = billed_as_said([*told(0, 2), made])
    assert "billed as complete, though it is gaps" in fault
