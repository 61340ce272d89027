"""A driver is erased: the energy stays, the id is nowhere once raw retention has passed (design: personal data).

A driver's id goes through everything that takes one, also as a groupIdToken of commands: authorized, charging, in a
conflict, in commands to stations that are there and away, in bad frames and requests, in a record that is parked. Then
the token is deleted, what is kept for days only is gone, compacted topics hold the newest record of a key, and all that
is left is searched: topics, tables, states, the log, metrics, APIs.
"""

import asyncio
import json
from decimal import Decimal
from typing import Any

from ocppcore import topics
from ocppcore.log import NewRecord
from ocppcore.pseudonym import Pseudonyms
from ocppcore.store import StateKey
from services.auth.domain.token import DriverKey
from services.auth.drivers import Drivers, Sealed
from tests.support.transaction_frames import event
from tests.support.whole import KEYS, PASSWORD, Whole, answer, say

pytest_plugins = ["tests.support.whole_system"]

DRIVER = "ErasedDriver77"
STAYS = "StayingDriver88"
NAMED: dict[str, Any] = {"idToken": DRIVER, "type": "ISO14443"}
PSEUDONYM = Pseudonyms(KEYS.pseudonym).of("ISO14443", DRIVER)
TOKEN = f"/auth/tokens/ISO14443/{DRIVER}"
BOOT = {"reason": "PowerUp", "chargingStation": {"model": "M", "vendorName": "V"}}

COMMANDS: list[tuple[str, dict[str, Any]]] = [
    ("transactions/stations/CS-1/commands/RequestStartTransaction",
     {"remoteStartId": 7, "idToken": NAMED, "groupIdToken": NAMED}),
    ("transactions/stations/CS-1/commands/ReserveNow",
     {"id": 7, "expiryDateTime": "2036-01-01T00:00:00Z", "idToken": NAMED, "groupIdToken": NAMED}),
    ("transactions/stations/CS-1/remote-start", {"idToken": NAMED, "groupIdToken": NAMED, "effectWithin": 1}),
    ("auth/stations/CS-1/commands/SendLocalList",
     {"versionNumber": 1, "updateType": "Full", "localAuthorizationList": [
         {"idToken": NAMED, "idTokenInfo": {"status": "Accepted", "groupIdToken": NAMED}}]}),
    ("device/stations/CS-1/commands/CustomerInformation",
     {"requestId": 1, "report": True, "clear": True, "idToken": NAMED}),
]  # fmt: skip


async def register(whole: Whole) -> None:
    made = await whole.api.post("/device/stations", json={"id": "CS-1", "password": PASSWORD})
    assert made.status_code == 201, made.text
    group = {"idToken": "FLEET", "type": "Central"}
    limits = {"concurrentTransactions": 1, "groupConcurrentTransactions": 5}
    for driver in (DRIVER, STAYS):
        put = await whole.api.put(
            f"/auth/tokens/ISO14443/{driver}", json={"status": "Accepted", "groupIdToken": group, **limits}
        )
        assert put.status_code == 201, put.text
    own_group = {"status": "Accepted", "groupIdToken": NAMED}
    assert (await whole.api.put(TOKEN, json=own_group)).status_code == 422
    assert (await whole.api.patch(TOKEN, json={"status": "Fine"})).status_code == 422
    credit = {"balance": "10.00", "currency": "EUR"}
    assert (await whole.api.patch(TOKEN, json={"credit": credit})).status_code == 200


def said(kind: str, seq_no: int, driver: str = DRIVER, **more: Any) -> dict[str, Any]:
    """An event with the driver's id in additionalInfo too."""
    found = event(kind, seq_no, token=driver, **more)
    found["idToken"]["additionalInfo"] = [{"additionalIdToken": driver, "type": "card"}]
    return found


async def charge(whole: Whole) -> None:
    async with whole.station() as station:
        assert (await say(station, "BootNotification", BOOT))[2]["status"] == "Accepted"
        for _ in range(2):
            info = (await say(station, "Authorize", {"idToken": NAMED}))[2]["idTokenInfo"]
            assert info["status"] == "Accepted"
        for driver, transaction in ((DRIVER, "T1"), (STAYS, "T2")):
            for payload in (
                said("Started", 0, driver, transaction=transaction, wh=100.0, context="Transaction.Begin"),
                said("Updated", 1, driver, transaction=transaction, trigger="StopAuthorized"),
                said("Updated", 1, driver, transaction=transaction, wh=150.0),
                said("Ended", 2, driver, transaction=transaction, wh=1100.5, context="Transaction.End"),
            ):
                assert (await say(station, "TransactionEvent", payload))[0] == 3
        assert (await say(station, "TransactionEvent", said("Started", 0, transaction="OPEN")))[0] == 3
        assert (await say(station, "Authorize", {"idToken": NAMED | {"type": 7}}))[0] == 4
        assert (await say(station, "Autorize", {"idToken": NAMED}))[2] == "NotImplemented"
        customer = {"requestId": 1, "seqNo": 0, "generatedAt": "2026-01-01T10:00:00Z", "data": "nothing kept"}
        assert (await say(station, "NotifyCustomerInformation", customer))[0] == 3


