"""`csms rerate`: what past transactions would cost by another tariff, why, and (asked for) billing them by it."""

import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import httpx
import orjson
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ocppcore.errors import OperatorError

PAGE: Final = 500
TIMEOUT_S: Final = 60.0
RECORDS: Final = "/transactions/charge-details"


class Wanted(NamedTuple):
    """Which records, by which tariff (one that was put, or `tariff`), and whether to bill them by it."""

    tariff_id: str
    version: int | None
    tariff: Mapping[str, Any] | None
    station: str | None
    token: str | None
    rated_by: str | None
    apply: bool

    @property
    def by(self) -> dict[str, Any]:
        return {"tariffId": self.tariff_id, "version": self.version, "tariff": self.tariff}


class Done(NamedTuple):
    rated: int
    differing: int
    applied: int


def read_tariff(path: Path) -> Mapping[str, Any]:
    """The tariff in a file of JSON; raises OperatorError where there is none."""
    try:
        found = orjson.loads(path.read_bytes())
    except OSError as error:
        raise OperatorError(f"{path}: {error.strerror}") from error
    except orjson.JSONDecodeError as error:
        raise OperatorError(f"{path}: {error}") from error
    if not isinstance(found, dict):
        raise OperatorError(f"{path}: a tariff is a JSON object")
    return found


async def run(api: str, key: str, wanted: Wanted, console: Console) -> Done:
    """Each difference is a line of JSON on standard output, how far it is stands on standard error.

    It can be repeated: what is billed by the tariff already makes no difference.
    """
    headers = {"Authorization": f"Bearer {key}"}
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    async with httpx.AsyncClient(base_url=api, headers=headers, timeout=TIMEOUT_S) as client:
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task("", total=None)
            done = Done(0, 0, 0)
            async for page in _pages(client, wanted):
                applied = 0
                for one in page["items"]:
                    if wanted.apply:
                        one["made"] = await _apply(client, wanted.by, one["id"])
                        applied += one["made"] is not None
                    sys.stdout.write(orjson.dumps(one).decode() + "\n")
                done = Done(done.rated + page["rated"], done.differing + len(page["items"]), done.applied + applied)
                progress.update(task, description=f"{done.rated:,} rated, {done.differing:,} differ")
    return done


async def _pages(client: httpx.AsyncClient, wanted: Wanted) -> AsyncIterator[dict[str, Any]]:
    body = {**wanted.by, "stationId": wanted.station, "token": wanted.token, "ratedBy": wanted.rated_by}
    address: str | None = f"{RECORDS}:rerate?limit={PAGE}"
    while address is not None:
        page = _json(await _post(client, address, body))
        yield page
        address = page["next"]


async def _apply(client: httpx.AsyncClient, by: Mapping[str, Any], detail: str) -> list[str] | None:
    """The records that were made; None where another one has come meanwhile."""
    answer = await _post(client, f"{RECORDS}/{quote(detail)}:rerate", by)
    if answer.status_code == httpx.codes.CONFLICT:
        return None
    made: list[str] = _json(answer)["made"]
    return made


async def _post(client: httpx.AsyncClient, address: str, body: Mapping[str, Any]) -> httpx.Response:
    try:
        return await client.post(address, json=body)
    except httpx.HTTPError as error:
        raise OperatorError(f"{client.base_url}: {error or type(error).__name__}") from error


def _json(answer: httpx.Response) -> dict[str, Any]:
    if answer.status_code != httpx.codes.OK:
        said = answer.json().get("detail") if "json" in answer.headers.get("content-type", "") else answer.text[:200]
        raise OperatorError(f"{answer.request.url.path}: {answer.status_code} {said}")
    found: dict[str, Any] = answer.json()
    return found
