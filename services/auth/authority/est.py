"""An EST server as authority (RFC 7030): `simpleenroll` with the station's CSR, `cacerts` for the CAs above.

We vouch for the station towards the server, with a client certificate or HTTP Basic. Redirects are not followed.
"""

import asyncio
import base64
import binascii
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from ocppcore.bounded import TooLong, whole
from ocppcore.contracts.auth import CertificateUse
from ocppcore.errors import OperatorError
from services.auth.authority.names import check_names
from services.auth.authority.port import AuthorityFailed, Wanted

ANSWER_BYTES_MAX: Final = 262_144
CSR_TYPE: Final = "application/pkcs10"
CERTIFICATES_TYPE: Final = "application/pkcs7-mime"
REFUSED: Final = frozenset({400, 422})


def tls(trust: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    """How the server is known, and we to it. Raises OperatorError for files that cannot be used."""
    try:
        context = ssl.create_default_context(cafile=trust)
        if certificate is not None and key is not None:
            context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        named = ", ".join(str(path) for path in (trust, certificate, key) if path is not None)
        raise OperatorError(f"the files for the authority's server cannot be used ({named}): {error}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


@dataclass(frozen=True)
class EstAuthority:
    """`urls`: where `simpleenroll` is, for each use. `basic`: user and password, if the server wants them."""

    urls: Mapping[CertificateUse, str]
    context: ssl.SSLContext
    basic: tuple[str, str] | None
    timeout_s: float

    @property
    def uses(self) -> frozenset[CertificateUse]:
        return frozenset(self.urls)

    async def sign(self, wanted: Wanted) -> Sequence[x509.Certificate]:
        """The certificate and the server's CAs. Raises AuthorityFailed."""
        check_names(wanted, hosts_only=True)
        url = self.urls[wanted.use]
        body = base64.encodebytes(wanted.request.public_bytes(Encoding.DER))
        headers = {"Content-Type": CSR_TYPE, "Content-Transfer-Encoding": "base64", "Accept": CERTIFICATES_TYPE}
        try:
            async with (
                asyncio.timeout(2 * self.timeout_s),  # for both requests, however slowly bytes drip
                httpx.AsyncClient(
                    verify=self.context, auth=self.basic, timeout=self.timeout_s, trust_env=False
                ) as client,
            ):
                made = await _ask(client, "POST", f"{url}/simpleenroll", headers, body)
                above = await _ask(client, "GET", f"{url}/cacerts", {"Accept": CERTIFICATES_TYPE}, b"")
        except TimeoutError:
            raise AuthorityFailed(f"{url} took longer than {2 * self.timeout_s:g} s", again=True) from None
        return [*made, *above]


async def _ask(
    client: httpx.AsyncClient, method: str, url: str, headers: Mapping[str, str], body: bytes
) -> Sequence[x509.Certificate]:
    try:
        async with client.stream(method, url, headers=dict(headers), content=body) as answer:
            if answer.status_code != 200:
                # 202 is "not yet" (RFC 7030, 4.2.3): a person may have to confirm it; the next attempt asks again.
                raise AuthorityFailed(f"{url} answered {answer.status_code}", again=answer.status_code not in REFUSED)
            found = await whole(answer.aiter_bytes(), ANSWER_BYTES_MAX)
    except TooLong as error:
        raise AuthorityFailed(f"{url} answered {error}", again=True) from None
    except httpx.HTTPError as error:
        raise AuthorityFailed(f"{url} cannot be asked: {type(error).__name__} {error}", again=True) from None
    try:
        return pkcs7.load_der_pkcs7_certificates(base64.b64decode(found))
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion, binascii.Error):
        raise AuthorityFailed(f"{url} answered no certificates", again=True) from None
