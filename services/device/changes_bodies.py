"""The JSON bodies of the API for passwords and security profiles, and of security events."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, model_validator


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RotateBody(_Body):
    """Another password for a station (A01)."""

    length: Annotated[StrictInt, Field(ge=16, le=64)] | None = Field(
        None, description="Characters; more than 40 only where the station reported a higher maxLimit (A00.FR.205)"
    )


class UpgradeBody(_Body):
    """Another security profile for a station (A05)."""

    securityProfile: Annotated[StrictInt, Field(ge=1, le=3)]
    ocppCsmsUrl: str | None = Field(
        None, min_length=1, max_length=512, description="Of the profile that is written; default: a setting"
    )
    ocppInterface: Literal[
        "Wired0", "Wired1", "Wired2", "Wired3", "Wireless0", "Wireless1", "Wireless2", "Wireless3"
    ] = "Wired0"
    messageTimeout: Annotated[StrictInt, Field(ge=1, le=3600)] = Field(30, description="Seconds")
    configurationSlot: Annotated[StrictInt, Field(ge=0, le=2**31 - 1)] | None = Field(
        None, description="Where the profile is written; default: one that is free"
    )
    prepared: StrictBool = Field(
        False, description="It is in `configurationSlot` already, by SetNetworkProfile: nothing is written"
    )
    assured: StrictBool = Field(
        False, description="The station is known to have the certificate of the CSMS's root: it is not asked for it"
    )
    reset: Literal["OnIdle", "Immediate"] = "OnIdle"
    effectWithin: Annotated[StrictInt, Field(ge=1, le=7 * 86_400)] = Field(
        86_400, description="Seconds until a missing connection with the new profile counts as no effect"
    )

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.prepared and self.configurationSlot is None:
            raise ValueError("prepared needs configurationSlot")
        return self


class ChangeShown(BaseModel):
    """A change of a station's password or security profile.

    `state` of a password: started, asked, unsure (which one the station has), changed, kept (the old one), replaced (in
    the registry). Of a profile: checking, reading, writing, choosing, resetting, waiting, upgraded, kept, no_effect,
    replaced. `commandId`: of the newest command that it took.
    """

    operationId: str
    stationId: str
    kind: Literal["password", "securityProfile"]
    state: str
    reason: str | None
    commandId: str | None
    fromProfile: int | None
    toProfile: int | None
    askedAt: str
    changedAt: str
    actor: str


class SecurityEventShown(BaseModel):
    """`critical` by the standard's list; null: the type is not on it. `number` counts the station's events.

    `observedBy` csms: what the CSMS saw itself, such as a handshake that it refused; `techInfo` then says why, where
    it came from, and how many before it have no event of their own.
    """

    stationId: str
    number: int
    type: str
    critical: bool | None
    timestamp: str
    receivedAt: str
    techInfo: str | None
    observedBy: Literal["station", "csms"]
