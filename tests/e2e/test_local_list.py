"""A file of tokens becomes the local lists of stations, on both systems: import, rule, boot, change, restart."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from csms.harness import System
from simulator.authorization import KnownTokens
from tests.support.third_party import PASSWORD, eventually, register

pytest_plugins = ["tests.support.kafka_broker", "tests.support.system"]

ID = "Listed-1"
BOOT = {"reason": "PowerUp", "chargingStation": {"model": "M", "vendorName": "V"}}


@asynccontextmanager
async def listening(system: System, known: KnownTokens, asked: list[str]) -> AsyncIterator[None]:
    """A station that boots, and keeps its local list as the standard says."""
    credentials = base64.b64encode(f"{ID}:{PASSWORD}".encode()).decode()
    async with connect(
        f"{system.gateways[0]}/{ID}",
        subprotocols=["ocpp2.0.1"],  # type: ignore[list-item]
        additional_headers={"Authorization": f"Basic {credentials}"},
        proxy=None,
    ) as connection:

        async def answer() -> None:
            await connection.send(json.dumps([2, "boot", "BootNotification", BOOT]))
            async for raw in connection:
                frame: list[Any] = json.loads(raw)
                if frame[0] != 2:
                    continue
                asked.append(frame[2])
                if frame[2] == "SendLocalList":
                    said: dict[str, Any] = {"status": known.update_list(frame[3], 500)}
                else:
                    assert frame[2] == "GetLocalListVersion"
                    said = {"versionNumber": known.version}
                await connection.send(json.dumps([3, frame[1], said]))

        task = asyncio.create_task(answer())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError, ConnectionClosed):
                await task


@pytest.mark.requirement("D01.FR.01", "D01.FR.11")
@pytest.mark.timeout(240)
async def test_an_imported_file_becomes_a_stations_list(system: System, api: httpx.AsyncClient, tmp_path: Path) -> None:
    file = tmp_path / "tokens.csv"
    rows = [
        f"ISO14443,LISTED{n},{'Blocked' if n == 7 else 'Accepted'},{'e2e-list' if n < 40 else ''}" for n in range(1500)
    ]
    file.write_text("\n".join(["type,idToken,status,tags", *rows, "ISO14443,BAD,Perhaps,"]) + "\n")
    done = await system.csms("tokens", "import", str(file), "--api", system.addresses["auth"], "--key", system.key)
    assert done.code == 1, "a line was refused"
    assert "1501 lines, 1500 tokens created, 0 replaced, 1 lines refused." in " ".join(done.output.split())
    assert "line 1502: status:" in done.output

    await register(
        api, ID, site="E2E-Depot", automatic={"localList": True}, limits={"SendLocalList": {"items": 15}}
    )  # fmt: skip
    rule = {"stations": {"sites": ["e2e-depot"]}, "tokens": {"tags": ["e2e-list"]}}
    assert (await api.put("/auth/local-lists/e2e", json=rule)).status_code in (201, 202)
    known, asked = KnownTokens(), list[str]()

    async def entries() -> int:
        return len(known)

    async def state() -> Any:
        return (await api.get(f"/auth/stations/{ID}/local-list")).json()

    async with listening(system, known, asked):
        await eventually(entries, lambda count: count == 39)
        shown = await eventually(state, lambda one: one["state"] == "synced")
        assert (shown["version"], shown["entries"]) == (known.version, 39)
        assert asked.count("SendLocalList") == 3
        await api.put("/auth/tokens/ISO14443/listed7", json={"status": "Accepted", "tags": ["E2E-list"]})
        await eventually(entries, lambda count: count == 40)
    known.__init__()  # type: ignore[misc]  # its memory is gone
    async with listening(system, known, asked):
        await eventually(entries, lambda count: count == 40)
        synced = await api.post(f"/auth/stations/{ID}/local-list:sync", json={})
        assert (synced.status_code, synced.json()["state"], synced.json()["entries"]) == (200, "synced", 40)
    assert (await api.delete("/auth/local-lists/e2e")).status_code in (202, 204)
