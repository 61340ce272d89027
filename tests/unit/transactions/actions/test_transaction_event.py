"""TransactionEvent: given events of a transaction, when another comes, then this is what is known and answered."""

from typing import Any

import msgspec
import pytest

from ocppcore import topics
from ocppcore.authorization import Rules
from ocppcore.contracts.inquiries import TransactionGraded
from ocppcore.contracts.transactions import (
    MeterValuesReceived,
    TransactionConflict,
    TransactionEnded,
    TransactionEvent,
    TransactionStarted,
    TransactionUpdated,
)
from ocppcore.pseudonym import Pseudonyms
from ocppcore.service import Outcome
from ocppcore.wire import encode
from services.transactions.domain.metering import first_and_last, registers
from services.transactions.domain.transaction import TRANSACTIONS, SeqPage, Transaction, transaction_key
from services.transactions.service import parts
from tests.support.given import World
from tests.support.transaction_frames import event

PSEUDONYMS = Pseudonyms(b"a key of tests")


@pytest.fixture
def world() -> World:
    return World("transactions", parts(PSEUDONYMS, Rules(master_pass_group="MASTERS")))


def send(world: World, *args: Any, station: str = "CS-1", **more: Any) -> Outcome:
    return world.call("TransactionEvent", event(*args, **more), station=station)


def answer(outcome: Outcome) -> dict[str, Any]:
    assert outcome.reply is not None
    return msgspec.json.decode(encode(outcome.reply))  # type: ignore[arg-type,no-any-return]


def row(world: World) -> dict[str, Any]:
    (found,) = world.rows(TRANSACTIONS)
    return found


@pytest.mark.requirement("J02.FR.19", "E01.FR.08")
def test_a_whole_transaction_is_one_row(world: World) -> None:
    assert (
        answer(send(world, "Started", 0, wh=1000.0, context="Transaction.Begin", evse={"id": 2, "connectorId": 1}))
        == {}
    )
    send(world, "Updated", 1, wh=1500.5, info={"chargingState": "Charging"})
    send(world, "Ended", 2, wh=2100.5, context="Transaction.End", info={"stoppedReason": "EVDisconnected"})
    found = row(world)
    assert (found["state"], found["stopped_reason"], found["charging_state"]) == ("ended", "EVDisconnected", "Charging")
    assert (found["evse_id"], found["connector_id"], found["energy_wh"]) == (2, 1, "1100.5")
    assert (found["seen"], found["gaps"], found["missing"]) == ("[[0,2]]", "[]", 0)
    assert [type(e) for e in world.events if isinstance(e, TransactionEvent | TransactionGraded)] == [
        TransactionStarted,
        TransactionUpdated,
        TransactionEnded,
        TransactionGraded,
    ]


@pytest.mark.requirement("E01.FR.08")
def test_transaction_ids_are_the_stations_own(world: World) -> None:
    send(world, "Started", 0)
    send(world, "Started", 0, station="CS-2")
    assert [found["station"] for found in world.rows(TRANSACTIONS)] == ["cs-1", "cs-2"]


def test_ids_compare_without_case_and_keep_their_spelling(world: World) -> None:
    send(world, "Started", 0, transaction="Abc")
    send(world, "Updated", 1, transaction="ABC", station="cs-1")
    assert (row(world)["transaction_id"], row(world)["identity"], row(world)["seen"]) == ("Abc", "CS-1", "[[0,1]]")


@pytest.mark.requirement("E13.FR.02")
def test_a_repeat_is_answered_in_full_and_changes_nothing(world: World) -> None:
    world.given_copy(topics.TOKENS, PSEUDONYMS.of("ISO14443", "ABC"), {"type": "ISO14443", "status": "Accepted"})
    first = send(world, "Started", 0, token="ABC", wh=1.0)
    known = len(world.events)
    again = send(world, "Started", 0, token="ABC", wh=1.0)
    assert answer(again) == answer(first) == {"idTokenInfo": {"status": "Accepted"}}
    assert again.events == () and len(world.events) == known


