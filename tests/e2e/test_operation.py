"""What an operator does: stop and start, rebuild, look at frames and parked records; on both systems."""

import asyncio
import re
import signal
from typing import Any

import httpx
import pytest
from ocpp.v201 import call

from csms.harness import PARTITIONS, System
from csms.houses import GATEWAY, HOSTS
from ocppcore.log import NewRecord
from ocppcore.topics import frames, partition_of
from tests.support.at_rest import hashes_at_rest
from tests.support.open_log import log_of
from tests.support.third_party import Station, connected, eventually, getting, register

pytest_plugins = ["tests.support.kafka_broker", "tests.support.system"]

HASH = re.compile(r"^(\w+): ([0-9a-f]{64})$", re.MULTILINE)


async def charge_once(system: System, api: httpx.AsyncClient, identity: str) -> None:
    await register(api, identity)
    await api.put(f"/auth/tokens/ISO14443/04{identity}", json={"status": "Accepted", "language1": "de"})
    async with connected(system, identity) as station:
        await station.boot()
        await station.begin("Kept", f"04{identity}")
        await station.charge(700)
        await station.end()


async def kept(api: httpx.AsyncClient, identity: str) -> dict[str, Any]:
    """What must survive: less what a restart changes, the connection."""
    paths = (
        f"/auth/tokens/ISO14443/04{identity}",
        f"/transactions/transactions/{identity}/Kept",
        f"/device/stations/{identity}",
    )
    found = {path: (await api.get(path)).json() for path in paths}
    found[paths[2]].pop("connection")
    found[paths[2]].pop("lastContact")
    return found


async def beats(station: Station) -> bool:
    return bool((await station.call(call.Heartbeat(), suppress=False)).current_time)


@pytest.mark.timeout(240)
async def test_data_survives_a_restart_and_a_rebuild_gives_the_same_hash(
    system: System, api: httpx.AsyncClient
) -> None:
    await charge_once(system, api, "Restart-1")
    before = await kept(api, "Restart-1")
    assert before["/transactions/transactions/Restart-1/Kept"]["state"] == "ended"
    refused = await system.csms("rebuild", "transactions")
    assert refused.code == 1
    assert "transactions is running; stop it, then rebuild" in refused.output
    codes = await system.stop()
    assert set(codes.values()) == {0}, system.tails()
    hashes = await hashes_at_rest(system)
    for service in HOSTS:
        done = await system.csms("rebuild", service)
        assert done.code == 0, done.output
        assert dict(HASH.findall(done.output))[service] == hashes[service], f"{service} is not what its events say"

    await system.start()
    assert await kept(api, "Restart-1") == before
    async with connected(system, "Restart-1") as station:
        assert await beats(station)  # registered before: served without another BootNotification


async def test_frames_of_a_station_are_listed(system: System, api: httpx.AsyncClient) -> None:
    await register(api, "Listed-1")
    await register(api, "Listed-2")
    for identity in ("Listed-1", "Listed-2"):
        async with connected(system, identity) as station:
            await station.boot()
            await station.authorize("04VERYSECRET")
    listed = await system.csms("frames", "--station", "LISTED-1", "--last", "1000")
    assert listed.code == 0, listed.output
    lines = [line for line in listed.output.splitlines() if "Listed-" in line]
    assert [("-->" in line, "BootNotification" in line) for line in lines[:2]] == [(True, True), (False, True)]
    assert not any("Listed-2" in line for line in lines)
    assert "04VERYSECRET" not in listed.output


PARKED = re.compile(r"device +│ (ocpp\.frames\.device/\d+/\d+) +│ (\d{4})-")


async def parked(system: System, *, but: str = "") -> str:
    """The one record that is parked, once it is another one than `but`."""
    async with asyncio.timeout(60):
        while True:
            listed = await system.csms("parked", "list", "--service", "device")
            assert listed.code == 0, listed.output
            found = PARKED.findall(listed.output)
            assert "SECRETNOTE" not in listed.output
            if len(found) == 1 and found[0][0] != but:
                assert "BadRecord" in listed.output
                assert int(found[0][1]) >= 2026, "when it was parked"
                return str(found[0][0])


@pytest.mark.timeout(240)
async def test_a_record_that_cannot_be_decided_is_parked_listed_and_tried_again(
    system: System, api: httpx.AsyncClient
) -> None:
    """It is none that a gateway writes: no header says whose frame it is. So it is parked again each time."""
    listed = await system.csms("parked", "list")
    assert (listed.code, listed.output.strip()) == (0, "Nothing is parked."), listed.output
    await register(api, "Parked-1")
    key = "parked-1"
    broken = NewRecord(frames("device"), partition_of(key, PARTITIONS), key, b'[2,"1","Heartbeat",{}] SECRETNOTE', {})
    async with log_of(system) as log:
        await log.append([broken])
    first = await parked(system)
    async with connected(system, "Parked-1") as station:
        await station.boot()
        assert await beats(station), "what comes behind it waits"

    nothing = await system.csms("parked", "retry", "device", "ocpp.frames.device/0/999999999")
    assert nothing.code == 1
    assert "device has not parked ocpp.frames.device/0/999999999" in nothing.output
    again = await system.csms("parked", "retry", "device", first)
    assert (again.code, again.output.strip()) == (0, "1 records appended again."), again.output
    second = await parked(system, but=first)
    again = await system.csms("parked", "retry", "device")
    assert (again.code, again.output.strip()) == (0, "1 records appended again."), again.output
    third = await parked(system, but=second)
    assert len({first, second, third}) == 3
    assert third in (await system.csms("parked", "list")).output


async def test_a_change_is_in_force_in_every_process_or_answered_with_202(
    system: System, api: httpx.AsyncClient
) -> None:
    """A gateway that hangs still knows the old password: until it has read the new one, nobody is told 200."""
    await register(api, "Force-1")
    gateway = system.programs.get(GATEWAY)
    if gateway is None or gateway.process is None:  # everything in one process: whoever answers has it in force
        assert (await api.patch("/device/stations/Force-1", json={"disabled": True})).status_code == 200
        return
    gateway.process.send_signal(signal.SIGSTOP)
    try:
        answer = await api.patch(
            "/device/stations/Force-1", json={"disabled": True}, headers={"Prefer": "wait=1"}, timeout=30
        )
        assert answer.status_code == 202, answer.text
        asked = await api.get(answer.headers["location"])
        assert asked.json()["status"] == "pending"
    finally:
        gateway.process.send_signal(signal.SIGCONT)
    done = await eventually(getting(api, answer.headers["location"]), lambda found: found["status"] == "done")
    assert done["result"]["status"] == 200
