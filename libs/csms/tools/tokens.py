"""`csms tokens`: files of idTokens to the API and from it, in parts, with memory for a few of them.

The import is known by its file's content, so that the same command goes on with the parts that are not done; what a
part said is in the import's counts and refusals.
"""

import asyncio
import csv
import hashlib
import io
import os
from collections import deque
from collections.abc import AsyncIterator, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from ocppcore.errors import OperatorError

LINES: Final = 1000
BYTES: Final = 500_000
"""Of a part, about: less than what the API takes."""
AT_ONCE: Final = 3
ATTEMPTS: Final = 10
AGAIN_AFTER_S: Final = 2.0
TIMEOUT_S: Final = 90.0
REFUSALS_SHOWN: Final = 50
TIMES: Final = 50
"""That a file can be imported within a day, unchanged."""
BLOCK: Final = 1 << 20

Where = tuple[str, str]
"""Address of the API, and an API key."""


class Format(StrEnum):
    CSV = "csv"
    JSONL = "jsonl"


TYPES: Final = {Format.CSV: "text/csv", Format.JSONL: "application/x-ndjson"}


class FilePart(NamedTuple):
    """`line`: of the file, the part's first; `end`: bytes of the file read so far."""

    number: int
    line: int
    body: bytes
    lines: int
    end: int


def format_of(file: Path, chosen: Format | None) -> Format:
    """By the ending, unless chosen; raises OperatorError."""
    if chosen is not None:
        return chosen
    endings = {".csv": Format.CSV, ".jsonl": Format.JSONL, ".ndjson": Format.JSONL}
    if file.suffix.lower() not in endings:
        raise OperatorError(f"{file}: say --format csv or jsonl")
    return endings[file.suffix.lower()]


def parts(file: Path, format_: Format, lines: int) -> Iterator[FilePart]:
    """The file cut between its records. Raises OperatorError for what is no CSV."""
    with file.open("rb") as raw:
        yield from _csv_parts(raw, lines) if format_ is Format.CSV else _jsonl_parts(raw, lines)


def _jsonl_parts(raw: Any, most: int) -> Iterator[FilePart]:
    number, line, first, size = 0, 1, 1, 0
    held: list[bytes] = []
    for text in raw:
        held.append(text)
        size += len(text)
        line += 1
        if len(held) >= most or size >= BYTES:
            yield FilePart(number, first, b"".join(held), len(held), raw.tell())
            number, first, size, held = number + 1, line, 0, []
    if held:
        yield FilePart(number, first, b"".join(held), len(held), raw.tell())


