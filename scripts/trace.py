"""What the tests prove of the standard: the duties in `tests/requirements.csv` against the markers in the tests.

A test that proves a duty of the CSMS carries `@pytest.mark.requirement("E01.FR.01")`. The state of a duty is a
person's judgement and stands in the table; this module holds the two against each other. Markers are found in the
syntax tree, so nothing is imported or run.
"""

import argparse
import ast
import csv
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
STATES = {"proven": "proven", "partly": "tested in part", "not_yet": "not yet", "not_applicable": "not applicable"}
LEVELS = ("SHALL", "SHOULD", "MAY")
SHARED = ("GEN", "P4")
COLUMNS = ["id", "level", "duty", "state", "reason"]


@dataclass(frozen=True)
class Duty:
    """A row of the table: a requirement of the standard on the CSMS, in our words, and how far tests prove it."""

    id: str
    level: str
    duty: str
    state: str
    reason: str

    @property
    def block(self) -> str:
        """The functional block A to P, GEN for those that every block shares, or P4 for those of Part 4's text.

        Part 4 numbers no requirements: P4.4.1.1.2 is the second duty of its section 4.1.1.
        """
        prefix = self.id.partition(".")[0]
        return prefix if prefix in SHARED else prefix[0]


@dataclass(frozen=True)
class Mark:
    """A requirement id that a test names; `place` is `file:line`. `id` is None where it is no literal text."""

    id: str | None
    place: str


def duties(table: Path) -> list[Duty]:
    with table.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        if rows.fieldnames != COLUMNS:
            raise ValueError(f"{table.name}: columns are {rows.fieldnames}, not {COLUMNS}")
        return [Duty(**row) for row in rows]


def marks(tests: Path) -> Iterator[Mark]:
    """Every use of the marker in the test files under `tests`, in the order of files and lines."""
    for path in sorted(tests.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_bytes(), path.name)):
            if isinstance(node, ast.Call) and _names_marker(node.func):
                place = f"{path.relative_to(tests.parent)}:{node.lineno}"
                if not node.args:
                    yield Mark(None, place)
                for argument in node.args:
                    literal = isinstance(argument, ast.Constant) and isinstance(argument.value, str)
                    yield Mark(argument.value if literal else None, place)  # type: ignore[attr-defined]


def _names_marker(function: ast.expr) -> bool:
    match function:
        case ast.Attribute(value=ast.Attribute(attr="mark"), attr="requirement"):
            return True
        case ast.Name(id="requirement"):
            return True
        case _:
            return False


def faults(table: Sequence[Duty], found: Sequence[Mark]) -> list[str]:
    """Where table and tests disagree, or the table is wrong in itself; empty when all is well."""
    known = {duty.id for duty in table}
    named = {mark.id for mark in found}
    wrong = [f"{id} stands twice in the table" for id, count in Counter(d.id for d in table).items() if count > 1]
    for duty in table:
        if duty.state not in STATES:
            wrong.append(f"{duty.id}: state {duty.state!r} is none of {', '.join(STATES)}")
        if duty.level not in LEVELS:
            wrong.append(f"{duty.id}: level {duty.level!r} is none of {', '.join(LEVELS)}")
        if duty.state in ("partly", "not_applicable") and not duty.reason:
            wrong.append(f"{duty.id} is {duty.state} without a reason")
        if duty.state in ("proven", "partly") and duty.id not in named:
            wrong.append(f"{duty.id} is {duty.state}, but no test names it")
        if duty.state == "not_applicable" and duty.id in named:
            wrong.append(f"{duty.id} is not applicable, but a test names it")
    for mark in found:
        if mark.id is None:
            wrong.append(f"{mark.place}: the marker takes requirement ids as literal text, at least one")
        elif mark.id not in known:
            wrong.append(f"{mark.place}: no duty has the id {mark.id}")
    return wrong


def hints(table: Sequence[Duty], found: Sequence[Mark]) -> Mapping[str, Sequence[str]]:
    """Duties that tests name while their state is still not_yet: a person may now judge them."""
    places: dict[str, list[str]] = defaultdict(list)
    for mark in found:
        if mark.id is not None:
            places[mark.id].append(mark.place)
    return {duty.id: places[duty.id] for duty in table if duty.state == "not_yet" and duty.id in places}


def summary(table: Sequence[Duty]) -> str:
    states = Counter(duty.state for duty in table)
    return f"{len(table)} duties: " + ", ".join(f"{states[state]} {words}" for state, words in STATES.items())


def _show(console: Console, table: Sequence[Duty], found: Sequence[Mark]) -> None:
    for id, places in hints(table, found).items():
        console.print(f"{id} has tests, its state is still not_yet: {', '.join(places)}")
    for duty in table:
        if duty.state == "not_applicable":
            console.print(f"{duty.id} does not apply: {duty.reason}")
    view = Table("Block", *(words.capitalize() for words in STATES.values()), "All")
    blocks: dict[str, Counter[str]] = defaultdict(Counter)
    for duty in table:
        blocks[duty.block][duty.state] += 1
    for block, states in sorted(blocks.items(), key=lambda item: (item[0] not in SHARED, item[0])):
        view.add_row(block, *(str(states[state]) for state in STATES), str(states.total()))
    for column in view.columns[1:]:
        column.justify = "right"
    console.print(view)


def main() -> int:
    parser = argparse.ArgumentParser(description="Which duties of the standard the tests prove.")
    parser.add_argument("--check", action="store_true", help="say only what is wrong")
    check = parser.parse_args().check
    console = Console(highlight=False, soft_wrap=True)
    table, found = duties(ROOT / "tests/requirements.csv"), list(marks(ROOT / "tests"))
    if not check:
        _show(console, table, found)
    wrong = faults(table, found)
    for fault in wrong:
        console.print(fault, style="red")
    console.print(summary(table))
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
