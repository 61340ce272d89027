"""What tokens and groups have open: counted at their home, known to decisions, one too many stopped with its reason."""

from typing import Any

import msgspec
import pytest

from ocppcore import commands, topics
from ocppcore.authorization import Group, OpenState, Rules, TokenState, group_key, station_key, token_key
from ocppcore.contracts.open_transactions import (
    ExcessStopped,
    OpenTransactionsChanged,
    StationOccupied,
    TransactionCounted,
)
from ocppcore.contracts.transactions import RemoteAsked
from ocppcore.envelope import parse_request
from ocppcore.log import NewRecord, Record
from ocppcore.pseudonym import Pseudonyms
from ocppcore.service import Outcome
from ocppcore.wire import encode
from services.transactions.domain.open_transactions import Counted, Occupied, OpenTransactions
from services.transactions.service import parts
from tests.support.given import NOW, World
from tests.support.transaction_frames import event

PSEUDONYMS = Pseudonyms(b"a key of tests")
CARD = PSEUDONYMS.of("ISO14443", "ABC")
OTHER = PSEUDONYMS.of("ISO14443", "DEF")
FAMILY = Group(id_token="Family", type="Central")


def world(rules: Rules | None = None, **token: Any) -> World:
    """Both cards are registered alike."""
    made = World(
        "transactions",
        [*parts(PSEUDONYMS, rules or Rules()), commands.part(commands.commands("transactions"))],
    )
    for pseudonym in (CARD, OTHER):
        state = TokenState(**{"type": "ISO14443", "status": "Accepted", **token})
        made.given_copy(topics.TOKENS, pseudonym, state)
    for station in ("CS-1", "CS-2", "CS-3"):
        made.connect(station)
    return made


def send(made: World, *args: Any, station: str = "CS-1", token: str | None = "ABC", **more: Any) -> Outcome:
    return made.call("TransactionEvent", event(*args, token=token, **more), station=station)


def status(outcome: Outcome) -> str | None:
    assert outcome.reply is not None
    said = msgspec.json.decode(encode(outcome.reply))  # type: ignore[arg-type]
    return said.get("idTokenInfo", {}).get("status")  # type: ignore[no-any-return]


def settle(made: World) -> list[Outcome]:
    """What was sent to other cells arrives, in order, and what follows from it; copies catch up."""
    outcomes, done = [], 0
    while done < len(made.records):
        record = made.records[done]
        done += 1
        if record.topic == topics.OPEN:
            value = msgspec.json.decode(record.value)
            made.given_copy(topics.OPEN, record.key, None if value.get("deleted") else value, position=done)
        elif record.topic == topics.requests("transactions"):
            outcomes.append(arrive(made, record))
    made.records.clear()
    return outcomes


def arrive(made: World, record: NewRecord) -> Outcome:
    request = parse_request(Record(record.topic, record.partition, 0, record.key, record.value, record.headers, NOW))
    handler = made.service.requests[request.type]
    return made.ask(request.type, msgspec.json.decode(request.body, type=handler.body), key=request.key, actor="")


def happened(made: World, kind: type[Any]) -> list[Any]:
    return [one for one in made.events if type(one) is kind]


def open_of(made: World, key: str) -> list[str]:
    held = made.state(OpenTransactions, key)
    return [one.transaction for one in held.open] if held else []


def test_without_a_limit_nothing_is_counted() -> None:
    made = world()
    send(made, "Started", 0)
    send(made, "Ended", 1)
    assert happened(made, TransactionCounted) == []
    assert [one for one in made.records if one.topic == topics.OPEN] == []


def test_a_transaction_counts_from_its_start_to_its_end() -> None:
    made = world(concurrent=1)
    assert status(send(made, "Started", 0)) == "Accepted"
    (counted,) = happened(made, TransactionCounted)
    assert [(one.key, one.limit) for one in counted.holders] == [(token_key(CARD), 1)]
    settle(made)
    assert open_of(made, token_key(CARD)) == ["cs-1/t1"]
    assert made.copies[topics.OPEN, token_key(CARD)]
    send(made, "Updated", 1, token=None)
    send(made, "Ended", 2, token=None)
    settle(made)
    assert open_of(made, token_key(CARD)) == []
    assert (topics.OPEN, token_key(CARD)) not in made.copies
    assert made.state(Counted, "cs-1/t1") is None


def test_the_next_start_elsewhere_is_refused_and_the_first_stays() -> None:
    made = world(concurrent=1)
    send(made, "Started", 0)
    settle(made)
    assert status(send(made, "Started", 0, station="CS-2")) == "ConcurrentTx"
    assert made.events[-1].open_position >= 0, "the event says what it rested on"  # type: ignore[attr-defined]
    assert status(send(made, "Started", 0)) == "Accepted", "a repeat of the first"
    assert settle(made) == [], "what was refused is not counted"
    send(made, "Ended", 1, token=None)
    settle(made)
    assert status(send(made, "Updated", 1, station="CS-2", trigger="Authorized")) == "Accepted"


def test_two_starts_within_the_lag_both_pass_and_the_later_one_is_stopped_with_its_reason() -> None:
    made = world(concurrent=1)
    assert status(send(made, "Started", 0)) == "Accepted"
    assert status(send(made, "Started", 0, station="CS-2")) == "Accepted"
    settle(made)
    (stopped,) = happened(made, ExcessStopped)
    assert (stopped.station, stopped.transaction_id, stopped.why, stopped.key) == (
        "cs-2", "T1", "ConcurrentTx", token_key(CARD)
    )  # fmt: skip
    (asked,) = happened(made, RemoteAsked)
    assert (asked.station, asked.transaction_id, asked.command_id) == ("cs-2", "T1", stopped.command_id)
    assert open_of(made, token_key(CARD)) == ["cs-1/t1", "cs-2/t1"]
    assert status(send(made, "Started", 0, station="CS-2")) == "ConcurrentTx", "its repeat is told now"
    send(made, "Ended", 1, station="CS-2", token=None)
    settle(made)
    assert open_of(made, token_key(CARD)) == ["cs-1/t1"]


