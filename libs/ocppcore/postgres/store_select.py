"""Reading a projection page by page, and in the order of a rebuild's hash: SQL from declarations. Pure."""

from collections.abc import Mapping, Sequence

from ocppcore.postgres.store_tables import COLUMNS, column, name
from ocppcore.store import Among, Table, Value, page_columns


def page(
    schema: str,
    table: Table,
    where: Mapping[str, Value],
    after: tuple[Value, ...] | None,
    order: tuple[str, ...],
    descending: bool,
    limit: int,
    among: Among | None = None,
) -> tuple[str, list[object]]:
    """The statement of `Store.select` and its arguments. ValueError for a column that is not declared."""
    arguments: list[object] = []
    columns = page_columns(table, where, after, order)
    terms = [_equals(table, of, value, arguments) for of, value in where.items()]
    if among is not None:
        terms.append(_among(table, among, arguments))
    if after is not None:
        terms.append(_behind(table, list(zip(columns, after, strict=True)), descending, arguments))
    # PostgreSQL's own default: NULL is greater than any value, first when descending.
    ordered = ", ".join(f"{_sortable(table, of)}{' DESC' if descending else ''}" for of in columns)
    values = ", ".join(f"t.{name(of)}{COLUMNS[type_].read} AS {name(of)}" for of, type_ in table.columns.items())
    arguments.append(limit)
    return (
        f"SELECT {values} FROM {schema}.{name(table.name)} t{_where(terms)} ORDER BY {ordered} LIMIT ${len(arguments)}",
        arguments,
    )


def in_hash_order(schema: str, table: Table) -> str:
    """Every row, its columns in order, sorted by the bytes of the key as JSON."""
    values = ", ".join(f"t.{name(of)}{COLUMNS[type_].read}" for of, type_ in table.columns.items())
    encoded = " || ',' || ".join(COLUMNS[table.columns[of]].encoded.format(f"t.{name(of)}") for of in table.key)
    return f"SELECT {values} FROM {schema}.{name(table.name)} t ORDER BY ('[' || {encoded} || ']') COLLATE \"C\""


def _where(terms: Sequence[str]) -> str:
    return f" WHERE {' AND '.join(terms)}" if terms else ""


def _sortable(table: Table, of: str) -> str:
    """json has no order of its own: its text has."""
    how = column(table, of)
    return f'(t.{name(of)}::text) COLLATE "C"' if how.ddl == "json" else f"t.{name(of)}"


def _parameter(table: Table, of: str, value: Value, arguments: list[object]) -> str:
    how = column(table, of)
    arguments.append(value)
    sent = f"${len(arguments)}::{how.sent}"
    return sent if how.ddl == "json" else f"({sent}){how.cast}"


def _equals(table: Table, of: str, value: Value, arguments: list[object]) -> str:
    if value is None:
        return f"t.{name(of)} IS NULL"
    return f"{_sortable(table, of)} = {_parameter(table, of, value, arguments)}"


def _among(table: Table, among: Among, arguments: list[object]) -> str:
    of = _sortable(table, among.column)
    if not among.prefixes:  # an index finds these, and none would with the other half
        arguments.append(list(among.values))
        return f"{of} = ANY(${len(arguments)}::text[])"
    arguments += [list(among.values), list(among.prefixes)]
    return f"({of} = ANY(${len(arguments) - 1}::text[]) OR {of} ^@ ANY(${len(arguments)}::text[]))"


def _behind(table: Table, edge: Sequence[tuple[str, Value]], descending: bool, arguments: list[object]) -> str:
    """Rows that come after `edge`: (a > x) OR (a = x AND b > y) ..., where NULL is greater than any value.

    A row comparison `(a, b) > (x, y)` would be shorter, but it drops the rows that hold a NULL. An index is entered at
    the page's begin by the bound on the first column, where that has one.
    """
    alternatives = []
    for place, (of, value) in enumerate(edge):
        further = _further(table, of, value, descending, arguments)
        if further:
            equal = [_equals(table, before, seen, arguments) for before, seen in edge[:place]]
            alternatives.append(" AND ".join([*equal, further]))
    found = " OR ".join(f"({alternative})" for alternative in alternatives) or "FALSE"
    return f"({found}){_bound(table, *edge[0], descending, arguments)}"


def _bound(table: Table, of: str, value: Value, descending: bool, arguments: list[object]) -> str:
    if value is None or not (descending or of in table.key):
        return ""
    return f" AND {_sortable(table, of)} {'<=' if descending else '>='} {_parameter(table, of, value, arguments)}"


def _further(table: Table, of: str, value: Value, descending: bool, arguments: list[object]) -> str:
    """SQL for one column's values behind `value`; empty if there can be none."""
    if value is None:
        return f"t.{name(of)} IS NOT NULL" if descending else ""
    sign = "<" if descending else ">"
    compared = f"{_sortable(table, of)} {sign} {_parameter(table, of, value, arguments)}"
    return compared if descending or of in table.key else f"({compared} OR t.{name(of)} IS NULL)"
