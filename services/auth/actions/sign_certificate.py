"""SignCertificate (A02, A03): no certificate authority is at hand, so Rejected (A02.FR.12)."""

from pydantic import MISSING

from ocppcore.contracts.auth import CertificateSigningRefused
from ocppcore.service import ActionHandler, Context, Outcome, View
from ocppcore.v201 import SignCertificateRequest, SignCertificateResponse


def on_sign_certificate(request: SignCertificateRequest, view: View, context: Context) -> Outcome:
    wanted = request.certificateType
    refused = CertificateSigningRefused(
        at=context.now,
        station=context.identity,
        csr=request.csr,
        certificate_type="" if wanted is MISSING else wanted,
    )
    return Outcome((refused,), reply=SignCertificateResponse(status="Rejected"))


ROUTE = ActionHandler(SignCertificateRequest, on_sign_certificate)
