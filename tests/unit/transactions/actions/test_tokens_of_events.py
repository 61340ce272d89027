"""The idTokens in TransactionEvents: none needed, local data that is stale, remote starts."""

from typing import Any

import msgspec
import pytest

from ocppcore import commands, topics
from ocppcore.authorization import Rules
from ocppcore.commands import Ask
from ocppcore.contracts.transactions import REMOTE_START, RemoteStart, TransactionStarted
from ocppcore.pseudonym import Pseudonyms
from ocppcore.service import Outcome
from ocppcore.wire import encode
from services.auth import service as auth
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


EVSES = [
    {"id": 1, "connectors": [{"id": 1, "type": "cCCS2"}]},
    {"id": 2, "connectors": [{"id": 1, "type": "sType2"}]},
]


@pytest.mark.requirement("C01.FR.18", "C01.FR.20", "C01.FR.22", "E01.FR.11")
@pytest.mark.parametrize(
    ("limits", "evse", "expected"),
    [
        ({}, 1, {"status": "Accepted"}),
        ({"stations": ["cs-1"]}, 1, {"status": "Accepted"}),
        ({"stations": ["cs-2"]}, 1, {"status": "NotAtThisLocation"}),
        ({"evses": [2]}, 2, {"status": "Accepted", "evseId": [2]}),
        ({"evses": [2]}, 1, {"status": "NotAtThisLocation"}),
        ({"evses": [2]}, None, {"status": "Accepted", "evseId": [2]}),
        ({"connectorTypes": ["sType2"]}, 2, {"status": "Accepted", "evseId": [2]}),
        ({"connectorTypes": ["sType2"]}, 1, {"status": "NotAllowedTypeEVSE"}),
        ({"connectorTypes": ["cG105"]}, None, {"status": "NotAllowedTypeEVSE"}),
    ],
)
def test_where_a_token_may_charge_is_judged_as_authorize_does(
    world: World, limits: dict[str, Any], evse: int | None, expected: dict[str, Any]
) -> None:
    state = {"id": "CS-1", "securityProfile": 1, "credential": None, "registration": "Accepted", "evses": EVSES}
    world.given_copy(topics.STATIONS, "cs-1", state, position=7)
    known(world, "ABC", status="Accepted", **limits)
    more: dict[str, Any] = {"evse": {"id": evse, "connectorId": 1}} if evse else {}
    outcome = world.call("TransactionEvent", event("Started", 0, token="ABC", **more))
    assert answer(outcome) == {"idTokenInfo": expected}
    started = outcome.events[0]
    assert isinstance(started, TransactionStarted)
    assert (started.authorization, started.station_position) == (expected["status"], 7)
    once_more = World("auth", auth.parts(PSEUDONYMS))
    for lookup, (value, _) in world.copies.items():
        once_more.given_copy(*lookup, msgspec.json.decode(value))
    if evse is None:
        asked = once_more.call("Authorize", {"idToken": {"idToken": "ABC", "type": "ISO14443"}})
        assert answer(asked) == answer(outcome)


def test_a_token_is_judged_at_the_evse_that_an_earlier_event_named(world: World) -> None:
    known(world, "ABC", status="Accepted", evses=[2])
    world.call("TransactionEvent", event("Started", 0, evse={"id": 1, "connectorId": 1}))
    outcome = world.call("TransactionEvent", event("Updated", 1, token="ABC", trigger="Authorized"))
    assert answer(outcome) == {"idTokenInfo": {"status": "NotAtThisLocation"}}


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


MASTER = {"idToken": "MASTER", "type": "Central"}


def swipe(world: World, seq_no: int, token: str, trigger: str = "Authorized", kind: str = "Updated") -> str:
    """The status that is answered to an event with this token."""
    outcome = world.call("TransactionEvent", event(kind, seq_no, token=token, trigger=trigger))
    return str(answer(outcome)["idTokenInfo"]["status"])


@pytest.fixture
def plugged(world: World) -> World:
    """The cable is in, nobody has presented a token; `PASS` is a master pass, `ABC` and `DEF` are drivers."""
    made = World("transactions", parts(PSEUDONYMS, Rules(master_pass_group="MASTER")))
    known(made, "PASS", status="Accepted", group=MASTER)
    for driver in ("ABC", "DEF"):
        known(made, driver, status="Accepted")
    made.call("TransactionEvent", event("Started", 0, trigger="CablePluggedIn"))
    return made


@pytest.mark.parametrize("trigger", ["Authorized", "RemoteStart"])
def test_a_master_pass_starts_nothing_however_often_it_is_presented(plugged: World, trigger: str) -> None:
    """C16.FR.03; a repeat is answered as the first time."""
    assert [swipe(plugged, 1, "PASS", trigger) for _ in range(3)] == ["Invalid"] * 3
    assert swipe(plugged, 2, "PASS", trigger) == "Invalid"
    assert swipe(plugged, 3, "ABC", trigger) == "Accepted"
    assert [swipe(plugged, seq_no, "PASS", trigger) for seq_no in (1, 2)] == ["Invalid"] * 2


def test_a_master_pass_may_stop_what_another_token_started(plugged: World) -> None:
    assert swipe(plugged, 1, "ABC") == "Accepted"
    assert [swipe(plugged, 2, "PASS") for _ in range(2)] == ["Accepted"] * 2
    assert swipe(plugged, 1, "ABC") == "Accepted"
    assert swipe(plugged, 3, "PASS", "StopAuthorized", "Ended") == "Accepted"


def test_a_token_that_stopped_a_transaction_did_not_start_it(plugged: World) -> None:
    assert swipe(plugged, 1, "PASS", "StopAuthorized") == "Accepted"
    assert swipe(plugged, 2, "PASS") == "Invalid"


def test_the_transaction_is_that_of_the_first_token_that_was_accepted(plugged: World) -> None:
    swipe(plugged, 1, "PASS")
    (row,) = plugged.rows(TRANSACTIONS)
    assert row["token"] == PSEUDONYMS.of("ISO14443", "PASS")
    swipe(plugged, 4, "DEF")
    swipe(plugged, 2, "ABC")
    (row,) = plugged.rows(TRANSACTIONS)
    assert row["token"] == PSEUDONYMS.of("ISO14443", "ABC")