@pytest.mark.requirement("E04.FR.03", "E13.FR.02")
def test_a_repeat_may_come_with_the_offline_flag(world: World) -> None:
    send(world, "Updated", 1, wh=1.0)
    assert send(world, "Updated", 1, wh=1.0, offline=True).events == ()


def test_the_same_seq_no_with_other_content_is_a_conflict(world: World) -> None:
    send(world, "Updated", 1, wh=1.0, token="ABC")
    outcome = send(world, "Updated", 1, wh=2.0, token="ABC")
    (conflict,) = outcome.events
    assert isinstance(conflict, TransactionConflict)
    assert conflict.digest != conflict.kept_digest
    assert b"ABC" not in bytes(conflict.payload)
    assert answer(outcome) == {"idTokenInfo": {"status": "Unknown"}}
    assert (row(world)["conflicts"], row(world)["meter_stop_wh"]) == (1, "1.0")
    again = send(world, "Updated", 1, wh=2.0, token="ABC", offline=True)
    assert (again.events, answer(again)) == ((), answer(outcome))
    (another,) = send(world, "Updated", 1, wh=3.0, token="ABC").events
    assert isinstance(another, TransactionConflict)
    assert row(world)["conflicts"] == 2


def test_a_conflict_with_a_number_beyond_a_double_is_kept_with_its_digits(world: World) -> None:
    send(world, "Updated", 1, token="ABC")
    twin = b'{"eventType":"Updated","timestamp":"2026-01-01T10:00:00Z","triggerReason":"MeterValuePeriodic","seqNo":1,'
    twin += b'"transactionInfo":{"transactionId":"T1"},"customData":{"vendorId":"v","n":[1E+999,1.50]},'
    twin += b'"idToken":{"idToken":"ABC","type":"ISO14443"}}'
    (conflict,) = world.call("TransactionEvent", twin).events
    assert b'"n":[1E+999,1.50]' in bytes(conflict.payload)  # type: ignore[attr-defined]
    assert world.call("TransactionEvent", twin).events == ()


@pytest.mark.requirement("E02.FR.07")
def test_gaps_between_started_and_ended_are_listed(world: World) -> None:
    send(world, "Started", 10)
    send(world, "Updated", 13)
    assert (row(world)["gaps"], row(world)["missing"]) == ("[[11,12]]", 2)
    send(world, "Ended", 20)
    assert (row(world)["gaps"], row(world)["missing"]) == ("[[11,12],[14,19]]", 8)


@pytest.mark.requirement("E08.FR.07", "E04.FR.03")
def test_late_events_amend_and_never_reopen(world: World) -> None:
    send(world, "Ended", 3, wh=30.0, context="Transaction.End")
    assert row(world)["state"] == "ended"
    send(world, "Started", 0, wh=10.0, context="Transaction.Begin", offline=True)
    send(world, "Updated", 5)
    found = row(world)
    assert (found["state"], found["energy_wh"], found["gaps"], found["offline"]) == ("ended", "20.0", "[[1,2]]", True)


@pytest.mark.requirement("E01.FR.08")
def test_the_connector_may_be_told_later_than_the_evse(world: World) -> None:
    send(world, "Started", 0, evse={"id": 1})
    send(world, "Updated", 1, evse={"id": 1, "connectorId": 2})
    assert (row(world)["evse_id"], row(world)["connector_id"]) == (1, 2)


def test_a_second_ended_is_one_end(world: World) -> None:
    send(world, "Ended", 3, info={"stoppedReason": "Local"})
    send(world, "Ended", 4, info={"stoppedReason": "PowerLoss"})
    assert (row(world)["state"], row(world)["stopped_reason"]) == ("ended", "PowerLoss")


@pytest.mark.requirement("E06.FR.09")
def test_an_end_without_a_reason_was_local(world: World) -> None:
    send(world, "Ended", 3)
    assert row(world)["stopped_reason"] == "Local"


