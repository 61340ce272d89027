"""`csms parked`: records that a service could not decide, and another try for them."""

import base64
import secrets
from collections.abc import Mapping, Sequence

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from csms import houses
from csms.tools.access import Access
from ocppcore import parking
from ocppcore.clock import system_clock, to_rfc3339
from ocppcore.envelope import Request, request_record
from ocppcore.errors import OperatorError
from ocppcore.log import NewRecord
from ocppcore.seal import Seal
from ocppcore.store import Value

PAGE = 200
ERROR_CHARACTERS_MAX = 200


async def rows(access: Access, service: str) -> list[dict[str, Value]]:
    """All parked records of a service that were not tried again, oldest position first."""
    found: list[dict[str, Value]] = []
    after: tuple[Value, ...] | None = None
    async with access.store(service) as store:
        definition = access.service(service)
        await store.prepare([*definition.tables.values()], definition.streams, definition.copies)
        while page := await store.select(parking.TABLE, {"state": "parked"}, after=after, limit=PAGE):
            found += page
            after = tuple(page[-1][column] for column in parking.TABLE.key)
    return found


async def show(access: Access, console: Console, service: str | None) -> None:
    """A table of what is parked."""
    names = [service] if service else list(houses.HOSTS)
    found = [(name, row) for name in names for row in await rows(access, name)]
    console.print(table(found) if found else "Nothing is parked.")


def table(found: Sequence[tuple[str, Mapping[str, Value]]]) -> Table:
    """Of services and rows. What `retry` takes stands whole on one line, however narrow the terminal."""
    places = [_place(row) for _, row in found]
    made = Table()
    made.add_column("service", no_wrap=True, min_width=max(len(name) for name, _ in found))
    made.add_column("record", no_wrap=True, min_width=max(map(len, places)))
    made.add_column("what", overflow="fold")
    for (name, row), place in zip(found, places, strict=True):
        what = f"{to_rfc3339(int(row['at'] or 0))} {row['key']}\n{str(row['error'])[:ERROR_CHARACTERS_MAX]}"
        made.add_row(name, Text(place), Text(what))
    return made


def _place(row: Mapping[str, Value]) -> str:
    return f"{row['topic']}/{row['partition']}/{row['position']}"


async def retry(access: Access, service: str, place: str | None) -> int:
    """Append parked records again, with their first time of receipt; all, or the one at topic/partition/position.

    Raises OperatorError for one that is not parked.
    """
    seal, count = Seal(access.keys.password, "parked records"), 0
    for row in await rows(access, service):
        where = _place(row)
        if place is not None and where != place:
            continue
        sealed = base64.b64decode(str(row["sealed"]))
        value = seal.open(sealed, where.encode())
        headers = msgspec.json.decode(str(row["headers"]), type=dict[str, str])
        again = {**headers, "ce_id": f"{headers.get('ce_id', where)}/retry/{secrets.token_hex(4)}"}
        record = NewRecord(str(row["topic"]), int(row["partition"] or 0), str(row["key"]), value, again)
        body = parking.Retried(
            topic=str(row["topic"]),
            partition=int(row["partition"] or 0),
            position=int(row["position"] or 0),
            parked_at=int(row["at"] or 0),
            error=str(row["error"]),
            headers=headers,
            sealed=sealed,
        )
        note = Request(
            f"parked/{where}/{row['at']}", parking.RETRIED, str(row["key"]), msgspec.json.encode(body), system_clock(),
            "/csms/parked", "csms", "", "",
        )  # fmt: skip
        noted = request_record(note, service, access.partitions)._replace(partition=int(row["partition"] or 0))
        await access.log.append([record, noted])
        count += 1
    if place is not None and not count:
        raise OperatorError(f"{service} has not parked {place}, or it was tried again already: see csms parked list")
    return count
