"""E14: what stations are asked after, what they answer, and what is concluded of transactions that never end."""

from typing import Any

import msgspec
import pytest

from ocppcore import commands
from ocppcore.command_end import ENDED, Ended
from ocppcore.contracts.inquiries import (
    InquiryMoved,
    InquiryOpened,
    StationEvidence,
    TransactionGraded,
    TransactionReconciled,
)
from ocppcore.pseudonym import Pseudonyms
from services.transactions.domain.book import INQUIRE, INQUIRIES_MAX, OPEN_MAX, StationBook
from services.transactions.domain.charge_detail import WAIT
from services.transactions.domain.inquiry import ATTEMPTS_MAX, PAUSE_MAX_MS
from services.transactions.domain.periods import PERIODS, Periods
from services.transactions.domain.transaction import TRANSACTIONS
from services.transactions.service import parts
from tests.support.given import NOW, World
from tests.support.transaction_frames import event

AT = "2023-11-14T22:13:20Z"
"""The clock of a new world."""


@pytest.fixture
def world() -> World:
    made = World("transactions", [*parts(Pseudonyms(b"k")), commands.part(commands.commands("transactions"))])
    made.connect()
    return made


def send(world: World, *args: Any, **more: Any) -> Any:
    return world.call("TransactionEvent", event(*args, at=more.pop("at", AT), **more))


def waiting(world: World) -> dict[tuple[str, str], int]:
    """What is to be asked next, and when."""
    return {timer: due for timer, due in world.timers.items() if timer[0] == INQUIRE}


def tick(world: World) -> Any:
    """The station's next question, when it is due."""
    ((name, subject),) = waiting(world)
    world.now = max(world.now, world.timers[name, subject])
    return world.tick(name, subject)


def asked(outcome: Any) -> dict[str, Any]:
    (call,) = outcome.calls
    assert call.action == "GetTransactionStatus"
    return msgspec.json.decode(call.frame)[3]  # type: ignore[no-any-return]


def hear(world: World, outcome: Any, status: str = "answered", **response: Any) -> Any:
    """The station answers what this outcome asked for."""
    (moved,) = [one for one in outcome.events if isinstance(one, InquiryMoved)]
    told = Ended(
        command_id=moved.command_id,
        action="GetTransactionStatus",
        status=status,  # type: ignore[arg-type]
        reference=f"inquiry/{moved.transaction_id}",
        response=msgspec.Raw(msgspec.json.encode(response)),
    )
    return world.ask(ENDED, told, key="cs-1")


def row(world: World, transaction: str = "t1") -> dict[str, Any]:
    return next(row for row in world.rows(TRANSACTIONS) if row["key"] == transaction)


def grades(world: World) -> list[tuple[str, int]]:
    return [(one.grade, one.missing) for one in world.events if isinstance(one, TransactionGraded)]


def test_a_whole_transaction_asks_for_nothing_and_is_complete(world: World) -> None:
    send(world, "Started", 0, wh=100)
    send(world, "Updated", 1)
    send(world, "Ended", 2, wh=350, at="2023-11-14T22:14:20Z", token="ABC")
    assert waiting(world) == {}
    assert row(world)["grade"] == "complete"
    (graded,) = [one for one in world.events if isinstance(one, TransactionGraded)]
    assert (graded.energy_wh, graded.started_at, graded.ended_at) == ("250", NOW, NOW + 60_000)
    assert world.state(StationBook, "cs-1").open == ()  # type: ignore[union-attr]


@pytest.mark.requirement("E02.FR.07")
def test_a_gap_after_the_end_is_asked_after_at_once(world: World) -> None:
    send(world, "Started", 0)
    send(world, "Ended", 3)
    assert grades(world) == [("gaps", 2)]
    outcome = tick(world)
    assert world.now == NOW
    assert asked(outcome) == {"transactionId": "T1"}
    hear(world, outcome, messagesInQueue=True, ongoingIndicator=False)
    assert row(world)["gaps_final"] is False
    for pause in (30_000, 60_000, 120_000):
        before = world.now
        outcome = tick(world)
        assert world.now - before == pause
        hear(world, outcome, messagesInQueue=True)
    outcome = tick(world)
    hear(world, outcome, messagesInQueue=False, ongoingIndicator=False)
    assert (row(world)["grade"], row(world)["gaps_final"]) == ("gaps", True)
    assert waiting(world) == {}
    send(world, "Updated", 1, offline=True)
    assert (row(world)["gaps_final"], len(waiting(world))) == (False, 1)


def test_what_comes_meanwhile_makes_the_question_void(world: World) -> None:
    send(world, "Started", 0)
    send(world, "Ended", 2)
    outcome = tick(world)
    hear(world, outcome, messagesInQueue=True)
    send(world, "Updated", 1, offline=True)
    assert grades(world) == [("gaps", 1), ("complete", 0)]
    assert tick(world).calls == ()
    assert waiting(world) == {} and world.state(StationBook, "cs-1").inquiries == ()  # type: ignore[union-attr]


