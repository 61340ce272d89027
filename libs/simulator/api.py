"""The CSMS's HTTP API, as far as the simulator uses it: register stations and idTokens before, read
transactions after."""

import asyncio
from collections.abc import Coroutine, Iterable, Iterator
from secrets import token_urlsafe
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from .inputs import IdToken
from .ledger import Ledger, TransactionRecord
from .promises import compare

AT_ONCE = 16
BATCH = 500
CATCH_UP_S = 30
TIMEOUT_S = 30


class ApiError(Exception):
    """The API refused, or could not be reached."""


class CsmsApi:
    """`base` as in http://127.0.0.1:8080; `key` is an administrator's or operator's API key."""

    def __init__(self, base: str, key: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._http = httpx.AsyncClient(
            base_url=base.rstrip("/"),
            headers={"Authorization": f"Bearer {key}"},
            timeout=TIMEOUT_S,
            transport=transport,
            limits=httpx.Limits(max_connections=AT_ONCE),
        )
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def register_stations(
        self, ids: list[str], evses: int, password: str | None, profile: int = 1
    ) -> dict[str, str]:
        """Creates the stations, or gives those that exist a new password. Returns the passwords by station id."""
        passwords = {station_id: password or token_urlsafe(24) for station_id in ids}
        await _all(self._register(station_id, evses, passwords[station_id], profile) for station_id in ids)
        return passwords

    async def _register(self, station_id: str, evses: int, password: str, profile: int) -> None:
        body = {
            "id": station_id,
            "password": password,
            "securityProfile": profile,
            "evses": [{"id": n, "connectors": [{"id": 1}]} for n in range(1, evses + 1)],
        }
        answer = await self._send("POST", "/device/stations", body, {409})
        if answer.status_code == 409:
            change = {"password": password, "securityProfile": profile}
            await self._send("PATCH", f"/device/stations/{quote(station_id, safe='')}", change)

    async def register_tokens(self, tokens: Iterable[IdToken]) -> None:
        """Makes sure that the CSMS accepts these idTokens."""
        paths = (f"/auth/tokens/{quote(t.type, safe='')}/{quote(t.id_token, safe='')}" for t in tokens)
        await _all(self._send("PUT", path, {"status": "Accepted"}) for path in paths)

    async def transaction(self, record: TransactionRecord) -> dict[str, Any] | None:
        """What the CSMS has of a transaction; None if it does not know it."""
        ids = (quote(record.station_id, safe=""), quote(record.transaction_id, safe=""))
        answer = await self._send("GET", "/transactions/transactions/{}/{}".format(*ids), None, {404})
        return None if answer.status_code == 404 else answer.json()

    async def check(self, ledger: Ledger) -> list[str]:
        """Compares every acknowledged transaction with the CSMS's. A projection may lag a moment: what differs is
        looked at again, once a second for up to CATCH_UP_S seconds."""
        suspects = [record for record in ledger if record.acknowledged]
        wrong: list[str] = []
        for attempt in range(CATCH_UP_S):
            if attempt:
                await asyncio.sleep(1)
            wrong, differing = [], []
            for batch in _batches(suspects):
                found = await asyncio.gather(*(self._compare(record) for record in batch))
                wrong += [line for lines in found for line in lines]
                differing += [record for record, lines in zip(batch, found, strict=True) if lines]
            suspects = differing
            if not suspects:
                break
        return wrong

    async def _compare(self, record: TransactionRecord) -> list[str]:
        return compare(record, await self.transaction(record))

    async def _send(
        self, method: str, path: str, body: Any, allowed: set[int] | frozenset[int] = frozenset()
    ) -> httpx.Response:
        async with self._slots:
            try:
                answer = await self._http.request(method, path, json=body)
            except httpx.HTTPError as error:
                raise ApiError(f"{method} {path}: {error}") from error
        if answer.status_code >= 400 and answer.status_code not in allowed:
            raise ApiError(f"{method} {path}: HTTP {answer.status_code} {answer.text[:300]}")
        return answer


async def _all(jobs: Iterable[Coroutine[Any, Any, object]]) -> None:
    """Does all; the first failure ends the others and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for job in jobs:
                group.create_task(job)
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from failed


def _batches(records: list[TransactionRecord]) -> Iterator[list[TransactionRecord]]:
    for start in range(0, len(records), BATCH):
        yield records[start : start + BATCH]
