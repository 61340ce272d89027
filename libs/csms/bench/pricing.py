"""A tariff for the load, put and assigned as an operator does it: over HTTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from csms.bench.systems import System

PATH = "/transactions/tariffs/BENCH"
TARIFF = {
    "currency": "EUR",
    "elements": [
        {
            "priceComponents": [
                {"type": "FLAT", "price": "0.50", "vat": "19"},
                {"type": "ENERGY", "price": "0.35", "vat": "19"},
                {"type": "PARKING_TIME", "price": "6.00", "vat": "19"},
            ]
        }
    ],
}


@asynccontextmanager
async def tariff(system: System) -> AsyncIterator[None]:
    """Everybody's tariff while inside; outside there is none at all. Raises httpx.HTTPError."""
    async with system.running.client() as api:
        (await api.put(PATH, json=TARIFF)).raise_for_status()
        (await api.put(f"{PATH}/assignments", json={"default": True})).raise_for_status()
        try:
            yield
        finally:
            (await api.delete(PATH)).raise_for_status()
