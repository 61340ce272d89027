"""The in-memory twin of the store holds the store's contract."""

from dataclasses import dataclass, field

import pytest

from ocppcore.memory import MemoryStore, MemoryTables
from ocppcore.store import Store
from tests.integration import store_contract as contract


@dataclass
class MemoryHarness:
    tables: MemoryTables = field(default_factory=MemoryTables)

    async def make(self) -> Store:
        return MemoryStore(self.tables, retention_ms=contract.RETENTION_MS)

    async def open(self) -> Store:
        store = await self.make()
        await store.prepare(contract.TABLES, (contract.EVENTS, contract.METER), (contract.TOKENS, contract.STATIONS))
        return store

    async def kill(self, store: Store) -> None:
        await store.close()


@pytest.fixture
def harness() -> MemoryHarness:
    return MemoryHarness()


@pytest.fixture
async def store(harness: MemoryHarness) -> Store:
    return await harness.open()


class TestMemoryStore(contract.StoreContract):
    pass
