"""How fast the list of transactions answers when it is long: rows made in the database, asked for over HTTP.

The rows are what ended transactions leave, without their events: reading is measured, not charging.
"""

import math
import time
from collections.abc import AsyncIterator, Callable, Mapping
from hashlib import md5
from itertools import count
from typing import Any, Final
from urllib.parse import urlencode

import asyncpg  # type: ignore[import-untyped]
import httpx

from csms.bench.figures import Query, middle
from csms.bench.systems import System
from ocppcore.postgres.store_tables import name
from services.transactions.domain.transaction import TRANSACTIONS

LIST: Final = "/transactions/transactions"
STATIONS: Final = 10_000
CHUNK: Final = 100_000
EPOCH_MS: Final = 1_735_689_600_000
"""The first of the made transactions was heard of then (2025-01-01); one more every three seconds."""
APART_MS: Final = 3_000
OPEN_EVERY: Final = 5_000
PAGE: Final = 100
ASKED: Final = 40
"""How often each question is asked, always about another station or moment."""

STATION: Final = f"'bench-q-' || lpad((n % {STATIONS})::text, 5, '0')"
HEARD: Final = f"{EPOCH_MS} + n * {APART_MS}"
ENDED: Final = f"n % {OPEN_EVERY} <> 0"
VALUES: Final[Mapping[str, str]] = {
    "station": STATION,
    "key": "'tx-' || n",
    "identity": f"upper({STATION})",
    "transaction_id": "'TX-' || n",
    "state": f"CASE WHEN {ENDED} THEN 'ended' ELSE 'open' END",
    "evse_id": f"1 + n / {STATIONS} % 4",
    "connector_id": "1",
    "started_at": HEARD,
    "ended_at": f"CASE WHEN {ENDED} THEN {HEARD} + 3600000 END",
    "charging_state": "'Idle'",
    "stopped_reason": f"CASE WHEN {ENDED} THEN 'EVDisconnected' END",
    "token": "md5((n % 1000000)::text)",
    "token_type": "'ISO14443'",
    "meter_start_wh": "n",
    "meter_stop_wh": "n + 21000",
    "energy_wh": "21000",
    "meter_drops": "0",
    "seen": "'[[0, 12]]'",
    "gaps": "'[]'",
    "gaps_exact": "true",
    "missing": "0",
    "conflicts": "0",
    "offline": "false",
    "grade": f"CASE WHEN {ENDED} THEN 'complete' ELSE 'open' END",
    "gaps_final": "false",
    "clock_offset_ms": "0",
    "clock_steady": "true",
    "heard_at": HEARD,
    "changed_at": f"{HEARD} + 3600000",
}
"""Of the n-th transaction, as SQL; columns without a word here stay empty."""

Progress = Callable[[int, str], None]


async def fill(system: System, schema: str, rows: int, progress: Progress) -> None:
    """Write so many transactions into the table that the API reads."""
    columns = [column for column in TRANSACTIONS.columns if column in VALUES]
    insert = (
        f"INSERT INTO {name(schema)}.{name(TRANSACTIONS.name)} ({', '.join(map(name, columns))}) "
        f"SELECT {', '.join(VALUES[column] for column in columns)} FROM generate_series($1::bigint, $2::bigint) AS n"
    )
    connection = await asyncpg.connect(system.running.dsn(), command_timeout=600)
    try:
        for first in range(0, rows, CHUNK):
            last = min(first + CHUNK, rows) - 1
            await connection.execute(insert, first, last)
            progress(last + 1, f"{last + 1:,}")
        await connection.execute(f"VACUUM ANALYZE {name(schema)}.{name(TRANSACTIONS.name)}")
    finally:
        await connection.close()


def questions(rows: int) -> Mapping[str, Callable[[int], dict[str, Any]]]:
    """What people ask, each as the parameters of its n-th time."""

    def station(n: int) -> str:
        return f"BENCH-Q-{n * 7919 % min(STATIONS, rows):05}"

    return {
        "all": lambda _: {},
        "open": lambda _: {"state": "open"},
        "ended": lambda _: {"state": "ended"},
        "of a station": lambda n: {"stationId": station(n)},
        "of a station, open": lambda n: {"stationId": station(n), "state": "open"},
        "of a station's EVSE": lambda n: {"stationId": station(n), "evseId": n % 4 + 1},
        "of all EVSEs 3": lambda _: {"evseId": 3},
        "complete": lambda _: {"completeness": "complete"},
        "estimated (none)": lambda _: {"completeness": "estimated"},
        "of a token": lambda n: {"token": md5(str(n * 7919 % min(1_000_000, rows)).encode()).hexdigest()},
    }


async def measure(system: System, rows: int, progress: Progress) -> list[Query]:
    """Ask each question ASKED times, and the pages after the first of all."""
    found, done = [], count(1)
    async with system.running.client() as api:
        for what, parameters in questions(rows).items():
            addresses = [f"{LIST}?{urlencode({'limit': PAGE, **parameters(n)})}" for n in range(ASKED)]
            asked = [await _timed(api, address) for address in addresses]
            found.append(_query(what, asked))
            progress(next(done), f"{what}: {found[-1].median_ms:.1f} ms")
        found.append(_query("page after page", [took async for took in _pages(api)]))
        progress(next(done), "")
    return found


def asked_in_all(rows: int) -> int:
    """How many steps `measure` reports."""
    return len(questions(rows)) + 1


async def _timed(api: httpx.AsyncClient, address: str) -> tuple[float, Any]:
    began = time.perf_counter()
    answer = await api.get(address)
    took = (time.perf_counter() - began) * 1000
    return took, answer.raise_for_status().json()


async def _pages(api: httpx.AsyncClient) -> AsyncIterator[tuple[float, Any]]:
    address = f"{LIST}?limit={PAGE}"
    for _ in range(ASKED):
        took, page = await _timed(api, address)
        yield took, page
        if not page["next"]:
            return
        address = page["next"]


def _query(what: str, asked: list[tuple[float, Any]]) -> Query:
    times = sorted(took for took, _ in asked)
    return Query(
        what=what,
        median_ms=middle(times),
        p99_ms=times[math.ceil(len(times) * 0.99) - 1],
        rows=max(len(page["items"]) for _, page in asked),
    )
