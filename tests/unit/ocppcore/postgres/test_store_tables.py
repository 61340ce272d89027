"""Names and DDL of a service's tables: what is refused before it reaches a database."""

import pytest

from ocppcore.postgres import store_tables as tables
from ocppcore.postgres.store_select import page
from ocppcore.postgres.store_write import fenced
from ocppcore.store import Commit, StateKey, StateWrite, Table

PLAIN = Table("plain", {"id": "text", "at": "bigint"}, ("id",))


@pytest.mark.parametrize("name", ["", "a b", 'a"', "1a", "A", "ä", "a;", "x" * 64, "a-b"])
def test_names_that_no_declaration_has_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not a name"):
        tables.name(name)


@pytest.mark.parametrize("namespace", ["", "test", "prod-2", "0a_b"])
def test_schema_carries_the_namespace(namespace: str) -> None:
    assert tables.schema_name("auth", namespace) == (f"{namespace}_auth" if namespace else "auth")


@pytest.mark.parametrize("namespace", ['a"', "a.b", "A", "-a", "x" * 60])
def test_schema_names_that_are_unsafe_or_too_long_are_refused(namespace: str) -> None:
    with pytest.raises(ValueError, match=r"namespace|bytes"):
        tables.schema_name("transactions", namespace)


@pytest.mark.parametrize(
    ("declared", "streams", "copies"),
    [
        ([Table("state", {"id": "text"}, ("id",))], [], []),
        ([Table("events", {"id": "text"}, ("id",))], ["device.events"], []),
        ([PLAIN, PLAIN], [], []),
        ([Table("copy_auth_tokens", {"id": "text"}, ("id",))], [], ["auth.tokens"]),
        ([Table("plain", {"id": "text"}, ())], [], []),
        ([Table("plain", {"id": "text"}, ("id", "id"))], [], []),
        ([Table("plain", {"id": "text"}, ("other",))], [], []),
        ([Table("plain", {"id": "text"}, ("id",), indexes=(("other",),))], [], []),
    ],
)
def test_declarations_that_clash_are_refused(declared: list[Table], streams: list[str], copies: list[str]) -> None:
    with pytest.raises(ValueError, match=r"taken|key|no column"):
        tables.check_names(declared, streams, copies)


def test_declarations_that_do_not_clash_are_taken() -> None:
    tables.check_names([PLAIN], ["device.events"], ["auth.tokens", "device.stations"])


def test_long_index_names_are_cut_and_stay_different() -> None:
    names = {tables.index_name(PLAIN, ["x" * 40, f"y{number}" * 20]) for number in range(50)}
    assert len(names) == 50
    assert max(map(len, names)) <= tables.NAME_BYTES_MAX


def test_the_shape_of_a_table_is_its_columns_in_order_and_its_key() -> None:
    same = Table("plain", {"id": "text", "at": "bigint"}, ("id",), indexes=(("at",),))
    turned = Table("plain", {"at": "bigint", "id": "text"}, ("id",))
    typed = Table("plain", {"id": "text", "at": "text"}, ("id",))
    keyed = Table("plain", {"id": "text", "at": "bigint"}, ("id", "at"))
    assert tables.shape(same) == tables.shape(PLAIN)
    assert len({tables.shape(table) for table in (PLAIN, turned, typed, keyed)}) == 4


def test_changes_without_a_cell_are_a_mistake() -> None:
    with pytest.raises(AssertionError, match="cells"):
        fenced('"plain"', Commit([], {StateKey("Session", "a"): StateWrite(0, b"1", True, None)}))


def test_a_page_continues_after_values_of_all_its_columns() -> None:
    with pytest.raises(ValueError, match="continues"):
        page('"plain"', PLAIN, {}, ("a",), ("at",), False, 10)


@pytest.mark.parametrize(("text", "storable"), [("", True), ("é\U0001f50c", True), ("a\0", False), ("\udfff", False)])
def test_storable_texts(text: str, storable: bool) -> None:
    assert tables.storable(text) is storable
