"""What goes on after its request was decided is looked at until it is over, and no longer than asked."""

import asyncio

import pytest

from ocppcore.http.progress import Progress, look
from ocppcore.memory import MemoryStore
from ocppcore.store import Table
from tests.support import virtual_time

DOINGS = Table("doings", {"operation_id": "text", "state": "text"}, ("operation_id",))


def test_pauses_double_up_to_the_longest_and_end_with_the_wait() -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        looks: list[float] = []

        async def at() -> bool:
            looks.append(round(loop.time(), 6))
            return False

        assert not await look(at, bool, 1.0, first_s=0.1, most_s=0.4)
        assert looks == [0, 0.1, 0.3, 0.7, 1.0]

    virtual_time.run(run())


@pytest.mark.parametrize(
    ("rows", "wait_s", "found", "took"),
    [
        ({"a": "over"}, 9, "over", 0.0),  # it is not waited for what is over
        ({"a": "asked"}, 0, "asked", 0.0),
        ({"a": "asked"}, 9, "asked", 9.0),
        ({"b": "over"}, 9, None, 9.0),  # its row may come yet
    ],
)
def test_a_row_is_read_once_it_has_ended_or_as_it_is_then(
    rows: dict[str, str], wait_s: float, found: str | None, took: float
) -> None:
    async def run() -> None:
        loop, store = asyncio.get_running_loop(), MemoryStore()
        store.tables.rows["doings"] = {(id_,): (id_, state) for id_, state in rows.items()}
        row = await Progress(store, DOINGS, {"asked", "sent"}).row("a", wait_s)
        assert (row and row["state"], round(loop.time(), 6)) == (found, took)

    virtual_time.run(run())


def test_an_end_that_comes_meanwhile_is_seen() -> None:
    async def run() -> None:
        loop, store = asyncio.get_running_loop(), MemoryStore()
        store.tables.rows["doings"] = {("a",): ("a", "asked")}
        loop.call_later(1, store.tables.rows["doings"].update, {("a",): ("a", "over")})
        row = await Progress(store, DOINGS, {"asked"}).row("a", 9)
        assert row is not None and row["state"] == "over" and loop.time() <= 1.5

    virtual_time.run(run())
