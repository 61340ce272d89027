"""Effects about certificates: what an event asks of the authority, done outside the engine's loop."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec
import structlog
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from ocppcore.clock import Clock
from ocppcore.contracts.certificates import (
    CertificateSigningStarted,
    LocalAuthorityResult,
    LocalAuthorityWanted,
    SigningResult,
)
from ocppcore.service import Effect, EffectResult, Event
from services.auth.authority.chain import checked
from services.auth.authority.local import LocalAuthority
from services.auth.authority.port import Authority, AuthorityFailed, Wanted
from services.auth.domain.certificate import use_of
from services.auth.domain.csr import CsrRefused, read

log = structlog.get_logger(__name__)
AT_ONCE: Final = 4
"""Signatures under way in a process; the engine's own limit of effects lies above."""


@dataclass
class SigningWorker:
    """`local`: where the authority is the local one, so that it can be made. `organization`: as in `Rules`.

    `always_secc`: a station shows the certificate of its connection to vehicles too, also where it names one use; one
    that names no use wants it for both (A02).
    """

    authority: Authority
    clock: Clock
    organization: str
    local: LocalAuthority | None = None
    always_secc: bool = False

    def __post_init__(self) -> None:
        self._places = asyncio.Semaphore(AT_ONCE)

    def effects(self) -> Mapping[type[Event], Effect]:
        made: dict[type[Event], Effect] = {CertificateSigningStarted: self.sign}
        if self.local is not None:
            made[LocalAuthorityWanted] = self.make
        return made

    async def sign(self, event: CertificateSigningStarted) -> EffectResult:
        """Check the CSR's signature, have it signed, check what came back."""
        async with self._places:
            try:
                result = await self._signed(event)
            except AuthorityFailed as failed:
                log.warning(
                    "no certificate was signed", station=event.station, attempt=event.attempt, error=str(failed)
                )
                result = SigningResult(request_id="", attempt=0, error=str(failed), again=failed.again)
        body = msgspec.structs.replace(result, request_id=event.request_id, attempt=event.attempt)
        return EffectResult(SigningResult.NAME, body)

    async def _signed(self, event: CertificateSigningStarted) -> SigningResult:
        request = await asyncio.to_thread(proven, event.csr)
        secc = self.always_secc or event.certificate_type != "ChargingStationCertificate"
        wanted = Wanted(request, use_of(event.certificate_type), event.common_name, self.clock(), secc)
        try:
            pool = await self.authority.sign(wanted)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            # What a library makes of this request, it would make of it again: nobody else's signing waits for that.
            raise AuthorityFailed(f"the request cannot be signed: {error}", again=False) from error
        return await asyncio.to_thread(checked, pool, wanted, self.organization)

    async def make(self, _: LocalAuthorityWanted) -> EffectResult:
        """Keys and certificates of the local authority."""
        assert self.local is not None, "no local authority"
        return EffectResult(LocalAuthorityResult.NAME, await self.local.make())


def proven(text: str) -> x509.CertificateSigningRequest:
    """The request, whose sender holds the private key (RFC 2986). Raises AuthorityFailed."""
    try:
        request = read(text)
        valid = request.is_signature_valid
    except (CsrRefused, ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature):
        valid = False
    if not valid:
        raise AuthorityFailed("the signature of the CSR is not valid", again=False)
    return request
