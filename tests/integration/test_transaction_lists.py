"""Lists of transactions and charge detail records are read from an index, in its order, however long they are."""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from csms.bench.queries import VALUES, questions
from ocppcore.postgres.store import PostgresStore
from ocppcore.postgres.store_select import page
from ocppcore.postgres.store_tables import name
from ocppcore.store import Table, Value
from services.transactions.domain.charge_detail import CHARGE_DETAILS
from services.transactions.domain.transaction import TRANSACTIONS
from tests.integration.postgres_fixture import PostgresServer, postgres_server

__all__ = ["postgres_server"]

ROWS = 20_000
PAGE = 100
MADE = {
    "id": "md5(n::text)",
    "station": VALUES["station"],
    "key": VALUES["key"],
    "token": VALUES["token"],
    "version": "1",
    "kind": "'charge'",
    "made_at": VALUES["heard_at"],
    "content": "'{}'",
}
NAMES = {"stationId": "station", "evseId": "evse_id", "completeness": "grade"}


@dataclass
class Filled:
    connection: Any
    schema: str

    async def plan(
        self, table: Table, where: dict[str, Value], order: str, after: tuple[Value, ...] | None = None
    ) -> list[dict[str, Any]]:
        """The nodes of the plan of a page, newest first."""
        sql, arguments = page(self.schema, table, where, after, (order,), True, PAGE)
        (row,) = await self.connection.fetch(f"EXPLAIN (FORMAT JSON) {sql}", *arguments)
        return list(nodes(json.loads(row[0])[0]["Plan"]))


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


@pytest.fixture
async def filled(postgres_server: PostgresServer) -> AsyncIterator[Filled]:
    store = PostgresStore(postgres_server.dsn, "transactions", "lists", patience_s=20.0, retention_days={})
    await store.prepare((TRANSACTIONS, CHARGE_DETAILS), (), ())
    connection = await asyncpg.connect(postgres_server.dsn)
    schema = name("lists_transactions")
    try:
        for table, values in ((TRANSACTIONS, VALUES), (CHARGE_DETAILS, MADE)):
            columns = [column for column in table.columns if column in values]
            await connection.execute(
                f"INSERT INTO {schema}.{name(table.name)} ({', '.join(map(name, columns))}) "
                f"SELECT {', '.join(values[column] for column in columns)} FROM generate_series(1, {ROWS}) AS n"
            )
            await connection.execute(f"VACUUM ANALYZE {schema}.{name(table.name)}")
        yield Filled(connection, schema)
    finally:
        await connection.execute(f"DROP SCHEMA {schema} CASCADE")
        await connection.close()
        await store.close()


async def test_every_question_is_answered_from_an_index(filled: Filled) -> None:
    for what, parameters in questions(ROWS).items():
        where = {NAMES.get(of, of): str(value).lower() if of == "stationId" else value
                 for of, value in parameters(7).items()}  # fmt: skip
        found = await filled.plan(TRANSACTIONS, where, "heard_at")
        kinds = [node["Node Type"] for node in found]
        assert "Seq Scan" not in kinds, f"{what}: {kinds}"
        assert not {"Sort", "Bitmap Heap Scan"} & set(kinds), f"{what}: {kinds}"


async def test_what_is_rare_is_found_by_its_own_index(filled: Filled) -> None:
    rare: tuple[dict[str, Value], ...] = (
        {"grade": "estimated"}, {"token": "nobody"}, {"station": "nowhere"}, {"state": "open"}, {"evse_id": 40},
    )  # fmt: skip
    for where in rare:
        found = await filled.plan(TRANSACTIONS, where, "heard_at")
        (column,) = where
        assert any(column in node.get("Index Cond", "") for node in found), f"{where}: {found}"


async def test_pages_go_on_where_the_last_one_ended(filled: Filled) -> None:
    after = (1_735_689_600_000 + 5000 * 3000, "bench-q-05000", "tx-5000")
    found = await filled.plan(TRANSACTIONS, {}, "heard_at", after)
    assert any("heard_at" in node.get("Index Cond", "") for node in found), found


async def test_records_of_a_station_and_of_a_driver_are_found_by_an_index(filled: Filled) -> None:
    questions: tuple[dict[str, Value], ...] = ({}, {"station": "bench-q-00007"}, {"token": "nobody"})
    for where in questions:
        found = await filled.plan(CHARGE_DETAILS, where, "made_at")
        kinds = [node["Node Type"] for node in found]
        assert "Seq Scan" not in kinds, f"{where}: {kinds}"
        assert all(any(column in node.get("Index Cond", "") for node in found) for column in where), f"{where}: {found}"
