"""Our half of an incremental fetch session (KIP-227)."""

from typing import Any

from aiokafka.protocol.fetch import FetchRequest_v7, FetchRequest_v11
from aiokafka.structs import TopicPartition

from ocppcore.kafka.fetch_session import EPOCH_MAX, FetchSession, SessionFetch

A, B, C = TopicPartition("a", 0), TopicPartition("a", 1), TopicPartition("b", 0)


def ask(session: FetchSession, wanted: dict[TopicPartition, int]) -> SessionFetch:
    return session.request(wanted, wait_ms=100, bytes_max=1000, partition_bytes_max=10)


def test_the_first_fetch_names_everything_and_asks_for_a_session() -> None:
    request = ask(FetchSession(), {A: 5, B: 0})
    assert (request.session, request.changed, request.forgotten) == ((0, 0), {A: 5, B: 0}, ())


def test_later_fetches_name_what_changed_and_what_is_no_longer_read() -> None:
    session = FetchSession()
    ask(session, {A: 5, B: 0})
    session.answered(77)
    request = ask(session, {A: 6, C: 1})
    assert (request.session, request.changed, request.forgotten) == ((77, 1), {A: 6, C: 1}, (B,))
    session.answered(77)
    request = ask(session, {A: 6, C: 1})
    assert (request.session, request.changed, request.forgotten) == ((77, 2), {}, ())


def test_after_a_failure_or_without_a_session_everything_is_named_again() -> None:
    session = FetchSession()
    ask(session, {A: 5})
    session.answered(77)
    session.forget()
    request = ask(session, {A: 5})
    assert (request.session, request.changed) == ((0, 0), {A: 5})
    session.answered(0)
    request = ask(session, {A: 5})
    assert (request.session, request.changed) == ((0, 0), {A: 5})


def test_epochs_begin_again_at_one() -> None:
    session = FetchSession()
    session.answered(77)
    session._epoch = EPOCH_MAX
    session.answered(77)
    assert ask(session, {}).session == (77, 1)


def test_each_version_of_the_protocol_carries_it() -> None:
    request = ask(FetchSession(), {A: 5})
    for version, partition in ((FetchRequest_v7, (0, 5, -1, 10)), (FetchRequest_v11, (0, -1, 5, -1, 10))):
        sent: Any = version.decode(request.build(version).encode())
        assert (sent.session_id, sent.session_epoch, sent.max_wait_time, sent.min_bytes) == (0, 0, 100, 1)
        assert sent.topics == [("a", [partition])]
        assert sent.forgotten_topics_data == []
