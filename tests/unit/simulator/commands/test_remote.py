import pytest

from simulator.config import Drivers, Setting
from simulator.inputs import IdToken, PlugIn, PresentToken

from ..bench import TOKEN, Bench, booted

START = {"remoteStartId": 42, "idToken": TOKEN.wire()}


def charging(**config: object) -> Bench:
    bench = booted(**config)
    bench.do(PlugIn(1))
    bench.do(PresentToken(1, TOKEN))
    return bench.run(10)


def test_a_remote_start_before_the_cable_starts_when_it_comes() -> None:
    bench = booted()
    assert bench.ask("RequestStartTransaction", START) == {"status": "Accepted"}
    bench.run(5)
    assert bench.events == []
    bench.do(PlugIn(1))
    bench.run(10)
    started, charging_event = bench.events[:2]
    assert (started["eventType"], started["triggerReason"]) == ("Started", "RemoteStart")
    assert started["transactionInfo"]["remoteStartId"] == 42
    assert started["idToken"] == TOKEN.wire()
    assert charging_event["transactionInfo"]["chargingState"] == "Charging"
    assert "remoteStartId" not in charging_event["transactionInfo"]
    assert not bench.sent("Authorize")


def test_a_remote_start_of_a_transaction_that_waits_for_authorization_names_it() -> None:
    bench = booted(tx_start_point="EVConnected", tx_stop_point="EVConnected")
    bench.do(PlugIn(1))
    bench.run(1)
    answer = bench.ask("RequestStartTransaction", START)
    assert answer["transactionId"] == bench.events[0]["transactionInfo"]["transactionId"]
    bench.run(1)
    assert bench.events[1]["triggerReason"] == "RemoteStart"
    assert bench.events[1]["transactionInfo"]["remoteStartId"] == 42


def test_a_remote_start_may_have_to_be_authorized() -> None:
    bench = booted(variables=(Setting("AuthCtrlr", "AuthorizeRemoteStart", "true"),))
    bench.do(PlugIn(1))
    bench.csms.tokens[TOKEN.id_token] = "Blocked"
    assert bench.ask("RequestStartTransaction", START)["status"] == "Accepted"
    bench.run(10)
    assert len(bench.sent("Authorize")) == 1
    assert bench.events == []


def test_a_remote_start_brings_a_driver() -> None:
    bench = booted(drivers=Drivers(tokens=(TOKEN,), gap_s=100_000, stay_min_s=60, stay_max_s=61))
    bench.ask("RequestStartTransaction", START)
    bench.run(600)
    assert [e["eventType"] for e in bench.events][-1] == "Ended"


@pytest.mark.parametrize("request_", [{**START, "evseId": 9}, {**START, "evseId": 1}])
def test_a_remote_start_is_refused_where_it_cannot_be(request_: dict[str, object]) -> None:
    assert charging().ask("RequestStartTransaction", request_)["status"] == "Rejected"


def test_a_remote_stop_ends_the_transaction() -> None:
    bench = charging()
    transaction_id = bench.events[0]["transactionInfo"]["transactionId"]
    assert bench.ask("RequestStopTransaction", {"transactionId": transaction_id.upper()})["status"] == "Accepted"
    bench.run(1)
    ended = bench.events[-1]
    assert (ended["eventType"], ended["triggerReason"]) == ("Ended", "RemoteStop")
    assert ended["transactionInfo"]["stoppedReason"] == "Remote"


def test_a_remote_stop_of_a_transaction_that_lasts_until_the_cable_is_out_stops_the_energy() -> None:
    bench = charging(tx_start_point="EVConnected", tx_stop_point="EVConnected")
    transaction_id = bench.events[0]["transactionInfo"]["transactionId"]
    bench.ask("RequestStopTransaction", {"transactionId": transaction_id})
    bench.run(1)
    assert (bench.events[-1]["eventType"], bench.events[-1]["triggerReason"]) == ("Updated", "RemoteStop")
    assert bench.events[-1]["transactionInfo"]["chargingState"] == "EVConnected"


def test_transaction_status_knows_what_runs_and_what_is_not_delivered() -> None:
    bench = charging()
    transaction_id = bench.events[0]["transactionInfo"]["transactionId"]
    asked = {"transactionId": transaction_id}
    assert bench.ask("GetTransactionStatus", asked) == {"ongoingIndicator": True, "messagesInQueue": False}
    bench.csms.override = lambda action, payload: None
    bench.do(PresentToken(1, TOKEN))
    assert bench.ask("GetTransactionStatus", asked) == {"ongoingIndicator": False, "messagesInQueue": True}
    assert bench.ask("GetTransactionStatus", {}) == {"messagesInQueue": True}
    other = {"transactionId": "other"}
    assert bench.ask("GetTransactionStatus", other) == {"ongoingIndicator": False, "messagesInQueue": False}


@pytest.mark.parametrize(
    ("trigger", "message"),
    [
        ({"requestedMessage": "Heartbeat"}, "Heartbeat"),
        ({"requestedMessage": "MeterValues"}, "MeterValues"),
        ({"requestedMessage": "TransactionEvent"}, "TransactionEvent"),
        ({"requestedMessage": "FirmwareStatusNotification"}, "FirmwareStatusNotification"),
        ({"requestedMessage": "SignChargingStationCertificate"}, "SignCertificate"),
        ({"requestedMessage": "StatusNotification", "evse": {"id": 1, "connectorId": 1}}, "StatusNotification"),
    ],
)
def test_a_triggered_message_follows_the_answer(trigger: dict[str, object], message: str) -> None:
    bench = charging()
    before = len(bench.sent(message))
    assert bench.ask("TriggerMessage", trigger) == {"status": "Accepted"}
    bench.run(1)
    assert len(bench.sent(message)) == before + 1


def test_what_cannot_be_triggered_is_rejected() -> None:
    bench = booted()
    for message in ("BootNotification", "TransactionEvent", "StatusNotification"):
        assert bench.ask("TriggerMessage", {"requestedMessage": message})["status"] == "Rejected"


def test_unlocking_respects_a_transaction() -> None:
    bench = charging(evses=2)
    assert bench.ask("UnlockConnector", {"evseId": 1, "connectorId": 1})["status"] == "OngoingAuthorizedTransaction"
    assert bench.ask("UnlockConnector", {"evseId": 2, "connectorId": 1})["status"] == "Unlocked"
    assert bench.ask("UnlockConnector", {"evseId": 2, "connectorId": 5})["status"] == "UnknownConnector"


def test_a_reserved_evse_is_not_started_for_somebody_else() -> None:
    bench = booted()
    reservation = {"id": 1, "expiryDateTime": "2099-01-01T00:00:00Z", "idToken": TOKEN.wire(), "evseId": 1}
    assert bench.ask("ReserveNow", reservation)["status"] == "Accepted"
    stranger = {"remoteStartId": 1, "idToken": IdToken("OTHER").wire(), "evseId": 1}
    assert bench.ask("RequestStartTransaction", stranger)["status"] == "Rejected"
    assert bench.ask("RequestStartTransaction", {**START, "evseId": 1})["status"] == "Accepted"
    bench.do(PlugIn(1))
    bench.run(5)
    assert bench.events[0]["reservationId"] == 1
