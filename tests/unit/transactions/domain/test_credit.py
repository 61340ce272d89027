"""A driver's credit: what transactions cost while they run counts against it, what was billed is taken from it once."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from ocppcore import topics
from ocppcore.authorization import token_key
from ocppcore.contracts.open_transactions import CreditSettled, CreditSpent, ExcessStopped
from ocppcore.contracts.transactions import RemoteAsked
from ocppcore.service import Outcome
from ocppcore.wire import encode
from services.transactions.domain.credit import Settled
from tests.support.accounts import CARD, Accounts
from tests.support.transaction_frames import event


def status(outcome: Outcome) -> str | None:
    said = msgspec.json.decode(encode(outcome.reply))  # type: ignore[arg-type]
    return said.get("idTokenInfo", {}).get("status")  # type: ignore[no-any-return]


def happened(made: Accounts, kind: type[Any]) -> list[Any]:
    return [one for one in made.charging.events if type(one) is kind]


def test_what_runs_counts_against_the_credit_in_steps() -> None:
    made = Accounts("10")
    made.send(event("Started", 0, wh=0, token="ABC"))
    for seq, wh in enumerate((400, 900, 1400, 1900, 2500), 1):
        made.send(event("Updated", seq, wh=wh))
    made.settle()
    assert [one.cost for one in happened(made, CreditSpent)] == [Decimal("1.40"), Decimal("2.50")]
    assert (made.balance, made.left) == (Decimal(10), Decimal("7.50"))


@pytest.mark.requirement("F03.FR.01")
def test_a_transaction_that_uses_up_the_credit_is_stopped_and_no_other_begins() -> None:
    made = Accounts("3", limit="1")
    made.send(event("Started", 0, wh=0, token="ABC"))
    made.send(event("Updated", 1, wh=3_200))
    made.settle()
    assert happened(made, ExcessStopped) == []
    made.send(event("Updated", 2, wh=4_000))
    made.settle()
    (stopped,) = happened(made, ExcessStopped)
    assert (stopped.why, stopped.key, stopped.transaction_id) == ("NoCredit", token_key(CARD), "T1")
    assert len(happened(made, RemoteAsked)) == 1
    assert status(made.send(event("Started", 0, transaction="T2", wh=0, token="ABC"), "CS-2")) == "NoCredit"
    made.send(event("Updated", 3, wh=6_000))
    made.settle()
    assert len(happened(made, RemoteAsked)) == 1, "it is being stopped"


def test_what_is_billed_leaves_the_running_cost_and_the_balance_once() -> None:
    made = Accounts("10", twice=True)
    made.send(event("Started", 0, wh=0, token="ABC"))
    made.send(event("Ended", 1, wh=2_500, trigger="StopAuthorized", token="ABC"))
    made.settle()
    assert (made.balance, made.left) == (Decimal("7.50"), Decimal("7.50"))
    assert [(one.version, one.amount, one.number) for one in happened(made, CreditSettled)] == [(1, Decimal("2.50"), 1)]
    assert (topics.OPEN, token_key(CARD)) not in made.charging.copies
    assert made.charging.state(Settled, f"{token_key(CARD)}/cs-1/t1") == Settled(version=1)


def test_what_has_ended_and_is_not_billed_yet_still_counts() -> None:
    made = Accounts("10")
    made.send(event("Started", 0, wh=0, token="ABC"))
    made.send(event("Ended", 2, wh=2_500, trigger="EVDeparted"))
    made.settle()
    assert (made.balance, made.left) == (Decimal(10), Decimal("7.50")), "seqNo 1 is missing: no record yet"
    made.send(event("Updated", 1, wh=1_000))
    made.settle()
    assert (made.balance, made.left) == (Decimal("7.50"), Decimal("7.50"))


def test_another_currency_is_not_converted_and_touches_nothing() -> None:
    made = Accounts("10", currency="CHF")
    made.send(event("Started", 0, wh=0, token="ABC"))
    made.send(event("Ended", 1, wh=2_500, trigger="EVDeparted"))
    made.settle()
    assert (made.balance, made.left) == (Decimal(10), Decimal(10))


def test_what_an_operator_says_stands_and_later_records_come_off_it() -> None:
    made = Accounts("10")
    made.send(event("Started", 0, wh=0, token="ABC"))
    made.put("100")
    made.send(event("Ended", 1, wh=2_500, trigger="EVDeparted"))
    made.settle()
    assert made.balance == Decimal("97.50")
