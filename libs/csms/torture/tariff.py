"""What stations charge by in the torture: every kind of price, each rounded and limited in its own way."""

from csms.harness import System

PATH = "/transactions/tariffs/TORTURE"
TARIFF = {
    "currency": "EUR",
    "startDateTime": "2020-01-01T00:00:00Z",
    "elements": [
        {
            "priceComponents": [{"type": "ENERGY", "price": "0.2917", "vat": "19"}],
            "restrictions": {"maxKwh": "7.5"},
        },
        {
            "priceComponents": [
                {"type": "FLAT", "price": "0.50", "vat": "19"},
                {"type": "ENERGY", "price": "0.3571", "vat": "19", "stepSize": 100},
                {"type": "TIME", "price": "1.20", "vat": "7"},
                {"type": "PARKING_TIME", "price": "6.00", "vat": "19", "stepSize": 30},
            ]
        },
    ],
    "maxPrice": {"exclVat": "9.00"},
}
"""In force since long ago, so that it is the one for offline events too, whenever they are told. It looks at no time of
day: what a transaction costs depends on what its station measured, and on how long."""


async def assign(system: System) -> None:
    """It is everybody's once this returns. Raises httpx.HTTPError."""
    async with system.client() as api:
        (await api.put(PATH, json=TARIFF)).raise_for_status()
        (await api.put(f"{PATH}/assignments", json={"default": True})).raise_for_status()
