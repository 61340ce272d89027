"""A station's password changes (A01) between real processes, and whatever dies, one opens and only one does."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from csms.harness import System, embedded, temporary_directory
from simulator.config import Faults
from simulator.notes import FaultInjected, Note
from tests.support.changing_station import Answer, Line, closed, online, refused, set_variables, simulated
from tests.support.third_party import eventually

pytest_plugins = ["tests.support.kafka_broker", "tests.support.system"]

OPEN = ("started", "asked", "unsure")


async def register(api: httpx.AsyncClient, identity: str) -> str:
    made = await api.post("/device/stations", json={"id": identity})
    assert made.status_code == 201, made.text
    return str(made.json()["password"])


def rotating(api: httpx.AsyncClient, identity: str, wait: str = "wait=20") -> "asyncio.Task[httpx.Response]":
    return asyncio.create_task(api.post(f"/device/stations/{identity}/password:rotate", headers={"Prefer": wait}))


async def known(api: httpx.AsyncClient, identity: str) -> None:
    """The device service has seen the station's connection."""

    async def look() -> Any:
        return (await api.get(f"/device/stations/{identity}")).json()["connection"]

    await eventually(look, lambda connection: connection["connected"])


async def outcome(api: httpx.AsyncClient, identity: str) -> dict[str, Any]:
    """What became of its newest change."""

    async def look() -> Any:
        found = await api.get("/device/credential-changes", params={"stationId": identity})
        return found.json()["items"][0]

    found: dict[str, Any] = await eventually(look, lambda change: change["state"] not in OPEN)
    return found


async def shut_out(url: str, identity: str, password: str) -> None:
    """The password is not taken any more, once the gateway has read what the operation's row says."""

    async def look() -> int:
        return await refused(url, identity, password)

    await eventually(look, lambda status: status == 401)


class Told:
    """What the station was told, and how it answers."""

    def __init__(self, status: str | None) -> None:
        self.password = ""
        self._said = set_variables(status, take=self._take) if status else None

    def _take(self, _: str, value: str) -> None:
        self.password = value

    def answers(self) -> dict[str, Answer]:
        return {"SetVariables": self._said or self._silent}

    def _silent(self, request: dict[str, Any]) -> None:
        self.password = request["setVariableData"][0]["attributeValue"]


async def beats(line: Line) -> bool:
    return (await line.call("Heartbeat", {}))[0] == 3


@pytest.mark.requirement("A01.FR.02", "A01.FR.03")
async def test_an_accepted_password_is_in_force_when_the_operation_answers(
    system: System, api: httpx.AsyncClient
) -> None:
    url, old, told = system.gateways[0], await register(api, "Rotate-1"), Told("Accepted")
    async with online(url, "Rotate-1", old, told.answers()) as line:
        await known(api, "Rotate-1")
        answer = await rotating(api, "Rotate-1")
        assert (answer.status_code, answer.json()["state"]) == (200, "changed"), answer.text
        assert await beats(line), "the live connection is not cut for it"
    assert await refused(url, "Rotate-1", old) == 401
    assert await refused(url, "Rotate-1", told.password) == 101
    frames = await api.get("/gateway/stations/Rotate-1/frames", params={"limit": 1000})
    assert "SetVariables" in frames.text
    assert told.password not in frames.text


@pytest.mark.requirement("A01.FR.04")
async def test_a_refused_password_leaves_the_old_one(system: System, api: httpx.AsyncClient) -> None:
    url, old, told = system.gateways[0], await register(api, "Rotate-2"), Told("Rejected")
    async with online(url, "Rotate-2", old, told.answers()):
        await known(api, "Rotate-2")
        answer = await rotating(api, "Rotate-2")
        assert (answer.status_code, answer.json()["state"], answer.json()["reason"]) == (200, "kept", "Rejected")
    assert await refused(url, "Rotate-2", told.password) == 401
    assert await refused(url, "Rotate-2", old) == 101


@pytest.mark.parametrize("takes", [True, False])
async def test_without_an_answer_the_next_connection_decides(
    system: System, api: httpx.AsyncClient, takes: bool
) -> None:
    """Until then both passwords open."""
    identity = f"Rotate-silent-{takes}"
    url, old, told = system.gateways[0], await register(api, identity), Told(None)
    async with online(url, identity, old, told.answers()) as line:
        await known(api, identity)
        asked = rotating(api, identity)
        await line.hears("SetVariables")
    has = told.password if takes else old
    async with online(url, identity, has, Told("Accepted" if takes else "Rejected").answers()):
        # It went without an answer: the command is idempotent and may come again.
        answer = await asked
        found = answer.json() if answer.status_code == 200 else await outcome(api, identity)
    assert found["state"] == ("changed" if takes else "kept"), found
    await shut_out(url, identity, told.password if not takes else old)
    assert await refused(url, identity, has) == 101


