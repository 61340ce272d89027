"""Whose certificates count, and what the start says where organisations do not agree."""

import os
from pathlib import Path

import pytest
import structlog
from pydantic import ValidationError

from csms.houses import gateway_settings
from csms.houses import warn as warn_auth
from ocppcore.settings import SettingsError
from services.auth.settings import Settings as AuthSettings
from services.gateway.settings import Settings as GatewaySettings
from services.gateway.settings import closed

CERTS = "chain.pem:key.pem"
TLS = {"CSMS_OCPP_TLS_CERTS": CERTS, "CSMS_OCPP_CLIENT_CAS": "cas"}
EST = {"CSMS_OCPP_TLS_CERTS": CERTS, "CSMS_AUTH_AUTHORITY": "est", "CSMS_AUTH_CA_URL": "https://ca.example/est"}
LOCAL = {"CSMS_OCPP_TLS_CERTS": CERTS, "CSMS_AUTH_AUTHORITY": "local"}
OWN = {"CSMS_AUTH_ORGANIZATION": "Operator"}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    for variable in [name for name in os.environ if name.startswith("CSMS_")]:
        monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)
    return monkeypatch


@pytest.mark.requirement("A00.FR.404")
@pytest.mark.parametrize(
    ("settings", "whose"),
    [
        (TLS, "CSMS_OCPP_CLIENT_CAS"),
        (TLS | {"CSMS_OCPP_ORGANIZATIONS": " ; "}, "CSMS_OCPP_CLIENT_CAS"),
        (TLS | LOCAL | OWN, "CSMS_OCPP_CLIENT_CAS"),
        (EST, "CSMS_AUTH_AUTHORITY"),
    ],
    ids=["authorities", "no name in it", "authorities beside our own", "another's signs for us"],
)
def test_who_would_let_any_organisation_in_does_not_start(
    environment: pytest.MonkeyPatch, settings: dict[str, str], whose: str
) -> None:
    for name, value in settings.items():
        environment.setenv(name, value)
    with pytest.raises(SettingsError, match=rf"^CSMS_OCPP_ORGANIZATIONS is not set: .*{whose}"):
        gateway_settings()


@pytest.mark.requirement("A00.FR.404")
@pytest.mark.parametrize(
    ("settings", "trusted"),
    [
        (TLS | {"CSMS_OCPP_ORGANIZATIONS": "Operator; Partner, Inc."}, ("Operator", "Partner, Inc.")),
        (TLS | OWN | {"CSMS_OCPP_ORGANIZATIONS": "Partner, Inc."}, ("Partner, Inc.",)),
        (TLS | OWN | {"CSMS_OCPP_ORGANIZATIONS": "*"}, ()),
        (LOCAL | OWN, ("Operator",)),
        (EST | OWN, ("Operator",)),
        (LOCAL, ()),
        ({"CSMS_OCPP_TLS_CERTS": CERTS}, ()),
        ({"CSMS_OCPP_CLIENT_CAS": "cas"}, ()),
        ({}, ()),
    ],
    ids=[
        "named", "named beside our own", "any, by name", "our own signs", "another's signs under our name",
        "our own, without a name", "no authority", "no TLS", "nothing",
    ],
)  # fmt: skip
def test_whose_certificates_count(
    environment: pytest.MonkeyPatch, settings: dict[str, str], trusted: tuple[str, ...]
) -> None:
    for name, value in settings.items():
        environment.setenv(name, value)
    assert gateway_settings().organizations == trusted


def test_a_gateway_that_is_built_alone_is_no_more_open() -> None:
    with pytest.raises(SettingsError, match=r"CSMS_OCPP_ORGANIZATIONS=\*"):
        closed(GatewaySettings.model_construct(ocpp_tls_certs=CERTS, ocpp_client_cas="cas"))


@pytest.mark.parametrize(
    ("signed_as", "trusted", "warned"),
    [
        ("Operator", "Operator; Partner, Inc.", False),
        (" Partner, Inc. ", "Operator;Partner, Inc.", False),
        ("operator", "Operator", True),
        ("", "Operator", False),
        ("Operator", "", False),
    ],
)
def test_an_authority_whose_name_no_gateway_knows_is_told_at_the_start(
    signed_as: str, trusted: str, warned: bool
) -> None:
    with structlog.testing.capture_logs() as logged:
        warn_auth(AuthSettings(organization=signed_as), GatewaySettings.model_construct(ocpp_organizations=trusted))

    assert [(line["organization"], line["trusted"]) for line in logged] == [(signed_as, (trusted,))] * warned


def test_a_name_with_the_separator_in_it_is_no_organisation() -> None:
    with pytest.raises(ValidationError, match="a semicolon stands between names"):
        AuthSettings(organization="A; B")
