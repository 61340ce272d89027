"""How clients show themselves to a cluster and know it: TLS and SASL, from the settings, judged before they connect."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ocppcore.settings import BaseServiceSettings, KafkaProtocol, SettingsError

KEY_IS_ENCRYPTED: Final = b"\0"
"""Given to OpenSSL where it would ask a terminal for a key's passphrase."""


@dataclass(frozen=True, slots=True)
class Security:
    """What every client of a process uses. `tls`: with the authorities that count, and our certificate if we show one.

    Certificates are read when this is made: a process takes renewed ones at its next start.
    """

    protocol: KafkaProtocol = "PLAINTEXT"
    mechanism: str = ""
    user: str = ""
    password: str = field(default="", repr=False)
    tls: ssl.SSLContext | None = None

    @property
    def shown(self) -> str:
        """Who we are to the cluster, as far as we know: one known by its certificate is called by its subject."""
        return self.user or ("of our certificate" if self.tls is not None else "ANONYMOUS")

    def options(self) -> dict[str, Any]:
        """The arguments that aiokafka's clients take."""
        found: dict[str, Any] = {"security_protocol": self.protocol}
        if self.tls is not None:
            found["ssl_context"] = self.tls
        if self.mechanism:
            found |= {
                "sasl_mechanism": self.mechanism,
                "sasl_plain_username": self.user,
                "sasl_plain_password": self.password,
            }
        return found


PLAINTEXT: Final = Security()


def security(settings: BaseServiceSettings) -> Security:
    """As the settings say. Raises SettingsError that names the variable to change, for what does not go together."""
    protocol = settings.kafka_security_protocol
    sasl = _sasl(settings) if protocol.startswith("SASL_") else _no_sasl(settings)
    if protocol.endswith("SSL"):
        return Security(protocol, *sasl, _tls(settings))
    _refuse_tls(settings)
    return Security(protocol, *sasl)


def _sasl(settings: BaseServiceSettings) -> tuple[str, str, str]:
    password = settings.kafka_sasl_password
    wanted = {
        "KAFKA_SASL_MECHANISM": settings.kafka_sasl_mechanism,
        "KAFKA_SASL_USERNAME": settings.kafka_sasl_username,
        "KAFKA_SASL_PASSWORD": password.get_secret_value() if password else "",
    }
    if missing := [variable for variable, value in wanted.items() if not value]:
        verb = "are" if len(missing) > 1 else "is"
        raise SettingsError(
            f"KAFKA_SECURITY_PROTOCOL is {settings.kafka_security_protocol}: {' and '.join(missing)} {verb} required"
        )
    mechanism, user, secret = wanted.values()
    return mechanism, user, secret


def _no_sasl(settings: BaseServiceSettings) -> tuple[str, str, str]:
    given = {
        "KAFKA_SASL_MECHANISM": settings.kafka_sasl_mechanism,
        "KAFKA_SASL_USERNAME": settings.kafka_sasl_username,
        "KAFKA_SASL_PASSWORD": settings.kafka_sasl_password,
    }
    _refuse(given, settings, "SASL_SSL")
    return "", "", ""


def _refuse_tls(settings: BaseServiceSettings) -> None:
    given = {
        "KAFKA_SSL_CA_FILE": settings.kafka_ssl_ca_file,
        "KAFKA_SSL_CERT_FILE": settings.kafka_ssl_cert_file,
        "KAFKA_SSL_KEY_FILE": settings.kafka_ssl_key_file,
    }
    _refuse(given, settings, "SASL_SSL" if settings.kafka_security_protocol == "SASL_PLAINTEXT" else "SSL")


def _refuse(given: Mapping[str, object], settings: BaseServiceSettings, instead: str) -> None:
    """What would be left aside without a word was meant to protect something."""
    for variable, value in given.items():
        if value:
            raise SettingsError(
                f"{variable} is set, and KAFKA_SECURITY_PROTOCOL {settings.kafka_security_protocol} does not use it: "
                f"choose {instead}, or unset {variable}"
            )


def _tls(settings: BaseServiceSettings) -> ssl.SSLContext:
    """The broker's certificate must be signed by the CA file's authorities (else the system's), for the host asked."""
    ca, chain, key = settings.kafka_ssl_ca_file, settings.kafka_ssl_cert_file, settings.kafka_ssl_key_file
    if key and not chain:
        raise SettingsError("KAFKA_SSL_KEY_FILE is set without KAFKA_SSL_CERT_FILE, the certificate of this key")
    try:
        context = ssl.create_default_context(cafile=ca or None)
    except (OSError, ValueError) as error:
        raise SettingsError(f"KAFKA_SSL_CA_FILE: {ca}: {_reason(error)}") from None
    if chain:
        try:
            context.load_cert_chain(chain, key or None, lambda: KEY_IS_ENCRYPTED)
        except (OSError, ValueError) as error:
            files = f"KAFKA_SSL_CERT_FILE, KAFKA_SSL_KEY_FILE: {chain}, {key or chain}"
            raise SettingsError(f"{files}: {_reason(error)}") from None
    return context


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, ssl.SSLError):
        return f"not PEM, not a pair, or the key has a passphrase ({error.reason or error})"
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
