"""Charge detail records: made once, immutable, corrected by a credit and a new one, whatever the order of arrival."""

from decimal import Decimal
from itertools import count, permutations
from typing import Any

import msgspec
import pytest

from ocppcore import commands, topics
from ocppcore.contracts.charge_details import ChargeDetail, ChargeDetailMade, MakeChargeDetail, ReRate
from ocppcore.pseudonym import Pseudonyms
from ocppcore.service import Outcome
from ocppcore.tariff import Assignments, Tariff, TariffState
from ocppcore.v201 import TransactionEventResponse
from services.transactions.domain.charge_detail import CHARGE_DETAILS, WAIT, detail_id
from services.transactions.domain.periods import PERIODS
from services.transactions.service import parts
from tests.support.given import NOW, World
from tests.support.tariffs import tariff
from tests.support.transaction_frames import event

START = "2023-11-14T22:13:20Z"
MIDDLE = "2023-11-14T22:43:20Z"
END = "2023-11-14T23:13:20Z"
PLAIN = tariff({"ENERGY": ("0.30", 1, "19"), "FLAT": "1.00"}, id="plain")


class Billing:
    """A world with this tariff for everybody, in which what the service asks of itself is done at once."""

    def __init__(self, rated: Tariff | None = None) -> None:
        self.world = World("transactions", [*parts(Pseudonyms(b"k")), commands.part(commands.commands("transactions"))])
        self.world.connect()
        if rated is not None:
            state = TariffState(id=rated.id, versions=(rated,), assignments=Assignments(default=True))
            self.world.given_copy(topics.TARIFFS, rated.id, state)
        self._done = 0

    def send(self, kind: str, seq: int, at: str, wh: float | None = None, **more: Any) -> Outcome:
        more.setdefault("info", {"chargingState": "Charging"})
        outcome = self.world.call("TransactionEvent", event(kind, seq, at=at, wh=wh, **more))
        self.serve()
        return outcome

    def serve(self) -> None:
        while self._done < len(self.world.records):
            record = self.world.records[self._done]
            self._done += 1
            if record.headers["ce_type"] == MakeChargeDetail.NAME:
                body = msgspec.json.decode(record.value, type=MakeChargeDetail)
                self.world.ask(MakeChargeDetail.NAME, body, key=record.key, actor="")

    @property
    def details(self) -> list[ChargeDetail]:
        return [one.detail for one in self.world.events if isinstance(one, ChargeDetailMade)]


def whole(billing: Billing) -> Any:
    """A transaction from its start to its end; the cost that the last answer told."""
    billing.send("Started", 0, START, 1000, context="Transaction.Begin", evse={"id": 1, "connectorId": 2}, token="ABC")
    billing.send("Updated", 1, MIDDLE, 6000)
    ended = billing.send("Ended", 2, END, 11000, context="Transaction.End", info={"stoppedReason": "Local"})
    assert isinstance(ended.reply, TransactionEventResponse)
    return ended.reply.totalCost


def test_a_whole_transaction_is_billed_once_with_every_component() -> None:
    billing = Billing(PLAIN)
    cost = whole(billing)
    (made,) = billing.details
    assert (made.kind, made.why, made.version, made.grade) == ("charge", "made", 1, "complete")
    assert made.incl_vat == cost, "what the driver was told"
    assert (made.energy_wh, made.charging_ms, made.parking_ms) == (Decimal(10_000), 3600_000, 0)
    assert (made.started_at, made.ended_at, made.evse_id, made.connector_id) == (NOW, NOW + 3600_000, 1, 2)
    assert (made.currency, made.excl_vat, made.incl_vat) == ("EUR", Decimal("4.00"), Decimal("4.57"))
    assert [(line.dimension, line.volume, line.price, line.excl_vat) for line in made.lines] == [
        ("FLAT", Decimal(1), Decimal("1.00"), Decimal("1.000000")),
        ("ENERGY", Decimal(10), Decimal("0.30"), Decimal("3.000000")),
    ]
    assert sum(period.wh for period in made.periods) == made.energy_wh
    (row,) = billing.world.rows(CHARGE_DETAILS)
    assert msgspec.json.decode(row["content"], type=ChargeDetail) == made  # type: ignore[arg-type]
    billing.send("Ended", 2, END, 11000, context="Transaction.End", info={"stoppedReason": "Local"}, offline=True)
    assert len(billing.details) == 1


def test_a_transaction_without_a_tariff_is_recorded_and_costs_nothing() -> None:
    billing = Billing()
    whole(billing)
    (made,) = billing.details
    assert (made.currency, made.excl_vat, made.energy_wh) == ("", Decimal(0), Decimal(10_000))
    assert made.lines == ()


