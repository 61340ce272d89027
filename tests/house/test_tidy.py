"""STYLE.md as tests: what a reader of this code never has to see."""

import ast
import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ("libs", "services", "scripts")
GENERATED = "libs/ocppcore/v201/"

PARSES_WITHOUT_TYPE = {
    "services/transactions/actions/transaction_event.py": 1,  # the digest: fast first, `load_json` where that fails
    "services/device/domain/station.py": 1,  # what it has encoded itself
}
CATCHES_ALL = (
    "libs/ocppcore/engine/",  # parks what a handler raises: it would only raise it again
    "services/gateway/ws.py",  # one station's broken connection must not touch the others
)
READS_ENVIRONMENT = (
    "libs/ocppcore/settings.py",
    "libs/csms/kafka_broker.py",  # a broker for tests, torture and bench: no part of the system,
    "libs/csms/kafka_jars.py",  # JAVA_HOME
)


@cache
def files() -> tuple[Path, ...]:
    """What git holds or would take in, so that a scratch file of somebody's own does not count."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return tuple(path for line in listed.stdout.splitlines() if (path := ROOT / line).is_file())


def python(*folders: str) -> Iterator[tuple[str, ast.Module]]:
    for path in files():
        name = path.relative_to(ROOT).as_posix()
        if path.suffix == ".py" and name.startswith(folders) and not name.startswith(GENERATED):
            yield name, ast.parse(path.read_bytes(), name)


def test_every_module_says_what_it_is_for() -> None:
    assert [name for name, tree in python(*SOURCE) if tree.body and not ast.get_docstring(tree)] == []


def test_nothing_is_left_to_do() -> None:
    left = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX|HA" r"CK)\b")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in files()
        if path.suffix in {".py", ".md", ".sql", ".toml", ".yaml", ".sh"}
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if left.search(line)
    ]
    assert found == []


def test_no_code_is_commented_out() -> None:
    assert [place for name, _ in python(*SOURCE, "tests") for place in commented_code(name)] == []


def commented_code(name: str) -> Iterator[str]:
    """Comment lines that parse as a statement, not as words: an assignment, a call, an import, a compound header."""
    with tokenize.open(ROOT / name) as file:
        source = file.read()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and is_code(token.string.lstrip("#").strip()):
            yield f"{name}:{token.start[0]}: {token.string}"


def is_code(text: str) -> bool:
    if re.match(r"(noqa|type:|mypy:|ruff:|pragma|shellcheck)", text):
        return False
    if re.match(r"(def|class|async|if|for|while|with|elif|try|except|else)\b.*:$", text):
        return True
    try:
        body = ast.parse(text).body
    except SyntaxError:
        return False
    match body:
        case [ast.Assign() | ast.AugAssign() | ast.Import() | ast.ImportFrom() | ast.Return(value=ast.Call())]:
            return True
        case [ast.Expr(value=ast.Call() | ast.Await())]:
            return True
        case _:
            return False


@pytest.mark.parametrize("text", ["x = 1", "await f()", "return f(x)", "import os", "if x:", "log.append(x)"])
def test_code_is_told_from_words(text: str) -> None:
    assert is_code(text)


@pytest.mark.parametrize("text", ["a comment", "E01.FR.01", "return the first", "if it fails, wait", "noqa: BLE001"])
def test_words_are_told_from_code(text: str) -> None:
    assert not is_code(text)


def test_only_the_engine_and_the_socket_catch_everything() -> None:
    found = [
        f"{name}:{node.lineno}"
        for name, tree in python(*SOURCE)
        if not name.startswith(CATCHES_ALL)
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler) and catches_all(node.type) and not raises_again(node)
    ]
    assert found == []


def raises_again(handler: ast.ExceptHandler) -> bool:
    """Clean up, then let it go on: nothing is swallowed."""
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def catches_all(type: ast.expr | None) -> bool:
    match type:
        case None:
            return True
        case ast.Name(id="Exception" | "BaseException"):
            return True
        case ast.Tuple(elts=elements):
            return any(catches_all(element) for element in elements)
        case _:
            return False


def test_what_decides_reads_untyped_json_of_stations_with_digits() -> None:
    """Other parsers raise for numbers beyond a double, which customData may hold: the record would be parked."""
    found: dict[str, int] = {}
    for name, tree in python("services"):
        if "/domain/" in name or "/actions/" in name:
            for node in ast.walk(tree):
                parses = isinstance(node, ast.Call) and ast.unparse(node.func) in (
                    "orjson.loads",
                    "msgspec.json.decode",
                )
                if parses and not any(keyword.arg == "type" for keyword in node.keywords):  # type: ignore[attr-defined]
                    found[name] = found.get(name, 0) + 1
    assert found == PARSES_WITHOUT_TYPE


def test_only_settings_read_the_environment() -> None:
    found = [
        f"{name}:{node.lineno}"
        for name, tree in python("libs", "services")
        if name not in READS_ENVIRONMENT
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in {"environ", "getenv", "environb"}
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
    ]
    assert found == []


def test_no_test_sleeps() -> None:
    """A test waits for what it is about. Allowed: looking again in a loop, and sleeping in virtual time."""
    found = [
        f"{name}:{node.lineno}"
        for name, tree in python("tests")
        if not name.startswith("tests/simulation/") and "virtual_time" not in ast.unparse(tree)
        for node in sleeps(tree)
    ]
    assert found == []


def sleeps(node: ast.AST) -> Iterator[ast.Call]:
    """Calls that sleep a fixed time, other than to let others run (0)."""
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.While():
                continue
            case ast.Call(args=[ast.Constant(value=seconds), *_]) if seconds and is_sleep(child):
                yield child
        yield from sleeps(child)


def is_sleep(call: ast.Call) -> bool:
    return ast.unparse(call.func) in {"time.sleep", "asyncio.sleep", "sleep"}


def test_sleeps_are_told_from_looking_again() -> None:
    waits = (
        "async def test():\n while not done(): await asyncio.sleep(0.1)\n await asyncio.sleep(0)\n await sleep(self.s)"
    )
    assert list(sleeps(ast.parse(waits))) == []
    assert (
        len(list(sleeps(ast.parse("def test():\n with x: time.sleep(1)\n async def f(): await asyncio.sleep(2)")))) == 2
    )


def test_no_place_of_one_machine_stands_in_the_tree() -> None:
    places = re.compile(r"(?<![\w./])/(home|Users|root|work)/\w")
    assert [place for place, line in lines() if places.search(line)] == []


def test_lock_files_name_no_address() -> None:
    assert [place for place, line in lines() if "lock" in place.partition(":")[0] and "://" in line] == []


def lines() -> Iterator[tuple[str, str]]:
    for path in files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        name = path.relative_to(ROOT).as_posix()
        yield from ((f"{name}:{number}", line) for number, line in enumerate(text.splitlines(), 1))
