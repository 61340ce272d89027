"""Stations and an idToken for the load, made as an operator makes them: over HTTP."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import httpx

from csms.bench.systems import System

TOKEN_TYPE, TOKEN = "ISO14443", "04A1B2C3D4E5F6"
AT_ONCE = 64
TIMEOUT_S = 60.0


async def register(system: System, stations: Sequence[str], progress: Callable[[int], None]) -> tuple[str, ...]:
    """Create the stations and the token; returns the password that the CSMS made for each. Raises httpx.HTTPError."""
    limits = httpx.Limits(max_connections=AT_ONCE)
    headers = {"Authorization": f"Bearer {system.key}"}
    passwords: list[str] = []
    async with httpx.AsyncClient(headers=headers, timeout=TIMEOUT_S, limits=limits) as http:
        await _put(http, f"{system.apis['auth']}/auth/tokens/{TOKEN_TYPE}/{TOKEN}", {"status": "Accepted"})
        for begin in range(0, len(stations), AT_ONCE):
            some = stations[begin : begin + AT_ONCE]
            made = await asyncio.gather(*(_create(http, system.apis["device"], station) for station in some))
            passwords += made
            progress(len(passwords))
    return tuple(passwords)


async def _create(http: httpx.AsyncClient, api: str, station: str) -> str:
    body = {"id": station, "evses": [{"id": 1, "connectors": [{"id": 1}]}]}
    answer = await http.post(f"{api}/device/stations", json=body)
    answer.raise_for_status()
    return str(answer.json()["password"])


async def _put(http: httpx.AsyncClient, url: str, body: dict[str, Any]) -> None:
    (await http.put(url, json=body)).raise_for_status()
