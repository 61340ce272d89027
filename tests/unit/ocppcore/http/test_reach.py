import pytest

from ocppcore.http.reach import PATTERNS_MAX, Caller, InvalidPattern, read_patterns
from ocppcore.store import Among


def caller(*patterns: str) -> Caller:
    return Caller("k", "operator", read_patterns(patterns))


@pytest.mark.parametrize("station", ["CS-1", "cs-1", "Site-A/7", "SITE-A", "site-a-000"])
def test_ids_compare_in_any_case_and_a_star_at_the_end_stands_for_the_rest(station: str) -> None:
    assert caller("cs-1", "SITE-A*").reaches(station)


@pytest.mark.parametrize("station", ["CS-10", "CS-", "XSITE-A", "SITE-B", "", "*"])
def test_others_are_not_reached(station: str) -> None:
    assert not caller("cs-1", "SITE-A*").reaches(station)


def test_a_star_elsewhere_is_a_letter_of_the_id() -> None:
    """eMI3 ids have them: NL*ABC*E1."""
    some = caller("nl*abc**")
    assert some.reaches("NL*ABC*E1")
    assert not some.reaches("NLxABCxE1")
    assert not some.reaches("NL*ABCD*E1")


def test_without_patterns_nothing_is_reached_and_without_limits_all() -> None:
    assert not caller().reaches("CS-1")
    assert Caller("k", "viewer").reaches("CS-1")
    assert read_patterns(["CS-1", "*"]) is None


def test_lists_get_the_same_condition() -> None:
    assert caller("B*", "CS-1", "a*").among("station") == Among("station", ("cs-1",), ("a", "b"))
    assert caller().among("station") == Among("station", (), ())
    assert Caller("k", "viewer").among("station") is None


@pytest.mark.parametrize("given", [[""], [" "], [7], [None], ["x" * 50], ["a\nb"], ["a\0b"], [["CS-1"]]])
def test_what_is_no_pattern_is_refused(given: list[object]) -> None:
    with pytest.raises(InvalidPattern):
        read_patterns(given)


def test_patterns_are_bounded() -> None:
    assert len(read_patterns(f"CS-{number}" for number in range(PATTERNS_MAX)) or ()) == PATTERNS_MAX
    with pytest.raises(InvalidPattern):
        read_patterns(f"CS-{number}" for number in range(PATTERNS_MAX + 1))
