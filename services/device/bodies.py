"""The JSON bodies of the device API, and what they ask of the service."""

from typing import Annotated, Any, Literal, Self
from zoneinfo import available_timezones

from msgspec import UNSET
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StringConstraints,
    model_validator,
)

from ocppcore.actions import TO_STATION
from ocppcore.contracts import device as contract
from ocppcore.topics import normalise
from ocppcore.v201 import ConnectorEnumType


def _named(identity: str) -> str:
    if not identity.strip(". "):
        raise ValueError("an identity has more than dots and spaces")
    return identity


StationId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9*\-_=+|@. ]{1,48}$"), AfterValidator(_named)]
"""identifierString of up to 48 characters without a colon (Part 4, 3.1.1); its examples have spaces."""

Password = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9*\-_=:+|@.]{1,40}$")]
"""A passwordString. Stations take 16 to 40 characters (A00.FR.205); an administrator may set a shorter one."""

PASSWORD_CHARACTERS_MIN = 16
EVSES_MAX = 500
"""EVSEs of a station, and connectors of an EVSE, that can be registered."""

SerialNumber = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f]{1,25}$")]
Id = Annotated[StrictInt, Field(ge=1, le=2**31 - 1)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9]{0,49}$")]
Count = Annotated[StrictInt, Field(ge=1, le=2**31 - 1)]
Label = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,64}$")]
GROUPS_MAX = 20


def _zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError("not the name of an IANA time zone")
    return name


def _action(name: str) -> str:
    if name not in TO_STATION:
        raise ValueError("not an action that stations take")
    return name


class _Body(BaseModel):
    """Unknown fields are refused, nothing is converted."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class Connector(_Body):
    id: Id
    type: ConnectorEnumType | None = None


class Evse(_Body):
    id: Id
    connectors: Annotated[list[Connector], Field(max_length=EVSES_MAX)] = []

    @model_validator(mode="after")
    def _once(self) -> Self:
        _distinct([connector.id for connector in self.connectors], "connectors")
        return self


class Limit(_Body):
    """In one message; `entries`: what the station keeps in all, of SendLocalList."""

    items: Count | None = None
    bytes: Count | None = None
    entries: Count | None = Field(default=None, exclude_if=lambda value: value is None)


class Automatic(_Body):
    """What may be sent to the station unasked; all off unless said."""

    provisioning: StrictBool = False
    localList: StrictBool = False
    desiredState: StrictBool = False
    certificates: StrictBool = Field(default=False, description="Renewal of its certificate before that expires")


class StationBody(_Body):
    """Everything of a station but its id. null or absent: the default; in a PATCH, absent: as it is."""

    password: Password = Field(default="", description="Basic Auth password; made by the CSMS when none was ever given")
    securityProfile: Annotated[StrictInt, Field(ge=1, le=3)] | None = 1
    boot: Literal["accepted", "pending", "rejected"] | None = Field(
        default="accepted", description="What its next BootNotification is answered"
    )
    bootInterval: Annotated[StrictInt, Field(ge=0, le=2**31 - 1)] | None = Field(
        default=None, description="Seconds between heartbeats, or until the next BootNotification"
    )
    serialNumber: SerialNumber | None = None
    evses: Annotated[list[Evse], Field(max_length=EVSES_MAX)] | None = []
    limits: dict[Annotated[str, AfterValidator(_action)], Limit] | None = {}
    automatic: Automatic | None = Automatic()
    supports: Annotated[dict[Name, StrictBool], Field(max_length=100)] | None = {}
    zone: Annotated[str, AfterValidator(_zone)] | None = Field(default=None, description="IANA time zone")
    disabled: StrictBool | None = Field(default=False, description="Refused at the door, and at boot")
    allowUnauthenticated: StrictBool | None = Field(
        default=False, description="Served without credentials; for security profile 0 on a network you trust"
    )
    allowExpiredCertificate: StrictBool | None = Field(
        default=False,
        description="Admitted, as Pending, with a certificate that has expired, to renew it at once (A00.FR.429)",
    )
    controller: StationId | None = Field(
        default=None,
        description="The Local Controller whose certificate or password this station's connection carries",
    )
    site: Label | None = Field(default=None, description="Where it stands; compared in any case")
    groups: Annotated[list[Label], Field(max_length=GROUPS_MAX)] | None = Field(
        default=[], description="Labels by which rules name stations; compared in any case"
    )

    factoryCredentials: StrictBool | None = Field(
        default=False,
        description="Its password came with it from the factory: replaced once it is accepted, where "
        "`automatic.provisioning` is on (A00.FR.805); false again once another password is in force",
    )

    @model_validator(mode="after")
    def _once(self) -> Self:
        _distinct([evse.id for evse in self.evses or ()], "evses")
        return self

    def fields(self, credential: str | None) -> contract.StationFields:
        """What is set, as the service takes it; `credential`: the stored form of `password`, None where not given."""
        said = self.model_fields_set
        return contract.StationFields(
            credential=UNSET if credential is None else credential,
            security_profile=self.securityProfile if "securityProfile" in said else UNSET,
            disabled=self.disabled if "disabled" in said else UNSET,
            allow_unauthenticated=self.allowUnauthenticated if "allowUnauthenticated" in said else UNSET,
            boot=self.boot if "boot" in said else UNSET,
            boot_interval=self.bootInterval if "bootInterval" in said else UNSET,
            serial_number=self.serialNumber if "serialNumber" in said else UNSET,
            evses=_evses(self.evses) if "evses" in said else UNSET,
            limits=_limits(self.limits) if "limits" in said else UNSET,
            automatic=_automatic(self.automatic) if "automatic" in said else UNSET,
            supports=self.supports if "supports" in said else UNSET,
            zone=self.zone if "zone" in said else UNSET,
            allow_expired_certificate=self.allowExpiredCertificate if "allowExpiredCertificate" in said else UNSET,
            controller=(normalise(self.controller) if self.controller else None) if "controller" in said else UNSET,
            factory_credentials=self.factoryCredentials if "factoryCredentials" in said else UNSET,
            site=(normalise(self.site) if self.site else None) if "site" in said else UNSET,
            groups=tuple(sorted({normalise(one) for one in self.groups or ()})) if "groups" in said else UNSET,
        )

    def warnings(self) -> list[str]:
        """What was taken although stations may refuse it."""
        if "password" in self.model_fields_set and len(self.password) < PASSWORD_CHARACTERS_MIN:
            return [f"password: shorter than {PASSWORD_CHARACTERS_MIN} characters, stations may refuse it (A00.FR.205)"]
        return []


class NewStation(StationBody):
    """POST: the station with its id."""

    id: StationId


# What the API shows


class ConnectorShown(BaseModel):
    """`status` null: nothing was heard of it. `timestamp` is the station's."""

    id: int
    type: str | None = None
    status: contract.Status | None = None
    timestamp: str | None = None