@pytest.mark.requirement(
    "E01.FR.11", "E01.FR.12", "E02.FR.02", "E02.FR.04", "E03.FR.02", "E05.FR.01", "F01.FR.03", "F02.FR.11"
)
@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"status": "Accepted"}, {"status": "Accepted"}),
        ({"status": "Blocked"}, {"status": "Blocked"}),
        ({"status": "Accepted", "validTo": 1}, {"status": "Expired"}),
        ({"status": "Accepted", "stations": ["cs-9"]}, {"status": "NotAtThisLocation"}),
        (
            {"status": "Accepted", "group": {"idToken": "FLEET", "type": "Central"}},
            {"status": "Accepted", "groupIdToken": {"idToken": "FLEET", "type": "Central"}},
        ),
        (None, {"status": "Unknown"}),
    ],
)
def test_every_event_with_a_token_is_answered_with_its_status(
    world: World, state: dict[str, Any] | None, expected: dict[str, Any]
) -> None:
    pseudonym = PSEUDONYMS.of("ISO14443", "abc")
    world.given_copy(topics.TOKENS, pseudonym, None if state is None else {"type": "ISO14443", **state}, position=7)
    outcome = send(world, "Started", 0, token="ABC")
    assert answer(outcome) == {"idTokenInfo": expected}
    (recorded,) = outcome.events
    assert isinstance(recorded, TransactionStarted)
    assert (recorded.token, recorded.authorization) == (pseudonym, expected["status"])
    assert recorded.token_position == (-1 if state is None else 7)


@pytest.mark.parametrize(("kind", "trigger"), [("Started", "Authorized"), ("Updated", "Authorized")])
def test_a_master_pass_starts_nothing(world: World, kind: str, trigger: str) -> None:
    master = {"type": "ISO14443", "status": "Accepted", "group": {"idToken": "MASTERS", "type": "Central"}}
    world.given_copy(topics.TOKENS, PSEUDONYMS.of("ISO14443", "M"), master)
    assert answer(send(world, kind, 0, token="M", trigger=trigger))["idTokenInfo"]["status"] == "Invalid"


def test_a_master_pass_stops_what_another_started(world: World) -> None:
    master = {"type": "ISO14443", "status": "Accepted", "group": {"idToken": "MASTERS", "type": "Central"}}
    world.given_copy(topics.TOKENS, PSEUDONYMS.of("ISO14443", "M"), master)
    world.given_copy(topics.TOKENS, PSEUDONYMS.of("ISO14443", "D"), {"type": "ISO14443", "status": "Accepted"})
    send(world, "Started", 0, token="D", trigger="Authorized")
    outcome = send(world, "Ended", 1, token="M", trigger="StopAuthorized")
    assert answer(outcome)["idTokenInfo"]["status"] == "Accepted"


def test_events_carry_no_token_in_clear(world: World) -> None:
    send(world, "Started", 0, token="SECRET-TOKEN")
    assert all(b"SECRET-TOKEN" not in msgspec.json.encode(event) for event in world.events)


@pytest.mark.requirement("J02.FR.16", "J02.FR.17")
def test_energy_is_the_difference_of_registers(world: World) -> None:
    send(world, "Updated", 4, wh=5000.25)
    send(world, "Updated", 2, wh=4000.2)
    assert row(world)["energy_wh"] == "1000.05"


@pytest.mark.requirement("J02.FR.16")
def test_a_meter_that_was_replaced_restarts_the_count_and_the_row_says_so(world: World) -> None:
    send(world, "Started", 0, wh=50_000.0, context="Transaction.Begin")
    send(world, "Ended", 4, wh=700.5, context="Transaction.End")
    assert (row(world)["energy_wh"], row(world)["meter_drops"]) == ("0", 1)
    send(world, "Updated", 2, wh=0.0)
    send(world, "Updated", 1, wh=51_000.0)
    found = row(world)
    assert (found["energy_wh"], found["meter_drops"]) == ("1700.5", 1)
    assert (found["meter_start_wh"], found["meter_stop_wh"]) == ("50000.0", "700.5")


