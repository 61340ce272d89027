"""What is left after the torture: the events on the log, the projections, and a rebuild of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from csms import houses
from csms.harness import NO_KEYS, PARTITIONS, System
from csms.torture import judge
from csms.torture.again import Said, said
from ocppcore import topics
from ocppcore.engine.batch import decode_event
from ocppcore.kafka import KafkaLog
from ocppcore.log import Log, Record, TopicPartition
from simulator.ledger import Ledger

FETCH_RECORDS = 2000
FETCH_WAIT_S = 10.0
REBUILT_WITHIN_S = 280.0


@dataclass
class Events:
    """All streams of all services as the topics have them."""

    count: int = 0
    repeats: int = 0
    faults: list[str] = field(default_factory=list)
    said: list[Said] = field(default_factory=list)
    """Every TransactionEvent that came, in its station's order."""


async def events(system: System, ledger: Ledger) -> Events:
    """Read every stream from its start; compare the transaction events with what stations saw acknowledged."""
    found = Events()
    log = KafkaLog(system.environment["KAFKA_BOOTSTRAP_SERVERS"], system.environment.get("CSMS_NAMESPACE", ""))
    try:
        for service in houses.HOSTS:
            definition = houses.definition(service, NO_KEYS)
            decoded = []
            for topic in definition.streams:
                for partition in range(PARTITIONS):
                    stream = judge.stream(f"{topic}/{partition}", await _all(log, TopicPartition(topic, partition)))
                    found.count += len(stream.records)
                    found.repeats += stream.repeats
                    found.faults += stream.faults
                    decoded += [decode_event(definition, record.headers, record.value) for record in stream.records]
            if service == "transactions":
                found.faults += judge.recorded_once(judge.business_keys(decoded), ledger)
                found.faults += judge.billed_as_said(decoded)
        for partition in range(PARTITIONS):
            found.said += said(await _all(log, TopicPartition(topics.frames("transactions"), partition)))
    finally:
        await log.close()
    return found


async def _all(log: Log, tp: TopicPartition) -> Sequence[Record]:
    position, end = (await log.starts([tp]))[tp], (await log.ends([tp]))[tp]
    reader = log.reader()
    reader.assign({tp: position})
    found: list[Record] = []
    try:
        while position < end and (records := await reader.fetch(FETCH_RECORDS, FETCH_WAIT_S)):
            found += records
            position = records[-1].position + 1
    finally:
        await reader.close()
    assert position >= end, f"{tp.topic}/{tp.partition} ends at {end}, read up to {position}"
    return found


async def rebuilt(system: System, service: str) -> list[str]:
    """Promise 4: a rebuild gives the same rows. The service must not run."""
    before = await system.projections(service)
    done = await system.csms("rebuild", service, seconds=REBUILT_WITHIN_S)
    if done.code != 0:
        return [f"{service}: the rebuild failed\n{done.output}"]
    if before not in done.output:
        return [f"{service}: the projections had hash {before}, a rebuild gives\n{done.output}"]
    return []


async def parked(system: System) -> list[str]:
    """Records that no service could decide."""
    done = await system.csms("parked", "list")
    return [] if done.output.strip() == "Nothing is parked." else [done.output]
