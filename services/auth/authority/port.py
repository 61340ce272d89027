"""What an authority does: sign a certificate request. Adapters: `local`, `command`, `est`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cryptography import x509

from ocppcore.contracts.auth import CertificateUse


class AuthorityFailed(Exception):
    """No certificate came of it. `again`: it may be otherwise later; the text is for an operator and holds no
    secret."""

    def __init__(self, reason: str, *, again: bool) -> None:
        super().__init__(reason)
        self.again = again


@dataclass(frozen=True)
class Wanted:
    """A request whose signature is valid. `common_name`: whom it is for, as was checked. `at`: now, ms.

    `secc`: vehicles will be shown it too, so ISO 15118-2 counts as well (A00.FR.513).
    """

    request: x509.CertificateSigningRequest
    use: CertificateUse
    common_name: str
    at: int
    secc: bool = False


class Authority(Protocol):
    @property
    def uses(self) -> frozenset[CertificateUse]:
        """What it signs."""

    async def sign(self, wanted: Wanted) -> Sequence[x509.Certificate]:
        """The certificate with those of the CAs above it, in any order; the root may be among them, and others.

        Asked again for the same request it may sign again. Raises AuthorityFailed, within a bounded time.
        """
