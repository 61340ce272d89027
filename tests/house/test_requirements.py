"""The duties of the standard and the tests that prove them agree, both ways."""

from pathlib import Path

import pytest

from scripts.trace import Duty, Mark, duties, faults, hints, marks, summary

TESTS = Path(__file__).parents[1]
DUTY = Duty("E01.FR.01", "SHALL", "answer", "proven", "")
MARK = Mark("E01.FR.01", "tests/test_it.py:1")


def test_table_and_tests_agree() -> None:
    assert faults(duties(TESTS / "requirements.csv"), list(marks(TESTS))) == []


def test_every_duty_of_the_csms_is_in_the_table() -> None:
    table = duties(TESTS / "requirements.csv")
    part_4 = [duty for duty in table if duty.block == "P4"]
    assert (len(table) - len(part_4), len(part_4)) == (303, 37)


@pytest.mark.parametrize(
    ("table", "found", "fault"),
    [
        ([DUTY], [], "E01.FR.01 is proven, but no test names it"),
        ([Duty("E01.FR.01", "SHALL", "", "partly", "half")], [], "E01.FR.01 is partly, but no test names it"),
        ([Duty("E01.FR.01", "SHALL", "", "partly", "")], [MARK], "E01.FR.01 is partly without a reason"),
        ([Duty("E01.FR.01", "MAY", "", "not_applicable", "")], [], "E01.FR.01 is not_applicable without a reason"),
        (
            [Duty("E01.FR.01", "MAY", "", "not_applicable", "no")],
            [MARK],
            "E01.FR.01 is not applicable, but a test names it",
        ),
        ([DUTY, DUTY], [MARK], "E01.FR.01 stands twice in the table"),
        (
            [Duty("E01.FR.01", "SHALL", "", "done", "")],
            [],
            "E01.FR.01: state 'done' is none of proven, partly, not_yet, not_applicable",
        ),
        ([Duty("E01.FR.01", "must", "", "not_yet", "")], [], "E01.FR.01: level 'must' is none of SHALL, SHOULD, MAY"),
        ([DUTY], [MARK, Mark("E99.FR.01", "tests/test_it.py:9")], "tests/test_it.py:9: no duty has the id E99.FR.01"),
        (
            [DUTY],
            [MARK, Mark(None, "tests/test_it.py:9")],
            "tests/test_it.py:9: the marker takes requirement ids as literal text, at least one",
        ),
    ],
)
def test_each_disagreement_is_named(table: list[Duty], found: list[Mark], fault: str) -> None:
    assert faults(table, found) == [fault]


def test_markers_are_found_on_functions_classes_modules_and_parameters(tmp_path: Path) -> None:
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "helper.py").write_text("@pytest.mark.requirement('Z')\ndef helper(): ...\n")
    (tests / "test_it.py").write_text(
        "import pytest\n"
        "pytestmark = [pytest.mark.requirement('A')]\n"
        "@pytest.mark.requirement('B', 'C')\n"
        "async def test_one(): ...\n"
        "@requirement('D')\n"
        "class TestTwo: ...\n"
        "@pytest.mark.parametrize('x', [pytest.param(1, marks=pytest.mark.requirement('E'))])\n"
        "@pytest.mark.requirement(NAME)\n"
        "def test_three(x): mark.requirement()\n"
    )
    found = [(mark.id, mark.place) for mark in marks(tests)]
    assert sorted(found, key=str) == sorted(
        [
            ("A", "tests/test_it.py:2"),
            ("B", "tests/test_it.py:3"),
            ("C", "tests/test_it.py:3"),
            ("D", "tests/test_it.py:5"),
            ("E", "tests/test_it.py:7"),
            (None, "tests/test_it.py:8"),
        ],
        key=str,
    )


def test_duties_that_have_tests_but_no_verdict_are_hinted_at() -> None:
    table = [Duty("E01.FR.01", "SHALL", "", "not_yet", ""), Duty("B01.FR.02", "SHALL", "", "not_yet", "")]
    assert hints(table, [MARK]) == {"E01.FR.01": ["tests/test_it.py:1"]}


def test_summary_counts_every_state_and_blocks_follow_from_ids() -> None:
    more = (Duty(id, "SHALL", "", "not_yet", "") for id in ("GEN.FR.01", "P4.4.1.1.2", "P01.FR.01"))
    table = [DUTY, *more]
    assert summary(table) == "4 duties: 1 proven, 0 tested in part, 3 not yet, 0 not applicable"
    assert [duty.block for duty in table] == ["E", "GEN", "P4", "P"]
