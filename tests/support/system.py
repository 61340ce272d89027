"""The system as real processes, for the tests of a session: `pytest_plugins = ["tests.support.system"]`.

`system` runs a test twice: on `csms up` (embedded) and on Kafka with a process for each service. Each is started once.
"""

from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import pytest_asyncio

from csms.harness import System, embedded, on_kafka, temporary_directory
from csms.kafka_broker import KafkaBroker
from ocppcore.embedded import EmbeddedPostgres


@asynccontextmanager
async def running(system: System) -> AsyncIterator[System]:
    """Started before, stopped after: every process ends by itself, without an error."""
    try:
        await system.start()
        yield system
        codes = await system.stop()
        assert set(codes.values()) == {0}, f"{codes}\n{system.tails()}"
    finally:
        system.kill()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def embedded_system() -> AsyncIterator[System]:
    """`csms up`, as the user who runs the tests."""
    with temporary_directory() as place:
        async with running(embedded(place)) as system:
            yield system


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def kafka_system(kafka_broker: KafkaBroker) -> AsyncIterator[System]:
    """A process for each service, around the session's broker and a PostgreSQL of their own."""
    with temporary_directory() as place:
        async with EmbeddedPostgres(place / "postgres", homes=place, restart=False) as database:
            made = on_kafka(place, kafka_broker.bootstrap, database.dsn, CSMS_NAMESPACE="e2e")
            async with running(made) as system:
                yield system


@pytest.fixture(params=["embedded", "kafka"], scope="session")
def system(request: pytest.FixtureRequest) -> System:
    """Both systems, one after the other."""
    found: System = request.getfixturevalue(f"{request.param}_system")
    return found


@pytest_asyncio.fixture
async def api(system: System) -> AsyncIterator[httpx.AsyncClient]:
    """The APIs of all services, as the administrator."""
    async with system.client() as client:
        yield client


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the processes logged below the failure of a test that uses them."""
    report = yield
    fixtures: dict[str, Any] = getattr(item, "funcargs", {})
    if report.failed and isinstance(shown := fixtures.get("system"), System):
        report.sections.append(("What the processes logged", shown.tails()))
    return report
