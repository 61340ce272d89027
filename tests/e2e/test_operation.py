"""What an operator does: stop and start, rebuild, look at frames and parked records; on both systems."""

import re
from typing import Any

import httpx
import pytest
from ocpp.v201 import call

from csms.harness import System
from csms.houses import HOSTS
from tests.support.third_party import Station, connected, register

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
    hashes = {service: await system.projections(service) for service in HOSTS}

    codes = await system.stop()
    assert set(codes.values()) == {0}, system.tails()
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


async def test_nothing_is_parked(system: System) -> None:
    listed = await system.csms("parked", "list")
    assert (listed.code, listed.output.strip()) == (0, "Nothing is parked."), listed.output
