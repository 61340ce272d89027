"""Attack: stations ask for one certificate after the other.

Passes if each gets as many as an hour allows and a Rejected for every other one, the process takes no more memory, and
meanwhile another station gets its certificate, and its Heartbeats are answered in time.
"""

import asyncio
import json
import time
from typing import Any

import psutil
import pytest
from websockets.asyncio.client import ClientConnection

from tests.support.csrs import csr
from tests.support.guarded import Guarded, beat

pytest_plugins = [
    "tests.support.kafka_broker", "tests.support.system", "tests.support.guarded_system", "tests.support.guarded_broker"
]  # fmt: skip

PER_HOUR = 20
"""The default of the setting."""
FLOOD = 60
ATTACKERS = 3
BEAT_WITHIN_S = 5.0
GROWTH_BYTES_MAX = 64 * 1024 * 1024
JUNK = ("", "x" * 5500, "-----BEGIN CERTIFICATE REQUEST-----\n" + "A" * 5000 + "\n-----END CERTIFICATE REQUEST-----\n")


async def asks(socket: ClientConnection, request: str, number: int) -> str:
    """The status that SignCertificate gets; what else comes meanwhile is not answered."""
    payload = {"csr": request, "certificateType": "ChargingStationCertificate"}
    await socket.send(json.dumps([2, f"sign-{number}", "SignCertificate", payload]))
    while True:
        answer = json.loads(await socket.recv())
        if answer[1] == f"sign-{number}":
            assert answer[0] == 3, answer
            return str(answer[2]["status"])


async def flood(guarded: Guarded, identity: str) -> list[str]:
    """Good requests, each for a new key, until the limit and far beyond."""
    async with guarded.station(identity) as socket:
        return [await asks(socket, csr(identity), number) for number in range(FLOOD)]


async def rubbish(guarded: Guarded, identity: str) -> list[str]:
    async with guarded.station(identity) as socket:
        return [await asks(socket, JUNK[number % len(JUNK)], number) for number in range(FLOOD)]


async def taken(guarded: Guarded, identity: str) -> None:
    """A station that asks once, and takes what it gets."""
    async with guarded.station(identity) as socket:
        payload = {"csr": csr(identity), "certificateType": "ChargingStationCertificate"}
        await socket.send(json.dumps([2, "mine", "SignCertificate", payload]))
        async with asyncio.timeout(30):
            while (message := json.loads(await socket.recv()))[0] != 2 or message[2] != "CertificateSigned":
                assert message[0] == 3 and message[2]["status"] == "Accepted", message
        await socket.send(json.dumps([3, message[1], {"status": "Accepted"}]))
        await beat(socket)


async def slowest_beat(guarded: Guarded, identity: str, done: asyncio.Event) -> float:
    slowest = 0.0
    async with guarded.station(identity) as socket:
        while not done.is_set():
            began = time.monotonic()
            await beat(socket)
            slowest = max(slowest, time.monotonic() - began)
    return slowest


async def listed(guarded: Guarded, identity: str) -> list[dict[str, Any]]:
    page = await guarded.http.get("/auth/certificates", params={"stationId": identity, "limit": 100})
    found: list[dict[str, Any]] = page.json()["items"]
    return found


def memory(guarded: Guarded) -> int:
    """Bytes of the processes that take requests and that have them signed."""
    processes = {guarded.program(name).process for name in ("gateway", "auth")}
    return sum(psutil.Process(one.pid).memory_info().rss for one in processes if one is not None)


@pytest.mark.timeout(180)
@pytest.mark.requirement("A02.FR.12", "P4.4.2.2.1")
async def test_the_flood_ends_at_the_limit_and_others_get_theirs(guarded: Guarded) -> None:
    attackers = [await guarded.register() for _ in range(ATTACKERS)]
    litterer, honest, bystander = [await guarded.register() for _ in range(3)]
    before, done = memory(guarded), asyncio.Event()
    beating = asyncio.create_task(slowest_beat(guarded, bystander, done))
    floods = [asyncio.create_task(flood(guarded, identity)) for identity in attackers]
    floods.append(asyncio.create_task(rubbish(guarded, litterer)))

    await taken(guarded, honest)
    *answers, junk = await asyncio.gather(*floods)
    done.set()

    assert await beating < BEAT_WITHIN_S
    for statuses in answers:
        assert statuses == ["Accepted"] * PER_HOUR + ["Rejected"] * (FLOOD - PER_HOUR)
    assert junk == ["Rejected"] * FLOOD
    for identity in attackers:
        assert len(await listed(guarded, identity)) <= PER_HOUR
    async with asyncio.timeout(20):
        while [one["state"] for one in await listed(guarded, honest)] != ["accepted"]:
            await asyncio.sleep(0.05)
    assert memory(guarded) - before < GROWTH_BYTES_MAX
    for service in ("auth", "device", "smartcharging", "transactions"):
        assert await guarded.metric("csms_engine_parked_total", service=service) == 0
