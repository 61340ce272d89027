"""The table of topics against the code and against a run: who appends to what, who reads what, in which partitions."""

import ast
import re
from collections import defaultdict
from collections.abc import Mapping

import pytest
import structlog
from aiokafka.coordinator.assignors.range import RangePartitionAssignor

from csms import houses
from ocppcore import topics
from ocppcore.kafka.log import KafkaLog
from ocppcore.kafka.membership import KafkaMembership
from ocppcore.log import TopicPartition
from ocppcore.memory import MemoryReader
from ocppcore.service import Service
from ocppcore.settings import Keys
from tests.house.test_tidy import python
from tests.simulation.world import CELLS, PROCESS, SLOTS, World
from tests.support import virtual_time

KEYS = Keys(b"p" * 32, b"w" * 32)
DECLARED = topics.partition_counts(4, 64)


def inputs(service: str) -> tuple[str, ...]:
    """What one owner of a cell reads together (the cell is partition n of each)."""
    return topics.frames(service), topics.requests(service), topics.CONNECTIONS


def definitions() -> dict[str, Service]:
    return {name: houses.definition(name, KEYS) for name in topics.SERVICES}


# The table in itself


def test_each_topic_is_one_row() -> None:
    assert len({topic.name for topic in topics.TABLE}) == len(topics.TABLE)
    named = {*topics.SERVICES, "gateway", "csms", "event stream consumers"}
    for topic in topics.TABLE:
        assert topic.producers, topic.name
        assert {*topic.producers, *topic.consumers} <= named, topic.name


def test_what_is_a_state_is_compacted_and_what_is_compacted_is_never_dropped() -> None:
    states = {
        "ocpp.connections", "ocpp.gateways", "csms.keys", "device.stations", "auth.tokens", "auth.apikeys",
        "auth.authorities", "csms.copies", "transactions.tariffs",
    }  # fmt: skip
    assert states == topics.COMPACTED
    assert [topic.name for topic in topics.TABLE if topic.compacted and topic.retention_days is not None] == []


def test_events_are_kept_for_ever_and_belong_to_one_service() -> None:
    for service in topics.SERVICES:
        topic = topics.BY_NAME[topics.events(service)]
        assert (topic.stream, topic.retention_days, topic.producers) == (True, None, (service,))


def test_all_inputs_of_a_service_have_one_partition_for_each_cell() -> None:
    for service in topics.SERVICES:
        assert {DECLARED[name] for name in (*inputs(service), topics.events(service))} == {4}
    assert (DECLARED[topics.OUTBOUND], DECLARED[topics.GATEWAYS]) == (64, 1)


# The code


def test_a_topic_is_named_in_the_table_and_nowhere_else() -> None:
    """Code asks `topics` for a name: a topic that is spelled somewhere else could be one that is not declared."""
    like = re.compile(rf"(ocpp\.frames\.\w+|({'|'.join(topics.SERVICES)})\.(events|requests))")
    found = [
        f"{name}:{node.lineno}: {node.value}"
        for name, tree in python("libs", "services")
        if name != "libs/ocppcore/topics.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and (node.value in topics.BY_NAME or like.fullmatch(node.value))
    ]
    assert found == []


@pytest.mark.parametrize("service", topics.SERVICES)
def test_streams_that_a_service_writes_are_declared_as_its_own(service: str) -> None:
    definition = definitions()[service]
    declared = {topic.name for topic in topics.TABLE if topic.stream and topic.producers == (service,)}
    assert set(definition.streams) == declared


@pytest.mark.parametrize("service", topics.SERVICES)
def test_copies_that_a_service_keeps_are_states_that_it_is_to_read(service: str) -> None:
    for name in definitions()[service].copies:
        topic = topics.BY_NAME[name]
        assert topic.compacted, name
        assert service in (*topic.consumers, *topic.producers), name


