"""Settings of the auth service."""

import re
import shlex
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from ocppcore.settings import BaseServiceSettings, service_config

_HMAC_KEY: Final = re.compile(r"[A-Za-z0-9_-]{22,}={0,2}")


def _https(url: str) -> str:
    if url and not url.startswith("https://"):
        raise ValueError("an authority is asked over https")
    return url.rstrip("/")


def _command(text: str) -> str:
    if text and not shlex.split(text):
        raise ValueError("names no program")
    return text


def _organization(name: str) -> str:
    if ";" in name:
        raise ValueError("a semicolon stands between names in CSMS_OCPP_ORGANIZATIONS: no name has one")
    return name.strip()


Https = Annotated[str, AfterValidator(_https)]
Command = Annotated[str, AfterValidator(_command)]
Organization = Annotated[str, AfterValidator(_organization)]


class Settings(BaseServiceSettings):
    """Beside those that all services share."""

    model_config = service_config("auth")

    master_pass_group: str = Field(
        "", max_length=36, description="groupIdToken whose members may stop transactions and start none (C16)"
    )
    authority: Literal["none", "local", "command", "est", "acme"] = Field(
        "none",
        description="Who signs certificates of stations: nobody, our own CA, an external program, or a server by EST "
        "(RFC 7030) or ACME (RFC 8555)",
    )
    organization: Organization = Field(
        "", max_length=64, description="The operator's name, O of certificates; one of `CSMS_OCPP_ORGANIZATIONS`"
    )
    certificate_days: int = Field(365, ge=1, le=700, description="How long a certificate is valid that our CA signs")
    certificate_secc: bool = Field(
        False,
        description="Stations show the certificate of their connection to vehicles too (ISO 15118-2): our CA sets "
        "DC=CPO in every one, not only where a station asks for it for both uses or as an SECC (A00.FR.513)",
    )
    ca_url: Https = Field(
        "",
        description="EST server: `https://HOST/.well-known/est`, a label behind it where it has several CAs; ACME "
        "server: its directory",
    )
    ca_v2g_url: Https = Field("", description="The same for V2G certificates: another CA; unset: they are rejected")
    ca_trust: Path | None = Field(None, description="PEM file of the CAs that the server's certificate leads to")
    ca_client_cert: Path | None = Field(None, description="PEM file of the certificate that we show the server")
    ca_client_key: Path | None = Field(None, description="PEM file of its private key")
    ca_user: str = Field("", description="User name at an EST server, where it asks for HTTP Basic")
    ca_password: SecretStr | None = Field(None, description="Its password")
    ca_account_kid: str = Field(
        "", max_length=256, description="External account binding of an ACME server: the id of the key that it gave"
    )
    ca_account_hmac_key: SecretStr | None = Field(None, description="The key itself, base64url, 16 bytes or more")
    ca_challenge: Literal["dns-01", "http-01"] = Field(
        "dns-01", description="What the program proves to an ACME server that has not authorized our names beforehand"
    )
    ca_challenge_command: Command = Field("", description="Program that makes such a proof known and takes it back")
    ca_command: Command = Field(
        "", description="Program that reads a CSR (PEM) and writes the certificate and its CAs (PEM)"
    )
    ca_v2g_command: Command = Field("", description="The same for V2G certificates: another CA; unset: rejected")
    ca_revoke_command: Command = Field(
        "", description="Program that has a certificate (PEM) revoked, where a program or an EST server signs"
    )
    ca_timeout_s: float = Field(30.0, gt=0, le=300, description="How long a server or a program has for one CSR")
    csrs_per_hour: int = Field(20, ge=1, le=1000, description="SignCertificate of one station; more are rejected")
    signing_attempts: int = Field(5, ge=1, le=20, description="How often a failing authority is asked for one CSR")
    signing_pause_s: float = Field(30.0, ge=1, le=3600, description="Before it is asked again; doubles, up to 1 h")
    certificate_sends: int = Field(3, ge=1, le=10, description="How often CertificateSigned is sent without an answer")
    certificate_send_pause_s: float = Field(60.0, ge=1, le=3600, description="Before it is sent again; doubles")
    certificate_send_within_s: int = Field(
        24 * 3600, ge=1, le=30 * 24 * 3600, description="How long it waits for a station that is away"
    )
    local_list_items: int = Field(
        100, ge=1, le=1000, description="Entries of one SendLocalList to a station that is not registered with less"
    )
    local_list_bytes: int = Field(32_000, ge=1000, le=500_000, description="The same in bytes")
    local_list_entries: int = Field(
        10_000, ge=1, le=100_000, description="Of a local list, for a station that is not registered with less"
    )
    local_list_look_s: float = Field(
        5.0, ge=0.05, le=3600, description="Between two looks at whether local lists have changed"
    )
    local_list_stations: int = Field(
        100, ge=1, le=10_000, description="Stations that one look has brought up to date; the rest waits for the next"
    )
    renew_days: int = Field(
        30,
        ge=1,
        le=365,
        description="A certificate is renewed so many days before its end, a short-lived one in the last third of its "
        "life, where the station's `automatic.certificates` allows it",
    )
    renew_unasked: bool = Field(False, description="Certificates of all stations are renewed so, whatever they allow")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.authority == "est" and not self.ca_url:
            raise ValueError("CSMS_AUTH_AUTHORITY is est: CSMS_AUTH_CA_URL must name the server")
        if self.authority == "command" and not self.ca_command:
            raise ValueError("CSMS_AUTH_AUTHORITY is command: CSMS_AUTH_CA_COMMAND must name the program")
        if self.authority == "acme":
            self._complete_acme()
        if self.ca_revoke_command and self.signs_by not in ("command", "est"):
            raise ValueError("CSMS_AUTH_CA_REVOKE_COMMAND is for CSMS_AUTH_AUTHORITY command or est")
        if (self.ca_client_cert is None) != (self.ca_client_key is None):
            raise ValueError("CSMS_AUTH_CA_CLIENT_CERT and CSMS_AUTH_CA_CLIENT_KEY belong together")
        return self

    def _complete_acme(self) -> None:
        if not self.ca_url:
            raise ValueError("CSMS_AUTH_AUTHORITY is acme: CSMS_AUTH_CA_URL must name the server's directory")
        if self.ca_v2g_url:
            raise ValueError("CSMS_AUTH_CA_V2G_URL: an ACME server signs no V2G certificates here")
        if bool(self.ca_account_kid) != (self.ca_account_hmac_key is not None):
            raise ValueError("CSMS_AUTH_CA_ACCOUNT_KID and CSMS_AUTH_CA_ACCOUNT_HMAC_KEY belong together")
        key = self.ca_account_hmac_key
        if key is not None and not _HMAC_KEY.fullmatch(key.get_secret_value()):
            raise ValueError("CSMS_AUTH_CA_ACCOUNT_HMAC_KEY is no base64url of 16 bytes or more")

    @property
    def signs_by(self) -> Literal["none", "local", "command", "est", "acme"]:
        """The authority; a URL alone names one too."""
        return "est" if self.authority == "none" and self.ca_url else self.authority
