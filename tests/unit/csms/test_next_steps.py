"""Commands that are printed for typing find the system that printed them."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from csms.next_steps import carried, program
from ocppcore.settings import BaseServiceSettings
from services.gateway.settings import Settings as GatewaySettings


def test_with_default_settings_nothing_stands_before_a_command() -> None:
    assert carried((BaseServiceSettings(), GatewaySettings())) == ("", ())


def test_what_differs_is_carried_ready_to_type_and_secrets_only_by_name() -> None:
    data = Path("/srv/my csms")
    base = BaseServiceSettings(data=data, http_port=8081, database_url=SecretStr("postgresql://u:hush@h/d"))
    found = carried((base, GatewaySettings(data=data, ocpp_port=9001)))
    assert found.prefix == "CSMS_DATA='/srv/my csms' CSMS_HTTP_PORT=8081 CSMS_OCPP_PORT=9001 "
    assert found.secrets == ("DATABASE_URL",)


@pytest.mark.parametrize(
    ("argument", "typed"),
    [(".venv/bin/csms", ".venv/bin/csms"), ("/usr/bin/csms", "/usr/bin/csms"), ("/x/csms/cli.py", "csms")],
)
def test_csms_is_called_as_it_was(argument: str, typed: str) -> None:
    assert program(argument) == typed