def test_the_course_of_the_register_takes_no_more_room_than_the_gaps(world: World) -> None:
    for seq_no in (0, 2, 4, 6, 8):
        send(world, "Updated", seq_no, wh=float(seq_no))
    key = transaction_key("cs-1", "T1")
    assert len(world.state(Transaction, key).pieces) == 5  # type: ignore[union-attr]
    for seq_no in (7, 1, 5, 3):
        send(world, "Updated", seq_no)
    assert len(world.state(Transaction, key).pieces) == 1  # type: ignore[union-attr]
    assert row(world)["energy_wh"] == "8.0"


def test_units_and_multipliers_become_wh(world: World) -> None:
    payload = event("Started", 0)
    sample = {"value": 1.5, "unitOfMeasure": {"unit": "kWh", "multiplier": 1}}
    payload["meterValue"] = [{"timestamp": "2026-01-01T10:00:00Z", "sampledValue": [sample]}]
    world.call("TransactionEvent", payload)
    assert row(world)["meter_start_wh"] == "15000"


def test_phases_add_up_where_there_is_no_total(world: World) -> None:
    payload = event("Started", 0)
    samples = [{"value": 10.0, "phase": phase} for phase in ("L1", "L2", "L3")]
    payload["meterValue"] = [{"timestamp": "2026-01-01T10:00:00Z", "sampledValue": samples}]
    world.call("TransactionEvent", payload)
    assert row(world)["meter_start_wh"] == "30.0"


def test_absurd_values_are_kept_and_do_not_break_the_sum(world: World) -> None:
    payload = event("Started", 0)
    samples = [{"value": 1.0, "unitOfMeasure": {"unit": "Wh", "multiplier": 2147483647}}, {"value": 7.0, "phase": "L1"}]
    payload["meterValue"] = [{"timestamp": "2026-01-01T10:00:00Z", "sampledValue": samples}]
    world.call("TransactionEvent", payload)
    assert row(world)["meter_start_wh"] == "7.0"


def test_meter_values_are_kept_as_they_came(world: World) -> None:
    outcome = send(world, "Updated", 1, wh=12.50)
    meter = outcome.events[1]
    assert isinstance(meter, MeterValuesReceived)
    assert b'"value": 12.5' in bytes(meter.meter_values)


def test_digests_lie_in_pages_of_64(world: World) -> None:
    for seq_no in (0, 63, 64):
        send(world, "Updated", seq_no)
    assert list(world.state(SeqPage, "cs-1/t1/0").digests) == [0, 63]  # type: ignore[union-attr]
    assert list(world.state(SeqPage, "cs-1/t1/1").digests) == [64]  # type: ignore[union-attr]


def test_a_reading_next_to_nothing_is_no_megabyte(world: World) -> None:
    payload = event("Updated", 1, wh=1.0)
    raw = msgspec.json.encode(payload).replace(b'"value":1.0', b'"value":1e-999999999')
    handler = world.service.actions["TransactionEvent"]
    read = handler.body(raw)
    assert first_and_last(registers(read.meter_values))[0].wh.strip("0.") == ""  # type: ignore[union-attr]
    assert len(first_and_last(registers(read.meter_values))[0].wh) < 100  # type: ignore[union-attr]


@pytest.mark.parametrize("absurd", [-5, 1e15, 9e16])
def test_a_reading_that_cannot_be_counts_for_nothing(world: World, absurd: float) -> None:
    send(world, "Started", 0, wh=absurd)
    send(world, "Updated", 1, wh=1000)
    send(world, "Updated", 2, wh=absurd)
    send(world, "Ended", 3, wh=1500)
    found = row(world)
    assert (found["meter_start_wh"], found["meter_stop_wh"], found["energy_wh"]) == ("1000", "1500", "500")
    assert found["meter_drops"] == 0
