"""What is left of aiokafka's reports of an outage."""

import logging

from aiokafka import client
from aiokafka.consumer import fetcher, group_coordinator
from aiokafka.producer import sender

from ocppcore.kafka.quiet import INTERVAL_S, Seldom, quieten


def record(text: str, at: float, *args: object) -> logging.LogRecord:
    made = logging.LogRecord("aiokafka.client", logging.ERROR, __file__, 1, text, args, None)
    made.created = at
    return made


def test_a_message_passes_once_in_a_while_and_counts_what_it_held_back() -> None:
    seldom = Seldom()
    assert seldom.filter(record("no %s", 100.0, "broker"))
    assert not seldom.filter(record("no %s", 101.0, "network"))
    assert not seldom.filter(record("no %s", 99.0 + INTERVAL_S, "broker"))
    later = record("no %s", 100.0 + INTERVAL_S, "broker")
    assert seldom.filter(later)
    assert later.getMessage() == "no broker [and 2 times before]"


def test_messages_do_not_hide_one_another() -> None:
    seldom = Seldom()
    assert seldom.filter(record("no broker", 100.0))
    assert seldom.filter(record("no leader", 100.0))


def test_quieten_adds_one_filter_to_every_module_that_repeats_itself() -> None:
    quieten()
    quieten()
    for module in (client, fetcher, group_coordinator, sender):
        assert sum(isinstance(each, Seldom) for each in module.log.filters) == 1
