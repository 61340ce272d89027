"""The log of a running system, for a test that appends what nobody else would."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from csms.harness import System
from ocppcore.kafka import KafkaLog
from ocppcore.log import Log
from ocppcore.postgres.log import PostgresLog


@asynccontextmanager
async def log_of(system: System) -> AsyncIterator[Log]:
    """A handle on it, closed afterwards."""
    namespace = system.environment.get("CSMS_NAMESPACE", "")
    log: Log
    if system.environment.get("CSMS_LOG") == "kafka":
        log = KafkaLog(system.environment["KAFKA_BOOTSTRAP_SERVERS"], namespace)
    else:
        log = await PostgresLog.open(system.dsn(), namespace)
    try:
        yield log
    finally:
        await log.close()
