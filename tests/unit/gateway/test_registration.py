"""The registration gate, driven through a connection (B01.FR.10, B02, B03)."""

import pytest

from services.gateway.domain.registration import REPORTS_MAX, Gate
from tests.unit.gateway.talk import T0, Talk, call, command, reply


def passes(talk: Talk, action: str, payload: object = None) -> bool:
    """Whether the station's CALL passes; whatever came of it is finished."""
    [(_, _, _, _, refused)] = talk.says(call("x", action, payload))
    if refused:
        assert refused == "SecurityError"
        assert talk.acks() == [("send", 4, "x", "SecurityError")]
        return False
    assert talk.told(reply("x", action)) == [("send", 3, "x")]
    return True


@pytest.mark.requirement("B03.FR.07")
@pytest.mark.requirement("GEN.FR.04")
def test_rejected_hears_nothing_but_boot():
    talk = Talk("Rejected")

    assert not passes(talk, "Heartbeat")
    assert not passes(talk, "TransactionEvent")
    assert passes(talk, "BootNotification")


@pytest.mark.requirement("B03.FR.03")
def test_rejected_is_sent_nothing():
    talk = Talk("Rejected")

    assert talk.told(command("c1", "GetVariables")) == [("device", "receipt", "c1", "refused")]
    assert "Rejected" in talk.entries[-1].reason


@pytest.mark.requirement("B01.FR.10")
@pytest.mark.requirement("B02.FR.09")
@pytest.mark.requirement("B02.FR.06")
def test_pending_hears_nothing_unasked_but_boot_and_stays_connected():
    talk = Talk("Pending")

    assert not passes(talk, "StatusNotification")
    assert not passes(talk, "NotifyReport", {"requestId": 1})
    assert passes(talk, "BootNotification")


@pytest.mark.requirement("P4.5.3.1")
def test_accepted_is_served_even_if_it_has_never_booted():
    talk = Talk("Accepted")

    assert passes(talk, "Heartbeat")
    assert talk.told(command("c1")) == [("device", "receipt", "c1", "sending")]


@pytest.mark.requirement("B02.FR.01")
def test_pending_may_be_read_and_configured():
    talk = Talk("Pending")

    for action in ("SetVariables", "GetVariables", "GetBaseReport", "TriggerMessage", "Reset"):
        talk.answered(command(action, action), {"status": "Rejected"})


@pytest.mark.requirement("B02.FR.05")
@pytest.mark.parametrize("action", ["RequestStartTransaction", "RequestStopTransaction"])
def test_pending_is_sent_no_remote_start_or_stop(action):
    talk = Talk("Pending")

    assert talk.told(command("c1", action)) == [("transactions", "receipt", "c1", "refused")]
    assert talk.told(command("c2")) == [("device", "receipt", "c2", "sending")], "and the next one goes"


def test_the_boot_answer_changes_the_registration_as_it_passes():
    talk = Talk("Accepted")
    talk.boots("Pending")
    assert not passes(talk, "Heartbeat")

    talk.boots("Rejected")
    assert talk.told(command("c1"))[0][-1] == "refused"

    talk.boots("Accepted")
    assert passes(talk, "Heartbeat")


def test_what_waits_behind_a_boot_is_judged_by_its_answer():
    talk = Talk("Pending")
    talk.says(call("boot", "BootNotification"))
    talk.says(call("1", "Heartbeat"))

    sent = talk.told(reply("boot", "BootNotification", registration="Accepted"))

    assert sent == [("send", 3, "boot"), ("device", "call", "1", "Heartbeat", "")]


def test_a_command_announced_while_the_boot_is_rejected_is_not_sent():
    talk = Talk("Accepted")
    talk.told(command("c1"))
    talk.boots("Rejected")

    assert talk.acks() == [("device", "receipt", "c1", "refused")]


@pytest.mark.parametrize(
    ("message", "action"),
    [
        ("StatusNotification", "StatusNotification"),
        ("Heartbeat", "Heartbeat"),
        ("SignChargingStationCertificate", "SignCertificate"),
        ("SignV2GCertificate", "SignCertificate"),
        ("SignCombinedCertificate", "SignCertificate"),
    ],
)
def test_an_accepted_trigger_lets_its_message_through_for_a_while(message, action):
    talk = Talk("Pending", trigger_window_ms=60_000)
    trigger = {"requestedMessage": message}
    talk.answered(command("c1", "TriggerMessage", trigger), {"status": "Rejected"})
    assert not passes(talk, action)

    talk.answered(command("c2", "TriggerMessage", trigger), {"status": "Accepted"})
    assert passes(talk, action)
    assert passes(talk, action), "one per connector"
    assert not passes(talk, "MeterValues")

    talk.now += 60_001
    assert not passes(talk, action)


@pytest.mark.parametrize("action", ["GetBaseReport", "GetReport"])
def test_an_accepted_report_lets_its_parts_through(action):
    talk = Talk("Pending")
    talk.answered(command("c1", action, {"requestId": 7}), {"status": "Accepted"})
    talk.answered(command("c2", action, {"requestId": 8}), {"status": "EmptyResultSet"})

    assert passes(talk, "NotifyReport", {"requestId": 7, "tbc": True, "seqNo": 0})
    assert passes(talk, "NotifyReport", {"requestId": 7, "seqNo": 1})
    assert not passes(talk, "NotifyReport", {"requestId": 8})
    assert not passes(talk, "NotifyReport", {"requestId": "7"})
    assert not passes(talk, "NotifyReport", {})
    assert not passes(talk, "NotifyMonitoringReport", {"requestId": 7})


def test_what_was_asked_for_survives_another_pending_and_ends_with_accepted():
    talk = Talk("Pending")
    talk.answered(command("c1", "GetBaseReport", {"requestId": 7}), {"status": "Accepted"})
    talk.boots("Pending")
    assert passes(talk, "NotifyReport", {"requestId": 7})

    talk.boots("Accepted")
    talk.boots("Pending")
    assert not passes(talk, "NotifyReport", {"requestId": 7})


def test_reports_asked_for_are_bounded():
    talk = Talk("Pending")
    for n in range(REPORTS_MAX + 1):
        talk.answered(command(f"c{n}", "GetReport", {"requestId": n}), {"status": "Accepted"})

    assert not passes(talk, "NotifyReport", {"requestId": 0})
    assert passes(talk, "NotifyReport", {"requestId": 1})


@pytest.mark.parametrize(("request_", "response"), [({}, {"status": "Accepted"}), ({"requestId": 1}, {"status": 7})])
def test_an_invalid_request_or_answer_asks_for_nothing(request_, response):
    talk = Talk("Pending")

    talk.answered(command("c1", "GetReport", request_), response)

    assert not passes(talk, "NotifyReport", {"requestId": 1})


@pytest.mark.requirement("A00.FR.429")
def test_who_came_with_an_expired_certificate_is_pending_at_best():
    gate = Gate("Accepted", never_accepted=True)
    assert gate.registration == "Pending"

    gate.change("Accepted")
    assert gate.refuses_call("Heartbeat", b"{}", T0) is not None
    assert gate.refuses_call("BootNotification", b"{}", T0) is None
    gate.change("Rejected")
    assert gate.registration == "Rejected"
