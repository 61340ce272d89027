"""What goes on after its request was decided: begun, followed in a table's row until it has ended, answered.

A station may take its time: the caller's patience (`Write.wait_s`) is spent once, on the decision, on the row, and on
its being in force. What is not over by then is answered with 202 and the place where it can be looked at.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
import orjson
from fastapi import Response
from pydantic import BaseModel

from ocppcore.http.requests import Write
from ocppcore.store import Store, Table, Value

LOOK_FIRST_S: Final = 0.02
LOOK_MAX_S: Final = 0.5

Row = Mapping[str, Value]
Seen = TypeVar("Seen")


class Begun(NamedTuple):
    """It was decided, and goes on. `body`: what the decision said; `until`: so long the caller waits (loop's time)."""

    body: Mapping[str, Any]
    until: float

    def left_s(self) -> float:
        return max(0.0, self.until - asyncio.get_running_loop().time())


async def begin(write: Write, type_: str, key: str, body: msgspec.Struct) -> Begun | Response:
    """Have it decided, as by `Write.__call__`; the answer already where it was refused, or is not decided in time."""
    until = asyncio.get_running_loop().time() + write.wait_s
    operation, _ = await write.outcome(type_, key, body, write.wait_s)
    if operation is None:
        return write.pending({})
    if operation.status >= 400:
        return write.answer(operation, "", {})
    return Begun(orjson.loads(bytes(operation.body)), until)


async def look(
    at: Callable[[], Awaitable[Seen]],
    over: Callable[[Seen], bool],
    wait_s: float,
    *,
    first_s: float = LOOK_FIRST_S,
    most_s: float = LOOK_MAX_S,
) -> Seen:
    """What is seen once it is over, or after `wait_s`. Looks at once, then in pauses that double, first to most."""
    loop, pause = asyncio.get_running_loop(), first_s
    until = loop.time() + wait_s
    while True:
        seen = await at()
        if over(seen) or loop.time() >= until:
            return seen
        await asyncio.sleep(min(pause, max(0.0, until - loop.time())))
        pause = min(pause * 2, most_s)


@dataclass(frozen=True)
class Progress:
    """Where operations of one kind stand: rows of `table` whose column `state` is one of `open` have not ended."""

    store: Store
    table: Table
    open: Collection[str]
    id: str = "operation_id"
    state: str = "state"
    first_s: float = LOOK_FIRST_S
    most_s: float = LOOK_MAX_S

    async def row(self, id_: str, wait_s: float = 0.0) -> Row | None:
        """The row once it has ended, or as it is after `wait_s`; None if there is none."""

        async def at() -> Row | None:
            rows = await self.store.select(self.table, {self.id: id_}, limit=1)
            return rows[0] if rows else None

        return await look(at, self._over, wait_s, first_s=self.first_s, most_s=self.most_s)

    def is_open(self, row: Row) -> bool:
        return row[self.state] in self.open

    def _over(self, row: Row | None) -> bool:
        return row is not None and not self.is_open(row)

    async def asked(
        self,
        write: Write,
        type_: str,
        key: str,
        body: msgspec.Struct,
        *,
        show: Callable[[Row], BaseModel],
        place: str,
        in_force: Callable[[float], Awaitable[bool]] | None = None,
    ) -> Response:
        """Begin it and answer: 200 once it has ended, else 202; `Location` is `place/id` both times.

        The decision names the operation as `operationId`, and wrote its row. `in_force`: waits, at most so many
        seconds, until what came of it counts everywhere.
        """
        begun = await begin(write, type_, key, body)
        if isinstance(begun, Response):
            return begun
        id_ = str(begun.body["operationId"])
        row = await self.row(id_, begun.left_s())
        assert row is not None, f"{self.table.name}: {id_} has no row"
        over = not self.is_open(row) and (in_force is None or await in_force(begun.left_s()))
        headers = {"Location": f"{place}/{id_}"}
        return Response(show(row).model_dump_json(), 200 if over else 202, headers, "application/json")
