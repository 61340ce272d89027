from simulator.notes import EventDropped
from simulator.outbox import Kind, Outbox, OutCall, Registration


def event(seq_no: int, event_type: str = "Updated", transaction_id: str = "t1") -> OutCall:
    payload = {"eventType": event_type, "seqNo": seq_no, "transactionInfo": {"transactionId": transaction_id}}
    return OutCall(Kind.TRANSACTION, "TransactionEvent", payload)


def filled(*calls: OutCall, limit: int = 100) -> Outbox:
    outbox = Outbox(limit)
    for call in calls:
        outbox.put(call)
    return outbox


def sent(outbox: Outbox, now_ms: int = 0, registration: Registration = Registration.ACCEPTED) -> OutCall | None:
    return outbox.next(now_ms, registration, "id")


def test_one_call_at_a_time() -> None:
    outbox = filled(event(0, "Started"), event(1))
    assert sent(outbox) is not None
    assert sent(outbox) is None
    outbox.answered()
    second = sent(outbox)
    assert second is not None
    assert second.payload["seqNo"] == 1


def test_events_stay_in_order_and_leave_only_when_answered() -> None:
    outbox = filled(event(0, "Started"), event(1), event(2, "Ended"))
    order = []
    for _ in range(3):
        order.append(sent(outbox).payload["seqNo"])  # type: ignore[union-attr]
        assert outbox.concerns("t1")
        outbox.answered()
    assert order == [0, 1, 2]
    assert outbox.empty


def test_a_failed_event_waits_longer_each_time_and_is_then_given_up() -> None:
    outbox = filled(event(0), event(1))
    assert sent(outbox, 0)
    assert outbox.failed(0, 3, 60_000) == []
    assert sent(outbox, 59_999) is None
    assert sent(outbox, 60_000)
    assert outbox.failed(60_000, 3, 60_000) == []
    assert sent(outbox, 179_999) is None
    assert sent(outbox, 180_000)
    assert outbox.failed(180_000, 3, 60_000) == [EventDropped("t1", 0, "Updated", False, "3 attempts failed")]
    following = sent(outbox, 180_000)
    assert following is not None
    assert following.payload["seqNo"] == 1


def test_other_calls_pass_an_event_that_waits_for_its_retry() -> None:
    outbox = filled(event(0))
    sent(outbox)
    outbox.failed(0, 3, 60_000)
    outbox.put(OutCall(Kind.NORMAL, "Heartbeat", {}))
    following = sent(outbox, 1)
    assert following is not None
    assert following.action == "Heartbeat"


def test_offline_marks_what_waits_and_loses_what_is_no_event() -> None:
    outbox = filled(event(0), event(1), OutCall(Kind.NORMAL, "Heartbeat", {}))
    flying = sent(outbox)
    lost = outbox.went_offline()
    assert lost[0] is flying
    assert [c.action for c in lost] == ["TransactionEvent", "Heartbeat"]
    again = sent(outbox)
    assert again is flying
    assert again.payload["offline"] is True


def test_a_full_queue_drops_every_other_updated_event() -> None:
    outbox = Outbox(6)
    dropped = []
    for call in [event(0, "Started"), *[event(n) for n in range(1, 7)], event(7, "Ended")]:
        dropped += outbox.put(call)
    assert [d.seq_no for d in dropped if isinstance(d, EventDropped) and d.allowed] == [1, 3, 5]
    left = []
    while (call := sent(outbox)) is not None:
        left.append(call.payload["seqNo"])
        outbox.answered()
    assert left == [0, 2, 4, 6, 7]


def test_before_it_is_accepted_a_station_sends_only_what_it_may() -> None:
    outbox = filled(event(0), OutCall(Kind.NORMAL, "Heartbeat", {}), OutCall(Kind.TRIGGERED, "Heartbeat", {}))
    assert sent(outbox, registration=Registration.NONE) is None
    assert sent(outbox, registration=Registration.REJECTED) is None
    triggered = sent(outbox, registration=Registration.PENDING)
    assert triggered is not None
    assert triggered.kind is Kind.TRIGGERED
