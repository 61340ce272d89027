"""Charge detail records over HTTP: listed, exported, shown as receipts, rated again."""

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from typing import Any

import pytest
from fastapi import APIRouter

from ocppcore import topics
from ocppcore.clock import to_rfc3339
from ocppcore.envelope import Frame, frame_record
from ocppcore.http.commands import CommandDesk, Registered
from ocppcore.pseudonym import Pseudonyms
from ocppcore.seal import Seal
from ocppcore.store import Store
from services.transactions.api import router
from services.transactions.service import build
from services.transactions.tariffs_api import router as tariffs_router
from tests.support.given import NOW
from tests.support.served import PARTITIONS, Served, served
from tests.support.transaction_frames import event

PSEUDONYMS = Pseudonyms(b"pseudonym key")
SEAL = Seal(b"s" * 32, "outbound frames")
TARIFF = {
    "tariffId": "day",
    "tariff": {
        "currency": "EUR",
        "elements": [{"priceComponents": [{"type": "ENERGY", "price": "0.50", "vat": "20"}]}],
    },
}


async def _nobody(_: str) -> Registered | None:
    return None


@pytest.fixture
async def api() -> AsyncIterator[Served]:
    """With three transactions that have been billed, of two stations and two tokens."""

    def routers(store: Store) -> Sequence[APIRouter]:
        desk = CommandDesk("transactions", store, _nobody, PSEUDONYMS, SEAL)
        return [router(store, desk, PSEUDONYMS), tariffs_router(store, PSEUDONYMS)]

    async with served(build(PSEUDONYMS), routers) as made:
        for n, (station, token) in enumerate([("CS-1", "ABC"), ("CS-2", "ABC"), ("CS-2", "XYZ")]):
            await charged(made, station, f"T{n}", token, 1000 * (n + 1))
        yield made


async def charged(api: Served, station: str, transaction: str, token: str, wh: int) -> None:
    for seq, (kind, register, minute) in enumerate([("Started", 500, 0), ("Ended", 500 + wh, 60)]):
        at = NOW + minute * 60_000
        payload = event(
            kind, seq, transaction=transaction, wh=register, at=to_rfc3339(at), token=token,
            evse={"id": 1, "connectorId": 1}, info={"chargingState": "Charging"},
        )  # fmt: skip
        id_ = f"{transaction}-{seq}"
        frame = Frame(
            topics.normalise(station), station, 0, 1, 2 * seq, "ocpp2.0.1", NOW + 3600_000, "call", id_,
            "TransactionEvent", "", json.dumps([2, id_, "TransactionEvent", payload]).encode(), "",
        )  # fmt: skip
        await api.log.append([frame_record(frame, "transactions", PARTITIONS)])
    async with asyncio.timeout(5):
        while not any(one["transactionId"] == transaction for one in await listed(api)):
            await asyncio.sleep(0.002)


async def listed(api: Served, query: str = "") -> list[dict[str, Any]]:
    answer = await api.client.get(f"/charge-details{query}")
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]  # type: ignore[no-any-return]


async def test_records_are_listed_by_station_token_and_driver(api: Served) -> None:
    pseudonym = PSEUDONYMS.of("ISO14443", "ABC")
    assert {one["transactionId"] for one in await listed(api)} == {"T0", "T1", "T2"}
    assert {one["transactionId"] for one in await listed(api, "?stationId=cs-2")} == {"T1", "T2"}
    assert {one["transactionId"] for one in await listed(api, f"?token={pseudonym}")} == {"T0", "T1"}
    mine = await api.client.get("/drivers/ISO14443/abc/charge-details")
    assert {one["transactionId"] for one in mine.json()["items"]} == {"T0", "T1"}
    assert await listed(api, "?kind=credit") == []
    page = (await api.client.get("/charge-details?limit=2")).json()
    rest = (await api.client.get(page["next"].removeprefix("/transactions"))).json()
    assert [len(page["items"]), len(rest["items"]), rest["next"]] == [2, 1, None]
    one = (await listed(api, "?stationId=cs-1"))[0]
    assert (await api.client.get(f"/charge-details/{one['id']}")).json() == one
    assert (one["energyWh"], one["currency"], one["completeness"], one["chargingSeconds"]) == (
        "1000", None, "complete", 3600.0,
    )  # fmt: skip
    assert (await api.client.get("/charge-details/nothing")).status_code == 404


