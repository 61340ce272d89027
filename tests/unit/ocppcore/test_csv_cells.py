"""What a spreadsheet would calculate is text in our files, and reads back as it was."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocppcore.csv_cells import inert, plain

FORMULAS = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"


@pytest.mark.parametrize("first", FORMULAS)
def test_a_formula_gets_an_apostrophe(first: str) -> None:
    assert inert(f"{first}cmd|' /C calc'!A0") == f"'{first}cmd|' /C calc'!A0"


@pytest.mark.parametrize("text", ["-5", "-5.50", "7", "0.1", "", "a=b", "'quoted'", "2026-06-01"])
def test_numbers_and_other_text_stay_as_they_are(text: str) -> None:
    assert inert(text) == plain(text) == text


@given(st.text(alphabet=FORMULAS + "'a1.", max_size=6) | st.text())
def test_what_was_written_is_read(text: str) -> None:
    assert inert(text)[:1] not in {*FORMULAS} or inert(text).startswith("-")
    assert plain(inert(text)) == text
