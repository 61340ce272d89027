"""The system under measurement, as real processes: everything in one on either log, or on Kafka each service apart."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import psutil  # type: ignore[import-untyped]

from csms import harness
from csms.bench import certificates
from csms.bench.usage import family
from csms.houses import GATEWAY
from csms.kafka_broker import KafkaBroker
from ocppcore.embedded import EmbeddedPostgres

NAMES = {"embedded": "embedded", "kafka": "Kafka", "kafka-apart": "Kafka, a process each"}
"""On Kafka in one process, as on the embedded log; and apart: each service in a process of its own."""


@dataclass(frozen=True)
class System:
    """A running system under a name for people. `others`: processes of database and broker, as far as they are ours."""

    name: str
    running: harness.System
    others: Mapping[str, int]

    @property
    def ocpp_url(self) -> str:
        return self.running.gateways[0]

    @property
    def environment(self) -> Mapping[str, str]:
        return self.running.environment

    @property
    def pids(self) -> dict[str, int]:
        """Processes that run our code."""
        return {name: one.process.pid for name, one in self.running.programs.items() if one.process is not None}

    @property
    def gateway_pid(self) -> int:
        """The process that holds the sockets."""
        pids = self.pids
        return pids.get(GATEWAY) or next(iter(pids.values()))

    def groups(self) -> Mapping[str, list[psutil.Process]]:
        """All its processes by what they are: services (`csms` where they share one), `postgres`, `kafka`."""
        found: dict[str, list[psutil.Process]] = {}
        for name, pid in (*self.pids.items(), *self.others.items()):
            for process in family(pid):
                group = "postgres" if _is_postgres(process) else "csms" if name == "up" else name
                found.setdefault(group, []).append(process)
        return found


def _is_postgres(process: psutil.Process) -> bool:
    try:
        return "postgres" in process.name()
    except psutil.NoSuchProcess:
        return False


@asynccontextmanager
async def embedded(partitions: int) -> AsyncIterator[System]:
    """`csms up` as a user starts it, in a directory of its own, with TLS. Raises harness.ProcessFailed."""
    with harness.temporary_directory() as directory:
        certificates.make(directory)
        more = {"CSMS_PARTITIONS": str(partitions), "CSMS_LOG_LEVEL": "warning", **certificates.settings(directory)}
        running = harness.embedded(directory, prefix=(), **more)
        async with _started(System(NAMES["embedded"], running, {})) as system:
            yield system


@asynccontextmanager
async def on_kafka(partitions: int, *, apart: bool) -> AsyncIterator[System]:
    """A broker, PostgreSQL, and `csms up`, or `apart` a process for each service.

    Raises BrokerUnavailable, harness.ProcessFailed.
    """
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(harness.temporary_directory())
        broker = await stack.enter_async_context(KafkaBroker.start())
        postgres = await stack.enter_async_context(EmbeddedPostgres(directory / "postgres"))
        others = {"postgres": postgres.pid} | _broker_pid()
        more = {"CSMS_PARTITIONS": str(partitions), "CSMS_LOG_LEVEL": "warning"}
        if apart:
            running = harness.on_kafka(directory, broker.bootstrap, postgres.dsn, replicas=None, own=None, **more)
            system = System(NAMES["kafka-apart"], running, others)
        else:
            more |= {"CSMS_LOG": "kafka", "KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap, "DATABASE_URL": postgres.dsn}
            system = System(NAMES["kafka"], harness.embedded(directory, prefix=(), **more), others)
        yield await stack.enter_async_context(_started(system))


@asynccontextmanager
async def _started(system: System) -> AsyncIterator[System]:
    try:
        await system.running.start()
        yield system
        await system.running.stop()
    finally:
        system.running.kill()


def _broker_pid() -> dict[str, int]:
    """The broker that we started; one in a container or on another machine is not counted."""
    for child in psutil.Process().children():
        if "kafka.Kafka" in child.cmdline():
            return {"kafka": child.pid}
    return {}
