"""Settings of the auth service."""

import shlex
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from ocppcore.settings import BaseServiceSettings, service_config


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
    authority: Literal["none", "local", "command", "est"] = Field(
        "none",
        description="Who signs certificates of stations: nobody, our own CA, an external program, or a server by EST "
        "(RFC 7030)",
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
        "", description="EST server: `https://HOST/.well-known/est`, a label behind it where it has several CAs"
    )
    ca_v2g_url: Https = Field("", description="The same for V2G certificates: another CA; unset: they are rejected")
    ca_trust: Path | None = Field(None, description="PEM file of the CAs that the EST server's certificate leads to")
    ca_client_cert: Path | None = Field(None, description="PEM file of the certificate that we show the EST server")
    ca_client_key: Path | None = Field(None, description="PEM file of its private key")
    ca_user: str = Field("", description="User name at the EST server, where it asks for HTTP Basic")
    ca_password: SecretStr | None = Field(None, description="Its password")
    ca_command: Command = Field(
        "", description="Program that reads a CSR (PEM) and writes the certificate and its CAs (PEM)"
    )
    ca_v2g_command: Command = Field("", description="The same for V2G certificates: another CA; unset: rejected")
    ca_timeout_s: float = Field(30.0, gt=0, le=300, description="How long an EST server or a program has for one CSR")
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

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.authority == "est" and not self.ca_url:
            raise ValueError("CSMS_AUTH_AUTHORITY is est: CSMS_AUTH_CA_URL must name the server")
        if self.authority == "command" and not self.ca_command:
            raise ValueError("CSMS_AUTH_AUTHORITY is command: CSMS_AUTH_CA_COMMAND must name the program")
        if (self.ca_client_cert is None) != (self.ca_client_key is None):
            raise ValueError("CSMS_AUTH_CA_CLIENT_CERT and CSMS_AUTH_CA_CLIENT_KEY belong together")
        return self

    @property
    def signs_by(self) -> Literal["none", "local", "command", "est"]:
        """The authority; a URL alone names one too."""
        return "est" if self.authority == "none" and self.ca_url else self.authority
