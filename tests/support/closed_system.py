"""The systems of `closed.py`, for the tests of a session:

    pytest_plugins = ["tests.support.kafka_broker", "tests.support.system", "tests.support.closed_system"]

`closed` runs a test twice, as `csms up` and on Kafka with a process for each service; each is started once.
"""

from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import asynccontextmanager
from secrets import token_urlsafe
from typing import Any

import pytest
import pytest_asyncio

from csms.harness import System, embedded, on_kafka, temporary_directory
from csms.kafka_broker import KafkaBroker
from ocppcore.embedded import EmbeddedPostgres
from tests.support.closed import NAMESPACE, Closed, Collector, collecting, secrets_in_files
from tests.support.issuer import Issuer, serving


@asynccontextmanager
async def started(system: System) -> AsyncIterator[None]:
    """Until the block ends; then every process ends by itself, without an error."""
    try:
        await system.start()
        yield
        codes = await system.stop()
        assert set(codes.values()) == {0}, f"{codes}\n{system.tails()}"
    finally:
        system.kill()


@pytest.fixture(scope="session")
def issuer() -> Iterator[Issuer]:
    with serving(Issuer()) as found:
        yield found


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    with collecting() as found:
        yield found


def _talkative(issuer: Issuer, collector: Collector) -> dict[str, Any]:
    return {
        **issuer.settings(),
        "CSMS_LOG_LEVEL": "debug",
        "CSMS_TRACE_RATIO": "1",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        # Read by the processes; nobody is asked with them.
        "CSMS_AUTH_CA_USER": "closed",
        "CSMS_AUTH_CA_PASSWORD": token_urlsafe(24),
        "CSMS_AUTH_CA_ACCOUNT_KID": "closed",
        "CSMS_AUTH_CA_ACCOUNT_HMAC_KEY": token_urlsafe(24),
    }


def _unused_user() -> dict[str, str]:
    """On a log that is not Kafka nobody is shown it; on Kafka without SASL a process refuses to start with it."""
    return {"KAFKA_SASL_USERNAME": "closed", "KAFKA_SASL_PASSWORD": token_urlsafe(24)}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def closed_embedded(issuer: Issuer, collector: Collector) -> AsyncIterator[Closed]:
    """`csms up`."""
    with temporary_directory() as place:
        settings = {**_talkative(issuer, collector), **_unused_user()}
        system, secrets = secrets_in_files(embedded(place, **settings), place)
        async with started(system):
            yield Closed(system, issuer, collector, secrets)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def closed_kafka(issuer: Issuer, collector: Collector, kafka_broker: KafkaBroker) -> AsyncIterator[Closed]:
    """A process for each service, around the session's broker."""
    with temporary_directory() as place:
        async with EmbeddedPostgres(place / "postgres", homes=place, restart=False) as database:
            talkative = _talkative(issuer, collector)
            made = on_kafka(place, kafka_broker.bootstrap, database.dsn, CSMS_NAMESPACE=NAMESPACE, **talkative)
            system, secrets = secrets_in_files(made, place)
            async with started(system):
                yield Closed(system, issuer, collector, secrets, kafka_broker.bootstrap)


@pytest.fixture(params=["embedded", "kafka"], scope="session")
def closed(request: pytest.FixtureRequest) -> Closed:
    """Both, one after the other."""
    found: Closed = request.getfixturevalue(f"closed_{request.param}")
    return found


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the processes logged below the failure of a test that uses them."""
    report = yield
    shown = getattr(item, "funcargs", {}).get("closed")
    if report.failed and isinstance(shown, Closed):
        report.sections.append(("What the processes logged", shown.system.tails()))
    return report
