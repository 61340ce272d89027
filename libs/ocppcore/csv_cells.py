"""Cells of CSV files that people open with a spreadsheet: text in them is no formula (OWASP, CSV injection). Pure.

`inert` and `plain` undo each other, so that a file which this system wrote reads back as what it held.
"""

import re
from typing import Final

_FORMULA: Final = re.compile(r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
"""What a spreadsheet calculates, also in full width; behind apostrophes: what `inert` has made of that, or would."""
_NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?")


def inert(text: str) -> str:
    """The text with an apostrophe before it where a spreadsheet would take it for a formula. Numbers stay numbers."""
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def plain(cell: str) -> str:
    """What `inert` was given: an apostrophe that stands before a formula is taken away."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
