"""How log and store see the server: what a lost one looks like, and how soon it notices a client that vanished."""

import ssl
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg  # type: ignore[import-untyped]

import ocppcore.postgres.arrays  # noqa: F401
from ocppcore.settings import SettingsError

Connection = Any

UNREACHABLE = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
"""What a lost, refusing, full or hanging server looks like from here."""

NEVER_REACHED = (ssl.SSLCertVerificationError, asyncpg.ClientConfigurationError)
"""Those that waiting does not mend: a server that DATABASE_URL does not trust, or a word in it that says nothing."""

KEEPALIVES = {"tcp_keepalives_idle": "15", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}
"""The server lets go of the locks of a process that vanished with its machine after 30 s."""


def describe(error: BaseException) -> str:
    """Without the statement's values."""
    return f"{type(error).__name__}: {error}".splitlines()[0]


def check_files(dsn: str) -> None:
    """The certificates and keys that a DSN names can be used. Raises SettingsError.

    asyncpg takes `sslmode`, `sslrootcert`, `sslcert`, `sslkey`, `sslcrl` and `sslpassword` from the DSN, as libpq does,
    and reads the files anew for each connection; of one that is missing it would not say which.
    """
    try:
        named = {name: values[-1] for name, values in parse_qs(urlsplit(dsn).query).items()}
    except ValueError:
        return  # what is no DSN asyncpg refuses itself
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if root := named.get("sslrootcert"):
        _check("sslrootcert", root, lambda: context.load_verify_locations(cafile=root))
    if crl := named.get("sslcrl"):
        _check("sslcrl", crl, lambda: context.load_verify_locations(cafile=crl))
    chain, key = named.get("sslcert"), named.get("sslkey")
    if chain and key:
        password = named.get("sslpassword", "")
        _check("sslcert, sslkey", f"{chain}, {key}", lambda: context.load_cert_chain(chain, key, lambda: password))


def _check(parameter: str, files: str, load: Callable[[], object]) -> None:
    try:
        load()
    except ssl.SSLError as error:
        raise SettingsError(f"DATABASE_URL, {parameter}: {files}: not PEM, or not a pair ({error.reason})") from None
    except (OSError, ValueError) as error:
        raise SettingsError(f"DATABASE_URL, {parameter}: {files}: {getattr(error, 'strerror', error)}") from None
