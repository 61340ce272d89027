"""One connection: order, refusals, commands and their receipts, timeouts, floods. No sockets, no log."""

import json

import pytest

from ocppcore.envelope import OutFrame
from services.gateway.domain.connection import Append, CannotOpen, Connection, Limits
from tests.unit.gateway.talk import ORIGIN, T0, Talk, call, command, error, reply, result

# -- CALLs of the station ----------------------------------------------------------------------------------------------


def test_a_call_is_appended_for_its_owner_and_answered_with_the_service_s_reply():
    talk = Talk()

    assert talk.says(call("1", "TransactionEvent")) == [("transactions", "call", "1", "TransactionEvent", "")]
    assert talk.told(reply("1")) == [("send", 3, "1")]


def test_the_record_of_a_frame_says_where_it_came_from_and_holds_the_bytes_as_received():
    talk, frame = Talk(), b' [2, "1","Heartbeat",\n{}]'

    talk.says(frame)

    entry = talk.entries[0]
    assert (entry.station, entry.identity, entry.slot, entry.epoch, entry.subprotocol, entry.claim) == ORIGIN
    assert (entry.frame, entry.n, entry.received_at) == (frame, 0, T0)


@pytest.mark.requirement("GEN.FR.01")
def test_the_next_call_is_appended_only_after_the_one_before_is_answered():
    talk = Talk()
    talk.says(call("1"))

    assert talk.says(call("2", "Authorize")) == []
    talk.now += 5
    assert talk.told(reply("1")) == [("send", 3, "1"), ("auth", "call", "2", "Authorize", "")]
    assert [entry.n for entry in talk.entries] == [0, 1]
    assert talk.entries[1].received_at == T0


@pytest.mark.requirement("P4.4.1.1.2")
def test_calls_of_both_directions_cross():
    talk = Talk()
    talk.told(command("c1"))
    talk.acks()

    assert talk.says(call("1")) == [("device", "call", "1", "Heartbeat", "")]
    assert talk.says(result("c1")) == [("device", "result", "c1", "GetVariables", "")]
    assert talk.told(reply("1")) == [("send", 3, "1")]


def test_a_call_that_nobody_answers_is_forgotten_and_the_station_goes_on():
    talk = Talk(reply_timeout_ms=30_000)
    talk.says(call("1"))
    talk.says(call("2"))

    assert talk.connection.wake_at == T0 + 30_000
    assert talk.passes(29_999) == []
    assert talk.passes(1) == [("device", "call", "2", "Heartbeat", "")]
    assert talk.told(reply("1")) == [], "its reply comes too late"
    assert talk.told(reply("2")) == [("send", 3, "2")]
    assert talk.connection.forgotten_calls == 1


@pytest.mark.requirement("P4.4.1.4.2")
def test_a_reply_goes_to_the_call_in_flight_and_no_other():
    talk = Talk()
    talk.says(call("1"))

    assert talk.told(reply("2")) == []
    assert talk.told(reply("1")) == [("send", 3, "1")]
    assert talk.told(reply("1")) == [], "a reply is sent once"
    assert talk.connection.dropped_replies == 2


def test_a_message_id_is_repeated_only_while_its_call_is_unanswered():
    talk = Talk()
    talk.says(call("1"))

    assert talk.says(call("1")) == [("device", "call", "1", "Heartbeat", "RpcFrameworkError")]
    assert talk.acks() == [("send", 4, "1", "RpcFrameworkError")]
    talk.told(reply("1"))
    assert talk.says(call("1")) == [("device", "call", "1", "Heartbeat", "")]


def test_a_message_id_that_waits_for_its_turn_counts_as_in_flight():
    talk = Talk()
    talk.says(call("1"))
    talk.says(call("2"))

    assert talk.says(call("2", "Authorize")) == [("auth", "call", "2", "Authorize", "RpcFrameworkError")]


# -- what the gateway refuses itself -----------------------------------------------------------------------------------


@pytest.mark.requirement("GEN.FR.03", "P4.4.2.3.1")
@pytest.mark.parametrize(
    ("frame", "id_", "code", "service"),
    [
        (b"not json", "", "RpcFrameworkError", "device"),
        (b"\xff\xfe", "", "RpcFrameworkError", "device"),
        (b"{}", "", "RpcFrameworkError", "device"),
        (b"[]", "", "RpcFrameworkError", "device"),
        (b'[2,"1"]', "1", "RpcFrameworkError", "device"),
        (b'[2,7,"Heartbeat",{}]', "", "RpcFrameworkError", "device"),
        (b'[2,"%b","Heartbeat",{}]' % (b"x" * 37), "", "RpcFrameworkError", "device"),
        (b'[9,"1","Heartbeat",{}]', "1", "MessageTypeNotSupported", "device"),
        (b'[2,"1","Heartbeat",7]', "1", "ProtocolError", "device"),
        (call("1", "Hertbeat"), "1", "NotImplemented", "device"),
        (call("1", "RequestStartTransaction"), "1", "NotSupported", "transactions"),
    ],
)
def test_what_is_no_valid_call_is_appended_marked_then_answered(frame, id_, code, service):
    talk = Talk()

    [(where, _, message_id, _, refused)] = talk.says(frame)

    assert (where, message_id, refused) == (service, id_, code)
    assert talk.acks() == [("send", 4, id_ or "-1", code)]
    assert talk.says(call("1")) == [("device", "call", "1", "Heartbeat", "")], "and the station goes on"


