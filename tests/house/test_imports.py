"""What decides imports only what it may: the pure part of the standard library, types, its own house.

The contracts in pyproject.toml (`lint-imports`) hold the direction between packages; this is the positive list for the
modules that decide, which a contract cannot say.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PERFORMS_IO = {"embedded", "engine", "http", "kafka", "memory", "postgres", "settings", "telemetry", "testing"}
"""Of ocppcore; less `engine.step`, which is pure."""
LIBRARIES = {"cryptography", "msgspec", "orjson", "pydantic", "tzdata"}
"""cryptography: for reading and judging certificates; what signs, or draws a key, is no decision."""
STANDARD = {
    "abc",
    "base64",
    "binascii",
    "bisect",
    "collections",
    "contextlib",
    "copy",
    "dataclasses",
    "datetime",
    "decimal",
    "enum",
    "functools",
    "hashlib",
    "heapq",
    "hmac",
    "itertools",
    "json",
    "math",
    "operator",
    "re",
    "string",
    "types",
    "typing",
    "unicodedata",
    "urllib",
    "zoneinfo",
}
DECIDING = ("domain", "domain.py", "actions", "projections.py", "projections")


def deciding_files() -> list[Path]:
    rooms = (house / room for house in sorted((ROOT / "services").iterdir()) for room in DECIDING)
    return [
        path for room in rooms if room.exists() for path in (sorted(room.rglob("*.py")) if room.is_dir() else [room])
    ]


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_bytes(), path.name)):
        match node:
            case ast.Import(names=names):
                yield from (name.name for name in names)
            case ast.ImportFrom(module=module, names=names, level=0):
                # `from ocppcore import rpc` names a module, `from ocppcore.rpc import Call` what is in it.
                yield from (f"{module}.{name.name}" for name in names) if module == "ocppcore" else [str(module)]


def allowed(name: str, house: str) -> bool:
    top, _, rest = name.partition(".")
    if top == "ocppcore":
        return rest.startswith("engine.step") or rest.partition(".")[0] not in PERFORMS_IO
    if top == "services":
        own = (f"services.{house}.{room.removesuffix('.py')}" for room in DECIDING)
        return any(name == room or name.startswith(f"{room}.") for room in own)
    return top in STANDARD or top in LIBRARIES


def test_what_decides_imports_nothing_else() -> None:
    found = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in deciding_files()
        for name in imports(path)
        if not allowed(name, path.relative_to(ROOT / "services").parts[0])
    ]
    assert found == []


@pytest.mark.parametrize(
    "name", ["time", "random", "asyncio", "ocppcore.postgres", "ocppcore.engine.loop", "services.auth.app", "httpx"]
)
def test_what_performs_io_is_not_allowed(name: str) -> None:
    assert not allowed(name, "auth")
    assert not allowed("services.auth.domain", "device")
