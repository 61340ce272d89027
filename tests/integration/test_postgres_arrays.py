"""What the shortcut in asyncpg's arrays rests on, and that it changes nothing but time."""

import asyncpg  # type: ignore[import-untyped]
import pytest
from asyncpg.protocol import protocol  # type: ignore[import-untyped]

from ocppcore.postgres import arrays
from tests.integration.postgres_fixture import PostgresServer, postgres_server

__all__ = ["postgres_server"]


def test_asyncpg_asks_by_the_names_that_are_replaced() -> None:
    assert {name: getattr(protocol, name) for name in arrays.NAMES} == arrays.NAMES


@pytest.mark.parametrize(
    ("sql_type", "values"),
    [
        ("text", ["a", "", "é🔌", '{"a":[1]}', None]),
        ("bytea", [b"", b"\x00{", None]),
        ("bigint", [0, -(2**63), 2**63 - 1, None]),
        ("boolean", [True, False, None]),
    ],
)
async def test_lists_of_plain_values_arrive_as_they_are(
    postgres_server: PostgresServer, sql_type: str, values: list[object]
) -> None:
    connection = await asyncpg.connect(postgres_server.dsn)
    try:
        for sent in (values, values[:1], []):
            assert await connection.fetchval(f"SELECT $1::{sql_type}[]", sent) == sent
            rows = await connection.fetch(f"SELECT v FROM unnest($1::{sql_type}[]) v", sent)
            assert [row[0] for row in rows] == sent
    finally:
        await connection.close()


async def test_what_is_no_list_is_refused(postgres_server: PostgresServer) -> None:
    connection = await asyncpg.connect(postgres_server.dsn)
    try:
        with pytest.raises(asyncpg.DataError):
            await connection.fetchval("SELECT $1::text[]", {"a": 1})
    finally:
        await connection.close()
