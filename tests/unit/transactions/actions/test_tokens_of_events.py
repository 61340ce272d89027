"""The idTokens in TransactionEvents: none needed, local data that is stale, remote starts."""

from typing import Any

import msgspec
import pytest

from ocppcore import commands, topics
from ocppcore.commands import Ask
from ocppcore.contracts.transactions import REMOTE_START, RemoteStart, TransactionStarted
from ocppcore.pseudonym import Pseudonyms
from ocppcore.service import Outcome
from ocppcore.wire import encode
from services.transactions.domain.remote import REMOTE
from services.transactions.domain.transaction import TRANSACTIONS
from services.transactions.service import parts
from tests.support.given import World
from tests.support.transaction_frames import event

PSEUDONYMS = Pseudonyms(b"a key of tests")


@pytest.fixture
def world() -> World:
    made = World("transactions", [*parts(PSEUDONYMS), commands.part(commands.commands("transactions"))])
    made.connect()
    return made


def known(world: World, value: str, **state: Any) -> None:
    world.given_copy(topics.TOKENS, PSEUDONYMS.of("ISO14443", value), {"type": "ISO14443", **state})


def answer(outcome: Outcome) -> dict[str, Any]:
    assert outcome.reply is not None
    return msgspec.json.decode(encode(outcome.reply))  # type: ignore[arg-type,no-any-return]


@pytest.mark.requirement("C02.FR.02")
def test_a_start_button_needs_no_token_and_is_accepted(world: World) -> None:
    pressed = event("Started", 0) | {"idToken": {"idToken": "", "type": "NoAuthorization"}}
    assert answer(world.call("TransactionEvent", pressed)) == {"idTokenInfo": {"status": "Accepted"}}


@pytest.mark.requirement("C09.FR.12", "E01.FR.12")
@pytest.mark.parametrize("status", ["Accepted", "Blocked"])
def test_the_group_is_in_every_answer_about_its_token(world: World, status: str) -> None:
    group = {"idToken": "FLEET", "type": "Central"}
    known(world, "ABC", status=status, group=group)
    for number, kind in enumerate(("Started", "Updated", "Ended")):
        outcome = world.call("TransactionEvent", event(kind, number, token="ABC"))
        assert answer(outcome) == {"idTokenInfo": {"status": status, "groupIdToken": group}}


@pytest.mark.requirement("C12.FR.03", "E02.FR.04", "E05.FR.01")
def test_a_token_that_the_station_let_in_by_itself_is_checked_when_its_event_comes(world: World) -> None:
    known(world, "CACHED", status="Accepted")
    first = world.call("TransactionEvent", event("Started", 0, token="CACHED", offline=True))
    known(world, "CACHED", status="Blocked")
    second = world.call("TransactionEvent", event("Updated", 1, token="CACHED"))
    assert answer(first)["idTokenInfo"]["status"] == "Accepted"
    assert answer(second)["idTokenInfo"]["status"] == "Blocked"


def start(world: World, remote_start_id: int) -> None:
    ask = Ask(
        command_id=f"c{remote_start_id}",
        action="RequestStartTransaction",
        payload=msgspec.Raw(b"{}"),
        reply_service="transactions",
        reference=f"cs-1/start/{remote_start_id}",
    )
    body = RemoteStart(
        operation_id=f"o{remote_start_id}",
        remote_start_id=remote_start_id,
        ask=ask,
        token=PSEUDONYMS.of("ISO14443", "REMOTE"),
        token_type="ISO14443",
        wait_ms=60_000,
    )
    world.ask(REMOTE_START, body, key="cs-1")


@pytest.mark.requirement("C05.FR.03")
def test_a_transaction_belongs_to_the_remote_start_whose_number_it_carries(world: World) -> None:
    start(world, 5)
    start(world, 6)
    world.call("TransactionEvent", event("Started", 0, transaction="T0", info={"remoteStartId": 9}))
    world.call("TransactionEvent", event("Started", 0, transaction="T1", info={"remoteStartId": 6}))
    rows = {row["remote_start_id"]: (row["state"], row["transaction_id"]) for row in world.rows(REMOTE)}
    assert rows == {5: ("asked", None), 6: ("seen", "T1")}
    assert {row["transaction_id"]: row["remote_start_id"] for row in world.rows(TRANSACTIONS)} == {"T0": 9, "T1": 6}


@pytest.mark.requirement("F01.FR.03", "F02.FR.11")
@pytest.mark.parametrize("status", ["Accepted", "Blocked"])
def test_the_token_of_a_remote_start_is_checked_when_its_transaction_reports(world: World, status: str) -> None:
    known(world, "REMOTE", status=status)
    start(world, 5)
    outcome = world.call("TransactionEvent", event("Started", 0, token="REMOTE", info={"remoteStartId": 5}))
    assert answer(outcome) == {"idTokenInfo": {"status": status}}
    started = outcome.events[0]
    assert isinstance(started, TransactionStarted)
    assert (started.remote_start_id, started.authorization) == (5, status)
