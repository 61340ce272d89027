"""Every attack is tried on both logs, or its file says in one line why the log does not matter to it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ATTACKS = Path(__file__).parents[1] / "attacks"
BOTH = {"guarded", "closed", "system"}
"""Fixtures that run a test on the embedded log, then on Kafka."""
ONE = {
    "Embedded only": {"guarded_embedded", "guarded_system", "closed_embedded", "embedded_system"},
    "Kafka only": {"guarded_kafka", "guarded_kafka_system", "guarded_broker", "closed_kafka", "kafka_system"},
}
REASON = re.compile(r"^(Embedded only|Kafka only): \S.{20,}\.$", re.MULTILINE)
FILES = sorted(ATTACKS.glob("test_*.py"))


def started(tree: ast.Module) -> Iterator[set[str]]:
    """The fixtures of each test that needs a system; a test without one reads the source alone."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            named = {argument.arg for argument in node.args.args}
            if needed := named & set.union(BOTH, *ONE.values()):
                yield needed


def judged(source: str) -> list[str]:
    """What is wrong with a file of attacks."""
    tree = ast.parse(source)
    doc = ast.get_docstring(tree) or ""
    said = {found.group(1) for found in REASON.finditer(doc)}
    tests = list(started(tree))
    on_one = {log for log, fixtures in ONE.items() for named in tests if not named & BOTH and named & fixtures}
    wrong = [f"{log}: and says no reason" for log in sorted(on_one - said)]
    wrong += [f"{log}: says so, and no test is" for log in sorted(said - on_one)]
    return wrong if tests else [*wrong, "no test starts a system"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_attack_runs_on_both_logs_or_says_why_not(path: Path) -> None:
    assert judged(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ('"""Attack."""\nasync def test_a(guarded): ...', []),
        ('"""Attack."""\nasync def test_a(guarded_embedded): ...', ["Embedded only: and says no reason"]),
        ('"""Attack.\n\nEmbedded only: nothing of it comes to a log.\n"""\ndef test_a(closed_embedded): ...', []),
        ('"""Attack.\n\nEmbedded only: so.\n"""\ndef test_a(closed_embedded): ...',
         ["Embedded only: and says no reason"]),
        ('"""Attack.\n\nKafka only: nothing of it comes to a log.\n"""\ndef test_a(closed): ...',
         ["Kafka only: says so, and no test is"]),
        ('"""Attack."""\ndef test_a(closed): ...\ndef test_b(guarded_kafka): ...', ["Kafka only: and says no reason"]),
        ('"""Attack."""\ndef test_a(): ...', ["no test starts a system"]),
    ],
)  # fmt: skip
def test_one_that_does_neither_is_seen(source: str, wrong: list[str]) -> None:
    assert judged(source) == wrong