def test_the_stop_is_sent_to_the_station_as_a_command() -> None:
    made = world(concurrent=1)
    send(made, "Started", 0)
    send(made, "Started", 0, station="CS-2")
    calls = [call for outcome in settle(made) for call in outcome.calls]
    (call,) = calls
    assert (call.station, call.action) == ("cs-2", "RequestStopTransaction")
    assert b'{"transactionId":"T1"}' in call.frame


def test_what_has_ended_meanwhile_is_not_stopped() -> None:
    made = world(concurrent=1)
    send(made, "Started", 0)
    send(made, "Started", 0, station="CS-2")
    send(made, "Ended", 1, station="CS-2", token=None)
    settle(made)
    assert happened(made, ExcessStopped) == []
    assert open_of(made, token_key(CARD)) == ["cs-1/t1"]


def test_a_request_that_comes_twice_counts_and_stops_once() -> None:
    made = world(concurrent=1)
    send(made, "Started", 0)
    send(made, "Started", 0, station="CS-2")
    records = list(made.records)
    settle(made)
    before = list(made.events)
    for record in records:
        if record.topic != topics.OPEN:
            arrive(made, record)
    made.ask("transactions.stop_excess.v1", happened(made, OpenTransactionsChanged)[1].excess, key="cs-2")
    assert made.events == before


def test_a_group_has_its_limit_over_all_of_its_tokens() -> None:
    made = world(rules=Rules(group_concurrent=1), group=FAMILY)
    assert status(send(made, "Started", 0)) == "Accepted"
    settle(made)
    assert open_of(made, group_key(PSEUDONYMS.of("Central", "Family"))) == ["cs-1/t1"]
    assert status(send(made, "Started", 0, station="CS-2", token="DEF")) == "ConcurrentTx"
    assert made.events[-1].group_open_position >= 0  # type: ignore[attr-defined]


def test_both_holders_have_the_excess_stopped_once() -> None:
    made = world(concurrent=1, group=FAMILY, group_concurrent=1)
    send(made, "Started", 0)
    send(made, "Started", 0, station="CS-2")
    settle(made)
    assert len(happened(made, RemoteAsked)) == 1


def test_a_transaction_of_an_account_is_counted_for_what_it_will_cost() -> None:
    made = world(credit={"balance": "5", "currency": "EUR"})
    send(made, "Started", 0)
    settle(made)
    assert open_of(made, token_key(CARD)) == ["cs-1/t1"]
    spent = OpenState(open=tuple(msgspec.structs.replace(one, cost=5) for one in _open(made)))
    made.given_copy(topics.OPEN, token_key(CARD), spent)
    assert status(send(made, "Started", 0, station="CS-2")) == "NoCredit"


def _open(made: World) -> Any:
    held = made.state(OpenTransactions, token_key(CARD))
    assert held is not None
    return held.open


def test_an_end_that_came_before_its_start_leaves_nothing_open() -> None:
    made = world(concurrent=1)
    send(made, "Ended", 1, token=None)
    send(made, "Started", 0)
    settle(made)
    assert happened(made, TransactionCounted) == []
    assert open_of(made, token_key(CARD)) == []


@pytest.mark.parametrize("trigger", ["StopAuthorized", "Deauthorized", "RemoteStop"])
def test_a_station_is_held_from_the_end_of_the_authorization_to_the_end_of_the_transaction(trigger: str) -> None:
    made = world()
    send(made, "Started", 0, evse={"id": 1})
    send(made, "Updated", 1, token=None, trigger=trigger)
    (occupied,) = happened(made, StationOccupied)
    assert [(one.transaction, one.token, one.evse) for one in occupied.held] == [("cs-1/t1", CARD, 1)]
    settle(made)
    assert (topics.OPEN, station_key("cs-1")) in made.copies
    send(made, "Updated", 2, token=None, trigger="MeterValuePeriodic")
    assert len(happened(made, StationOccupied)) == 1
    send(made, "Ended", 3, token=None, trigger="EVDeparted")
    settle(made)
    assert (topics.OPEN, station_key("cs-1")) not in made.copies
    assert made.state(Occupied, "cs-1") is None


def test_who_is_authorized_again_holds_it_no_more() -> None:
    made = world()
    send(made, "Started", 0, evse={"id": 1})
    send(made, "Updated", 1, trigger="StopAuthorized")
    send(made, "Updated", 2, trigger="Authorized")
    assert [len(one.held) for one in happened(made, StationOccupied)] == [1, 0]


def test_an_event_that_comes_late_does_not_hold_it() -> None:
    made = world()
    send(made, "Started", 0, evse={"id": 1})
    send(made, "Updated", 2, trigger="Authorized")
    send(made, "Updated", 1, token=None, trigger="StopAuthorized")
    assert happened(made, StationOccupied) == []


def test_a_cable_that_nobody_was_authorized_for_holds_nothing() -> None:
    made = world()
    send(made, "Started", 0, token=None, evse={"id": 1})
    send(made, "Updated", 1, token=None, trigger="RemoteStop")
    assert happened(made, StationOccupied) == []
