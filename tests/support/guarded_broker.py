"""The broker of `guarded_kafka.py`, and a system on it, for the tests of a session:

pytest_plugins = ["tests.support.kafka_broker", "tests.support.system", "tests.support.guarded_broker"]
"""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from csms.harness import System, on_kafka, temporary_directory
from csms.kafka_broker import BrokerUnavailable, KafkaBroker
from csms.kafka_guard import Guard
from ocppcore.embedded import EmbeddedPostgres
from ocppcore.kafka.acls import HOUSES
from tests.support.guarded import Doors, Guarded
from tests.support.guarded_kafka import NAMESPACE, RIGHTS, STRANGER, GuardedBroker, grant_by_command, user
from tests.support.pki import authority
from tests.support.system import running

BY_COMMAND = "smartcharging"
"""Whose rights are granted as an operator does it: by the commands that `csms acls` prints."""


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def guarded_broker() -> AsyncIterator[GuardedBroker]:
    """One for the whole session; skipped with the reason where there is no Java."""
    with temporary_directory() as place:
        root = authority("Root of the brokers")
        own = root.issue("broker", host="localhost")
        (place / "broker.pem").write_bytes(own.key_pem + own.pem)
        (place / "ca.pem").write_bytes(root.pem)
        guard = Guard([*map(user, HOUSES), STRANGER], place / "broker.pem", place / "ca.pem")
        try:
            async with KafkaBroker.start(guard=guard, heap_mb=256) as broker:
                yield GuardedBroker(broker, guard, root, place)
        except BrokerUnavailable as reason:
            pytest.skip(f"no Kafka broker: {reason}")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def guarded_kafka_system(guarded_broker: GuardedBroker) -> AsyncIterator[Guarded]:
    """A process for each service, each with its own user and the rights of that; doors as of `csms up`."""
    by_command = [right for right in RIGHTS if right.principal == f"User:{user(BY_COMMAND)}"]
    await guarded_broker.grant(right for right in RIGHTS if right not in by_command)
    await grant_by_command(guarded_broker, by_command)
    guard = guarded_broker.guard
    with temporary_directory() as place:
        doors = Doors(place)
        async with EmbeddedPostgres(place / "postgres", homes=place, restart=False) as database:
            made = on_kafka(
                place, guarded_broker.broker.secured["SASL_SSL"], database.dsn,
                own={
                    house: {"KAFKA_SASL_USERNAME": user(house), "KAFKA_SASL_PASSWORD": guard.passwords[user(house)]}
                    for house in HOUSES
                },
                CSMS_NAMESPACE=NAMESPACE,
                KAFKA_SECURITY_PROTOCOL="SASL_SSL",
                KAFKA_SASL_MECHANISM="SCRAM-SHA-512",
                KAFKA_SSL_CA_FILE=guarded_broker.ca_file,
                **doors.settings,
            )  # fmt: skip
            async with running(made) as system:
                yield doors.of(system)


@pytest.fixture
def guarded_kafka(guarded_kafka_system: Guarded) -> System:
    return guarded_kafka_system.system
