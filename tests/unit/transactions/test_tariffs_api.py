"""Tariffs over HTTP: put, assigned, read, removed; what is wrong with one is said and changes nothing."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from fastapi import APIRouter

from ocppcore import topics
from ocppcore.clock import to_rfc3339
from ocppcore.contracts.device import StationState
from ocppcore.pseudonym import Pseudonyms
from ocppcore.store import Store
from services.transactions.service import build
from services.transactions.tariffs_api import router
from tests.support.served import Served, put_state, served

PSEUDONYMS = Pseudonyms(b"pseudonym key")
SIMPLE: dict[str, Any] = {
    "currency": "EUR",
    "elements": [{"priceComponents": [{"type": "ENERGY", "price": 0.30, "vat": "19"}]}],
}


@pytest.fixture
async def api() -> AsyncIterator[Served]:
    def routers(store: Store) -> Sequence[APIRouter]:
        return [router(store, PSEUDONYMS)]

    async with served(build(PSEUDONYMS), routers) as made:
        yield made


async def test_a_tariff_is_put_read_and_removed(api: Served) -> None:
    made = await api.client.put("/tariffs/Day", json=SIMPLE)
    assert (made.status_code, made.headers["location"]) == (201, "/transactions/tariffs/Day")
    shown = made.json()
    assert shown["versions"][0]["elements"] == [{"priceComponents": [{"type": "ENERGY", "price": "0.3", "vat": "19"}]}]
    assert (await api.client.put("/tariffs/day", json=SIMPLE)).json() == shown
    assert (await api.client.get("/tariffs/DAY")).json() == shown
    assert [item["id"] for item in (await api.client.get("/tariffs")).json()["items"]] == ["Day"]
    assert (await api.client.delete("/tariffs/day")).status_code == 204
    assert (await api.client.get("/tariffs/day")).status_code == 404
    assert (await api.client.delete("/tariffs/day")).status_code == 404
    (gone,) = (await api.states(topics.TARIFFS, "day", 2))[1:]
    assert gone["deleted"] is True


async def test_ocpis_own_spelling_is_taken(api: Served) -> None:
    body = {
        "currency": "EUR",
        "elements": [
            {
                "price_components": [{"type": "TIME", "price": 2.00, "vat": 10.0, "step_size": 300}],
                "restrictions": {"start_time": "09:00", "end_time": "18:00", "day_of_week": ["MONDAY"]},
            }
        ],
        "min_price": {"excl_vat": 0.50, "incl_vat": 0.55},
        "tariff_alt_text": [{"language": "en", "text": "2.00 euro per hour"}],
        "end_date_time": "2099-01-01T00:00:00Z",
    }
    made = await api.client.put("/tariffs/t", json=body)
    assert made.status_code == 201, made.text
    (version,) = made.json()["versions"]
    assert version["elements"][0]["restrictions"]["dayOfWeek"] == ["MONDAY"]
    assert (version["minPrice"], version["endDateTime"]) == (
        {"exclVat": "0.5", "inclVat": "0.55"},
        "2099-01-01T00:00:00.000Z",
    )


async def test_another_version_takes_over_and_the_old_one_is_kept(api: Served) -> None:
    await api.client.put("/tariffs/t", json=SIMPLE)
    changed = SIMPLE | {"elements": [{"priceComponents": [{"type": "ENERGY", "price": "0.40"}]}]}
    second = (await api.client.put("/tariffs/t", json=changed)).json()["versions"]
    assert [version["version"] for version in second] == [1, 2]
    assert second[0]["endDateTime"] == second[1]["startDateTime"]
    await api.client.delete("/tariffs/t")
    await api.client.put("/tariffs/t", json=SIMPLE)
    found = (await api.client.get("/tariffs/t/versions?limit=2")).json()
    assert [version["version"] for version in found["items"]] == [3, 2]
    rest = (await api.client.get(found["next"])).json()["items"]
    assert [version["version"] for version in rest] == [1]


def starting(day: int, until: int | None = None) -> dict[str, Any]:
    start, end = (None if n is None else to_rfc3339(4_000_000_000_000 + n * 86_400_000) for n in (day, until))
    return SIMPLE | {"startDateTime": start} | ({"endDateTime": end} if end else {})


async def test_planned_versions_must_not_overlap(api: Served) -> None:
    await api.client.put("/tariffs/t", json=SIMPLE)
    assert (await api.client.put("/tariffs/t", json=starting(10, 20))).status_code == 200
    for body in (starting(5), starting(5, 11), starting(15), starting(15, 16)):
        refused = await api.client.put("/tariffs/t", json=body)
        assert (refused.status_code, refused.json()["title"]) == (409, "Overlapping validity"), body
    now = await api.client.put("/tariffs/t", json=SIMPLE | {"currency": "USD"})
    assert (now.status_code, "version 2 is planned from" in now.json()["detail"]) == (409, True)
    assert (await api.client.put("/tariffs/t", json=starting(5, 10))).status_code == 200
    assert (await api.client.put("/tariffs/t", json=starting(20))).status_code == 200
    replaced = (await api.client.put("/tariffs/t", json=starting(10, 15))).json()["versions"]
    assert [version["version"] for version in replaced] == [1, 3, 5, 4]


@pytest.mark.parametrize(
    ("more", "field", "why"),
    [
        ({"currency": "EURO"}, "body.currency", "is not the code of a currency"),
        ({"currency": "ZZZ"}, "body.currency", "is not the code of a currency"),
        ({"elements": []}, "body.elements", "there must be 1"),
        ({"price": "-0.01"}, "body.elements.0.priceComponents.0.price", "is negative"),
        ({"price": "1e12"}, "body.elements.0.priceComponents.0.price", "is absurd"),
        ({"price": "0.1234567"}, "body.elements.0.priceComponents.0.price", "decimal places"),
        ({"vat": "-1"}, "body.elements.0.priceComponents.0.vat", "percentage"),
        ({"stepSize": 0}, "body.elements.0.priceComponents.0.stepSize", "must be 1"),
        ({"when": {"startTime": "24:00"}}, "body.elements.0.restrictions.startTime", "no time of day"),
        ({"when": {"startTime": "10:00", "endTime": "10:00"}}, "body.elements.0.restrictions.endTime", "equals"),
        ({"when": {"startDate": "2026-02-30"}}, "body.elements.0.restrictions.startDate, endDate", "dates"),
        ({"when": {"startDate": "2026-03-01", "endDate": "2026-03-01"}}, "body.elements.0.restrictions.endDate", ""),
        ({"when": {"minKwh": 10, "maxKwh": 10}}, "body.elements.0.restrictions.maxKwh", "more than minKwh"),
        ({"when": {"minPower": -1}}, "body.elements.0.restrictions.minPower", "must be 0"),
        ({"when": {"maxDuration": 10**9}}, "body.elements.0.restrictions.maxDuration", "must be 0"),
        ({"when": {}}, "body.elements.0.restrictions.there is none", ""),
        (
            {"minPrice": {"exclVat": 5}, "maxPrice": {"exclVat": 4}},
            "body.maxPrice.exclVat",
            "less than minPrice",
        ),
        ({"maxPrice": {"exclVat": 4, "inclVat": 3}}, "body.maxPrice.inclVat", "less than exclVat"),
        ({"tariffAltText": [{"language": "en", "text": "x" * 513}]}, "body.tariffAltText.0.text", "1 to 512"),
        ({"tariffAltText": [{"language": "english!", "text": "x"}]}, "body.tariffAltText.0.language", "language tag"),
        (
            {"startDateTime": "2099-01-02T00:00:00Z", "endDateTime": "2099-01-01T00:00:00Z"},
            "body.endDateTime",
            "after startDateTime",
        ),
    ],
)
async def test_what_is_wrong_is_named(api: Served, more: dict[str, Any], field: str, why: str) -> None:
    component = {"type": "ENERGY", "price": "0.30"} | {
        k: more.pop(k) for k in ("price", "vat", "stepSize") if k in more
    }
    element: dict[str, Any] = {"priceComponents": [component]}
    if "when" in more:
        element["restrictions"] = more.pop("when")
    refused = await api.client.put("/tariffs/t", json=SIMPLE | {"elements": [element]} | more)
    assert refused.status_code == 422, refused.text
    (error, *_) = refused.json()["errors"]
    assert error["field"].startswith(field) and why in error["detail"], error
    assert (await api.client.get("/tariffs/t")).status_code == 404
    assert api.records(topics.TARIFFS) == []


async def test_what_is_over_already_is_refused(api: Served) -> None:
    refused = await api.client.put("/tariffs/t", json=SIMPLE | {"endDateTime": "2020-01-01T00:00:00Z"})
    assert (refused.status_code, refused.json()["detail"]) == (422, "endDateTime: is over already")


async def test_assignments_replace_what_was_said_and_name_no_token(api: Served) -> None:
    station = StationState(id="CS-1", security_profile=1, credential=None, registration="Accepted")
    await put_state(api.log, topics.STATIONS, "cs-1", station)
    assert (await api.client.put("/tariffs/t/assignments", json={"default": True})).status_code == 404
    await api.client.put("/tariffs/t", json=SIMPLE)
    body = {
        "default": True, "stations": ["CS-1"], "groups": ["Fleet"],
        "tokens": [{"idToken": "SECRET-CARD", "type": "ISO14443"}],
    }  # fmt: skip
    made = await api.client.put("/tariffs/t/assignments", json=body)
    pseudonym = PSEUDONYMS.of("ISO14443", "SECRET-CARD")
    expected = {"default": True, "stations": ["cs-1"], "groups": ["fleet"], "tokens": [pseudonym]}
    assert (made.status_code, made.json()) == (200, expected)
    assert (await api.client.get("/tariffs/t/assignments")).json() == expected
    assert "SECRET-CARD" not in api.everything()
    one = await api.client.put(
        "/tariffs/t/assignments", json={"station": "cs-1", "group": {"idToken": "A", "type": "Central"}}
    )
    assert one.json() == {"default": False, "stations": ["cs-1"], "groups": ["a"], "tokens": []}
    refused = await api.client.put("/tariffs/t/assignments", json={"stations": ["CS-1", "CS-9"]})
    assert (refused.status_code, "cs-9" in refused.json()["detail"]) == (422, True)
    assert (await api.client.get("/tariffs/t/assignments")).json() == one.json()


async def test_a_viewer_reads_and_puts_nothing(api: Served) -> None:
    assert (await api.as_("viewer").get("/tariffs")).status_code == 200
    assert (await api.as_("viewer").put("/tariffs/t", json=SIMPLE)).status_code == 403
    assert (await api.as_("viewer").put("/tariffs/t/assignments", json={})).status_code == 403
    assert (await api.as_("viewer").delete("/tariffs/t")).status_code == 403
