"""The JSON bodies of the API about certificates."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StringConstraints

from ocppcore.contracts.auth import CertificateUse
from ocppcore.contracts.certificates import AuthorityTold, CertificateAlarm, CertificateState, CrlReason, RenewalState

EFFECT_S_MAX = 3600


class _Body(BaseModel):
    """Unknown fields are refused, nothing is converted."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class RenewBody(_Body):
    certificateType: CertificateUse = "ChargingStationCertificate"
    evseId: Annotated[StrictInt, Field(ge=1, le=2**31 - 1)] | None = Field(
        default=None, description="Whose SECC, for a V2GCertificate of a station that has several"
    )
    effectWithin: Annotated[StrictInt, Field(ge=1, le=EFFECT_S_MAX)] = Field(
        default=180, description="Seconds until the station must have accepted its certificate"
    )


class RevokeBody(_Body):
    reason: Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f]{0,200}$")] = ""
    crlReason: CrlReason = Field(default="unspecified", description="What an external authority is told")


class RenewalShown(BaseModel):
    """`state`: asked, triggered, requested, issued, then one end: installed, rejected, failed, no_effect."""

    operationId: str
    stationId: str
    certificateType: CertificateUse
    state: RenewalState
    commandId: str
    evseId: int | None
    fingerprint: str | None
    reason: str | None
    askedAt: str
    changedAt: str


class CertificateShown(BaseModel):
    """`fingerprint`: SHA-256 of the DER; `serialNumber`: hexadecimal; `certificateType` null: for both uses."""

    fingerprint: str
    stationId: str
    certificateType: CertificateUse | None
    serialNumber: str
    subject: str
    issuer: str
    issuerFingerprint: str
    state: CertificateState
    reason: str
    authority: AuthorityTold = Field(description="What an external authority made of its revocation; empty: not asked")
    notBefore: str
    notAfter: str
    issuedAt: str
    changedAt: str


class CertificateWithChain(CertificateShown):
    """`certificateChain`: PEM, leaf first, without the root."""

    certificateChain: str


class CertificateAlarmShown(BaseModel):
    """`requestId`: of the request for a certificate that it is about; null for a flood."""

    stationId: str
    what: CertificateAlarm
    reason: str
    requestId: str | None
    raisedAt: str


class AuthorityShown(BaseModel):
    """A CA certificate. `trusted` false: it signed for both uses, so gateways trust it for none."""

    fingerprint: str
    kind: Literal["root", "issuing"]
    certificateType: CertificateUse
    subject: str
    notAfter: str
    trusted: bool
    since: str
    certificate: str
