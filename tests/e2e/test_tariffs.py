"""A tariff from the HTTP request to what a station of somebody else shows its driver, on both logs."""

from decimal import Decimal

import httpx
import pytest

from csms.harness import System
from tests.support.third_party import connected, register

pytest_plugins = ["tests.support.kafka_broker", "tests.support.system"]

TEXTS = [{"language": "en", "text": "1 euro and 30 cents a kWh"}, {"language": "nl", "text": "1 euro plus 30 cent/kWh"}]


def tariff(price: str) -> dict[str, object]:
    components = [{"type": "ENERGY", "price": price}, {"type": "FLAT", "price": "1.00"}]
    return {"currency": "EUR", "elements": [{"priceComponents": components}], "tariffAltText": TEXTS}


@pytest.mark.requirement("I01.FR.01", "I02.FR.01", "I03.FR.02", "I06.FR.02")
async def test_a_tariff_is_told_charged_and_changed(system: System, api: httpx.AsyncClient) -> None:
    await register(api, "Priced-1")
    await api.put("/auth/tokens/ISO14443/04EE55", json={"status": "Accepted", "language1": "nl"})
    made = await api.put("/transactions/tariffs/Priced", json=tariff("0.30"))
    assert made.status_code == 201, made.text
    assigned = await api.put("/transactions/tariffs/priced/assignments", json={"stations": ["Priced-1"]})
    assert assigned.status_code == 200, assigned.text
    async with connected(system, "Priced-1") as station:
        await station.boot()
        told = (await station.authorize("04EE55")).id_token_info["personal_message"]
        assert (told["language"], told["content"]) == ("nl", "1 euro plus 30 cent/kWh")
        await station.begin("Tx-9", "04EE55")
        first = await station.charge(10_000)
        assert Decimal(str(first.total_cost)) == Decimal("4.00")
        assert (await api.put("/transactions/tariffs/Priced", json=tariff("0.50"))).status_code == 200
        changed = await station.charge(0)
        assert Decimal(str(changed.total_cost)) == Decimal("4.00")
        assert changed.updated_personal_message["content"] == "1 euro plus 30 cent/kWh"
        ended = await station.end(10_000)
        assert Decimal(str(ended.total_cost)) == Decimal("9.00")
    cost = (await api.get("/transactions/transactions/Priced-1/Tx-9")).json()["cost"]
    assert (cost["currency"], cost["inclVat"]) == ("EUR", "9.00")
    assert [(line["tariff"], line["dimension"]) for line in cost["lines"]] == [
        ("1/Priced", "FLAT"),
        ("1/Priced", "ENERGY"),
        ("2/Priced", "ENERGY"),
    ]
    assert (await api.delete("/transactions/tariffs/Priced")).status_code == 204
