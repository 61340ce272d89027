"""SignCertificate (A02, A03): Accepted when the CSR is sound and an authority is there to sign it, else Rejected."""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import MISSING

from ocppcore import topics
from ocppcore.service import ActionHandler, Context, Lookup, Outcome, View
from ocppcore.v201 import SignCertificateRequest, SignCertificateResponse, StatusInfoType
from services.auth.domain.certificate_signing import Refused, SigningDesk, station_needs

INFO_CHARACTERS_MAX = 512


@dataclass(frozen=True)
class SignCertificate:
    """The action, with the rules of the installation."""

    desk: SigningDesk

    def handler(self) -> ActionHandler[SignCertificateRequest]:
        return ActionHandler(
            SignCertificateRequest,
            self.on_sign_certificate,
            needs=lambda _, station: station_needs(station),
            lookups=self.lookups,
        )

    def lookups(self, request: SignCertificateRequest, station: str) -> Sequence[Lookup]:
        """The station, for its serial number."""
        return ((topics.STATIONS, station),)

    def on_sign_certificate(self, request: SignCertificateRequest, view: View, context: Context) -> Outcome:
        """Accepted (A02.FR.11) starts the signing; Rejected (A02.FR.12) says why."""
        wanted = request.certificateType
        try:
            events = self.desk.request(request.csr, "" if wanted is MISSING else wanted, view, context)
        except Refused as refused:
            why = StatusInfoType(reasonCode=refused.code, additionalInfo=str(refused)[:INFO_CHARACTERS_MAX])
            return Outcome(refused.events, reply=SignCertificateResponse(status="Rejected", statusInfo=why))
        return Outcome(events, reply=SignCertificateResponse(status="Accepted"))
