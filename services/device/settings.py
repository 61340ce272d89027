"""Settings of the device service."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from ocppcore.settings import BaseServiceSettings, service_config
from services.device.firmware import FirmwareRules, anchors


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
    password_reboot_s: int = Field(
        24 * 3600,
        ge=60,
        le=30 * 24 * 3600,
        description="A station that takes a new password at its next boot may wait with that for so long; then it is "
        "sent Reset (OnIdle), three times at most",
    )
    password_both_s: int = Field(
        7 * 24 * 3600,
        ge=3600,
        le=60 * 24 * 3600,
        description="While nobody knows which of two passwords a station has, both are admitted for so long at most; "
        "then one is ended, and a security event says so",
    )
    firmware_cas: str = Field(
        "",
        description="Authorities of manufacturers: UpdateFirmware warns where the signing certificate leads to none of "
        "them. PEM files or directories of them, separated by commas; unset: anybody's",
    )
    firmware_fetch_allow: str = Field(
        "",
        description="Hosts, as `HOST` or `HOST:PORT`, from which firmware is fetched to check its signature before it "
        "is offered, separated by commas; unset: none is fetched",
    )
    firmware_bytes_max: int = Field(
        256 * 1024 * 1024, ge=1024, le=4 * 1024**3, description="Longest firmware that is fetched for that"
    )
    firmware_fetch_s: float = Field(20.0, gt=0, le=300, description="How long that takes at most")


def firmware_rules(settings: Settings) -> FirmwareRules:
    """Raises SettingsError for files that cannot be read."""
    return FirmwareRules(
        hosts=frozenset(one.lower() for one in _parts(settings.firmware_fetch_allow)),
        anchors=anchors([Path(one) for one in _parts(settings.firmware_cas)]),
        bytes_max=settings.firmware_bytes_max,
        fetch_s=settings.firmware_fetch_s,
    )


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
