"""GetCertificateStatus (M06): no OCSP responder is asked, so Failed (M06.FR.04)."""

from ocppcore.contracts.auth import CertificateStatusRefused
from ocppcore.service import ActionHandler, Context, Outcome, View
from ocppcore.v201 import GetCertificateStatusRequest, GetCertificateStatusResponse


def on_get_certificate_status(request: GetCertificateStatusRequest, view: View, context: Context) -> Outcome:
    about = request.ocspRequestData
    refused = CertificateStatusRefused(
        at=context.now,
        station=context.identity,
        hash_algorithm=about.hashAlgorithm,
        issuer_name_hash=about.issuerNameHash,
        issuer_key_hash=about.issuerKeyHash,
        serial_number=about.serialNumber,
        responder_url=about.responderURL,
    )
    return Outcome((refused,), reply=GetCertificateStatusResponse(status="Failed"))


ROUTE = ActionHandler(GetCertificateStatusRequest, on_get_certificate_status)
