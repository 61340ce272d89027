"""The fixtures of `guarded.py`; those on both logs need the broker too:

pytest_plugins = [
    "tests.support.kafka_broker", "tests.support.system", "tests.support.guarded_system", "tests.support.guarded_broker"
]
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio

from csms.harness import embedded, temporary_directory
from tests.support.guarded import Doors, Guarded
from tests.support.system import running


@pytest_asyncio.fixture
async def guarded(guarded_on_each_log: Guarded) -> AsyncIterator[Guarded]:
    """On both logs, one after the other, with a client of this test's own for its APIs."""
    async with guarded_on_each_log.system.client() as http:
        guarded_on_each_log.http = http
        yield guarded_on_each_log


@pytest_asyncio.fixture
async def guarded_embedded(guarded_system: Guarded) -> AsyncIterator[Guarded]:
    """The same as `csms up` alone, for tests to which the log does not matter."""
    async with guarded_system.system.client() as http:
        guarded_system.http = http
        yield guarded_system


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def guarded_system() -> AsyncIterator[Guarded]:
    """The system, once for all tests."""
    async with opened() as guarded:
        yield guarded


@pytest.fixture(params=["embedded", "kafka"], scope="session")
def guarded_on_each_log(request: pytest.FixtureRequest) -> Guarded:
    """The same on both logs, one after the other; needs the fixtures of `guarded_broker.py`."""
    name = {"embedded": "guarded_system", "kafka": "guarded_kafka_system"}[request.param]
    found: Guarded = request.getfixturevalue(name)
    return found


@asynccontextmanager
async def opened(**more: str) -> AsyncIterator[Guarded]:
    """`csms up` with what `Doors` has. `more`: more settings."""
    with temporary_directory() as place:
        doors = Doors(place)
        async with running(embedded(place, prefix=(), **doors.settings | more)) as system:
            yield doors.of(system)
