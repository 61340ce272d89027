"""Cost while a transaction runs: given tariffs and events, when another event comes, then this is answered and kept."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from ocppcore import topics
from ocppcore.clock import to_rfc3339
from ocppcore.contracts.tariffs import AssignTariff, PutTariff, RemoveTariff
from ocppcore.contracts.transactions import Cost, TransactionEnded
from ocppcore.pseudonym import Pseudonyms
from ocppcore.service import Outcome
from ocppcore.tariff import Assignments, Tariff
from ocppcore.wire import encode
from services.transactions.domain.cost import COST_DUE
from services.transactions.domain.transaction import TRANSACTIONS
from services.transactions.service import parts
from tests.support.given import NOW, World
from tests.support.tariffs import tariff
from tests.support.transaction_frames import event

PSEUDONYMS = Pseudonyms(b"a key of tests")
DRIVER = PSEUDONYMS.of("ISO14443", "ABC")
MINUTE = 60_000
TEXTS = [{"language": "en", "text": "30 cents a kWh"}, {"language": "de", "text": "30 Cent je kWh"}]


@pytest.fixture
def world() -> World:
    return World("transactions", parts(PSEUDONYMS))


def put(world: World, made: Tariff, **whose: Any) -> None:
    """The tariff is put and, with `whose`, assigned; the copy has it."""
    world.ask(PutTariff.NAME, PutTariff(tariff=made), key=made.id)
    if whose:
        world.ask(AssignTariff.NAME, AssignTariff(assignments=Assignments(**whose)), key=made.id)
    world.given_copy(topics.TARIFFS, made.id, world.published(topics.TARIFFS)[-1])


def station(world: World, **more: Any) -> None:
    state = {"id": "CS-1", "securityProfile": 1, "credential": None, "registration": "Accepted"}
    world.given_copy(topics.STATIONS, "cs-1", {**state, **more})


def token(world: World, **more: Any) -> None:
    world.given_copy(topics.TOKENS, DRIVER, {"type": "ISO14443", "status": "Accepted", **more})


def send(world: World, kind: str, seq_no: int, minutes: int, **more: Any) -> Outcome:
    at = to_rfc3339(NOW + minutes * MINUTE)
    return world.call("TransactionEvent", event(kind, seq_no, at=at, **more))


def answer(outcome: Outcome) -> dict[str, Any]:
    return msgspec.json.decode(encode(outcome.reply))  # type: ignore[arg-type,no-any-return]


def raw(outcome: Outcome) -> bytes:
    return encode(outcome.reply)  # type: ignore[arg-type]


@pytest.mark.requirement("I02.FR.01", "I03.FR.02")
def test_the_running_cost_is_in_answers_to_meter_values_and_the_final_one_in_that_to_the_end(world: World) -> None:
    put(world, tariff({"ENERGY": ("0.30", 1, "19"), "FLAT": "1.00"}), default=True)
    assert answer(send(world, "Started", 0, 0, wh=0.0, info={"chargingState": "Charging"})) == {}
    assert answer(send(world, "Updated", 1, 10, wh=1000.0)) == {"totalCost": 1.36}
    assert answer(send(world, "Updated", 2, 15, info={"chargingState": "SuspendedEV"})) == {}
    assert raw(send(world, "Ended", 3, 20, wh=10_000.0)) == b'{"totalCost":4.57}'
    (row,) = world.rows(TRANSACTIONS)
    assert (row["currency"], row["cost_excl_vat"], row["cost_incl_vat"]) == ("EUR", "4.00", "4.57")
    (ended,) = (one for one in world.events if isinstance(one, TransactionEnded))
    assert ended.cost == Cost("EUR", Decimal("4.00"), Decimal("4.57"))


@pytest.mark.requirement("I03.FR.04")
def test_free_is_said_as_zero_and_no_tariff_says_nothing(world: World) -> None:
    assert answer(send(world, "Ended", 1, 5, transaction="none", wh=10.0)) == {}
    put(world, tariff({"ENERGY": "0"}), default=True)
    assert raw(send(world, "Ended", 1, 5, wh=10.0)) == b'{"totalCost":0.00}'


@pytest.mark.requirement("I02.FR.01", "E13.FR.02")
def test_a_repeat_gets_the_same_answer_whatever_came_since(world: World) -> None:
    put(world, tariff({"ENERGY": "0.30"}), default=True)
    send(world, "Started", 0, 0, wh=0.0)
    first = raw(send(world, "Updated", 1, 10, wh=1000.0))
    send(world, "Updated", 2, 20, wh=5000.0)
    put(world, tariff({"ENERGY": "0.90"}))
    assert raw(send(world, "Updated", 1, 10, wh=1000.0)) == first == b'{"totalCost":0.30}'
    conflict = send(world, "Updated", 1, 10, wh=1001.0)
    assert raw(conflict) == first


@pytest.mark.requirement("I06.FR.01", "I06.FR.02")
def test_a_changed_tariff_is_told_once_and_counts_from_then_on(world: World) -> None:
    token(world, language1="de")
    put(world, tariff({"ENERGY": "0.30"}), default=True)
    send(world, "Started", 0, 0, wh=0.0, token="ABC")
    assert answer(send(world, "Updated", 1, 10, wh=10_000.0)) == {"totalCost": 3.0}
    world.wait(MINUTE)
    put(world, tariff({"ENERGY": "0.50"}, texts=TEXTS))
    told = send(world, "Updated", 2, 20, wh=20_000.0)
    message = {"format": "UTF8", "language": "de", "content": "30 Cent je kWh"}
    assert answer(told) == {"totalCost": 6.0, "updatedPersonalMessage": message}
    assert answer(send(world, "Updated", 3, 30, wh=30_000.0)) == {"totalCost": 11.0}
    assert raw(send(world, "Updated", 2, 20, wh=20_000.0)) == raw(told)
    assert answer(send(world, "Ended", 4, 30, wh=30_000.0)) == {"totalCost": 11.0}


@pytest.mark.requirement("I06.FR.01")
def test_a_first_tariff_in_the_middle_counts_from_then_on(world: World) -> None:
    send(world, "Started", 0, 0, wh=0.0)
    send(world, "Updated", 1, 10, wh=10_000.0)
    put(world, tariff({"ENERGY": "0.50"}), default=True)
    found = answer(send(world, "Updated", 2, 20, wh=20_000.0))
    assert (found["totalCost"], found["updatedPersonalMessage"]["content"]) == (0.0, "EUR 0.50/kWh")
    assert answer(send(world, "Ended", 3, 30, wh=30_000.0)) == {"totalCost": 5.0}


@pytest.mark.requirement("I01.FR.02", "I06.FR.02")
@pytest.mark.parametrize(
    ("supports", "expected"),
    [({}, True), ({"tariffText": False}, False), ({"tariffText": False, "displayMessage": True}, True)],
)
def test_a_station_that_shows_no_tariffs_is_sent_none(world: World, supports: dict[str, bool], expected: bool) -> None:
    station(world, supports=supports)
    put(world, tariff({"ENERGY": "0.30"}), default=True)
    send(world, "Started", 0, 0, wh=0.0)
    world.wait(MINUTE)
    put(world, tariff({"ENERGY": "0.50"}))
    assert ("updatedPersonalMessage" in answer(send(world, "Updated", 1, 10, wh=1.0))) is expected


def test_the_tokens_tariff_comes_before_its_groups_the_stations_and_the_default(world: World) -> None:
    station(world)
    token(world, group={"idToken": "Fleet", "type": "Central"})
    expected = []
    for price, whose in (
        ("0.10", {"default": True}),
        ("0.20", {"stations": ("cs-1",)}),
        ("0.30", {"groups": ("fleet",)}),
        ("0.40", {"tokens": (DRIVER,)}),
    ):
        put(world, tariff({"FLAT": price}, id=f"t-{price}"), **whose)
        send(world, "Started", 0, 0, transaction=price, token="ABC")
        expected.append(answer(send(world, "Ended", 1, 10, transaction=price))["totalCost"])
    assert expected == [0.1, 0.2, 0.3, 0.4]


def test_whoever_authorizes_later_is_charged_from_the_beginning(world: World) -> None:
    token(world)
    put(world, tariff({"FLAT": "9.00", "ENERGY": "0.90"}), default=True)
    put(world, tariff({"FLAT": "1.00", "ENERGY": "0.10"}, id="own"), tokens=(DRIVER,))
    send(world, "Started", 0, 0, wh=0.0, trigger="CablePluggedIn")
    send(world, "Updated", 1, 5, token="ABC", trigger="Authorized")
    assert answer(send(world, "Ended", 2, 10, wh=10_000.0)) == {"totalCost": 2.0}


def test_the_zone_is_the_stations(world: World) -> None:
    station(world, zone="Pacific/Kiritimati")
    night = tariff({"FLAT": "1.00", "when": {"startTime": "12:00", "endTime": "13:00"}}, {"FLAT": "2.00"})
    put(world, night, default=True)
    send(world, "Started", 0, 0)  # 22:13 UTC is 12:13 there
    assert answer(send(world, "Ended", 1, 1)) == {"totalCost": 1.0}


def test_an_offline_event_is_rated_by_the_tariff_of_its_time(world: World) -> None:
    put(world, tariff({"FLAT": "1.00"}), default=True)
    world.wait(60 * MINUTE)
    put(world, tariff({"FLAT": "2.00"}))
    world.wait(60 * MINUTE)
    send(world, "Started", 0, 10, offline=True)
    assert answer(send(world, "Ended", 1, 20, offline=True)) == {"totalCost": 1.0}


def test_what_is_removed_or_changes_its_currency_leaves_transactions_alone(world: World) -> None:
    put(world, tariff({"FLAT": "1.00"}), default=True)
    send(world, "Started", 0, 0)
    put(world, tariff({"FLAT": "5.00"}, currency="USD"))
    assert answer(send(world, "Updated", 1, 1, wh=0.0)) == {"totalCost": 1.0}
    world.ask(RemoveTariff.NAME, RemoveTariff(), key="t")
    world.given_copy(topics.TARIFFS, "t", None)
    assert answer(send(world, "Ended", 2, 2)) == {"totalCost": 1.0}
    assert answer(send(world, "Ended", 2, 2, transaction="next")) == {}


def due(world: World, minutes: int) -> Outcome:
    world.now = NOW + minutes * MINUTE
    return world.tick(COST_DUE, "cs-1/t1/cost")


def sent(world: World) -> list[dict[str, Any]]:
    """The CostUpdated that were asked for, as this service's commands."""
    asked = [msgspec.json.decode(record.value) for record in world.records if record.topic == "transactions.requests"]
    assert {one["action"] for one in asked} <= {"CostUpdated"}
    assert all(len(one["command_id"]) <= 36 for one in asked)
    return [one["payload"] for one in asked]


