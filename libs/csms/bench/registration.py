"""Stations and an idToken for the load, made as an operator makes them: over HTTP."""

import asyncio
from collections.abc import Callable, Sequence

import httpx

from csms.bench.systems import System

TOKEN_TYPE, TOKEN = "ISO14443", "04A1B2C3D4E5F6"
AT_ONCE = 64
TIMEOUT_S = 60.0


async def register(system: System, stations: Sequence[str], progress: Callable[[int], None]) -> tuple[str, ...]:
    """Create the stations and the token; returns the password that the CSMS made for each. Raises httpx.HTTPError."""
    passwords: list[str] = []
    async with system.running.client(timeout=TIMEOUT_S) as http:
        token = await http.put(f"/auth/tokens/{TOKEN_TYPE}/{TOKEN}", json={"status": "Accepted"})
        token.raise_for_status()
        for begin in range(0, len(stations), AT_ONCE):
            some = stations[begin : begin + AT_ONCE]
            passwords += await asyncio.gather(*(_create(http, station) for station in some))
            progress(len(passwords))
    return tuple(passwords)


async def _create(http: httpx.AsyncClient, station: str) -> str:
    body = {"id": station, "evses": [{"id": 1, "connectors": [{"id": 1}]}]}
    answer = await http.post("/device/stations", json=body)
    answer.raise_for_status()
    return str(answer.json()["password"])
