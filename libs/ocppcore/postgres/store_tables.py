"""A service's tables in PostgreSQL: names, DDL of what is declared, types of columns. Pure: text in, SQL out.

Names come from our own declarations, never from a record; they are checked and quoted all the same.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import blake2b
from pathlib import Path

import msgspec

from ocppcore.store import ColumnType, Table, check_tables, type_of
from ocppcore.topics import BY_NAME

LAYOUT = "1"
"""Of the tables in `sql/store_schema.sql`; a release that changes them says how to come from the one before."""

OWN_TABLES = frozenset({"meta", "cells", "state", "timers", "copies", "declared"})
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_NAMESPACE = re.compile(r"[a-z0-9][a-z0-9_-]*")
NAME_BYTES_MAX = 63
"""PostgreSQL cuts longer names off, silently."""


def name(of: str) -> str:
    """A table's or column's name, quoted; ValueError if it is not one we would give."""
    if not _NAME.fullmatch(of) or len(of) > NAME_BYTES_MAX:
        raise ValueError(f"not a name for a table or column: {of!r}")
    return f'"{of}"'


def schema_name(service: str, namespace: str) -> str:
    """The service's schema, not quoted: `transactions`, or `<namespace>_transactions`."""
    name(service)
    if namespace and not _NAMESPACE.fullmatch(namespace):
        raise ValueError(f"a namespace is lower-case letters, digits, _ and -, not {namespace!r}")
    schema = f"{namespace}_{service}" if namespace else service
    if len(schema) > NAME_BYTES_MAX:
        raise ValueError(f"the schema's name {schema!r} is over {NAME_BYTES_MAX} bytes")
    return schema


def storable(text: str) -> bool:
    """Whether a text column can hold it: PostgreSQL takes neither U+0000 nor half of a surrogate pair."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def lock_key(purpose: str) -> int:
    """An advisory lock's number: the same in every process, different from other purposes'."""
    return int.from_bytes(blake2b(purpose.encode(), digest_size=8).digest(), "big", signed=True)


# Column types. A value travels as the type that costs least to encode and exactly keeps it: numeric and jsonb as text.


class Column(msgspec.Struct, frozen=True):
    """How a declared type is stored, how an array of its values is sent, and read."""

    ddl: str
    sent: str
    cast: str = ""
    read: str = ""
    encoded: str = "{0}::text"
    """Its JSON text in SQL, as msgspec writes it: the order of a rebuild's rows is that of their encoded keys."""


COLUMNS: Mapping[ColumnType, Column] = {
    "text": Column('text COLLATE "C"', "text", encoded="to_json({0})::text"),
    "bigint": Column("bigint", "bigint"),
    "numeric": Column("numeric", "text", "::numeric", "::text", "'\"' || {0}::text || '\"'"),
    "boolean": Column("boolean", "boolean"),
    # json, not jsonb: it keeps the text as the projection wrote it (rows compare byte for byte, also with the twin's),
    # takes what jsonb refuses (\u0000) and spends nothing on a form of its own. Queries may cast it.
    "jsonb": Column("json", "text", "::json", "::text", "to_json({0}::text)::text"),
}


def column(table: Table, of: str) -> Column:
    """ValueError if the table declares no such column."""
    return COLUMNS[type_of(table, of)]


def check_names(tables: Sequence[Table], streams: Sequence[str], copies: Sequence[str]) -> None:
    """ValueError if two tables of one schema would have the same name, or a declaration contradicts itself."""
    taken = set(OWN_TABLES)
    for table_name in (
        *(stream_table(stream) for stream in streams),
        *(copy_table(topic) for topic in copies),
        *(table.name for table in tables),
    ):
        if table_name in taken:
            raise ValueError(f"the name {table_name!r} is taken in the service's schema")
        taken.add(table_name)
    check_tables(tables)


def stream_table(stream: str) -> str:
    """`transactions.events` -> `events`."""
    return stream.rpartition(".")[2]