@pytest.mark.requirement("I02.FR.01")
def test_a_station_that_does_not_ask_is_sent_the_cost_where_it_has_grown(world: World) -> None:
    put(world, tariff({"TIME": "6.00", "PARKING_TIME": "0"}), default=True)
    send(world, "Started", 0, 0, info={"chargingState": "Charging"})
    assert world.timers == {(COST_DUE, "cs-1/t1/cost"): NOW + 15 * MINUTE}
    due(world, 15)
    assert sent(world) == [{"totalCost": 1.5, "transactionId": "T1"}]
    send(world, "Updated", 1, 20, info={"chargingState": "SuspendedEV"})
    due(world, 30)
    due(world, 45)
    assert [one["totalCost"] for one in sent(world)] == [1.5, 2.0]
    send(world, "Ended", 2, 50)
    assert world.timers == {}


def test_a_station_that_asks_or_shows_nothing_is_sent_nothing(world: World) -> None:
    put(world, tariff({"TIME": "6.00"}), default=True)
    send(world, "Started", 0, 0, wh=0.0)
    assert answer(send(world, "Updated", 1, 1, wh=1.0)) == {"totalCost": 0.1}
    assert COST_DUE not in {name for name, _ in world.timers}
    send(world, "Updated", 2, 2)
    assert COST_DUE not in {name for name, _ in world.timers}
    station(world, supports={"tariffText": False})
    send(world, "Started", 0, 0, transaction="T2")
    assert COST_DUE not in {name for name, _ in world.timers}


