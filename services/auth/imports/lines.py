"""Lines of an import as tokens, and tokens as lines of an export: CSV with a header, or JSON lines. No IO.

Both have the API's fields. In CSV an empty cell is an absent field; a list is written `one;two`, or as a JSON array
where it is empty or its items have a semicolon. What a spreadsheet would take for a formula has an apostrophe before
it, which belongs to the cell and not to its value (`csv_cells`).
"""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import orjson
from pydantic import ValidationError

from ocppcore.contracts.auth import PutToken
from ocppcore.contracts.imports import Refusal
from ocppcore.csv_cells import inert, plain
from services.auth.bodies import IdToken, TokenBody, TokenShown, TokenType
from services.auth.drivers import Sealed

Format = Literal["csv", "jsonl"]
LINES_MAX: Final = 2000
"""Of one part."""
LINE_BYTES_MAX: Final = 65_536
FAULTS_MAX: Final = 5
"""Named of one line."""
TEXT_MAX: Final = 200

SCALARS: Final = (
    "type", "idToken", "status", "language1", "language2", "cacheExpiryDateTime", "chargingPriority", "validFrom",
    "validTo", "concurrentTransactions", "groupConcurrentTransactions",
)  # fmt: skip
LISTS: Final = ("stations", "evses", "connectorTypes", "tags")
AS_JSON: Final = ("personalMessages", "windows", "credit")
"""What has a shape of its own: JSON in a cell, as the API takes it."""
NUMBERS: Final = frozenset({"chargingPriority", "evses", "concurrentTransactions", "groupConcurrentTransactions"})
NESTED: Final[Mapping[str, Mapping[str, str]]] = {
    "groupIdToken": {"groupIdToken": "idToken", "groupIdTokenType": "type"},
    "personalMessage": {
        "personalMessage": "content", "personalMessageFormat": "format", "personalMessageLanguage": "language",
    },
}  # fmt: skip
COLUMNS: Final = (
    *SCALARS[:3], *NESTED["groupIdToken"], *SCALARS[3:5], *NESTED["personalMessage"], *SCALARS[5:], *LISTS, *AS_JSON,
)  # fmt: skip


class TokenLine(TokenBody):
    """A line: the token's body and what stands in its address elsewhere."""

    type: TokenType
    idToken: IdToken


class Wanted(NamedTuple):
    """A line that is sound: its number, the pseudonym, and what is asked for."""

    line: int
    pseudonym: str
    put: PutToken


class Unreadable(ValueError):
    """The part as a whole is no such file; the message says why."""


def read(
    format_: Format,
    raw: bytes,
    first_line: int,
    pseudonym_of: Callable[[str, str], str],
    seal: Callable[[str, str], Sealed],
) -> tuple[list[Wanted], list[Refusal], int]:
    """Tokens and refused lines of a part, and how many lines it has. `first_line`: where it stands in the file.

    Raises Unreadable.
    """
    wanted: list[Wanted] = []
    refused: list[Refusal] = []
    count = 0
    for line, found in (_csv if format_ == "csv" else _jsonl)(raw, first_line):
        count += 1
        if count > LINES_MAX:
            raise Unreadable(f"a part has at most {LINES_MAX} lines")
        if isinstance(found, Refusal):
            refused.append(found)
            continue
        try:
            token = TokenLine.model_validate(found)
        except ValidationError as error:
            refused += _faults(line, error)
            continue
        pseudonym = pseudonym_of(token.type, token.idToken)
        sealed = seal(pseudonym, token.idToken)
        put = PutToken(state=token.state(token.type, sealed.value), driver_key=sealed.key)
        wanted.append(Wanted(line, pseudonym, put))
    return wanted, refused, count


def _faults(line: int, error: ValidationError) -> Iterator[Refusal]:
    for one in error.errors(include_input=False, include_url=False, include_context=False)[:FAULTS_MAX]:
        field = ".".join(map(str, one["loc"]))[:TEXT_MAX]
        yield Refusal(line=line, field=field, reason=one["msg"][:TEXT_MAX])


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(f"not UTF-8: byte {error.start}") from None


