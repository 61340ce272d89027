"""Access to log and stores for a tool: those of the running system where there is one, else opened for the tool."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from csms import houses
from csms.runtime import check_keys, database, open_log
from ocppcore.embedded import running_dsn
from ocppcore.log import Log
from ocppcore.postgres.store import PostgresStore
from ocppcore.service import Service
from ocppcore.settings import BaseServiceSettings, Keys, keys


@dataclass(frozen=True)
class Access:
    """`dsn` of the database, the open log and the keys."""

    settings: BaseServiceSettings
    dsn: str
    log: Log
    keys: Keys

    @property
    def partitions(self) -> int:
        return self.settings.partition_count

    def service(self, name: str) -> Service:
        return houses.definition(name, self.keys)

    @asynccontextmanager
    async def store(self, name: str) -> AsyncIterator[PostgresStore]:
        """A service's store, closed afterwards."""
        store = PostgresStore(self.dsn, name, self.settings.namespace, retention_days=self.settings.retention_days)
        try:
            yield store
        finally:
            await store.close()


@asynccontextmanager
async def access(settings: BaseServiceSettings) -> AsyncIterator[Access]:
    """Open what the settings name; an embedded database that runs already is used as it is."""
    embedded = settings.log == "postgres"
    held = keys(settings, make=embedded)
    running = running_dsn(settings.data / "postgres") if embedded and settings.database_url is None else None
    if running is not None:
        async with open_log(settings, running) as log:
            yield Access(settings, running, log, held)
        return
    async with database(settings, embedded=embedded) as dsn, open_log(settings, dsn) as log:
        await check_keys(log, held)
        yield Access(settings, dsn, log, held)