def test_telling_the_cost_ends_with_the_transaction_or_after_a_month(world: World) -> None:
    put(world, tariff({"TIME": "6.00"}), default=True)
    send(world, "Started", 0, 0)
    due(world, 31 * 24 * 60)
    assert (len(sent(world)), world.timers) == (1, {})


@pytest.mark.requirement("I04.FR.02", "I05.FR.01")
def test_a_station_is_sent_what_to_show_when_it_cannot_ask(world: World) -> None:
    station(world, automatic={"provisioning": True, "localList": False, "desiredState": False})
    token(world)
    put(world, tariff({"ENERGY": "0.30"}, texts=TEXTS), default=True)
    put(world, tariff({"ENERGY": "0.10"}, id="own"), tokens=(DRIVER,))
    send(world, "Started", 0, 0, token="ABC")
    asked = [record for record in world.records if record.topic == topics.requests("device")]
    ask = msgspec.json.decode(asked[0].value)
    values = {one["variable"]["name"]: one["attributeValue"] for one in ask["payload"]["setVariableData"]}
    shown = "30 cents a kWh"
    assert (ask["action"], asked[0].key) == ("SetVariables", "cs-1")
    assert values == {"TariffFallbackMessage": shown, "TotalCostFallbackMessage": shown, "Currency": "EUR"}
    send(world, "Started", 0, 0, transaction="T2")
    assert len([record for record in world.records if record.topic == topics.requests("device")]) == 1
    put(world, tariff({"ENERGY": "0.40"}))
    send(world, "Started", 0, 0, transaction="T3")
    assert len([record for record in world.records if record.topic == topics.requests("device")]) == 2


@pytest.mark.requirement("I04.FR.02")
@pytest.mark.parametrize("more", [{}, {"automatic": {"provisioning": True, "localList": False, "desiredState": False},
                                       "supports": {"tariffText": False}}])  # fmt: skip
def test_a_station_is_sent_nothing_unasked(world: World, more: dict[str, Any]) -> None:
    station(world, **more)
    put(world, tariff({"ENERGY": "0.30"}), default=True)
    send(world, "Started", 0, 0)
    assert [record for record in world.records if record.topic == topics.requests("device")] == []
