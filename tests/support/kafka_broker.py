"""A Kafka broker for the tests of a session: `pytest_plugins = ["tests.support.kafka_broker"]` brings the fixtures.

Where none can be had the tests are skipped with the reason; in CI a skipped test is a failed one (`tests/conftest.py`).
"""

from collections.abc import AsyncIterator, Generator
from typing import Any

import pytest
import pytest_asyncio

from csms.kafka_broker import BrokerUnavailable, KafkaBroker


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def kafka_broker() -> AsyncIterator[KafkaBroker]:
    """One broker for the whole session: give each test a namespace of its own."""
    try:
        async with KafkaBroker.start() as broker:
            yield broker
    except BrokerUnavailable as reason:
        pytest.skip(f"no Kafka broker: {reason}")


@pytest.fixture
def killable_broker(kafka_broker: KafkaBroker) -> KafkaBroker:
    """The session's broker, for tests that kill and restart it."""
    if not kafka_broker.killable:
        pytest.skip(f"{kafka_broker.bootstrap} is not ours to kill")
    return kafka_broker


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the broker logged below the failure of a test that uses it."""
    report = yield
    fixtures: dict[str, Any] = getattr(item, "funcargs", {})
    broker = fixtures.get("kafka_broker")
    if report.failed and isinstance(broker, KafkaBroker):
        report.sections.append(("Kafka broker's log", broker.log_tail()))
    return report
