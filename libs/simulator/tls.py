"""The station's side of TLS (security profiles 2 and 3): it checks the CSMS's certificate and shows its own."""

import ssl
import tempfile
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from .config import ClientCertificate

SUITES = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:AES128-GCM-SHA256:AES256-GCM-SHA384"


def context(roots: Iterable[str], own: ClientCertificate | None) -> ssl.SSLContext:
    """`roots` (PEM): whom the CSMS's certificate has to lead to; none: those of this machine.

    Raises ssl.SSLError or OSError for certificates that cannot be used.
    """
    return _context("\n".join(roots), own)


@lru_cache(maxsize=64)
def _context(roots: str, own: ClientCertificate | None) -> ssl.SSLContext:
    """Stations of profile 2 share one; those of profile 3 have one each, and the last few are kept."""
    made = ssl.create_default_context(cadata=roots or None)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.set_ciphers(SUITES)
    if own is not None:
        with tempfile.TemporaryDirectory(prefix="csms-station-") as folder:  # the library reads keys from files only
            chain, key = Path(folder, "chain.pem"), Path(folder, "key.pem")
            chain.write_text(own.chain)
            key.touch(0o600)
            key.write_text(own.key)
            made.load_cert_chain(chain, key)
    return made
