"""`csms tokens`: files cut into parts, sent until they are counted, and gone on with."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from csms.tools import tokens
from csms.tools.tokens import Format, export_file, import_file, parts
from ocppcore.errors import OperatorError
from tests.support.served import Served
from tests.unit.auth.imports_rig import imports

WHERE = ("http://test", "admin-key")
CONSOLE = Console(quiet=True)


@contextmanager
def through(api: Served, monkeypatch: pytest.MonkeyPatch, breaks: set[int] | None = None) -> Iterator[list[str]]:
    """The tool reaches the served API; `breaks`: numbers of requests whose answers are lost. Yields what was asked."""
    inner: Any = api.client._transport
    asked: list[str] = []

    class Mounted(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            asked.append(f"{request.method} {request.url.path}")
            request.url = request.url.copy_with(raw_path=request.url.raw_path.removeprefix(b"/auth"))
            answer: httpx.Response = await inner.handle_async_request(request)
            if breaks and len(asked) in breaks:
                raise httpx.ReadError("the connection broke")
            return answer

    def client(where: tokens.Where) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {where[1]}"}
        return httpx.AsyncClient(base_url=where[0], headers=headers, transport=Mounted())

    monkeypatch.setattr(tokens, "_client", client)
    monkeypatch.setattr(tokens, "AGAIN_AFTER_S", 0.0)
    monkeypatch.setattr(tokens, "LINES", 10)
    yield asked


def csv_file(place: Path, count: int, wrong: frozenset[int] = frozenset()) -> Path:
    file = place / "tokens.csv"
    rows = [f"ISO14443,T-{n},{'Nope' if n in wrong else 'Accepted'}" for n in range(count)]
    file.write_text("\n".join(["type,idToken,status", *rows]) + "\n")
    return file


def test_a_csv_is_cut_between_its_records(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes(b'\xef\xbb\xbftype,personalMessage\r\nCentral,"two\nlines"\r\nISO14443,one\r\nLocal,last\r\n')
    found = list(parts(file, Format.CSV, 2))
    assert [(one.number, one.line, one.lines) for one in found] == [(0, 2, 2), (1, 5, 1)]
    assert found[0].body == b'type,personalMessage\nCentral,"two\nlines"\nISO14443,one\n'
    assert found[1].body == b"type,personalMessage\nLocal,last\n"
    assert found[-1].end == file.stat().st_size


def test_json_lines_are_cut_between_lines_and_by_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(b'{"a":1}\n{"a":2}\n{"a":3}')
    assert [(one.line, one.body) for one in parts(file, Format.JSONL, 2)] == [
        (1, b'{"a":1}\n{"a":2}\n'),
        (3, b'{"a":3}'),
    ]
    monkeypatch.setattr(tokens, "BYTES", 5)
    assert [one.line for one in parts(file, Format.JSONL, 2)] == [1, 2, 3]


@pytest.mark.parametrize("raw", [b'a,b\n"x', b"a,b\n\xff,1\n"])
def test_what_is_no_csv_is_said_with_its_line(tmp_path: Path, raw: bytes) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes(raw)
    with pytest.raises(OperatorError, match=r"line [23]: no CSV"):
        list(parts(file, Format.CSV, 2))


async def test_a_file_is_imported_and_refused_lines_have_their_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with imports() as api:
        with through(api, monkeypatch):
            console = Console(record=True, width=200, file=io.StringIO())
            refused = await import_file(csv_file(tmp_path, 35, frozenset({0, 33})), None, WHERE, console)
        assert refused == 2
        said = console.export_text()
        assert "35 lines, 33 tokens created, 0 replaced, 2 lines refused." in said
        assert "line 2: status: Input should be" in said
        assert "line 35: status: Input should be" in said
        assert len((await api.client.get("/tokens")).json()["items"]) == 33


async def test_lost_answers_are_asked_for_again_and_count_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with imports() as api:
        with through(api, monkeypatch, breaks={2, 4, 5, 7, 9}):
            assert await import_file(csv_file(tmp_path, 35), None, WHERE, CONSOLE) == 0
        (shown,) = (await api.client.get("/token-imports")).json()["items"]
        assert (shown["lines"], shown["created"], shown["parts"], shown["state"]) == (35, 35, 4, "finished")


async def test_the_same_command_goes_on_where_it_was_broken_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = csv_file(tmp_path, 35)
    async with imports() as api:
        with through(api, monkeypatch, breaks=set(range(7, 100))), pytest.raises(OperatorError, match="goes on"):
            await import_file(file, None, WHERE, CONSOLE)
        with through(api, monkeypatch) as asked:
            await import_file(file, None, WHERE, CONSOLE)
        (shown,) = (await api.client.get("/token-imports")).json()["items"]
        assert (shown["created"], shown["replaced"], shown["state"]) == (35, 0, "finished")
        assert len([one for one in asked if one.startswith("PUT")]) < 4, "not all parts again"
        with through(api, monkeypatch):
            await import_file(file, None, WHERE, CONSOLE)
        newest = (await api.client.get("/token-imports")).json()["items"][0]
        assert (newest["created"], newest["replaced"]) == (0, 35), "a finished one is not gone on with"


async def test_an_export_is_written_and_is_its_owners_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with imports() as api:
        with through(api, monkeypatch):
            await import_file(csv_file(tmp_path, 3), None, WHERE, CONSOLE)
            out = tmp_path / "out.jsonl"
            size = await export_file(out, None, WHERE)
        assert out.stat().st_size == size
        assert out.stat().st_mode & 0o777 == 0o600
        assert len(out.read_text().splitlines()) == 3
        with pytest.raises(OperatorError, match="--format"):
            await export_file(tmp_path / "out.txt", None, WHERE)