async def test_exports_hold_every_record(api: Served) -> None:
    async def exported(query: str) -> str:
        answer = await api.client.get(f"/charge-details:export?{query}")
        assert answer.status_code == 200, answer.text
        return answer.text

    lines = list(csv.DictReader(io.StringIO(await exported("format=csv"))))
    assert {line["transactionId"]: line["energyWh"] for line in lines} == {"T0": "1000", "T1": "2000", "T2": "3000"}
    kept = [json.loads(line) for line in (await exported("format=jsonl&stationId=CS-1")).splitlines()]
    assert [one["transaction_id"] for one in kept] == ["T0"]
    cdrs = [
        json.loads(line) for line in (await exported("format=ocpi&countryCode=NL&partyId=TNM&country=NLD")).splitlines()
    ]
    assert {(cdr["country_code"], cdr["party_id"], cdr["cdr_location"]["country"]) for cdr in cdrs} == {
        ("NL", "TNM", "NLD")
    }
    assert sorted(cdr["total_energy"] for cdr in cdrs) == [1.0, 2.0, 3.0]
    assert await exported(f"format=jsonl&until={to_rfc3339(NOW)}") == ""
    assert len((await exported(f"format=jsonl&since={to_rfc3339(NOW)}")).splitlines()) == 3
    assert (await api.client.get("/charge-details:export?since=2023-01-01T00:00:00")).status_code == 422


async def test_a_receipt_is_text_or_a_page(api: Served) -> None:
    (one,) = await listed(api, "?stationId=cs-1")
    text = await api.client.get(f"/charge-details/{one['id']}/receipt")
    assert text.headers["content-type"].startswith("text/plain")
    assert {"Total        free of charge", "Energy       1 kWh"} <= set(text.text.splitlines())
    page = await api.client.get(f"/charge-details/{one['id']}/receipt?format=html")
    assert page.headers["content-type"].startswith("text/html")
    assert f"<td>{one['id']}</td>" in page.text


async def test_records_are_rated_by_another_tariff_and_every_difference_is_explained(api: Served) -> None:
    asked = await api.client.post("/charge-details:rerate", json=TARIFF | {"stationId": "CS-2"})
    assert asked.status_code == 200, asked.text
    found = {one["transactionId"]: one for one in asked.json()["items"]}
    assert asked.json()["rated"] == 2
    assert found["T1"]["newExclVat"] == "1.00" and found["T2"]["newInclVat"] == "1.80"
    (cause,) = found["T1"]["causes"]
    assert (cause["what"], cause["why"]) == ("ENERGY", "nothing became 2 kWh at 0.50 + 20 % VAT")
    assert {one["kind"] for one in await listed(api)} == {"charge"}, "nothing is changed by asking"
    changed = await api.client.post(f"/charge-details/{found['T1']['id']}:rerate", json=TARIFF)
    assert changed.status_code == 200, changed.text
    assert len(changed.json()["made"]) == 2
    again = await api.client.post(f"/charge-details/{found['T1']['id']}:rerate", json=TARIFF)
    assert again.status_code == 409
    rest = await api.client.post("/charge-details:rerate", json=TARIFF | {"stationId": "CS-2"})
    assert [one["transactionId"] for one in rest.json()["items"]] == ["T2"]
    records = [one for one in await listed(api, "?stationId=cs-2") if one["transactionId"] == "T1"]
    assert sum(Decimal(one["energyWh"]) for one in records) == 2000
    assert sum(Decimal(one["exclVat"]) for one in records) == Decimal("1.00")


@pytest.mark.parametrize(
    ("change", "status", "detail"),
    [
        ({"tariff": {"currency": "ABC", "elements": []}}, 422, "currency"),
        ({"tariff": {"currency": "EUR", "elements": []}}, 422, "elements"),
        ({"tariff": 1}, 422, "tariff"),
        ({"tariff": None}, 404, "No such tariff"),
    ],
)
async def test_no_tariff_no_rating(api: Served, change: dict[str, Any], status: int, detail: str) -> None:
    answer = await api.client.post("/charge-details:rerate", json=TARIFF | change)
    assert answer.status_code == status, answer.text
    assert detail in answer.text


async def test_a_tariff_that_was_put_is_found_by_its_version(api: Served) -> None:
    for price in ("0.10", "0.20"):
        body = {"currency": "EUR", "elements": [{"priceComponents": [{"type": "ENERGY", "price": price}]}]}
        put = await api.client.put("/tariffs/Night", json=body)
        assert put.status_code in (200, 201), put.text
    for wanted, total in ((None, "0.20"), (1, "0.10"), (2, "0.20")):
        asked = {"tariffId": "night", "version": wanted, "stationId": "CS-1"}
        (one,) = (await api.client.post("/charge-details:rerate", json=asked)).json()["items"]
        assert one["newExclVat"] == total
    unknown = await api.client.post("/charge-details:rerate", json={"tariffId": "night", "version": 9})
    assert unknown.status_code == 404
