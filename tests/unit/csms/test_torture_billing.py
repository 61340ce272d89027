"""The torture's judge of charge detail records can find fault."""

import msgspec

from csms.torture.again import said
from csms.torture.judge import billed_alike, billed_as_said
from ocppcore.contracts.charge_details import ChargeDetailMade, MakeChargeDetail
from ocppcore.envelope import Frame, frame_record
from ocppcore.log import Record
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


def test_the_set_of_records_is_compared_byte_for_byte_but_for_the_clock() -> None:
    (made,) = [one.detail for one in told(0, 1, 2) if isinstance(one, ChargeDetailMade)]
    assert "has no price" in billed_alike([made], [made])[0]
    priced = msgspec.structs.replace(made, currency="EUR", incl_vat=made.incl_vat + 1)
    assert billed_alike([priced], [priced]) == []
    assert made.started_at is not None and made.ended_at is not None
    moved = tuple(msgspec.structs.replace(one, start=one.start + 7000, end=one.end + 7000) for one in priced.periods)
    clocked = msgspec.structs.replace(
        priced,
        clock_offset_ms=made.clock_offset_ms + 7000,
        started_at=made.started_at + 7000,
        ended_at=made.ended_at + 7000,
        periods=moved,
    )
    assert billed_alike([priced], [clocked]) == []
    dearer = msgspec.structs.replace(priced, incl_vat=priced.incl_vat + 1)
    assert "billed otherwise under kills" in billed_alike([priced], [dearer])[0]
    assert "billed only under kills" in billed_alike([priced], [])[0]
    assert "billed only without kills" in billed_alike([], [priced])[0]


def test_what_is_said_again_is_every_transaction_event_that_came_and_nothing_else() -> None:
    def record(n: int, action: str, frame: bytes, refused: str = "", kind: str = "call") -> Record:
        sent = Frame("cs-1", "CS-1", 0, 1, n, "ocpp2.0.1", 1, kind, "m", action, refused, frame, "")  # type: ignore[arg-type]
        new = frame_record(sent, "transactions", 1)
        return Record(new.topic, new.partition, n, new.key, new.value, new.headers, 1)

    came = [
        record(0, "TransactionEvent", b'[2,"m","TransactionEvent",{"seqNo":0}]'),
        record(1, "MeterValues", b'[2,"m","MeterValues",{}]'),
        record(2, "TransactionEvent", b'[2,"m","TransactionEvent",{"seqNo":0}]'),
        record(3, "TransactionEvent", b'[2,"m","TransactionEvent",{"seqNo":1}]', "SecurityError"),
        record(4, "GetTransactionStatus", b'[3,"m",{}]', kind="result"),
    ]
    assert said(came) == [("CS-1", b'{"seqNo":0}')] * 2