class EvseShown(BaseModel):
    """`status`: of the EVSE as such, where the station reports one. `registered` false: learned from the station."""

    id: int
    registered: bool
    status: contract.Status | None = None
    timestamp: str | None = None
    connectors: list[ConnectorShown]


class StationEntry(BaseModel):
    """A station as the registry has it. `registration`: its last boot answer, or what it would be answered.

    `passwordChanging`: another password is admitted too; `nextSecurityProfile`: this profile is.
    """

    id: str
    securityProfile: int
    registration: Literal["Accepted", "Pending", "Rejected"]
    disabled: bool
    allowUnauthenticated: bool
    boot: contract.Boot
    bootInterval: int | None
    serialNumber: str | None
    limits: dict[str, Limit]
    automatic: Automatic
    supports: dict[str, bool]
    zone: str
    passwordSet: bool
    passwordChanging: bool = False
    nextSecurityProfile: int | None = None
    allowExpiredCertificate: bool
    controller: str
    factoryCredentials: bool = False
    site: str
    groups: list[str]


class StationWritten(StationEntry):
    """`password`: made by the CSMS, shown this once. `passwordMade` in the outcome of an operation: it was taken."""

    evses: list[Evse]
    passwordMade: bool = False
    password: str | None = None
    warnings: list[str] = []


class ConnectionShown(BaseModel):
    connected: bool
    since: str | None = None
    subprotocol: str | None = None
    gatewaySlot: int | None = None
    epoch: int | None = None


class BootShown(BaseModel):
    at: str
    reason: str
    chargingStation: dict[str, Any]
    status: Literal["Accepted", "Pending", "Rejected"]
    interval: int


class StationListed(StationEntry):
    evses: list[Evse]
    connection: ConnectionShown
    lastBoot: BootShown | None


class StationShown(StationEntry):
    """`status`: of the station as such, where it reports one. `lastContact`: noted at most once a minute."""

    connection: ConnectionShown
    lastBoot: BootShown | None
    lastContact: str | None
    status: contract.Status | None
    evses: list[EvseShown]


class StatusShown(BaseModel):
    """One status that was reported. connectorId 0: the EVSE as such; evseId 0: the station as such."""

    evseId: int
    connectorId: int
    status: contract.Status
    timestamp: str
    receivedAt: str
    via: Literal["StatusNotification", "NotifyEvent"]


def _distinct(ids: list[int], what: str) -> None:
    if len(set(ids)) != len(ids):
        raise ValueError(f"{what}: an id is there twice")


def _evses(evses: list[Evse] | None) -> tuple[contract.EvseSpec, ...] | None:
    if evses is None:
        return None
    return tuple(
        contract.EvseSpec(
            id=evse.id,
            connectors=tuple(contract.ConnectorSpec(id=one.id, type=one.type or "") for one in evse.connectors),
        )
        for evse in evses
    )


def _limits(limits: dict[str, Limit] | None) -> dict[str, contract.Limit] | None:
    if limits is None:
        return None
    return {
        name: contract.Limit(items=limit.items, bytes=limit.bytes, entries=limit.entries)
        for name, limit in limits.items()
    }


def _automatic(automatic: Automatic | None) -> contract.Automatic | None:
    if automatic is None:
        return None
    return contract.Automatic(
        provisioning=automatic.provisioning,
        local_list=automatic.localList,
        desired_state=automatic.desiredState,
        certificates=automatic.certificates,
    )
