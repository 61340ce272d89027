"""Settings of the device service."""

from typing import Literal

from pydantic import Field

from ocppcore.settings import BaseServiceSettings, service_config


class Settings(BaseServiceSettings):
    """Beside those that all services share."""

    model_config = service_config("device")

    ocpp_url: str = Field(
        "",
        pattern=r"^(wss://[^\s]{1,500})?$",
        description="Where stations connect with TLS: what `security-profile:upgrade` writes into them. Empty: "
        "`wss://HOST:9443/ocpp` with the host under which the API was asked",
    )
    allow_security_profile_downgrade: bool = Field(
        False,
        description="`security-profile:upgrade` may go from 3 to 2, for stations with AllowSecurityProfileDowngrade",
    )
    password_refused_boot: Literal["accepted", "pending"] = Field(
        "accepted", description="What a station that refused a new password hears at its boots, until it took one"
    )
    password_evidence_s: int = Field(
        60,
        ge=5,
        le=3600,
        description="A station that did not say whether it took a new password may go on for so long; then its "
        "connection is closed, to see which one it comes back with",
    )