def test_an_offline_event_that_leaves_a_gap_is_asked_after(world: World) -> None:
    send(world, "Started", 0)
    send(world, "Updated", 3)
    assert waiting(world) == {}, "online, before the end: what is missing may still come"
    send(world, "Updated", 5, offline=True)
    outcome = tick(world)
    assert asked(outcome) == {"transactionId": "T1"}
    hear(world, outcome, messagesInQueue=False, ongoingIndicator=True)
    assert (row(world)["state"], row(world)["grade"]) == ("open", "open")
    send(world, "Updated", 6, offline=True)
    assert waiting(world) == {}, "the station has said that what is missing will not come"
    send(world, "Updated", 8, offline=True)
    assert len(waiting(world)) == 1


def test_questions_end(world: World) -> None:
    send(world, "Started", 0)
    send(world, "Ended", 2)
    pauses = []
    for _ in range(ATTEMPTS_MAX):
        before = world.now
        hear(world, tick(world), messagesInQueue=True)
        pauses.append(world.now - before)
    assert (max(pauses) <= PAUSE_MAX_MS, waiting(world)) == (True, {})
    concluded = world.events[-2]
    assert isinstance(concluded, TransactionReconciled)
    assert (concluded.what, concluded.said, concluded.missing) == ("gaps_final", "unanswered", 1)


def test_a_station_is_asked_one_question_at_a_time(world: World) -> None:
    for transaction in ("T1", "T2", "T3"):
        send(world, "Started", 0, transaction=transaction)
        send(world, "Ended", 2, transaction=transaction)
    assert len(waiting(world)) == 1
    first = tick(world)
    assert waiting(world) == {}
    hear(world, first, messagesInQueue=False)
    second = tick(world)
    assert asked(first) != asked(second)
    hear(world, second, "timeout")
    third = tick(world)
    assert {asked(one)["transactionId"] for one in (first, second, third)} == {"T1", "T2", "T3"}
    commands_of = {one.command_id for one in world.events if isinstance(one, InquiryMoved) and one.command_id}
    assert len(commands_of) == 3


def test_what_waits_is_bounded(world: World) -> None:
    for number in range(INQUIRIES_MAX + 5):
        send(world, "Started", 0, transaction=f"T{number}")
        send(world, "Ended", 2, transaction=f"T{number}")
    assert len(world.state(StationBook, "cs-1").inquiries) == INQUIRIES_MAX  # type: ignore[union-attr]
    for number in range(OPEN_MAX + 5):
        send(world, "Started", 0, transaction=f"O{number}")
    assert len(world.state(StationBook, "cs-1").open) == OPEN_MAX  # type: ignore[union-attr]


def test_a_station_that_comes_back_with_open_transactions_is_asked_for_its_queue(world: World) -> None:
    send(world, "Started", 0)
    world.connect(connected=False)
    world.connect(epoch=2)
    outcome = tick(world)
    assert asked(outcome) == {}
    world.connect(epoch=2)
    hear(world, outcome, messagesInQueue=False)
    assert waiting(world) == {}
    send(world, "Ended", 1)
    world.connect(epoch=3)
    assert waiting(world) == {}, "nothing is open any more"


def test_a_station_that_is_away_is_asked_when_it_is_back(world: World) -> None:
    send(world, "Started", 0)
    send(world, "Ended", 2)
    world.connect(connected=False)
    assert tick(world).calls == ()
    world.wait(5_000)
    assert min(waiting(world).values()) == NOW + PERIODS.patience
    world.connect(epoch=2)
    assert asked(tick(world)) == {"transactionId": "T1"}
    assert world.now == NOW + 5_000


def evidence(world: World, what: str, evse_id: int = 0) -> Any:
    body = StationEvidence(what=what, at=world.now, evse_id=evse_id)  # type: ignore[arg-type]
    return world.ask(StationEvidence.NAME, body, key="cs-1", actor="")


def test_a_transaction_that_a_boot_has_cut_off_is_closed_with_an_estimate(world: World) -> None:
    send(world, "Started", 0, wh=1000, evse={"id": 1})
    send(world, "Updated", 1, wh=1750, at="2023-11-14T22:23:20Z")
    world.wait(3600_000)
    evidence(world, "boot")
    began = world.now
    outcome = tick(world)
    assert world.now == began + PERIODS.grace
    assert asked(outcome) == {"transactionId": "T1"}
    hear(world, outcome, messagesInQueue=False, ongoingIndicator=False)
    found = row(world)
    assert (found["state"], found["grade"], found["closed_cause"]) == ("ended", "estimated", "boot")
    assert (found["energy_wh"], found["ended_at"]) == ("750", NOW + 600_000)
    late = send(world, "Updated", 2, wh=1800, at="2023-11-14T22:33:20Z", offline=True)
    assert [type(one).__name__ for one in late.events][-1] == "TransactionGraded"
    found = row(world)
    assert (found["state"], found["grade"]) == ("ended", "estimated"), "re-opens nothing"
    assert (found["energy_wh"], found["ended_at"]) == ("800", NOW + 1200_000)
    send(world, "Ended", 3, wh=1900, at="2023-11-14T22:43:20Z", offline=True)
    found = row(world)
    assert (found["grade"], found["energy_wh"], found["ended_at"]) == ("complete", "900", NOW + 1800_000)
    assert grades(world) == [("estimated", 0), ("estimated", 0), ("complete", 0)]


