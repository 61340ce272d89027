"""A balance is what was put less what was billed, whatever comes twice, late, or is rated again."""

from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ocppcore.contracts.charge_details import ChargeDetailMade, ReRate
from services.transactions.domain.charge_detail import WAIT, Charged
from services.transactions.domain.periods import PERIODS
from tests.support.accounts import Accounts
from tests.support.tariffs import tariff
from tests.support.transaction_frames import event

AGAIN = "again"


@st.composite
def transactions(draw: st.DrawFn) -> list[tuple[str, dict[str, Any]]]:
    """Events of up to three transactions at two stations, mixed, some twice."""
    made = []
    for number in range(draw(st.integers(1, 3))):
        station, name = f"CS-{number % 2 + 1}", f"T{number}"
        count, wh = draw(st.integers(2, 5)), 0
        for seq in range(count):
            kind = "Started" if seq == 0 else "Ended" if seq == count - 1 else "Updated"
            wh += draw(st.integers(0, 3_000))
            token = "ABC" if seq == 0 else None
            sent = (station, event(kind, seq, transaction=name, wh=wh, token=token))
            made += [sent] * draw(st.integers(1, 2))
    return made


@settings(max_examples=60, deadline=None)
@given(st.data(), transactions(), st.booleans())
def test_the_balance_is_lowered_by_the_sum_of_all_records(
    data: st.DataObject, sent: list[tuple[str, dict[str, Any]]], twice: bool
) -> None:
    made = Accounts("1000", twice=twice)
    for station, payload in data.draw(st.permutations(sent)):
        made.send(payload, station)
        if data.draw(st.booleans()):
            made.settle()
        if data.draw(st.integers(0, 5)) == 0:
            made.charging.wait(PERIODS.bill_wait)
            for name, subject in [timer for timer, due in made.charging.timers.items() if timer[0] == WAIT]:
                made.charging.tick(name, subject)
    made.settle()
    for number in range(3):
        charged = made.charging.state(Charged, f"cs-{number % 2 + 1}/t{number}")
        if charged is not None and data.draw(st.booleans()):
            body = ReRate(transaction_id=f"T{number}", detail_id=charged.id, tariff=tariff({"ENERGY": "2"}, id=AGAIN))
            made.charging.ask(ReRate.NAME, body, key=f"cs-{number % 2 + 1}")
    made.settle()
    billed = [one for one in made.charging.events if isinstance(one, ChargeDetailMade)]
    last = {(one.station, one.detail.transaction_id): one for one in billed}
    owed = sum((one.detail.incl_vat for one in last.values() if one.account), Decimal(0))
    assert made.balance == Decimal(1000) - owed
    assert made.left == made.balance, "all is billed, nothing runs"
