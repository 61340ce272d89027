"""Meter values over HTTP: samples, steps, roll-ups, a plot, and what is refused."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from typing import Any
from xml.etree import ElementTree

import pytest
from fastapi import APIRouter

from ocppcore.clock import system_clock, to_rfc3339
from ocppcore.contracts.metering import MeterHourDue, RollUp
from ocppcore.envelope import Frame, frame_record
from ocppcore.http.commands import CommandDesk, Registered
from ocppcore.pseudonym import Pseudonyms
from ocppcore.seal import Seal
from ocppcore.service import EffectResult
from ocppcore.store import Store
from services.transactions.domain.meter_hours import HOUR_MS, HOURS, hour_of
from services.transactions.meter_api import router
from services.transactions.meter_plot import Line, plot
from services.transactions.meter_series import SeriesReader
from services.transactions.service import build
from services.transactions.signed_api import router as signed_router
from tests.support.served import PARTITIONS, Served, served
from tests.support.transaction_frames import event
from tests.unit.transactions.domain.test_ocmf import METER, der, frame, sent

PSEUDONYMS = Pseudonyms(b"k")
REGISTER = "Energy.Active.Import.Register"
POWER = "Power.Active.Import"


def reader(store: Store, kept_days: int = 30) -> SeriesReader:
    return SeriesReader(store, system_clock, kept_days)


@pytest.fixture
async def api() -> AsyncIterator[Served]:
    """With the worker that makes figures of hours."""
    readers: list[SeriesReader] = []

    async def roll_up(event: MeterHourDue) -> EffectResult:
        return await readers[0].roll_up(event)

    async def registered(station: str) -> Registered | None:
        return Registered(id="CS-1") if station == "cs-1" else None

    def routers(store: Store) -> Sequence[APIRouter]:
        desk = CommandDesk("transactions", store, registered, PSEUDONYMS, Seal(b"s" * 32, "x"))
        readers.append(reader(store))
        return [router(readers[0], desk), signed_router(store, desk)]

    async with served(build(PSEUDONYMS, roll_up=roll_up), routers) as made:
        yield made


async def heard(api: Served, *frames: tuple[str, dict[str, Any]], ago_ms: int = 0) -> None:
    """A station said these, and they are decided."""
    for n, (action, payload) in enumerate(frames):
        frame = Frame(
            station="cs-1",
            identity="CS-1",
            slot=1,
            claim=0,
            epoch=1,
            n=n,
            subprotocol="ocpp2.0.1",
            received_at=system_clock() - ago_ms,
            frame=json.dumps([2, str(n), action, payload]).encode(),
            kind="call",
            message_id=str(n),
            action=action,
            refused="",
            traceparent="",
        )
        await api.log.append([frame_record(frame, "transactions", PARTITIONS)])
    async with asyncio.timeout(5):
        while sum(len(rows) for (topic, _), rows in api.store.tables.streams.items() if "meter" in topic) < len(frames):
            await asyncio.sleep(0.01)


def values(at: int, *sampled: dict[str, Any], evse: int = 1) -> tuple[str, dict[str, Any]]:
    return "MeterValues", {"evseId": evse, "meterValue": [{"timestamp": to_rfc3339(at), "sampledValue": sampled}]}


def wh(value: float, **more: Any) -> dict[str, Any]:
    return {"value": value, "measurand": REGISTER, **more}


async def asked(api: Served, evse: Any = 1, **params: Any) -> Any:
    answer = await api.client.get(f"/stations/CS-1/evses/{evse}/meter", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_samples_come_as_they_were_sent(api: Served) -> None:
    now = system_clock()
    await heard(
        api,
        values(now - 2000, wh(1.5, unitOfMeasure={"unit": "kWh"}), {"value": 7, "measurand": POWER}),
        values(now - 1000, wh(-5), wh(3, unitOfMeasure={"unit": "furlong"})),
        values(now - 500, wh(10, context="Sample.Clock"), evse=0),
        values(now - 500, wh(99), evse=2),
    )
    shown = await asked(api)
    by = {(one["measurand"], one["unit"]): one["points"] for one in shown["series"]}
    assert [(point["value"], point["fault"]) for point in by[REGISTER, "Wh"]] == [("1500.0", None), ("-5", "absurd")]
    assert [(point["value"], point["fault"]) for point in by[REGISTER, "furlong"]] == [("3", "unit")]
    assert [point["value"] for point in by[POWER, "W"]] == ["7"]
    (whole,) = (await asked(api, 0))["series"]
    assert (whole["kind"], [point["value"] for point in whole["points"]]) == ("aligned", ["10"])
    assert (await asked(api, 0, kind="sampled"))["series"] == []
    (power,) = (await asked(api, measurand=POWER))["series"]
    assert power["measurand"] == POWER


async def test_samples_of_a_transaction_are_the_evses(api: Served) -> None:
    now = system_clock()
    started = event("Started", 0, wh=5, at=to_rfc3339(now - 2000), evse={"id": 3, "connectorId": 1})
    updated = event("Updated", 1, wh=9, at=to_rfc3339(now - 1000))
    await heard(api, ("TransactionEvent", started), ("TransactionEvent", updated))
    (series,) = (await asked(api, 3))["series"]
    assert [(one["value"], one["transactionId"], one["seqNo"]) for one in series["points"]] == [
        ("5", "T1", 0),
        ("9", "T1", 1),
    ]


async def test_samples_that_came_late_are_found_where_they_belong(api: Served) -> None:
    at = system_clock() - 50 * HOUR_MS
    await heard(api, values(at, wh(5)), values(system_clock(), wh(9)))
    span = {"from": to_rfc3339(at - 1000), "to": to_rfc3339(at + 1000)}
    (series,) = (await asked(api, **span))["series"]
    assert [point["value"] for point in series["points"]] == ["5"]


async def test_steps_are_figures(api: Served) -> None:
    begin = hour_of(system_clock()) - HOUR_MS
    samples = [values(begin + n * 60_000, wh(100 + n), {"value": n, "measurand": POWER}) for n in range(4)]
    await heard(api, *samples)
    span = {"from": to_rfc3339(begin), "to": to_rfc3339(begin + 240_000)}
    shown = await asked(api, step=120, **span)
    power, energy = sorted(shown["series"], key=lambda one: one["measurand"] == REGISTER)
    assert [(one["min"], one["max"], one["avg"], one["count"]) for one in power["steps"]] == [
        ("0", "1", "0.500", 2),
        ("2", "3", "2.500", 2),
    ]
    assert [one["energy"] for one in energy["steps"]] == ["1", "2"]
    (hour,) = (await asked(api, step=3600, measurand=REGISTER, **span))["series"]
    assert [(one["at"], one["energy"], one["drops"]) for one in hour["steps"]] == [(to_rfc3339(begin), "3", 0)]


async def roll(api: Served, hour: int) -> RollUp:
    found = await reader(api.store).roll_up(MeterHourDue(at=system_clock(), station="cs-1", hour=hour))
    assert isinstance(found.body, RollUp)
    return found.body


def rolled(api: Served) -> list[dict[str, Any]]:
    """The newest figures on the stream of events."""
    told = [one for one in api.records("transactions.events") if "MeterHourRolledUp" in one.headers["ce_type"]]
    found: list[dict[str, Any]] = json.loads(told[-1].value)["series"] if told else []
    return found


async def test_figures_of_an_hour_outlive_its_samples(api: Served) -> None:
    """All of it: the hour begins, its timer passes, the worker reads, and its figures are an event and a row."""
    begin = hour_of(system_clock()) - 3 * HOUR_MS
    samples = [values(begin + n * 60_000, wh(100 + n), {"value": n, "measurand": POWER}) for n in range(4)]
    await heard(api, *samples, ago_ms=3 * HOUR_MS)
    async with asyncio.timeout(10):
        while [series["count"] for series in rolled(api)] != [4, 4]:
            await asyncio.sleep(0.01)
    for (topic, _), rows in api.store.tables.streams.items():
        if topic == "transactions.meter":
            rows.clear()
    span = {"from": to_rfc3339(begin), "to": to_rfc3339(begin + HOUR_MS)}
    energy, power = (await asked(api, step=86_400, **span))["series"]
    assert [(one["energy"], one["count"], one["first"], one["last"]) for one in energy["steps"]] == [
        ("3", 4, "100", "103")
    ]
    assert [(one["avg"], one["min"], one["max"]) for one in power["steps"]] == [("1.500", "0", "3")]
    assert (await asked(api, **span))["series"] == []


async def test_an_evse_without_samples_in_an_hour_with_figures_is_not_looked_for_again(api: Served) -> None:
    begin = hour_of(system_clock()) - 3 * HOUR_MS
    await heard(api, values(begin, wh(100)), ago_ms=3 * HOUR_MS)
    async with asyncio.timeout(10):
        while not api.store.tables.rows[HOURS.name]:
            await asyncio.sleep(0.01)
    read: list[str] = []

    class Watched(type(api.store)):  # type: ignore[misc]
        async def stream_of(self, topic: str, *more: Any) -> Any:
            read.append(topic)
            return await super().stream_of(topic, *more)

    watched = reader(Watched(api.store.tables))
    assert await watched.hours("cs-1", 2, begin, begin + HOUR_MS) == {}
    assert len(await watched.hours("cs-1", 1, begin, begin + HOUR_MS)) == 1
    assert read == []
    await watched.said("cs-1", begin, begin + HOUR_MS)
    assert read == ["transactions.meter"]


async def test_energies_of_intervals_are_summed(api: Served) -> None:
    begin = hour_of(system_clock()) - HOUR_MS
    interval = "Energy.Active.Import.Interval"
    await heard(api, *(values(begin + n, {"value": 5, "measurand": interval}) for n in range(3)))
    span = {"from": to_rfc3339(begin), "to": to_rfc3339(begin + 1000)}
    (series,) = (await asked(api, step=60, **span))["series"]
    assert [(one["energy"], one["drops"]) for one in series["steps"]] == [("15", None)]


async def test_figures_without_the_older_samples_are_partial(api: Served) -> None:
    at = system_clock() - 10 * 24 * HOUR_MS
    await heard(api, values(at, wh(5)))
    assert not (await roll(api, hour_of(at))).partial
    aged = SeriesReader(api.store, lambda: system_clock() + 31 * 24 * HOUR_MS, 30)
    found = await aged.roll_up(MeterHourDue(at=0, station="cs-1", hour=hour_of(at)))
    assert isinstance(found.body, RollUp)
    assert found.body.partial


async def test_a_plot_is_svg(api: Served) -> None:
    now = system_clock()
    await heard(api, values(now - 2000, wh(5), {"value": 7, "measurand": POWER}), values(now - 1000, wh(6)))
    place = "/stations/CS-1/evses/1/meter"
    by_name = await api.client.get(f"{place}.svg")
    by_type = await api.client.get(place, headers={"Accept": "image/svg+xml"})
    for answer in (by_name, by_type):
        assert answer.headers["content-type"] == "image/svg+xml"
        root = ElementTree.fromstring(answer.text)
        assert root.tag.endswith("svg")
        texts = [one.text for one in root.iter() if one.text]
        assert f"{REGISTER} (Wh)" in texts
        assert f"{POWER} (W)" in texts
    empty = await api.client.get(f"{place}.svg", params={"measurand": "Voltage"})
    assert "no values" in empty.text


def test_a_plot_draws_every_point_within_its_panel_and_escapes_names() -> None:
    points = [(at, Decimal(at % 7), Decimal(at % 7 - 1), Decimal(at % 7 + 1)) for at in range(0, 100, 10)]
    one = [(5, Decimal(1), Decimal(1), Decimal(1))]
    drawn = plot("<A & B>", 0, 100, [Line("X<", "W", "L1 & L2", points), Line("Y", "", "one", one)])
    root = ElementTree.fromstring(drawn)
    height = float(root.attrib["height"])
    (line,) = root.iter("{http://www.w3.org/2000/svg}polyline")
    pairs = [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]
    assert len(pairs) == 10
    assert all(0 <= x <= 900 and 0 <= y <= height for x, y in pairs)
    assert [x for x, _ in pairs] == sorted(x for x, _ in pairs)
    (band,) = root.iter("{http://www.w3.org/2000/svg}polygon")
    assert len(band.attrib["points"].split()) == 20
    assert len(list(root.iter("{http://www.w3.org/2000/svg}circle"))) == 1


@pytest.mark.parametrize(
    "params",
    [
        {"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"},
        {"from": "2026-01-02T00:00:00"},
        {"from": "yesterday"},
        {"from": "1990-01-01T00:00:00Z"},
        {"step": 0},
        {"step": -60},
        {"step": 5400},
        {"step": 1},
        {"kind": "both"},
    ],
    ids=str,
)
async def test_what_makes_no_sense_is_refused(api: Served, params: dict[str, Any]) -> None:
    refused = await api.client.get("/stations/CS-1/evses/1/meter", params=params)
    assert refused.status_code == 422, refused.text
    assert refused.headers["content-type"] == "application/problem+json"


async def test_other_stations_and_evses_are_unknown(api: Served) -> None:
    assert (await api.client.get("/stations/CS-2/evses/1/meter")).status_code == 404
    assert (await api.client.get("/stations/CS-1/evses/-1/meter")).status_code == 422
    assert (await asked(api, 7))["series"] == []


@pytest.mark.requirement("J02.FR.17")
async def test_energy_between_transactions_is_listed(api: Served) -> None:
    def said(kind: str, seq: int, name: str, value: float, minute: int) -> tuple[str, dict[str, Any]]:
        at = f"2026-01-01T10:{minute:02}:00Z"
        return "TransactionEvent", event(kind, seq, transaction=name, wh=value, at=at, evse={"id": 1})

    frames = [said("Started", 0, "T1", 100, 0), said("Ended", 1, "T1", 200, 5), said("Started", 0, "T2", 250, 9)]
    await heard(api, *frames)
    (gap,) = (await api.client.get("/meter-gaps", params={"stationId": "CS-1", "evseId": 1})).json()["items"]
    assert (gap["before"], gap["after"], gap["missingWh"]) == ("T1", "T2", "50")
    assert (await api.client.get("/meter-gaps", params={"evseId": 2})).json()["items"] == []
    assert (await api.client.get("/meter-gaps", params={"evseId": -2})).status_code == 422


async def test_keys_of_meters_and_verdicts(api: Served) -> None:
    place = "/stations/CS-1/evses/1/meter-keys"
    text = der(METER).hex()
    assert (await api.as_("operator").post(place, json={"publicKey": text})).status_code == 403
    made = await api.client.post(place, json={"publicKey": text})
    assert made.status_code == 201, made.text
    fingerprint = made.json()["fingerprint"]
    assert made.headers["Location"] == f"/transactions{place}/{fingerprint}"
    assert [one["fingerprint"] for one in (await api.client.get(place)).json()] == [fingerprint]
    meter = {"signedMeterData": sent(frame()), "signingMethod": "", "encodingMethod": "OCMF", "publicKey": text}
    await heard(api, values(system_clock() - 1000, wh(12250, signedMeterValue=meter)))
    (verdict,) = (await api.client.get("/signed-values", params={"stationId": "CS-1", "verdict": "valid"})).json()[
        "items"
    ]
    assert (verdict["fingerprint"], verdict["claimed"], verdict["agrees"]) == (fingerprint, fingerprint, True)
    assert (await api.client.get("/signed-values", params={"transactionId": "T1"})).json()["items"] == []
    (series,) = (await asked(api))["series"]
    assert series["points"][0]["signedMeterValue"] == meter
    assert (await api.client.delete(f"{place}/{fingerprint}")).status_code == 204
    assert (await api.client.get(place)).json() == []
    assert (await api.client.delete(f"{place}/{fingerprint}")).status_code == 404
    assert (await api.client.post(place, json={"publicKey": "no key"})).status_code == 422
    assert (await api.client.post("/stations/CS-9/evses/1/meter-keys", json={"publicKey": text})).status_code == 404
    assert (await api.client.get("/signed-values", params={"verdict": "fine"})).status_code == 422
