"""An external program as authority: the CSR (PEM) on its input, the certificate and its CAs (PEM, any order) on its
output. Exit code 0: signed; 65 (EX_DATAERR): refused for good; any other: it may be otherwise later.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ocppcore.contracts.auth import CertificateUse
from services.auth.authority import program
from services.auth.authority.names import check_names
from services.auth.authority.port import AuthorityFailed, Wanted


@dataclass(frozen=True)
class CommandAuthority:
    """`commands`: the program and its arguments for each use."""

    commands: Mapping[CertificateUse, Sequence[str]]
    timeout_s: float

    @property
    def uses(self) -> frozenset[CertificateUse]:
        return frozenset(self.commands)

    async def sign(self, wanted: Wanted) -> Sequence[x509.Certificate]:
        """What the program wrote. Raises AuthorityFailed."""
        check_names(wanted, hosts_only=True)
        argv = self.commands[wanted.use]
        output = await program.run(argv, wanted.request.public_bytes(Encoding.PEM), self.timeout_s)
        try:
            return x509.load_pem_x509_certificates(output)
        except (ValueError, x509.InvalidVersion):
            raise AuthorityFailed(f"{argv[0]} wrote no certificates in PEM", again=True) from None
