"""Get15118EVCertificate (M01, M02): no provider of contract certificates is at hand, so Failed."""

from ocppcore.contracts.auth import ContractCertificateRefused
from ocppcore.service import ActionHandler, Context, Outcome, View
from ocppcore.v201 import Get15118EVCertificateRequest, Get15118EVCertificateResponse


def on_get_15118_ev_certificate(request: Get15118EVCertificateRequest, view: View, context: Context) -> Outcome:
    refused = ContractCertificateRefused(
        at=context.now,
        station=context.identity,
        action=request.action,
        schema_version=request.iso15118SchemaVersion,
    )
    return Outcome((refused,), reply=Get15118EVCertificateResponse(status="Failed", exiResponse=""))


ROUTE = ActionHandler(Get15118EVCertificateRequest, on_get_15118_ev_certificate)