def test_a_refused_call_keeps_its_place_in_the_order():
    talk = Talk()
    talk.says(call("1"))
    talk.says(call("2", "Unknown"))
    talk.says(call("3"))

    assert talk.told(reply("1")) == [("send", 3, "1"), ("device", "call", "2", "Unknown", "NotImplemented")]
    assert talk.acks() == [("send", 4, "2", "NotImplemented"), ("device", "call", "3", "Heartbeat", "")]


def test_the_name_of_an_unknown_action_is_cut_in_the_header():
    talk = Talk()

    talk.says(call("1", "A" * 10_000))

    assert talk.entries[0].action == "A" * 50
    assert len(talk.entries[0].frame) > 10_000


@pytest.mark.parametrize("frame", [b'[3,"1"]', b'[3,"1",7]', b'[4,"1","InternalError"]', result("1"), error("1")])
def test_an_answer_to_nothing_is_kept_and_never_answered(frame):
    talk = Talk()

    [(service, _, message_id, action, refused)] = talk.says(frame)

    assert (service, message_id, action, refused) == ("device", "1", "", "")
    assert talk.pending == []


# -- commands ----------------------------------------------------------------------------------------------------------


def test_a_command_is_written_after_its_sending_receipt_is_in_the_log_and_its_answer_goes_to_the_owner():
    talk = Talk()

    assert talk.told(command("c1", "ReserveNow")) == [("transactions", "receipt", "c1", "sending")]
    assert talk.acks() == [("send", 2, "c1", "ReserveNow")]
    assert talk.says(result("c1")) == [("transactions", "result", "c1", "ReserveNow", "")]
    assert talk.connection.wake_at is None


def test_a_station_s_error_is_an_answer():
    talk = Talk()
    talk.told(command("c1"))
    talk.acks()

    assert talk.says(error("c1")) == [("device", "error", "c1", "GetVariables", "")]


@pytest.mark.requirement("GEN.FR.01", "P4.4.1.1.1")
def test_one_command_at_a_time():
    talk = Talk()
    talk.told(command("c1"))

    assert talk.told(command("c2", "ClearCache")) == []
    assert talk.acks() == [("send", 2, "c1", "GetVariables")]
    assert talk.says(result("c1")) == [
        ("device", "result", "c1", "GetVariables", ""),
        ("auth", "receipt", "c2", "sending"),
    ]
    assert talk.acks() == [("send", 2, "c2", "ClearCache")]


@pytest.mark.requirement("P4.4.1.1.1")
def test_a_command_without_an_answer_times_out_and_the_next_one_goes():
    talk = Talk(command_timeout_ms=30_000)
    talk.told(command("c1"))
    talk.told(command("c2", timeout_ms=5_000))
    talk.acks()

    assert talk.passes(29_999) == []
    assert talk.passes(1) == [("device", "receipt", "c1", "timeout"), ("device", "receipt", "c2", "sending")]
    talk.acks()
    assert talk.says(result("c1")) == [("device", "result", "c1", "", "")], "a late answer is kept, for nobody"
    assert talk.passes(4_999) == []
    assert talk.passes(1) == [("device", "receipt", "c2", "timeout")]


def test_an_answer_that_nobody_can_read_ends_the_command():
    talk = Talk(command_timeout_ms=30_000)
    talk.told(command("c1"))
    talk.told(command("c2"))
    talk.acks()

    assert talk.says(b'[3,"c1",7]') == [
        ("device", "malformed", "c1", "GetVariables", ""),
        ("device", "receipt", "c2", "sending"),
    ], "for its owner, who ends it"
    assert talk.passes(30_000) == [], "it does not time out as well"


def test_a_full_queue_refuses():
    talk = Talk(commands_max=2)
    for id_ in ("c1", "c2", "c3"):
        talk.told(command(id_))

    assert talk.told(command("c4")) == [("device", "receipt", "c4", "refused")]
    assert talk.entries[-1].reason == "queue full"


