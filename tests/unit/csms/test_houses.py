"""What the start says where organisations of certificates do not agree."""

import pytest
import structlog
from pydantic import ValidationError

from csms.houses import warn as warn_auth
from services.auth.settings import Settings as AuthSettings
from services.gateway.app import warn as warn_gateway
from services.gateway.settings import Settings as GatewaySettings

TLS = {"ocpp_tls_certs": "chain.pem:key.pem", "ocpp_client_cas": "cas"}


@pytest.mark.parametrize(
    ("settings", "warned"),
    [
        (TLS, True),
        (TLS | {"ocpp_organizations": " ; "}, True),
        (TLS | {"ocpp_organizations": "Operator"}, False),
        ({"ocpp_tls_certs": "chain.pem:key.pem"}, False),
        ({"ocpp_client_cas": "cas"}, False),
    ],
)
def test_a_gateway_that_lets_any_organisation_in_says_so(settings: dict[str, str], warned: bool) -> None:
    with structlog.testing.capture_logs() as logged:
        warn_gateway(GatewaySettings.model_construct(**settings))

    assert [line["log_level"] for line in logged] == ["warning"] * warned
    assert all(line["event"].startswith("CSMS_OCPP_ORGANIZATIONS is not set") for line in logged)


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
