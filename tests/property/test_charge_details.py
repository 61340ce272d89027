"""What is billed is what the registers show: whatever comes late, the records of a transaction add up to it."""

from decimal import Decimal
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ocppcore.clock import to_rfc3339
from ocppcore.contracts.charge_details import ChargeDetail, ChargeDetailMade, MakeChargeDetail
from ocppcore.contracts.inquiries import TransactionGraded
from ocppcore.pseudonym import Pseudonyms
from ocppcore.wire import load_json
from services.transactions.domain.charge_detail import WAIT
from services.transactions.domain.periods import PERIODS
from services.transactions.service import parts
from tests.support.given import NOW, World
from tests.support.transaction_frames import event


def billed(payloads: list[dict[str, Any]]) -> list[ChargeDetail]:
    """The records of a transaction whose events come in this order, with the wait for what is missing in between."""
    world = World("transactions", parts(Pseudonyms(b"k")))
    done = 0
    for place, payload in enumerate([*payloads, None]):
        if payload is not None:
            world.call("TransactionEvent", payload)
        if place == len(payloads) // 2 or payload is None:
            world.wait(PERIODS.bill_wait)
            if (WAIT, "cs-1/t1") in world.timers:
                world.tick(WAIT, "cs-1/t1")
        while done < len(world.records):
            record = world.records[done]
            done += 1
            if record.headers["ce_type"] == MakeChargeDetail.NAME:
                body = MakeChargeDetail(transaction_id=load_json(record.value)["transaction_id"])
                world.ask(MakeChargeDetail.NAME, body, key=record.key, actor="")
    assert any(isinstance(one, TransactionGraded) for one in world.events)
    return [one.detail for one in world.events if isinstance(one, ChargeDetailMade)]


@st.composite
def transactions(draw: st.DrawFn) -> list[dict[str, Any]]:
    register, at, made = draw(st.integers(0, 10**6)), NOW, []
    count = draw(st.integers(2, 10))
    for seq in range(count):
        kind = "Started" if seq == 0 else "Ended" if seq == count - 1 else "Updated"
        at += draw(st.integers(0, 3600_000))
        register += draw(st.integers(0, 5000))
        state = draw(st.sampled_from(["Charging", "SuspendedEV"]))
        more: dict[str, Any] = {"wh": register / 10} if seq in (0, count - 1) or draw(st.booleans()) else {}
        made.append(event(kind, seq, at=to_rfc3339(at), info={"chargingState": state}, **more))
    return made


def registers(payloads: list[dict[str, Any]]) -> list[Decimal]:
    values = [one["meterValue"][0]["sampledValue"][0]["value"] for one in payloads if "meterValue" in one]
    return [Decimal(str(value)) for value in values]


@settings(max_examples=150, deadline=None)
@given(st.data(), transactions())
def test_the_energy_of_all_records_is_the_difference_of_the_registers(
    data: st.DataObject, payloads: list[dict[str, Any]]
) -> None:
    arriving = data.draw(st.permutations(payloads))
    expected = sum((after - before for before, after in pairwise(registers(payloads))), Decimal(0))
    details = billed(arriving)
    assert sum((one.energy_wh for one in details), Decimal(0)) == expected
    *before, last = details
    assert (last.kind, last.grade, last.missing) == ("charge", "complete", 0)
    assert [one.kind for one in before] == ["charge", "credit"][: len(before)]
    assert sum((period.wh for period in last.periods), Decimal(0)) == expected
    assert all(one.end == other.start for one, other in pairwise(last.periods))


@settings(max_examples=100, deadline=None)
@given(st.data(), transactions())
def test_the_last_record_says_the_same_in_any_order(data: st.DataObject, payloads: list[dict[str, Any]]) -> None:
    def said(details: list[ChargeDetail]) -> dict[str, Any]:
        last = details[-1]
        return {name: getattr(last, name) for name in last.__struct_fields__ if name not in ("id", "version", "why")}

    assert said(billed(data.draw(st.permutations(payloads)))) == said(billed(payloads))
