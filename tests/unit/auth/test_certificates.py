"""What stations ask about certificates, while no authority, provider or responder is at hand."""

import pytest

from ocppcore.actions import FROM_STATION, owned_by, request_type
from ocppcore.pseudonym import Pseudonyms
from ocppcore.v201 import Get15118EVCertificateResponse, GetCertificateStatusResponse, SignCertificateResponse
from services.auth.actions import routes
from services.auth.actions.authorize import Authorize
from services.auth.actions.sign_certificate import SignCertificate
from services.auth.domain.certificate_signing import Rules, SigningDesk
from services.auth.service import parts
from tests.support.given import World


def world() -> World:
    return World("auth", parts(Pseudonyms(b"key")))


@pytest.mark.requirement("A02.FR.12")
@pytest.mark.parametrize("kind", ["", "V2GCertificate"])
def test_a_signing_request_is_rejected_and_kept(kind: str) -> None:
    payload = {"csr": "-----BEGIN CERTIFICATE REQUEST-----"} | ({"certificateType": kind} if kind else {})
    outcome = world().call("SignCertificate", payload)
    assert isinstance(outcome.reply, SignCertificateResponse)
    assert outcome.reply.status == "Rejected"
    (event,) = outcome.events
    assert (event.csr, event.certificate_type) == (payload["csr"], kind)  # type: ignore[attr-defined]


def test_a_contract_certificate_is_refused_and_its_request_not_kept() -> None:
    payload = {"iso15118SchemaVersion": "urn:x", "action": "Install", "exiRequest": "c2VjcmV0"}
    outcome = world().call("Get15118EVCertificate", payload)
    assert outcome.reply == Get15118EVCertificateResponse(status="Failed", exiResponse="")
    (event,) = outcome.events
    assert (event.action, event.schema_version) == ("Install", "urn:x")  # type: ignore[attr-defined]
    assert "c2VjcmV0" not in str(event)


@pytest.mark.requirement("M06.FR.01", "M06.FR.04")
def test_a_certificates_status_cannot_be_had() -> None:
    about = {
        "hashAlgorithm": "SHA256",
        "issuerNameHash": "n",
        "issuerKeyHash": "k",
        "serialNumber": "1f",
        "responderURL": "http://ocsp",
    }
    outcome = world().call("GetCertificateStatus", {"ocspRequestData": about})
    assert outcome.reply == GetCertificateStatusResponse(status="Failed")
    assert outcome.events[0].serial_number == "1f"  # type: ignore[attr-defined]


def test_every_action_that_auth_owns_has_its_handler() -> None:
    made = routes(Authorize(Pseudonyms(b"key")), SignCertificate(SigningDesk(Rules())))
    assert set(made) == {action.name for action in owned_by("auth")} & FROM_STATION
    for name, handler in made.items():
        assert handler.request is request_type(name)