class _Counted:
    """Lines of text of a binary file, and how many bytes they had."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self.bytes = 0

    def __iter__(self) -> "_Counted":
        return self

    def __next__(self) -> str:
        line: bytes = self._raw.readline()
        if not line:
            raise StopIteration
        text = line.decode("utf-8-sig" if not self.bytes else "utf-8")
        self.bytes += len(line)
        return text


def _csv_parts(raw: Any, most: int) -> Iterator[FilePart]:
    counted = _Counted(raw)
    reader = csv.reader(counted, strict=True)
    try:
        header = next(reader, None)
        if header is None:
            return
        number, first = 0, reader.line_num + 1
        text, rows = _text(header), 0
        for row in reader:
            text.writerow(row)
            rows += 1
            if rows >= most or text.size >= BYTES:
                yield FilePart(number, first, text.bytes, rows, counted.bytes)
                number, first = number + 1, reader.line_num + 1
                text, rows = _text(header), 0
        if rows:
            yield FilePart(number, first, text.bytes, rows, counted.bytes)
    except (csv.Error, UnicodeDecodeError) as error:
        raise OperatorError(f"line {reader.line_num + 1}: no CSV in UTF-8: {error}") from None


class _Written:
    """CSV in memory."""

    def __init__(self) -> None:
        self._text = io.StringIO(newline="")
        self.writerow = csv.writer(self._text, lineterminator="\n").writerow

    @property
    def size(self) -> int:
        return self._text.tell()

    @property
    def bytes(self) -> bytes:
        return self._text.getvalue().encode()


def _text(header: list[str]) -> _Written:
    made = _Written()
    made.writerow(header)
    return made


async def import_file(file: Path, chosen: Format | None, where: Where, console: Console, *, again: bool = False) -> int:
    """Send it; returns how many lines were refused. Raises OperatorError when the API refuses or cannot be reached."""
    format_ = format_of(file, chosen)
    async with _client(where) as client:
        id_ = await _begin(client, file)
        done = {item["part"] async for item in _pages(client, f"/auth/token-imports/{id_}/parts")}
        count = await _send(client, id_, file, format_, done, console)
        finished = await _ask(client, "POST", f"/auth/token-imports/{id_}:finish", json={"parts": count})
        shown = finished.json()
        if "refused" not in shown:
            shown = (await _ask(client, "GET", f"/auth/token-imports/{id_}")).json()
        console.print(
            f"Import {id_}: {shown['lines']} lines, {shown['created']} tokens created, {shown['replaced']} replaced, "
            f"{shown['refused']} lines refused."
        )
        if shown["refused"]:
            await _tell_refusals(client, id_, shown["refused"], console)
        return int(shown["refused"])


async def _tell_refusals(client: httpx.AsyncClient, id_: str, refused: int, console: Console) -> None:
    told = 0
    async for one in _pages(client, f"/auth/token-imports/{id_}/refusals"):
        if told >= REFUSALS_SHOWN:
            break
        told += 1
        field = f"{one['field']}: " if one["field"] else ""
        console.print(f"line {one['line']}: {escape(field + one['reason'])}", soft_wrap=True)
    if refused > told:
        console.print(f"… all of them: GET /auth/token-imports/{id_}/refusals")


async def _begin(client: httpx.AsyncClient, file: Path) -> str:
    """The import of this file that is not finished, or a new one."""
    name = "".join(c for c in file.name if c.isprintable())[:100]
    digest = await asyncio.to_thread(_digest, file, name)
    for time in range(TIMES):
        headers = {"Idempotency-Key": f"import-{digest}-{time}"}
        made = await _ask(client, "POST", "/auth/token-imports", json={"name": name}, headers=headers)
        id_ = str(made.json()["id"])
        if (await _ask(client, "GET", f"/auth/token-imports/{id_}")).json()["state"] == "open":
            return id_
    raise OperatorError(f"{file} was imported {TIMES} times within a day")


def _digest(file: Path, name: str) -> str:
    digest = hashlib.blake2b(name.encode(), digest_size=16)
    with file.open("rb") as raw:
        while block := raw.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


async def _send(
    client: httpx.AsyncClient, id_: str, file: Path, format_: Format, done: set[int], console: Console
) -> int:
    """Send what is not done, a few parts at once; returns how many parts there are."""
    count, size = 0, (await asyncio.to_thread(file.stat)).st_size
    flying: deque[asyncio.Task[httpx.Response]] = deque()
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("tokens", total=size)
        try:
            async with asyncio.TaskGroup() as group:
                for part in parts(file, format_, LINES):
                    count += 1
                    if part.number not in done:
                        flying.append(group.create_task(_put(client, id_, part, format_)))
                    if len(flying) >= AT_ONCE:
                        await flying.popleft()
                    progress.update(bar, completed=part.end)
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
    return count


async def _put(client: httpx.AsyncClient, id_: str, part: FilePart, format_: Format) -> httpx.Response:
    return await _ask(
        client,
        "PUT",
        f"/auth/token-imports/{id_}/parts/{part.number}",
        params={"line": part.line},
        content=part.body,
        headers={"Content-Type": TYPES[format_], "Prefer": "wait=60"},
    )


async def export_file(file: Path, chosen: Format | None, where: Where) -> int:
    """Write all tokens to it; returns how many bytes. Raises OperatorError."""
    format_ = format_of(file, chosen)
    size = 0
    async with _client(where) as client:
        try:
            async with client.stream("GET", "/auth/tokens:export", params={"format": format_.value}) as answer:
                if answer.status_code != 200:
                    await answer.aread()
                    raise OperatorError(_said(answer))
                descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                with os.fdopen(descriptor, "wb") as out:
                    async for block in answer.aiter_bytes():
                        size += out.write(block)
        except httpx.TransportError as error:
            raise OperatorError(f"{client.base_url}: {error!r}; the file is not complete") from None
    return size


def _client(where: Where) -> httpx.AsyncClient:
    base, key = where
    return httpx.AsyncClient(
        base_url=base.rstrip("/"), headers={"Authorization": f"Bearer {key}"}, timeout=TIMEOUT_S, trust_env=False
    )


async def _pages(client: httpx.AsyncClient, path: str) -> AsyncIterator[dict[str, Any]]:
    following: str | None = f"{path}?limit=100"
    while following:
        page = (await _ask(client, "GET", following)).json()
        for item in page["items"]:
            yield item
        following = page["next"]


async def _ask(client: httpx.AsyncClient, method: str, path: str, **more: Any) -> httpx.Response:
    """Ask until it is answered: what cannot be done now is asked again, and counts once."""
    said = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            await asyncio.sleep(AGAIN_AFTER_S)
        try:
            answer = await client.request(method, path, **more)
        except httpx.TransportError as error:
            said = f"{client.base_url}: {error!r}"
            continue
        if answer.status_code in (502, 503, 504) or (answer.status_code == 202 and method == "PUT"):
            said = _said(answer)
            continue
        if answer.status_code >= 400:
            raise OperatorError(_said(answer))
        return answer
    raise OperatorError(f"{said}; the same command goes on where this one ended")


def _said(answer: httpx.Response) -> str:
    try:
        detail = answer.json().get("detail", "")
    except ValueError:
        detail = ""
    return f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {detail}"