@pytest.mark.timeout(240)
@pytest.mark.parametrize("takes", [True, False])
async def test_killed_between_send_and_answer(system: System, api: httpx.AsyncClient, takes: bool) -> None:
    """kill -9 of the service that decides (embedded: of everything) while the station holds the command."""
    identity = f"Rotate-killed-{takes}"
    url, old, told = system.gateways[0], await register(api, identity), Told(None)
    victim = system.programs.get("device") or system.programs["up"]
    async with online(url, identity, old, told.answers()) as line:
        await known(api, identity)
        assert (await rotating(api, identity, "wait=0")).status_code == 202
        await line.hears("SetVariables")
        victim.kill()
    await system.start()
    has = told.password if takes else old
    later = Told("Accepted" if takes else "Rejected")
    async with online(url, identity, has, later.answers()):
        found = await outcome(api, identity)
    assert found["state"] == ("changed" if takes else "kept"), found
    await shut_out(url, identity, told.password if not takes else old)
    assert await refused(url, identity, has) == 101


async def test_a_station_that_is_away_keeps_its_password(system: System, api: httpx.AsyncClient) -> None:
    url, old = system.gateways[0], await register(api, "Rotate-away")
    answer = await rotating(api, "Rotate-away")
    assert (answer.status_code, answer.json()["state"], answer.json()["reason"]) == (200, "kept", "not_connected")
    assert await refused(url, "Rotate-away", old) == 101


@pytest.mark.timeout(120)
@pytest.mark.parametrize("takes", [True, False])
async def test_a_silent_station_that_stays_is_closed_to_see_which_password_it_has(
    impatient: System, takes: bool
) -> None:
    identity, told = f"Rotate-stays-{takes}", Told(None)
    async with impatient.client() as api:
        url, old = impatient.gateways[0], await register(api, identity)
        async with online(url, identity, old, told.answers()) as line:
            await known(api, identity)
            assert (await rotating(api, identity, "wait=0")).status_code == 202
            await closed(line)
            assert line.socket.close_reason == "connect again: the password is being changed"
        has = told.password if takes else old
        assert await refused(url, identity, has) == 101
        assert (await outcome(api, identity))["state"] == ("changed" if takes else "kept")
        await shut_out(url, identity, told.password if not takes else old)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def impatient() -> AsyncIterator[System]:
    """It waits for few seconds only: for an answer, and for evidence."""
    with temporary_directory() as place:
        settings = {"CSMS_GATEWAY_COMMAND_TIMEOUT_S": "2", "CSMS_DEVICE_PASSWORD_EVIDENCE_S": "5"}
        system = embedded(place, **settings)
        try:
            await system.start()
            yield system
            codes = await system.stop()
            assert set(codes.values()) == {0}, f"{codes}\n{system.tails()}"
        finally:
            system.kill()


async def test_a_simulated_station_comes_back_with_its_new_password(system: System, api: httpx.AsyncClient) -> None:
    url, old = system.gateways[0], await register(api, "Rotate-simulated")
    async with simulated(url, "Rotate-simulated", old) as station:
        epoch = await connected_after(api, -1)
        answer = await rotating(api, "Rotate-simulated")
        assert (answer.status_code, answer.json()["state"]) == (200, "changed"), answer.text
        await shut_out(url, "Rotate-simulated", old)
        assert await connected_after(api, epoch) > epoch
    assert await refused(url, "Rotate-simulated", station.password) == 101


@pytest.mark.parametrize("seed", [0, 1])
async def test_a_simulated_station_that_dies_over_it_opens_with_what_it_has_kept(
    system: System, api: httpx.AsyncClient, seed: int
) -> None:
    """Before it takes the new password with one seed, after it has and before it says so with the other; it is asked
    again until it lives, or has shown which one it has."""
    identity = f"Rotate-dying-{seed}"
    url, old = system.gateways[0], await register(api, identity)
    notes: list[Note] = []
    async with simulated(url, identity, old, notes, seed=seed, faults=Faults(power_cuts=0.7)) as station:
        await known(api, identity)
        answer = await rotating(api, identity)
        found = answer.json() if answer.status_code == 200 else await outcome(api, identity)
        assert found["state"] == ("kept" if station.password == old else "changed"), found
    assert FaultInjected("power-cut") in notes
    assert await refused(url, identity, station.password) == 101
    if station.password != old:
        await shut_out(url, identity, old)


async def connected_after(api: httpx.AsyncClient, epoch: int) -> int:
    """The epoch of the station's connection, once it is a later one."""

    async def look() -> Any:
        return (await api.get("/device/stations/Rotate-simulated")).json()["connection"]

    found = await eventually(look, lambda connection: connection["connected"] and connection["epoch"] > epoch)
    return int(found["epoch"])
