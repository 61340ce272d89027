"""Commands to stations: every way one can go, and that none is repeated in silence."""

from typing import Any

import msgspec
import pytest

from ocppcore import commands
from ocppcore.command_end import ENDED, Ended
from ocppcore.commands import ASK, EXPIRY, LOST, OPEN_MAX, TABLE, Ask, CommandRow, Lost, OpenFrames
from ocppcore.envelope import Frame, Receipt, ReceiptKind
from ocppcore.rpc import CallError, CallResult
from ocppcore.service import Outcome
from tests.support.given import NOW, World

MADE = commands.commands("device")


@pytest.fixture
def world() -> World:
    return World("device", [commands.part(MADE)])


def ask(world: World, id_: str = "c1", action: str = "Reset", **more: Any) -> Outcome:
    payload = msgspec.Raw(b'{"type":"Immediate"}' if action == "Reset" else b"{}")
    return world.ask(ASK, Ask(command_id=id_, action=action, payload=payload, **more), key="cs-1")


def receipt(world: World, what: ReceiptKind, id_: str = "c1", epoch: int = 1, reason: str = "") -> Outcome:
    return world.receipt(Receipt("cs-1", 0, epoch, NOW, id_, "Reset", what, reason, ""))


def answer(world: World, answered: CallResult | CallError, epoch: int = 1) -> Outcome:
    frame = Frame("cs-1", "CS-1", 0, epoch, 5, "ocpp2.0.1", NOW, "result", answered.message_id, "Reset", "", b"", "")
    return world.answer(frame, answered)


def lost(world: World, epoch: int = 1, claim: int = 0) -> Outcome:
    world.connect(epoch=epoch, connected=False)
    return world.ask(LOST, Lost(slot=0, claim=claim, epoch=epoch), key="cs-1")


def row(world: World, id_: str = "c1") -> dict[str, Any]:
    return next(found for found in world.rows(TABLE) if found["command_id"] == id_)


def status(world: World, id_: str = "c1") -> str:
    return str(row(world, id_)["status"])


@pytest.mark.requirement("P4.4.1.6.1")
def test_asked_queued_sending_answered(world: World) -> None:
    world.connect()
    (call,) = ask(world).calls
    assert (call.slot, call.epoch, call.kind, call.frame) == (0, 1, "command", b'[2,"c1","Reset",{"type":"Immediate"}]')
    assert status(world) == "queued"
    receipt(world, "sending")
    assert status(world) == "sending"
    answer(world, CallResult("c1", b'{"status":"Accepted"}'))
    assert (status(world), row(world)["response"]) == ("answered", '{"status":"Accepted"}')
    assert world.state(OpenFrames, "cs-1") is None and world.state(CommandRow, "c1") == CommandRow()


def test_a_call_error_is_kept_with_code_and_description(world: World) -> None:
    world.connect()
    ask(world)
    receipt(world, "sending")
    answer(world, CallError("c1", "NotSupported", "no reset here", b'{"why":1}'))
    assert status(world) == "error"
    assert msgspec.json.decode(row(world)["error"]) == {
        "code": "NotSupported",
        "description": "no reset here",
        "details": {"why": 1},
    }


def test_an_answer_that_breaks_the_schema_is_an_error_and_is_kept(world: World) -> None:
    world.connect()
    ask(world)
    receipt(world, "sending")
    answer(world, CallResult("c1", b'{"status":"Perhaps"}'))
    assert (status(world), row(world)["response"]) == ("error", '{"status":"Perhaps"}')
    assert "status" in row(world)["error"]


def test_away_and_without_queue_for_it_ends_at_once(world: World) -> None:
    outcome = ask(world)
    assert status(world) == "not_connected" and not outcome.calls


def test_away_with_queue_for_it_goes_out_when_the_station_comes(world: World) -> None:
    ask(world, queue_for_ms=60_000)
    assert status(world) == "waiting"
    (outcome,) = world.connect(epoch=4)
    assert [(call.message_id, call.epoch) for call in outcome.calls] == [("c1", 4)]
    assert status(world) == "queued"


def test_queue_for_that_runs_out_is_expired(world: World) -> None:
    ask(world, queue_for_ms=60_000)
    world.wait(60_000)
    world.tick(EXPIRY, "cs-1/c1")
    assert status(world) == "expired"
    (outcome,) = world.connect()
    assert not outcome.calls


def test_the_timer_of_a_command_that_was_queued_meanwhile_changes_nothing(world: World) -> None:
    ask(world, queue_for_ms=60_000)
    world.connect()
    world.wait(60_000)
    world.tick(EXPIRY, "cs-1/c1")
    assert status(world) == "queued"


@pytest.mark.parametrize(("what", "expected"), [("timeout", "timeout"), ("refused", "refused")])
def test_what_the_gateway_reports_ends_it(world: World, what: ReceiptKind, expected: str) -> None:
    world.connect()
    ask(world)
    receipt(world, what, reason="the queue is full")
    assert status(world) == expected


