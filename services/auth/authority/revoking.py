"""Revocation at an authority outside: the effect of `CertificateRevocationStarted`, and a program that does it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from ocppcore.contracts.certificates import CertificateRevocationStarted, CrlReason, RevocationResult
from ocppcore.service import Effect, EffectResult, Event
from services.auth.authority import program
from services.auth.authority.port import AuthorityFailed, Revoker

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class RevocationWorker:
    """`chain_of`: the PEM of a chain that was issued, by its leaf's fingerprint; "" where it is not there."""

    revoker: Revoker
    chain_of: Callable[[str], Awaitable[str]]

    def effects(self) -> Mapping[type[Event], Effect]:
        return {CertificateRevocationStarted: self.revoke}

    async def revoke(self, event: CertificateRevocationStarted) -> EffectResult:
        result = RevocationResult(fingerprint=event.fingerprint, attempt=event.attempt)
        try:
            text = await self.chain_of(event.fingerprint)
            if not text:  # the table of chains is being built anew
                raise AuthorityFailed("its chain is not there", again=True)
            chain = await asyncio.to_thread(x509.load_pem_x509_certificates, text.encode())
            await self.revoker.revoke(chain, event.crl_reason)
        except AuthorityFailed as failed:
            log.warning(
                "a certificate was not revoked by its authority", station=event.station, attempt=event.attempt,
                error=str(failed),
            )  # fmt: skip
            result = RevocationResult(
                fingerprint=event.fingerprint, attempt=event.attempt, error=str(failed), again=failed.again
            )
        return EffectResult(RevocationResult.NAME, result)


@dataclass(frozen=True)
class RevokingProgram:
    """The chain (PEM, leaf first) on its input. Exit code 0: revoked, also if it was before; 65 (EX_DATAERR): it never
    will be; any other: it may be otherwise later."""

    argv: Sequence[str]
    timeout_s: float

    async def revoke(self, chain: Sequence[x509.Certificate], reason: CrlReason) -> None:
        """Raises AuthorityFailed."""
        leaf = chain[0]
        told = {
            "CERTIFICATE_SERIAL_NUMBER": f"{leaf.serial_number:x}",
            "CERTIFICATE_FINGERPRINT": leaf.fingerprint(SHA256()).hex(),
            "CERTIFICATE_ISSUER": leaf.issuer.rfc4514_string(),
            "REVOCATION_REASON": reason,
        }
        text = b"".join(one.public_bytes(Encoding.PEM) for one in chain)
        await program.run(self.argv, text, self.timeout_s, told)
