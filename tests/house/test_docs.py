"""The documents: every link leads somewhere, and the README shows the way around the house."""

import re
from pathlib import Path
from urllib.parse import unquote

from tests.house.test_tidy import ROOT, files

LINK = re.compile(r"\]\((?!https?://|mailto:|#)([^)#\s]+)(?:#[^)\s]*)?\)")
FOLDERS = ("libs/ocppcore", "libs/csms", "libs/simulator", "services", "tests", "docs", "scripts")


def test_every_link_within_the_project_leads_to_a_file() -> None:
    broken = [
        f"{path.relative_to(ROOT)}: {target}"
        for path in files()
        if path.suffix == ".md"
        for target in LINK.findall(path.read_text(encoding="utf-8"))
        if not (path.parent / unquote(target)).exists()
    ]
    assert broken == []


def test_the_readme_has_the_two_commands_and_a_map_of_the_house() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [word for word in ("make run", "make test", *FOLDERS) if word not in readme] == []


def test_files_that_contributing_names_are_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:docs|libs|services|tests|scripts)/[\w./-]+|[A-Z]+\.md|\.ci/run)`", text)
    assert [name for name in named if not Path(ROOT, name).exists()] == []
