import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from pydantic import ValidationError

from ocppcore.settings import (
    BaseServiceSettings,
    Keys,
    SettingsError,
    admin_key,
    admin_key_shown,
    fingerprint,
    fixed,
    keys,
    misspelt,
    read,
    service_config,
    variables,
)


class Settings(BaseServiceSettings):
    model_config = service_config("auth")
    cache_entries_max: int = 100
    master_pass_group: str = fixed("CSMS_AUTH_MASTER_PASS_GROUP", "The group", default="")


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*variables(Settings).values(), "CSMS_AUTH_CACHE_ENTRIES_MAX"]:
        monkeypatch.delenv(name, raising=False)


def test_fixed_points_keep_their_names_and_own_settings_have_the_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CSMS_DATA", "~/there")
    monkeypatch.setenv("CSMS_LOG", "kafka")
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "a:1,b:2")
    monkeypatch.setenv("CSMS_HTTP_PORT", "0")
    monkeypatch.setenv("CSMS_AUTH_CACHE_ENTRIES_MAX", "7")
    monkeypatch.setenv("CSMS_AUTH_MASTER_PASS_GROUP", "POLICE")
    settings = read(Settings)
    assert settings.data == Path("~/there").expanduser()
    assert (settings.log, settings.kafka_bootstrap_servers, settings.http_port) == ("kafka", "a:1,b:2", 0)
    assert (settings.cache_entries_max, settings.master_pass_group) == (7, "POLICE")
    assert variables(Settings)["cache_entries_max"] == "CSMS_AUTH_CACHE_ENTRIES_MAX"


def test_without_any_variable_the_embedded_default_stands() -> None:
    settings = read(Settings)
    assert settings.log == "postgres"
    assert settings.partition_count == 4
    assert settings.http_port == 8080
    assert settings.data.name == "csms"
    assert BaseServiceSettings(log="kafka").partition_count == 48


def test_how_long_what_is_kept_is_set_in_days(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CSMS_FRAMES_DAYS", "3")
    monkeypatch.setenv("CSMS_METER_DAYS", "700")
    kept = read(Settings).retention_days
    assert (kept["ocpp.frames.device"], kept["ocpp.outbound"]) == (3, 3)
    assert (kept["transactions.meter"], kept["auth.requests"]) == (700, 1)
    assert "transactions.events" not in kept and "auth.tokens" not in kept


def test_every_wrong_variable_is_named_and_no_secret_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CSMS_HTTP_PORT", "eighty")
    monkeypatch.setenv("CSMS_NAMESPACE", "Not Valid")
    monkeypatch.setenv("CSMS_PASSWORD_KEY", "short-secret")
    with pytest.raises(SettingsError) as refused:
        read(Settings)
    lines = str(refused.value).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["CSMS_NAMESPACE", "CSMS_PASSWORD_KEY", "CSMS_HTTP_PORT"]
    assert "short-secret" not in str(refused.value)


def test_kafka_needs_its_brokers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CSMS_LOG", "kafka")
    with pytest.raises(SettingsError, match="KAFKA_BOOTSTRAP_SERVERS"):
        read(Settings)


def test_settings_are_frozen_and_hide_secrets() -> None:
    settings = Settings(password_key="p" * 32, database_url="postgresql://u:geheim@h/d")
    with pytest.raises(ValidationError):
        settings.http_port = 1  # type: ignore[misc]
    assert "geheim" not in repr(settings)
    assert "pppp" not in repr(settings)


def test_misspelt_variables_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CSMS_HTTP_PROT", "1")
    monkeypatch.setenv("CSMS_HTTP_PORT", "1")
    assert misspelt([Settings])["CSMS_HTTP_PROT"] == "CSMS_HTTP_PORT"
    assert "CSMS_HTTP_PORT" not in misspelt([Settings])


def test_keys_are_made_once_for_this_user_only(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "new")
    first = keys(settings, make=True)
    assert keys(settings, make=True) == first
    assert first.pseudonym != first.password
    assert len(first.password) >= 32
    folder = tmp_path / "new" / "keys"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == {
        "pseudonym": 0o600,
        "password": 0o600,
    }


def test_keys_that_are_set_win_and_nothing_is_written(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, pseudonym_key="a" * 32, password_key="b" * 32)
    assert keys(settings, make=True) == Keys(b"a" * 32, b"b" * 32)
    assert list(tmp_path.iterdir()) == []


def test_keys_are_required_where_none_is_made(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="CSMS_PASSWORD_KEY is required"):
        keys(Settings(data=tmp_path, pseudonym_key="a" * 32), make=False)


def test_key_file_that_others_can_read_is_refused_with_the_remedy(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    keys(settings, make=True)
    path = tmp_path / "keys" / "password"
    path.chmod(0o644)
    with pytest.raises(SettingsError, match=f"mode 644.*chmod 600 {path}"):
        keys(settings, make=True)


def test_emptied_key_file_is_not_replaced(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    keys(settings, make=True)
    (tmp_path / "keys" / "password").write_text("")
    with pytest.raises(SettingsError, match="restore it from your backup"):
        keys(settings, make=True)


def _made_by_a_process(data: Path) -> tuple[str, str, bool]:
    settings = Settings(data=data)
    admin = admin_key(settings)
    return fingerprint(keys(settings, make=True).password), admin.key.get_secret_value(), admin.unseen


def test_processes_that_start_together_agree_on_keys(tmp_path: Path) -> None:
    # An executor, not a Pool: a worker that cannot start is an error here; a Pool starts another without end.
    with ProcessPoolExecutor(4, multiprocessing.get_context("spawn")) as pool:
        found = list(pool.map(_made_by_a_process, [tmp_path] * 16))
    assert len({(key, admin) for key, admin, _ in found}) == 1
    assert all(unseen for _, _, unseen in found)
    admin_key_shown(Settings(data=tmp_path))
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["admin.key", "keys", "password", "pseudonym"]


def test_admin_key_is_made_once_or_as_set(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "not there")
    first = admin_key(settings)
    assert first.unseen
    assert admin_key(settings) == first, "a first start may fail before the key was shown"
    admin_key_shown(settings)
    assert admin_key(settings) == first._replace(unseen=False)
    chosen = admin_key(Settings(data=tmp_path, admin_key="chosen by me"))
    assert (chosen.key.get_secret_value(), chosen.unseen) == ("chosen by me", False)


def test_fingerprints_tell_keys_apart_and_hide_them() -> None:
    assert fingerprint(b"a" * 32) != fingerprint(b"b" * 32)
    assert len(fingerprint(b"a" * 32)) == 16
    assert "aaa" not in repr(Keys(b"a" * 32, b"b" * 32))
