"""Reading transactions over HTTP: one, and lists of them."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastapi import APIRouter

from ocppcore import topics
from ocppcore.clock import to_rfc3339
from ocppcore.envelope import Frame, frame_record
from ocppcore.http.commands import CommandDesk, Registered
from ocppcore.pseudonym import Pseudonyms
from ocppcore.seal import Seal
from ocppcore.store import Store
from ocppcore.tariff import Assignments, TariffState
from services.transactions.api import router
from services.transactions.service import build
from tests.support.given import NOW
from tests.support.served import PARTITIONS, Served, put_state, served
from tests.support.tariffs import tariff
from tests.support.transaction_frames import event

PSEUDONYMS = Pseudonyms(b"pseudonym key")
SEAL = Seal(b"s" * 32, "outbound frames")


async def _nobody(_: str) -> Registered | None:
    return None


@pytest.fixture
async def api() -> AsyncIterator[Served]:
    def routers(store: Store) -> Sequence[APIRouter]:
        return [router(store, CommandDesk("transactions", store, _nobody, PSEUDONYMS, SEAL), PSEUDONYMS)]

    async with served(build(PSEUDONYMS), routers) as made:
        yield made


async def send(api: Served, n: int, payload: dict[str, Any], station: str = "CS-1") -> None:
    """The n-th frame of all comes from this station, n seconds after NOW; returns once it is decided."""
    call = [2, str(n), "TransactionEvent", payload]
    frame = Frame(
        topics.normalise(station), station, 0, 1, n, "ocpp2.0.1", NOW + n * 1000, "call", str(n), "TransactionEvent",
        "", json.dumps(call).encode(), "",
    )  # fmt: skip
    await api.log.append([frame_record(frame, "transactions", PARTITIONS)])
    async with asyncio.timeout(5):
        while not any(f'"{n}"'.encode() in record.value for record in api.records(topics.OUTBOUND)):
            await asyncio.sleep(0.001)


async def test_a_list_of_a_time_is_cut_at_both_ends(api: Served) -> None:
    for n in range(1, 6):
        await send(api, n, event("Started", 0, transaction=f"T{n}"))

    def at(n: int) -> str:
        return to_rfc3339(NOW + n * 1000)

    assert await listed(api, f"?until={at(4)}") == ["T3", "T2", "T1"]
    assert await listed(api, f"?since={at(3)}") == ["T5", "T4", "T3"]
    assert await listed(api, f"?since={at(2)}&until={at(4)}") == ["T3", "T2"]
    page = (await api.client.get(f"/transactions?since={at(2)}&until={at(5)}&limit=2")).json()
    rest = (await api.client.get(page["next"])).json()
    assert [[one["transactionId"] for one in part["items"]] for part in (page, rest)] == [["T4", "T3"], ["T2"]]
    assert rest["next"] is None
    assert (await api.client.get("/transactions?since=2023-01-01T00:00:00")).status_code == 422


async def listed(api: Served, query: str = "") -> list[str]:
    answer = await api.client.get(f"/transactions{query}")
    assert answer.status_code == 200, answer.text
    return [item["transactionId"] for item in answer.json()["items"]]


async def test_lists_begin_with_what_was_heard_of_last_and_a_change_moves_nothing(api: Served) -> None:
    await send(api, 1, event("Started", 0, transaction="first"))
    await send(api, 2, event("Updated", 5, transaction="second"), "CS-2")
    await send(api, 3, event("Ended", 1, transaction="first"))
    await send(api, 4, event("Ended", 9, transaction="third"))
    assert await listed(api) == ["third", "second", "first"]
    assert await listed(api, "?stationId=cs-1") == ["third", "first"]
    assert await listed(api, "?state=open") == ["second"]
    assert await listed(api, "?completeness=gaps") == ["third"]
    assert await listed(api, "?completeness=complete") == ["first"]
    shown = (await api.client.get("/transactions/CS-1/first")).json()
    assert (shown["heardAt"], shown["changedAt"]) == ("2023-11-14T22:13:21.000Z", "2023-11-14T22:13:23.000Z")


async def test_a_list_goes_on_where_the_page_before_ended(api: Served) -> None:
    for n in range(5):
        await send(api, n, event("Started", 0, transaction=f"T{n}"), f"CS-{n}")
    first = (await api.client.get("/transactions?limit=3")).json()
    rest = (await api.client.get(first["next"])).json()
    found = [item["transactionId"] for item in first["items"] + rest["items"]]
    assert (found, rest["next"]) == (["T4", "T3", "T2", "T1", "T0"], None)


async def test_a_list_stays_small_whatever_stations_number(api: Served) -> None:
    await send(api, 1, event("Started", 0))
    await send(api, 2, event("Ended", 2**31 - 1))
    for number in range(2, 300):
        await send(api, number + 1, event("Updated", number))
    (listed_,) = (await api.client.get("/transactions")).json()["items"]
    alone = (await api.client.get("/transactions/CS-1/T1")).json()
    assert (len(listed_["seqNos"]), len(listed_["gaps"])) == (100, 100)
    assert (len(alone["seqNos"]), len(alone["gaps"])) == (300, 10_000)
    assert listed_["missing"] == alone["missing"] == 2**31 - 300
    assert listed_["gapsExact"]


@pytest.mark.parametrize("id_", ["a/1", "", "/", "a b?c#d%2F", "é🔌"])
async def test_any_transaction_id_can_be_asked_for(api: Served, id_: str) -> None:
    await send(api, 1, event("Started", 0, transaction=id_))
    found = await api.client.get(httpx.URL(f"/transactions/CS-1/{quote(id_, safe='')}"))
    assert (found.status_code, found.json()["transactionId"]) == (200, id_)


async def test_an_id_that_nobody_reported_is_a_problem_with_a_slash_or_without(api: Served) -> None:
    for path in ("/transactions/CS-1/a%2F1", "/transactions/CS-1/", "/transactions/CS-1/T1"):
        missing = await api.client.get(path)
        assert (missing.status_code, missing.json()["title"]) == (404, "Unknown transaction")
    schema = (await api.client.get("/openapi.json")).json()
    assert "/transactions/{stationId}/{transactionId}" in schema["paths"]


@pytest.mark.requirement("I03.FR.02")
async def test_a_transaction_shows_its_cost_with_a_line_for_each_price(api: Served) -> None:
    made = tariff({"ENERGY": ("0.30", 1, "19"), "FLAT": "1.00"})
    state = TariffState(id="t", versions=(made,), assignments=Assignments(default=True))
    await send(api, 1, event("Ended", 1, transaction="before", wh=10.0))
    await put_state(api.log, topics.TARIFFS, "t", state)
    await send(api, 2, event("Started", 0, wh=1000.0, context="Transaction.Begin"))
    await send(api, 3, event("Ended", 1, wh=2500.0, context="Transaction.End", at="2026-01-01T10:30:00Z"))
    energy = {
        "tariff": "1/t", "element": 0, "dimension": "ENERGY", "volume": "1.5", "billed": "1.5", "unit": "kWh",
        "price": "0.30", "vat": "19", "stepSize": 1, "exclVat": "0.450000", "inclVat": "0.535500",
    }  # fmt: skip
    cost = (await api.client.get("/transactions/CS-1/T1")).json()["cost"]
    assert {name: cost[name] for name in ("currency", "exclVat", "inclVat", "limit")} == {
        "currency": "EUR", "exclVat": "1.45", "inclVat": "1.54", "limit": None,
    }  # fmt: skip
    assert [line["dimension"] for line in cost["lines"]] == ["FLAT", "ENERGY"]
    assert cost["lines"][1] == energy
    first, last = (await api.client.get("/transactions")).json()["items"]
    assert (first["cost"]["inclVat"], first["cost"]["lines"], last["cost"]) == ("1.54", None, None)