def test_what_is_billed_depends_on_nothing_but_what_was_said() -> None:
    """Any order, at any time: the same bytes."""
    found = set()
    delay = count(1)
    for order in permutations(range(3)):
        billing = Billing(PLAIN)
        events: list[tuple[Any, ...]] = [
            ("Started", 0, START, 1000, "Transaction.Begin"),
            ("Updated", 1, MIDDLE, 6000, "Sample.Periodic"),
            ("Ended", 2, END, 11000, "Transaction.End"),
        ]
        for place in order:
            kind, seq, at, wh, context = events[place]
            billing.world.wait(next(delay))
            billing.send(kind, seq, at, wh, context=context)
        (made,) = billing.details
        found.add(msgspec.json.encode(made))
    assert len(found) == 1


def test_what_is_missing_is_waited_for_and_then_billed_as_it_is() -> None:
    billing = Billing(PLAIN)
    billing.send("Started", 0, START, 1000)
    billing.send("Ended", 3, END, 11000)
    assert billing.details == []
    key = "cs-1/t1"
    assert billing.world.timers[WAIT, key] == billing.world.now + PERIODS.bill_wait
    billing.world.wait(PERIODS.bill_wait)
    billing.world.tick(WAIT, key)
    billing.serve()
    (made,) = billing.details
    assert (made.grade, made.missing, made.energy_wh) == ("gaps", 2, Decimal(10_000))


def test_late_truth_makes_a_credit_and_a_new_record() -> None:
    billing = Billing(PLAIN)
    billing.send("Started", 0, START, 1000)
    billing.send("Ended", 2, END, 11000)
    billing.world.wait(PERIODS.bill_wait)
    billing.world.tick(WAIT, "cs-1/t1")
    billing.serve()
    billing.send("Updated", 1, MIDDLE, 16000, offline=True)
    first, credit, second = billing.details
    assert (credit.kind, credit.why, credit.credits) == ("credit", "late", first.id)
    assert (credit.energy_wh, credit.excl_vat, credit.incl_vat) == (
        -first.energy_wh, -first.excl_vat, -first.incl_vat,
    )  # fmt: skip
    assert (second.kind, second.grade, second.energy_wh) == ("charge", "complete", Decimal(15_000))
    assert [one.version for one in billing.details] == [1, 2, 3]
    assert [one.id for one in billing.details] == [detail_id("cs-1", "T1", version) for version in (1, 2, 3)]
    assert sum(one.energy_wh for one in billing.details) == second.energy_wh
    assert len(billing.world.rows(CHARGE_DETAILS)) == 3


def rerate(billing: Billing, by: Tariff, detail: str) -> Any:
    body = ReRate(transaction_id="T1", detail_id=detail, tariff=by)
    return billing.world.ask(ReRate.NAME, body, key="cs-1")


def test_a_changed_tariff_rates_again_and_is_kept() -> None:
    billing = Billing(PLAIN)
    whole(billing)
    cheaper = tariff({"ENERGY": "0.20"}, id="plain", version=2)
    (first,) = billing.details
    assert rerate(billing, cheaper, first.id).result.status == 200
    _, credit, second = billing.details
    assert (credit.excl_vat, second.excl_vat, second.why) == (Decimal("-4.00"), Decimal("2.00"), "rerated")
    assert rerate(billing, cheaper, first.id).result.status == 409
    assert rerate(billing, cheaper, second.id).events == (), "it says the same"
    billing.send("Updated", 3, "2023-11-14T23:13:21Z", 12000, offline=True)
    assert billing.details[-1].excl_vat == Decimal("2.20"), "rated by the tariff that it was rated by last"


def test_nothing_is_rated_again_that_was_not_billed() -> None:
    billing = Billing(PLAIN)
    assert rerate(billing, PLAIN, "x").result.status == 404


def test_a_clock_that_is_wrong_is_corrected_in_all_times() -> None:
    billing = Billing(PLAIN)
    billing.world.wait(7200_000)
    for at, (kind, seq) in zip((START, MIDDLE, END), (("Started", 0), ("Updated", 1), ("Ended", 2)), strict=True):
        billing.send(kind, seq, at, 1000 + seq)
        billing.world.wait(1800_000)
    (made,) = billing.details
    assert (made.clock_offset_ms, made.started_at) == (7200_000, NOW + 7200_000)
    assert (made.periods[0].start, made.periods[-1].end) == (made.started_at, made.ended_at)


@pytest.mark.parametrize("token", [None, "ABC"])
def test_a_record_holds_no_id_token(token: str | None) -> None:
    billing = Billing()
    billing.send("Started", 0, START, 1, **({"token": token} if token else {}))
    billing.send("Ended", 1, END, 2)
    assert b"ABC" not in msgspec.json.encode(billing.details)
    assert bool(billing.details[0].token) is (token is not None)