def test_gone_before_it_was_sent_means_it_never_was(world: World) -> None:
    world.connect()
    ask(world)
    receipt(world, "gone")
    assert status(world) == "not_connected"


def test_gone_before_it_was_sent_waits_on_while_its_time_lasts(world: World) -> None:
    world.connect(epoch=1)
    ask(world, queue_for_ms=60_000)
    assert not receipt(world, "gone").calls
    assert status(world) == "waiting"


def test_gone_after_a_reconnect_goes_out_on_the_new_connection(world: World) -> None:
    world.connect(epoch=1)
    ask(world)
    world.connect(epoch=2)
    assert [call.epoch for call in receipt(world, "gone").calls] == [2]


def test_sent_and_lost_is_unknown_and_never_repeated(world: World) -> None:
    world.connect(epoch=1)
    ask(world)
    receipt(world, "sending")
    world.connect(epoch=2)
    assert not receipt(world, "lost").calls
    assert status(world) == "unknown"


@pytest.mark.parametrize("more", [{"action": "GetBaseReport"}, {"repeat": True}])
def test_sent_and_lost_is_repeated_where_that_is_harmless_or_wanted(world: World, more: dict[str, Any]) -> None:
    world.connect(epoch=1)
    ask(world, **more)
    receipt(world, "sending")
    world.connect(epoch=2)
    assert [call.epoch for call in receipt(world, "lost").calls] == [2]
    assert status(world) == "queued"


def test_a_repeat_that_cannot_be_sent_is_unknown_for_the_first_may_have_been_carried_out(world: World) -> None:
    world.connect(epoch=1)
    ask(world, action="GetBaseReport")
    receipt(world, "sending")
    world.connect(epoch=2)
    receipt(world, "lost")
    world.connect(epoch=2, connected=False)
    receipt(world, "gone", epoch=2)
    assert status(world) == "unknown"


def test_a_gateway_that_died_ends_what_it_had_sent_and_not_what_it_had_not(world: World) -> None:
    world.connect(epoch=1)
    ask(world, "sent")
    receipt(world, "sending", "sent")
    ask(world, "unsent")
    ask(world, "patient", queue_for_ms=60_000)
    lost(world)
    assert (status(world, "sent"), status(world, "unsent"), status(world, "patient")) == (
        "unknown",
        "not_connected",
        "waiting",
    )
    (outcome,) = world.connect(epoch=9)
    assert [call.message_id for call in outcome.calls] == ["patient"]


def test_receipts_and_answers_of_another_connection_change_nothing(world: World) -> None:
    world.connect(epoch=2)
    ask(world)
    assert receipt(world, "timeout", epoch=1).events == ()
    assert answer(world, CallResult("another", b"{}")).events == ()
    assert status(world) == "queued"


def test_the_same_command_asked_twice_is_one(world: World) -> None:
    world.connect()
    ask(world)
    again = ask(world)
    assert not again.events and not again.calls
    assert again.result is not None and again.result.body == {"commandId": "c1"}


@pytest.mark.requirement("P4.4.1.4.1")
def test_the_same_command_asked_again_after_its_end_is_not_sent_again(world: World) -> None:
    world.connect()
    ask(world)
    receipt(world, "sending")
    answer(world, CallResult("c1", b'{"status":"Accepted"}'))
    again = ask(world)
    assert not again.events and not again.calls and status(world) == "answered"


def test_too_many_open_commands_are_refused(world: World) -> None:
    for number in range(OPEN_MAX):
        ask(world, f"c{number}", queue_for_ms=60_000)
    ask(world, "one more", queue_for_ms=60_000)
    assert status(world, "one more") == "refused"
    assert status(world, "c0") == "waiting"


def test_a_sealed_frame_goes_out_as_it_is_and_the_event_shows_the_rest(world: World) -> None:
    world.connect()
    (call,) = ask(world, sealed=b"\x00secret").calls
    assert call.sealed and call.frame == b"\x00secret"
    assert all(b"secret" not in msgspec.json.encode(event) for event in world.events)


def test_the_requester_is_told_the_end(world: World) -> None:
    world.connect()
    ask(world, reply_service="transactions", reference="r1")
    receipt(world, "sending")
    answer(world, CallResult("c1", b'{"status":"Accepted"}'))
    (told,) = [record for record in world.records if record.headers["ce_type"] == ENDED]
    assert told.topic == "transactions.requests" and told.key == "cs-1"
    ended = msgspec.json.decode(told.value, type=Ended)
    assert (ended.status, ended.reference, bytes(ended.response)) == ("answered", "r1", b'{"status":"Accepted"}')


def test_a_new_owner_sends_again_what_no_gateway_reported(world: World) -> None:
    world.connect(epoch=1)
    ask(world, "unsent")
    ask(world, "sent")
    receipt(world, "sending", "sent")
    resume, needs = world.service.resumes[OpenFrames]
    frames = world.state(OpenFrames, "cs-1")
    found = resume("cs-1", frames, world._view(needs("cs-1")))
    assert [out.message_id for out in found] == ["unsent"]
