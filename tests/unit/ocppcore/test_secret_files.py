"""Secrets from files that the environment names."""

from pathlib import Path

import pytest

from ocppcore.settings import BaseServiceSettings, SettingsError, misspelt, read, secret_variables, variables
from services.auth.settings import Settings as AuthSettings
from services.gateway.settings import Settings as GatewaySettings

SECRET = "postgresql://csms:correct-horse@db/csms"


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in variables(BaseServiceSettings).values():
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "dsn"
    path.write_text(f"{SECRET}\n")
    monkeypatch.setenv("DATABASE_URL_FILE", str(path))
    return path


def test_every_setting_that_is_a_secret_may_come_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for settings in (BaseServiceSettings, AuthSettings, GatewaySettings):
        names = {variable: field for field, variable in variables(settings).items()}
        assert {"DATABASE_URL", "CSMS_ADMIN_KEY", "CSMS_PASSWORD_KEY"} <= secret_variables(settings)
        for variable in secret_variables(settings):
            path = tmp_path / variable
            path.write_text(f"{variable} is 32 characters or longer\n")
            monkeypatch.setenv(f"{variable}_FILE", str(path))
        found = read(settings)
        for variable in secret_variables(settings):
            assert getattr(found, names[variable]).get_secret_value() == f"{variable} is 32 characters or longer"


def test_only_the_last_line_end_is_no_part_of_it(held: Path) -> None:
    held.write_bytes(b" with spaces \r\n")
    found = read(BaseServiceSettings).database_url
    assert found is not None
    assert found.get_secret_value() == " with spaces "


def test_file_and_variable_together_are_refused(held: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://other")
    with pytest.raises(SettingsError, match="DATABASE_URL and DATABASE_URL_FILE are both set"):
        read(BaseServiceSettings)


@pytest.mark.parametrize(
    ("content", "said"), [(None, "cannot be read"), (b"", "empty"), (b"\n", "empty"), (b"\xff\xfe", "no text"),
                          (b"x" * 70_000, "longer")],
)  # fmt: skip
def test_a_file_that_holds_no_secret_is_named_and_its_content_is_not(
    held: Path, content: bytes | None, said: str
) -> None:
    if content is None:
        held.unlink()
    else:
        held.write_bytes(content)
    with pytest.raises(SettingsError, match=f"DATABASE_URL_FILE: .*{said}") as refused:
        read(BaseServiceSettings)
    assert "xxxx" not in str(refused.value)


def test_a_secret_of_a_file_is_judged_like_any_other(held: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held.write_text("too short")
    monkeypatch.setenv("CSMS_PASSWORD_KEY_FILE", str(held))
    with pytest.raises(SettingsError, match="32 characters") as refused:
        read(BaseServiceSettings)
    assert "too short" not in str(refused.value)


def test_nothing_of_it_is_shown(held: Path) -> None:
    assert "correct-horse" not in f"{read(BaseServiceSettings)!r} {read(BaseServiceSettings)}"


def test_the_variable_of_a_file_is_no_misspelling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CSMS_ADMIN_KEY_FILE", "/run/secrets/admin")
    monkeypatch.setenv("CSMS_HTTP_PORT_FILE", "/run/secrets/port")
    assert misspelt([BaseServiceSettings]) == {"CSMS_HTTP_PORT_FILE": "CSMS_HTTP_PORT"}


@pytest.mark.parametrize("value", ["10.0.0.0/33", "proxy.example", "10.0.0.1,,"])
def test_proxies_are_addresses_and_networks(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("CSMS_HTTP_TRUSTED_PROXIES", value)
    with pytest.raises(SettingsError, match="CSMS_HTTP_TRUSTED_PROXIES"):
        read(BaseServiceSettings)
    monkeypatch.setenv("CSMS_HTTP_TRUSTED_PROXIES", "10.0.0.1, 192.168.0.0/16,::1")
    assert read(BaseServiceSettings).http_trusted_proxies