def test_when_the_connection_ends_sent_commands_are_lost_and_queued_ones_gone():
    talk = Talk()
    talk.told(command("c1"))
    talk.told(command("c2"))
    talk.acks()

    assert talk.ends() == [("device", "receipt", "c1", "lost"), ("device", "receipt", "c2", "gone")]
    assert talk.told(command("c3")) == [("device", "receipt", "c3", "gone")]
    assert talk.ends() == []
    assert talk.passes(60_000) == []


def test_a_command_announced_when_the_connection_ends_is_lost_once_the_log_has_the_announcement():
    talk = Talk()
    talk.told(command("c1"))

    assert talk.ends() == []
    assert talk.acks() == [("device", "receipt", "c1", "lost")]


def test_a_sealed_command_is_opened_when_it_is_written():
    talk = Talk()

    talk.told(command("c1", "SetVariables", sealed=True))

    assert talk.acks() == [("send", b"opened")]


def test_a_command_sealed_under_another_key_is_refused():
    def cannot(out: OutFrame) -> bytes:
        raise CannotOpen

    connection = Connection(ORIGIN, "Accepted", Limits(), T0, cannot, lambda: "")
    [announced] = connection.outbound(command("c1", sealed=True), T0)
    [refused] = connection.acknowledged(announced.ack, T0)

    assert isinstance(refused, Append)
    assert refused.entry.what == "refused"


def test_traces_start_at_the_station_and_commands_carry_theirs_on():
    connection = Connection(ORIGIN, "Accepted", Limits(), T0, lambda out: b"", lambda: "trace-of-frame")
    [appended] = connection.receive(call("1"), T0)
    [announced] = connection.outbound(command("c1", traceparent="trace-of-command"), T0)
    connection.acknowledged(announced.ack, T0)
    [answer] = connection.receive(result("c1"), T0)

    assert appended.entry.traceparent == "trace-of-frame"
    assert announced.entry.traceparent == answer.entry.traceparent == "trace-of-command"


# -- floods and drains -------------------------------------------------------------------------------------------------


def test_a_station_that_does_not_wait_is_slowed_by_not_reading_its_socket():
    talk = Talk(waiting_max=4)
    for n in range(4):
        talk.says(call(str(n)))
    assert talk.connection.reading

    talk.says(call("4"))
    assert not talk.connection.reading
    talk.told(reply("0"))
    assert not talk.connection.reading
    talk.told(reply("1"))
    assert talk.connection.reading


def test_waiting_bytes_are_bounded_too():
    talk = Talk(waiting_bytes_max=1000)
    talk.says(call("1"))

    talk.says(call("2", "DataTransfer", {"data": "x" * 1000}))

    assert not talk.connection.reading
    talk.told(reply("1"))
    assert talk.connection.reading


@pytest.mark.parametrize(
    "frame", [lambda n: b"garbage", lambda n: call(str(n)), lambda n: result("x"), lambda n: call("0")]
)
def test_a_flood_uses_the_allowance_up_and_is_closed(frame):
    talk = Talk(allowance=10, allowance_per_s=1)
    talk.says(call("0"))

    said = [talk.says(frame(n)) for n in range(1, 12)]

    assert not any(("close", 1008) in effects for effects in said[:10])
    assert said[10][-1] == ("close", 1008)


def test_the_allowance_comes_back_with_time():
    talk = Talk(allowance=10, allowance_per_s=1)

    for _ in range(100):
        assert ("close", 1008) not in talk.says(b"garbage")
        talk.now += 1000


def test_a_station_that_waits_for_its_answers_may_be_as_fast_as_it_likes():
    talk = Talk(allowance=1)

    for n in range(1000):
        assert talk.says(call(str(n))) == [("device", "call", str(n), "Heartbeat", "")]
        assert talk.told(reply(str(n))) == [("send", 3, str(n))]


def test_a_drain_finishes_what_is_in_flight_and_begins_nothing():
    talk = Talk()
    talk.told(command("c1"))
    talk.told(command("c2"))
    talk.acks()
    talk.says(call("1"))

    assert talk.drains() == [("device", "receipt", "c2", "gone")]
    assert talk.says(call("2")) == []
    assert talk.told(reply("1")) == [("send", 3, "1")]
    assert talk.says(result("c1")) == [("device", "result", "c1", "GetVariables", ""), ("close", 1012)]


def test_an_idle_connection_drains_at_once():
    assert Talk().drains() == [("close", 1012)]


@pytest.mark.requirement("P4.4.2.3.4")
def test_descriptions_are_clear():
    talk = Talk()
    talk.says(call("1", "Hertbeat"))

    message = json.loads(talk.connection.acknowledged(talk.pending.pop(), T0)[0].frame)

    assert message == [4, "1", "NotImplemented", "action 'Hertbeat' is not known", {}]
