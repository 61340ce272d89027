"""docs/reference says what the code says, and every setting says what it is for."""

from pathlib import Path

import pytest

from ocppcore.settings import BaseServiceSettings, variables
from scripts.gen_reference import PAGES, default, service_settings

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


@pytest.mark.parametrize("name", PAGES)
def test_page_is_fresh(name: str) -> None:
    assert (REFERENCE / name).read_text(encoding="utf-8") == PAGES[name]()


def test_every_setting_is_described() -> None:
    every = [BaseServiceSettings, *service_settings().values()]
    assert [
        (settings, name) for settings in every for name, field in settings.model_fields.items() if not field.description
    ] == []


def test_no_secret_has_a_default() -> None:
    for settings in (BaseServiceSettings, *service_settings().values()):
        for name, field in settings.model_fields.items():
            if "Secret" in str(field.annotation):
                assert default(field) in ("unset", "required"), variables(settings)[name]