def copy_table(topic: str) -> str:
    """`auth.tokens` -> `copy_auth_tokens`."""
    return "copy_" + topic.replace(".", "_")


def stream_ddl(schema: str, stream: str) -> str:
    """The table of a stream. Its rows are written once and never change; up to 4 kB they are not worth compressing.

    One that is kept for a time only is a series of samples, and asked for by key and time."""
    table = f"{schema}.{name(stream_table(stream))}"
    ddl = f"""CREATE TABLE IF NOT EXISTS {table} (
    cell integer NOT NULL, number bigint NOT NULL, key text COLLATE "C" NOT NULL, value bytea NOT NULL,
    headers text NOT NULL, appended_at bigint NOT NULL, PRIMARY KEY (cell, number))
    WITH (toast_tuple_target = 4080)"""
    if stream not in BY_NAME or BY_NAME[stream].retention is None:
        return ddl
    index = name(stream_table(stream) + "_by_key")
    return f"{ddl};\n    CREATE INDEX IF NOT EXISTS {index} ON {table} (key, appended_at, number)"


def copy_ddl(schema: str, topic: str) -> str:
    """The table of a copy. Deleted rows stay for a time, with their position and no value: an older record that
    another process still holds must not undo them."""
    table = f"{schema}.{name(copy_table(topic))}"
    return f"""CREATE TABLE IF NOT EXISTS {table} (
    key text COLLATE "C" PRIMARY KEY, value bytea, partition integer NOT NULL, position bigint NOT NULL,
    deleted_at bigint) WITH (fillfactor = 80);
    ALTER TABLE {table} ADD COLUMN IF NOT EXISTS deleted_at bigint,
    ADD COLUMN IF NOT EXISTS source text COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN IF NOT EXISTS number bigint NOT NULL DEFAULT -1, ADD COLUMN IF NOT EXISTS stale bigint;
    CREATE INDEX IF NOT EXISTS {name(copy_table(topic) + "_deleted")} ON {table} (deleted_at) WHERE value IS NULL;
    CREATE INDEX IF NOT EXISTS {name(copy_table(topic) + "_stale")} ON {table} (stale) WHERE stale IS NOT NULL"""


def shape(table: Table) -> str:
    """What must be equal for stored rows to stay usable: columns in order with their types, and the key."""
    return msgspec.json.encode([list(table.columns.items()), table.key]).decode()


def table_ddl(schema: str, table: Table) -> str:
    columns = "".join(
        f"{name(of)} {COLUMNS[type_].ddl}{' NOT NULL' if of in table.key else ''}, "
        for of, type_ in table.columns.items()
    )
    key = ", ".join(name(of) for of in table.key)
    return f"CREATE TABLE {schema}.{name(table.name)} ({columns}PRIMARY KEY ({key})) WITH (fillfactor = 80)"


def index_name(table: Table, index: Sequence[str]) -> str:
    readable = f"{table.name}_by_{'_'.join(index)}"
    if len(readable) <= NAME_BYTES_MAX:
        return readable
    return f"{table.name[:40]}_by_{blake2b(readable.encode(), digest_size=8).hexdigest()}"


def index_ddl(schema: str, table: Table, index: Sequence[str]) -> str:
    columns = ", ".join(name(of) for of in index)
    return f"CREATE INDEX IF NOT EXISTS {name(index_name(table, index))} ON {schema}.{name(table.name)} ({columns})"


# Named queries


@cache
def named_sql(file: str) -> Mapping[str, str]:
    """The statements of a file in `sql/`, by the name in the line `-- name: ...` before each."""
    text = (Path(__file__).parent / "sql" / file).read_text(encoding="utf-8")
    parts = re.split(r"^-- name: (\w+)$", text, flags=re.MULTILINE)
    return {key: body.strip() for key, body in zip(parts[1::2], parts[2::2], strict=True)}


def core_ddl(schema: str) -> str:
    """The tables that every store has; `schema` quoted."""
    return (Path(__file__).parent / "sql" / "store_schema.sql").read_text(encoding="utf-8").format(schema=schema)