def test_services_are_the_four_of_the_table() -> None:
    assert set(houses.HOSTS) == set(topics.SERVICES)
    assert {name: definition.name for name, definition in definitions().items()} == {n: n for n in topics.SERVICES}


# Cells on Kafka


async def test_kafka_deals_cells_by_range() -> None:
    """Not by aiokafka's default, round robin. A member joins with one topic; the cell is its partition number."""
    log = KafkaLog("127.0.0.1:1", patience_s=0)
    member = log.membership("device.cells", topics.requests("device"))
    assert isinstance(member, KafkaMembership)
    consumer = member._make_consumer()
    try:
        assert consumer._partition_assignment_strategy == [RangePartitionAssignor]
        assert consumer._enable_auto_commit is False
    finally:
        await consumer.stop()
        await member.leave()
        await log.close()


# A run


class Seen:
    """Which process read which partitions, and which house appended to which topic."""

    def __init__(self) -> None:
        self.appended: dict[str, set[str]] = defaultdict(set)
        self.read: dict[str, list[frozenset[TopicPartition]]] = defaultdict(list)


@pytest.fixture(scope="module")
def seen() -> Seen:
    """A simulated run without faults: two gateways, all services, stations, commands."""
    found = Seen()
    assign = MemoryReader.assign

    def noted(self: MemoryReader, positions: Mapping[TopicPartition, int]) -> None:
        if (process := PROCESS.get()) is not None:
            found.read[process.name.rpartition("-")[0]].append(frozenset(positions))
        assign(self, positions)

    async def run() -> World:
        world = World(7, faults=False)
        await world.run()
        return world

    structlog.configure(logger_factory=structlog.ReturnLoggerFactory(), processors=[])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(MemoryReader, "assign", noted)
        world = virtual_time.run(run())
    structlog.reset_defaults()
    assert world.problems == []
    for topic, partitions in world.cluster.partitions.items():
        for record in (record for partition in partitions for record in partition):
            found.appended[topic].add(record.headers["ce_source"].strip("/").partition("/")[0])
    return found


def test_only_the_producers_of_the_table_append(seen: Seen) -> None:
    strangers = {
        topic: houses - {*topics.BY_NAME[topic].producers, "sim"}
        for topic, houses in seen.appended.items()
        if houses - {*topics.BY_NAME[topic].producers, "sim"}
    }
    assert strangers == {}
    busy = {*topics.COMPACTED, *(topics.events(service) for service in topics.SERVICES)}
    unused = {
        topics.KEYS,
        topics.COPIES,
        topics.APIKEYS,
        topics.AUTHORITIES,
        topics.TARIFFS,
        topics.events("smartcharging"),
    }
    silent = busy - unused - seen.appended.keys()
    assert silent == set(), "the run says nothing about these"


def test_only_the_consumers_of_the_table_read(seen: Seen) -> None:
    for house, assignments in seen.read.items():
        for topic in {place.topic for assignment in assignments for place in assignment}:
            row = topics.BY_NAME[topic]
            assert house in (*row.consumers, *row.producers), f"{house} reads {topic}"


@pytest.mark.parametrize("service", topics.SERVICES)
def test_the_owner_of_a_cell_reads_its_partition_of_every_input(seen: Seen, service: str) -> None:
    wanted = set(inputs(service))
    owned = [assignment for assignment in seen.read[service] if {place.topic for place in assignment} == wanted]
    cells: set[int] = set()
    for assignment in owned:
        held = {place.partition for place in assignment}
        assert assignment == {TopicPartition(topic, cell) for topic in wanted for cell in held}
        cells |= held
    assert cells == set(range(CELLS))


def test_a_gateway_reads_its_own_slot_only(seen: Seen) -> None:
    slots = [
        {place.partition for place in assignment if place.topic == topics.OUTBOUND}
        for assignment in seen.read["gateway"]
    ]
    assert {len(held) for held in slots if held} == {1}
    assert set().union(*slots) <= set(range(SLOTS))
