"""What stations send to auth: one module an action."""

from collections.abc import Mapping
from typing import Any

from ocppcore.service import ActionHandler
from services.auth.actions import get_15118_ev_certificate, get_certificate_status
from services.auth.actions.authorize import Authorize
from services.auth.actions.sign_certificate import SignCertificate


def routes(authorize: Authorize, sign_certificate: SignCertificate) -> Mapping[str, ActionHandler[Any]]:
    """Action name -> handler."""
    return {
        "Authorize": authorize.handler(),
        "SignCertificate": sign_certificate.handler(),
        "Get15118EVCertificate": get_15118_ev_certificate.ROUTE,
        "GetCertificateStatus": get_certificate_status.ROUTE,
    }