def test_an_available_connector_makes_the_transactions_of_its_evse_doubtful(world: World) -> None:
    send(world, "Started", 0, transaction="T1", evse={"id": 1})
    send(world, "Started", 0, transaction="T2")
    send(world, "Updated", 1, transaction="T2", evse={"id": 2})
    evidence(world, "available", 2)
    (opened,) = [one for one in world.events if isinstance(one, InquiryOpened)]
    assert (opened.transaction_id, opened.reason) == ("T2", "available")
    world.wait(1000)
    send(world, "Ended", 2, transaction="T2")
    assert waiting(world) == {}, "the end was on its way"


def test_a_transaction_that_goes_on_is_left(world: World) -> None:
    send(world, "Started", 0, evse={"id": 1})
    evidence(world, "available", 1)
    hear(world, tick(world), messagesInQueue=False, ongoingIndicator=True)
    assert row(world)["state"] == "open"
    evidence(world, "boot")
    world.wait(1000)
    send(world, "Updated", 1)
    assert tick(world).calls == (), "it was heard of since"
    assert (row(world)["state"], waiting(world)) == ("open", {})


def test_another_transaction_at_the_same_evse_is_evidence(world: World) -> None:
    send(world, "Started", 0, transaction="T1", evse={"id": 1})
    send(world, "Started", 0, transaction="T2", evse={"id": 1})
    hear(world, tick(world), messagesInQueue=False)
    assert (row(world, "t1")["grade"], row(world, "t1")["closed_cause"]) == ("estimated", "replaced")
    assert row(world, "t2")["grade"] == "open"


def test_who_never_comes_back_is_concluded_at_the_deadline(world: World) -> None:
    send(world, "Started", 0, evse={"id": 1})
    evidence(world, "available", 1)
    world.connect(connected=False)
    tick(world)
    tick(world)
    assert world.now == NOW + PERIODS.patience
    assert (row(world)["grade"], row(world)["closed_cause"]) == ("estimated", "available")


def test_conflicts_dispute_an_ended_transaction(world: World) -> None:
    send(world, "Started", 0, wh=1)
    send(world, "Ended", 1, wh=5)
    send(world, "Ended", 1, wh=6)
    assert grades(world) == [("complete", 0), ("disputed", 0)]


def test_a_clock_that_is_wrong_is_measured_and_its_times_corrected(world: World) -> None:
    world.now = NOW + 7200_000 + 900
    send(world, "Started", 0, at="2023-11-14T22:13:20Z")
    world.wait(60_000)
    send(world, "Updated", 1, at="2023-11-14T22:14:19Z")
    world.wait(60_000)
    send(world, "Ended", 2, at="2023-11-14T22:15:20.500Z")
    found = row(world)
    assert (found["started_at"], found["clock_offset_ms"], found["clock_steady"]) == (NOW, 7200_400, True)
    (graded,) = [one for one in world.events if isinstance(one, TransactionGraded)]
    assert (graded.started_at, graded.clock_offset_ms) == (NOW + 7200_400, 7200_400)
    offline = send(world, "Started", 0, transaction="T2", offline=True)
    assert offline.events[0].clock_offset_ms == 7200_400
    assert row(world, "t2")["clock_offset_ms"] == 7200_400


def test_a_clock_that_is_right_is_left_whatever_is_delayed(world: World) -> None:
    send(world, "Started", 0)
    world.wait(600_000)
    send(world, "Ended", 1, at="2023-11-14T22:14:20Z")
    assert (row(world)["clock_offset_ms"], row(world)["clock_steady"]) == (0, True)


def test_a_clock_that_was_set_meanwhile_corrects_nothing_and_is_marked(world: World) -> None:
    send(world, "Started", 0, at="2023-11-15T22:13:20Z")
    world.wait(1000)
    send(world, "Ended", 1, at="2023-11-14T22:13:21Z")
    assert (row(world)["clock_offset_ms"], row(world)["clock_steady"]) == (0, False)


def test_an_installation_waits_as_long_as_its_settings_say() -> None:
    periods = Periods(grace=5_000, patience=7_200_000, bill_wait=3_600_000)
    own = World(
        "transactions",
        [*parts(Pseudonyms(b"k"), periods=periods), commands.part(commands.commands("transactions"))],
    )
    own.connect()
    send(own, "Started", 0, wh=0, evse={"id": 1})
    own.ask(StationEvidence.NAME, StationEvidence(what="boot", at=NOW), key="cs-1")
    assert set(waiting(own).values()) == {NOW + 5_000}
    own.connect(connected=False)
    tick(own)
    assert set(waiting(own).values()) == {NOW + 7_200_000}
    tick(own)
    assert own.timers[WAIT, "cs-1/t1"] == own.now + 3_600_000
