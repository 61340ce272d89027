"""Looking up tokens costs the same with a million of them: every question is answered by an index (EXPLAIN)."""

import json
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from ocppcore import topics
from ocppcore.postgres.store import PostgresStore
from ocppcore.postgres.store_select import page
from ocppcore.store import Among, Table, Value
from services.auth.domain.local_list import MARKS, TAGS
from services.auth.projections import TOKENS
from tests.integration.postgres_fixture import PostgresServer, postgres_server

__all__ = ["postgres_server"]
COUNT = 50_000


@dataclass
class Filled:
    connection: Any
    schema: str
    store: PostgresStore

    async def plan(self, sql: str, *arguments: object) -> list[Mapping[str, Any]]:
        """The nodes of the plan, with what was really done."""
        rows = await self.connection.fetch(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", *arguments)
        found: list[Mapping[str, Any]] = []
        left = [json.loads(rows[0][0])[0]["Plan"]]
        while left:
            node = left.pop()
            found.append(node)
            left += node.get("Plans", [])
        return found


@pytest.fixture
async def filled(postgres_server: PostgresServer) -> AsyncIterator[Filled]:
    namespace = f"n{secrets.token_hex(4)}"
    store = PostgresStore(postgres_server.dsn, "auth", namespace)
    await store.prepare([TOKENS, TAGS, MARKS], ["auth.events"], [topics.TOKENS])
    schema = f'"{namespace}_auth"'
    connection = await asyncpg.connect(postgres_server.dsn)
    token = "md5(n::text)"
    await connection.execute(
        f"INSERT INTO {schema}.tokens SELECT {token}, 'Central', 'Accepted', 'fleet-' || n % 50, '', '{{}}', 1 "
        f"FROM generate_series(1, {COUNT}) n"
    )
    await connection.execute(
        f"INSERT INTO {schema}.token_tags SELECT 'tag-' || n % 5, {token} FROM generate_series(1, {COUNT}) n"
    )
    await connection.execute(
        f"INSERT INTO {schema}.token_marks SELECT 'group/' || n, c, '' FROM generate_series(1, 5000) n, "
        "generate_series(0, 3) c"
    )
    copy = store._schema.copy(topics.TOKENS)
    await connection.execute(
        f"INSERT INTO {copy} (key, value, partition, position) SELECT {token}, '{{}}', 0, n "
        f"FROM generate_series(1, {COUNT}) n"
    )
    for table in (f"{schema}.tokens", f"{schema}.token_tags", f"{schema}.token_marks", copy):
        await connection.execute(f"ANALYZE {table}")
    yield Filled(connection, schema, store)
    await connection.execute(f"DROP SCHEMA {schema} CASCADE")
    await connection.close()
    await store.close()


MIDDLE = "8" * 32
ASKED: dict[str, tuple[Table, dict[str, Value], Any, tuple[str, ...], Among | None, int]] = {
    "one token": (TOKENS, {"token": MIDDLE}, None, (), None, 1),
    "some tokens": (TOKENS, {}, None, (), Among("token", (MIDDLE, "0" * 32)), 200),
    "a page of all tokens": (TOKENS, {}, (MIDDLE,), (), None, 100),
    "a page of a group": (TOKENS, {"group_id": "fleet-7"}, (MIDDLE,), ("token",), None, 100),
    "a page of a status": (TOKENS, {"status": "Accepted"}, (MIDDLE,), (), None, 100),
    "a page of a tag": (TAGS, {"tag": "tag-3"}, (MIDDLE, "tag-3"), ("token",), None, 100),
    "marks of some labels": (MARKS, {}, None, (), Among("label", ("group/7", "group/8", "all")), 100_000),
}


@pytest.mark.parametrize("asked", ASKED)
async def test_a_question_about_tokens_reads_what_it_answers_and_no_more(filled: Filled, asked: str) -> None:
    table, where, after, order, among, limit = ASKED[asked]
    sql, arguments = page(filled.schema, table, where, after, order, False, limit, among)
    nodes = await filled.plan(sql, *arguments)
    assert not [node for node in nodes if node["Node Type"] == "Seq Scan"], f"{asked}: {nodes}"
    read = max(node["Actual Rows"] + node.get("Rows Removed by Filter", 0) for node in nodes)
    assert read <= limit + 1, f"{asked}: {nodes}"
    assert not [node for node in nodes if node["Node Type"] == "Sort" and node["Actual Rows"] > 20], f"{asked}: {nodes}"


async def test_the_copy_that_stations_are_answered_from_is_read_by_key(filled: Filled) -> None:
    sql = filled.store._sql["copy_find"].format(copy=filled.store._schema.copy(topics.TOKENS))
    nodes = await filled.plan(sql, [MIDDLE, "0" * 32])
    assert not [node for node in nodes if node["Node Type"] == "Seq Scan"], nodes
