"""Remote start and stop: asked, answered, and the effect seen."""

from typing import Any

import msgspec
import pytest

from ocppcore import commands, topics
from ocppcore.command_end import ENDED, Ended
from ocppcore.commands import Ask
from ocppcore.contracts.transactions import REMOTE_START, REMOTE_STOP, RemoteStart, RemoteStop
from ocppcore.pseudonym import Pseudonyms
from services.transactions.domain.remote import REMOTE, WAIT
from services.transactions.service import parts
from tests.support.given import World
from tests.support.transaction_frames import event


@pytest.fixture
def world() -> World:
    made = World("transactions", [*parts(Pseudonyms(b"k")), commands.part(commands.commands("transactions"))])
    made.connect()
    return made


def ask(action: str, reference: str) -> Ask:
    return Ask(
        command_id="c1", action=action, payload=msgspec.Raw(b"{}"), reply_service="transactions", reference=reference
    )


def start(world: World) -> Any:
    body = RemoteStart(
        operation_id="o1",
        remote_start_id=5,
        ask=ask("RequestStartTransaction", "cs-1/start/5"),
        token="p",
        token_type="Central",
        wait_ms=60_000,
    )
    return world.ask(REMOTE_START, body, key="cs-1")


def stop(world: World, queue_for_ms: int = 0) -> Any:
    wanted = msgspec.structs.replace(ask("RequestStopTransaction", "cs-1/t1/stop"), queue_for_ms=queue_for_ms)
    body = RemoteStop(operation_id="o1", transaction_id="T1", ask=wanted, wait_ms=60_000)
    return world.ask(REMOTE_STOP, body, key="cs-1")


def ended(world: World, reference: str, status: str = "Accepted", **more: Any) -> None:
    response = msgspec.Raw(msgspec.json.encode({"status": status, **more}))
    body = Ended(command_id="c1", action="x", status="answered", reference=reference, response=response)
    world.ask(ENDED, body, key="cs-1")


def state(world: World) -> tuple[Any, Any]:
    (row,) = world.rows(REMOTE)
    return row["state"], row["transaction_id"]


@pytest.mark.requirement("F02.FR.11", "F01.FR.03")
def test_a_start_is_over_when_its_transaction_was_seen(world: World) -> None:
    outcome = start(world)
    assert [call.action for call in outcome.calls] == ["RequestStartTransaction"]
    assert state(world) == ("asked", None)
    ended(world, "cs-1/start/5")
    assert state(world) == ("accepted", None)
    world.call("TransactionEvent", event("Started", 0, info={"remoteStartId": 5}))
    assert state(world) == ("seen", "T1")
    assert not world.timers


def test_the_effect_may_come_before_the_answer(world: World) -> None:
    start(world)
    world.call("TransactionEvent", event("Started", 0, info={"remoteStartId": 5}))
    ended(world, "cs-1/start/5")
    assert state(world) == ("seen", "T1")


def test_a_station_may_reject(world: World) -> None:
    start(world)
    ended(world, "cs-1/start/5", "Rejected", statusInfo={"reasonCode": "NoCable"})
    (row,) = world.rows(REMOTE)
    assert (row["state"], row["reason"]) == ("rejected", "NoCable")


def test_no_effect_in_time_is_said(world: World) -> None:
    start(world)
    ended(world, "cs-1/start/5")
    world.wait(60_000)
    world.tick(WAIT, "cs-1/start/5")
    assert state(world)[0] == "no_effect"


@pytest.mark.requirement("F03.FR.01")
def test_a_stop_is_over_when_the_transaction_ended(world: World) -> None:
    world.call("TransactionEvent", event("Started", 0))
    stop(world)
    ended(world, "cs-1/t1/stop")
    world.call("TransactionEvent", event("Updated", 1))
    assert state(world) == ("accepted", "T1")
    world.call("TransactionEvent", event("Ended", 2, trigger="RemoteStop"))
    assert state(world) == ("seen", "T1")


def refused(outcome: Any) -> tuple[int, str]:
    """The status and title of a problem."""
    body = outcome.result.body
    assert {"type": "about:blank", "status": outcome.result.status}.items() <= body.items()
    assert body["detail"]
    return outcome.result.status, body["title"]


def test_one_operation_at_a_time_waits_for_its_effect(world: World) -> None:
    start(world)
    assert refused(start(world)) == (409, "remoteStartId in use")
    world.call("TransactionEvent", event("Started", 0))
    stop(world)
    assert refused(stop(world)) == (409, "Already asked")


def test_what_has_ended_cannot_be_stopped(world: World) -> None:
    world.call("TransactionEvent", event("Ended", 2))
    assert refused(stop(world)) == (409, "Already ended")


def test_a_station_that_is_away_fails_the_start_at_once(world: World) -> None:
    world.connect(connected=False)
    outcome = start(world)
    assert [type(e).__name__ for e in outcome.events][-1] == "EndedHere"
    told = [r for r in world.records if r.headers.get("ce_type") == ENDED]
    world.ask(ENDED, msgspec.json.decode(told[0].value, type=Ended), key="cs-1")
    assert state(world)[0] == "failed"


@pytest.mark.requirement("F03.FR.01", "F04.FR.01")
def test_a_stop_waits_for_a_station_that_is_away(world: World) -> None:
    world.call("TransactionEvent", event("Started", 0))
    world.connect(connected=False)
    assert stop(world, queue_for_ms=3600_000).calls == ()
    assert state(world) == ("asked", "T1")
    world.wait(1800_000)
    calls = [call for outcome in world.connect(epoch=2) for call in outcome.calls]
    assert [call.action for call in calls] == ["RequestStopTransaction"]
    ended(world, "cs-1/t1/stop")
    assert world.timers[WAIT, "cs-1/t1/stop"] == world.now + 60_000, "the wait for the effect begins with the answer"
    world.call("TransactionEvent", event("Ended", 1, trigger="RemoteStop"))
    assert state(world) == ("seen", "T1")


def test_a_stop_that_could_not_be_said_in_time_has_failed(world: World) -> None:
    world.call("TransactionEvent", event("Started", 0))
    world.connect(connected=False)
    stop(world, queue_for_ms=3600_000)
    world.wait(3600_000)
    world.tick("command-expiry", "cs-1/c1")
    told = [r for r in world.records if r.headers.get("ce_type") == ENDED]
    world.ask(ENDED, msgspec.json.decode(told[0].value, type=Ended), key="cs-1")
    (row,) = world.rows(REMOTE)
    assert (row["state"], row["reason"]) == ("failed", "expired")


@pytest.mark.requirement("F01.FR.03")
@pytest.mark.parametrize(("status", "doubts"), [("Accepted", 0), ("Blocked", 1), (None, 1)])
def test_a_start_whose_token_would_be_refused_is_doubted_and_sent(world: World, status: str, doubts: int) -> None:
    world.given_copy(topics.TOKENS, "p", {"type": "Central", "status": status} if status else None)
    assert len(start(world).calls) == 1
    (row,) = world.rows(REMOTE)
    warnings = msgspec.json.decode(row["warnings"])  # type: ignore[arg-type]
    assert [f"{status or 'Unknown'} now" in text for text in warnings] == [True] * doubts