def _jsonl(raw: bytes, first_line: int) -> Iterator[tuple[int, Any]]:
    for n, text in enumerate(_text(raw).split("\n")):
        line = first_line + n
        if not text.strip():
            continue
        if len(text) > LINE_BYTES_MAX:
            yield line, Refusal(line=line, field="", reason=f"longer than {LINE_BYTES_MAX} characters")
            continue
        try:
            yield line, orjson.loads(text)
        except orjson.JSONDecodeError:
            yield line, Refusal(line=line, field="", reason="not JSON")


def _csv(raw: bytes, first_line: int) -> Iterator[tuple[int, Any]]:
    """The header belongs to each part and is no line of the file; `first_line` is that of the first row behind it."""
    reader = csv.reader(io.StringIO(_text(raw), newline=""), strict=True)
    header: list[str] | None = None
    offset = first_line
    try:
        for row in reader:
            if header is None:
                header = [name.strip() for name in row]
                _check_header(header)
                offset = first_line - reader.line_num - 1
                before = reader.line_num
                continue
            line, before = offset + before + 1, reader.line_num
            if not row:
                continue
            yield line, _token(header, row, line)
    except csv.Error as error:
        raise Unreadable(f"no CSV: {error}") from None


def _check_header(header: Sequence[str]) -> None:
    unknown = [name for name in header if name not in COLUMNS]
    if unknown:
        raise Unreadable(f"unknown column {unknown[0][:TEXT_MAX]!r}; there are {', '.join(COLUMNS)}")
    if len(set(header)) < len(header):
        raise Unreadable("a column is there twice")


def _token(header: Sequence[str], row: Sequence[str], line: int) -> dict[str, Any] | Refusal:
    if len(row) != len(header):
        return Refusal(line=line, field="", reason=f"{len(row)} cells under {len(header)} columns")
    cells = {name: plain(cell) for name, cell in zip(header, row, strict=True) if cell != ""}
    found: dict[str, Any] = {}
    try:
        for name in (*SCALARS, *LISTS, *AS_JSON):
            if name in cells:
                read_cell = _list if name in LISTS else _json if name in AS_JSON else _scalar
                found[name] = read_cell(name, cells[name])
    except ValueError as error:
        return Refusal(line=line, field=name, reason=str(error))
    for name, columns in NESTED.items():
        inner = {field: cells[column] for column, field in columns.items() if column in cells}
        if inner:
            found[name] = inner
    return found


def _scalar(name: str, cell: str) -> Any:
    if name not in NUMBERS:
        return cell
    try:
        return int(cell)
    except ValueError:
        raise ValueError("not a whole number") from None


def _list(name: str, cell: str) -> list[Any]:
    if cell.startswith("["):
        try:
            found = orjson.loads(cell)
        except orjson.JSONDecodeError:
            raise ValueError("not a JSON array") from None
        return found if isinstance(found, list) else [found]
    return [_scalar(name, item.strip()) for item in cell.split(";")]


def _json(_: str, cell: str) -> Any:
    try:
        return orjson.loads(cell)
    except orjson.JSONDecodeError:
        raise ValueError("not JSON") from None


def write(format_: Format, tokens: Iterable[TokenShown]) -> bytes:
    """Lines of these tokens, without a header; those whose value cannot be read any more are left out."""
    readable = [token for token in tokens if token.idToken is not None]
    if format_ == "jsonl":
        return b"".join(
            orjson.dumps({k: v for k, v in token.model_dump(by_alias=True).items() if v is not None}) + b"\n"
            for token in readable
        )
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    for token in readable:
        rows.writerow(_row(token.model_dump(by_alias=True)))
    return text.getvalue().encode()


def header() -> bytes:
    """Of an exported CSV."""
    return ",".join(COLUMNS).encode() + b"\n"


def _row(token: Mapping[str, Any]) -> list[Any]:
    cells: dict[str, Any] = {name: token[name] for name in SCALARS}
    for name in AS_JSON:
        cells[name] = orjson.dumps(token[name], default=str).decode() if token[name] else None
    for name in LISTS:
        items = token[name]
        plain = items and not any(";" in str(one) or str(one).startswith("[") or not str(one) for one in items)
        cells[name] = ";".join(map(str, items)) if plain else None if items is None else orjson.dumps(items).decode()
    for name, columns in NESTED.items():
        inner = token[name] or {}
        cells |= {column: inner.get(field) for column, field in columns.items()}
    cells["tags"] = cells["tags"] if token["tags"] else None
    return ["" if cells[name] is None else inert(str(cells[name])) for name in COLUMNS]