async def command(whole: Whole) -> None:
    for path, payload in COMMANDS:
        away = await whole.api.post(f"/{path}", json=payload, headers={"Prefer": "wait=5"})
        assert away.status_code == 200, away.text
    async with whole.station() as station:
        served = asyncio.ensure_future(answer(station))
        for path, payload in COMMANDS:
            done = await whole.api.post(f"/{path}", json=payload, headers={"Prefer": "wait=5"})
            assert done.status_code == 200, done.text
        served.cancel()
        await asyncio.gather(served, return_exceptions=True)


async def park(whole: Whole) -> None:
    value = json.dumps([2, "x", "Authorize", {"idToken": NAMED}]).encode()
    await whole.log.append([NewRecord(topics.frames("auth"), 0, "cs-1", value, {"ce_type": "ocpp.frame.v1"})])
    async with asyncio.timeout(5):
        while "RecordParked" not in whole.topic(topics.events("auth")):
            await asyncio.sleep(0.01)


async def totals(whole: Whole) -> dict[str, tuple[str, Decimal | None]]:
    """Of each transaction: whose it is, by pseudonym, and its energy."""
    page = (await whole.api.get("/transactions/transactions")).json()
    return {
        one["transactionId"]: (one["token"], Decimal(one["energyWh"]) if one["energyWh"] else None)
        for one in page["items"]
    }


def kept(whole: Whole) -> dict[str, str]:
    """What is on the log once raw retention has passed and compacted topics are compacted."""
    found = {}
    for name, topic in topics.BY_NAME.items():
        if topic.retention_days is not None and not topic.stream:
            continue
        records = [record for partition in whole.log.cluster.partitions[name] for record in partition]
        if topic.compacted:
            records = list({record.key: record for record in records}.values())
        found[name] = str(records)
    return found


def everywhere(whole: Whole) -> dict[str, str]:
    """All that is left, by where it is."""
    found = kept(whole)
    found |= {f"{name}'s tables and states": str(vars(store.tables)) for name, store in whole.stores.items()}
    found["the log"] = whole.logged.getvalue()
    return found


def found_in(places: dict[str, str], driver: str) -> list[str]:
    return [where for where, text in places.items() if driver.casefold() in text.casefold()]


def sealed_values(whole: Whole) -> list[str]:
    """Every value of the driver that an event holds, encrypted."""
    records = [record for partition in whole.log.cluster.partitions[topics.events("auth")] for record in partition]
    states = [json.loads(record.value).get("state", {}) for record in records if record.key == PSEUDONYM]
    return [state["sealed"] for state in states if state.get("sealed")]


async def test_an_erased_driver_is_nowhere_and_the_energy_stays(whole: Whole) -> None:
    await register(whole)
    await charge(whole)
    await command(whole)
    await park(whole)
    assert found_in(everywhere(whole), DRIVER) == [], "an id in clear could not be erased"
    before = await totals(whole)
    assert {name: wh for name, (_, wh) in before.items()} == {
        "T1": Decimal("1000.5"),
        "T2": Decimal("1000.5"),
        "OPEN": None,
    }
    key = StateKey(DriverKey.KIND, PSEUDONYM)
    states = await whole.stores["auth"].load([key])
    data = states[key]
    assert data is not None
    drivers, driver_key = Drivers(KEYS.pseudonym), json.loads(data)["sealed"]
    values = sealed_values(whole)
    assert {drivers.open(PSEUDONYM, Sealed(value, driver_key)) for value in values} == {DRIVER}

    assert (await whole.api.delete(TOKEN)).status_code == 204

    assert await totals(whole) == before
    assert found_in(everywhere(whole), DRIVER) == []
    assert not any(driver_key in text for text in everywhere(whole).values()), "its key is gone, and with it the value"
    assert not (await whole.stores["auth"].load([key])).get(key)
    assert sealed_values(whole) == values, "events are never edited"
    assert (await whole.api.get(TOKEN)).status_code == 404
    for path in ("/auth/tokens", "/transactions/transactions", "/gateway/stations/CS-1/frames", "/auth/audit",
                 "/transactions/audit", "/metrics"):  # fmt: skip
        answered = await whole.api.get(path)
        assert answered.status_code == 200, path
        assert DRIVER.casefold() not in answered.text.casefold(), path
    listed = (await whole.api.get("/auth/tokens")).json()["items"]
    assert [one["idToken"] for one in listed] == [STAYS], "the other driver of the group is as before"
    async with whole.station() as station:
        assert (await say(station, "Authorize", {"idToken": NAMED}))[2]["idTokenInfo"] == {"status": "Unknown"}
        await say(station, "TransactionEvent", said("Ended", 9, transaction="OPEN", wh=5.0))
    assert found_in(everywhere(whole), DRIVER) == [], "nor does it come back with a late event"


async def test_the_search_would_find_it(whole: Whole) -> None:
    await register(whole)
    await charge(whole)
    raw = {name: whole.topic(name) for name in topics.BY_NAME if topics.BY_NAME[name].retention_days is not None}
    assert topics.frames("transactions") in found_in(raw, DRIVER)
    assert topics.events("auth") in found_in(everywhere(whole), "FLEET")
    assert found_in(everywhere(whole), PSEUDONYM), "events name the pseudonym"
