"""What the device service says and takes: its events, the state records of stations, the writes it can be asked for."""

from typing import ClassVar, Literal

import msgspec
from msgspec import UNSET, UnsetType

from ocppcore.commands import Ask
from ocppcore.envelope import AdmittedBy, Registration
from ocppcore.service import Event
from ocppcore.topics import normalise

Boot = Literal["accepted", "pending", "rejected"]
"""What the registry says to a station's next BootNotification."""

Status = Literal["Available", "Occupied", "Reserved", "Unavailable", "Faulted"]
"""ConnectorStatusEnumType, also the values of the variable AvailabilityState."""


class ConnectorSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A connector as registered; `type` is a ConnectorEnumType, "" when not known."""

    id: int
    type: str = ""


class EvseSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    id: int
    connectors: tuple[ConnectorSpec, ...] = ()


class Limit(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How much of an action a station takes in one message; `entries`: how much of it the station keeps in all
    (SendLocalList: LocalAuthListEntries)."""

    items: int | None = None
    bytes: int | None = None
    entries: int | None = None


class Automatic(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the CSMS may send to a station unasked."""

    provisioning: bool = False
    local_list: bool = False
    desired_state: bool = False
    certificates: bool = False


class StationState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A record of `device.stations`; its key is the normalised id, `id` the spelling it was registered with.

    `credential` is the stored form of the password (`credentials.py`), None: none is set. `registration` is the last
    boot answer, which outlives connections, or what the registry says to a station that has never booted.
    `zone`: IANA name, "" = the installation's. `site`, `groups`: labels, normalised, by which others name stations.

    `next_credential` and `next_security_profile` are admitted beside the ones in force while a change of them is under
    way (A01, A05). `allow_expired_certificate`: admitted as Pending, to renew it at once (A00.FR.429). `controller`:
    the normalised id of the Local Controller whose credentials carry this station's connection, "" for none.
    `factory_credentials`: its password came with it from the factory, and is replaced at its first boot where it may
    be provisioned unasked (A00.FR.805).
    `reported`: what its reports said of components (Available) that others go by, see `ocppcore.tariff`.
    """

    id: str
    security_profile: int
    credential: str | None
    registration: Registration
    deleted: bool = False
    disabled: bool = False
    allow_unauthenticated: bool = False
    boot: Boot = "accepted"
    boot_interval: int | None = None
    serial_number: str | None = None
    evses: tuple[EvseSpec, ...] = ()
    limits: dict[str, Limit] = {}
    automatic: Automatic = Automatic()
    supports: dict[str, bool] = {}
    zone: str = ""
    next_credential: str | None = None
    next_security_profile: int | None = None
    allow_expired_certificate: bool = False
    controller: str = ""
    factory_credentials: bool = False
    site: str = ""
    groups: tuple[str, ...] = ()
    reported: dict[str, bool] = {}

    @property
    def evse_types(self) -> dict[int, frozenset[str]]:
        """The connector types of each registered EVSE, as far as they are known: what a token's limits go by."""
        return {evse.id: frozenset(one.type for one in evse.connectors if one.type) for evse in self.evses}


class ConnectorState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A record of `device.connectors`, its key is `connector_key`: what a station said last; `at` is our clock."""

    status: Status
    at: int
    deleted: bool = False


def connector_key(station: str, evse_id: int, connector_id: int) -> str:
    """Of a normalised station id; connector 0: the EVSE as such, EVSE 0: the station as such."""
    return f"{station}/{evse_id}/{connector_id}"


class StationFields(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Fields of a station that somebody wants set; None sets the default again, an absent field leaves it."""

    credential: str | UnsetType = UNSET
    security_profile: int | UnsetType | None = UNSET
    disabled: bool | UnsetType | None = UNSET
    allow_unauthenticated: bool | UnsetType | None = UNSET
    boot: Boot | UnsetType | None = UNSET
    boot_interval: int | UnsetType | None = UNSET
    serial_number: str | UnsetType | None = UNSET
    evses: tuple[EvseSpec, ...] | UnsetType | None = UNSET
    limits: dict[str, Limit] | UnsetType | None = UNSET
    automatic: Automatic | UnsetType | None = UNSET
    supports: dict[str, bool] | UnsetType | None = UNSET
    zone: str | UnsetType | None = UNSET
    allow_expired_certificate: bool | UnsetType | None = UNSET
    controller: str | UnsetType | None = UNSET
    factory_credentials: bool | UnsetType | None = UNSET
    site: str | UnsetType | None = UNSET
    groups: tuple[str, ...] | UnsetType | None = UNSET


# Requests


class PutStation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Register a station, or replace what is registered (`create` refuses that: 409).

    `spare` is the stored form of a password that the CSMS made: taken where the station would have none. `lowers`: who
    asks may make it less secure (403 otherwise).
    """

    NAME: ClassVar[str] = "device.PutStation.v1"
    identity: str
    fields: StationFields
    spare: str
    create: bool = False
    lowers: bool = False


class PatchStation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Set these fields of a registered station; it is sent nothing. `lowers` as in `PutStation`."""

    NAME: ClassVar[str] = "device.PatchStation.v1"
    fields: StationFields
    lowers: bool = False


class RemoveStation(msgspec.Struct, frozen=True, kw_only=True):
    """Forget a station: its live socket is closed, it is unknown from then on."""

    NAME: ClassVar[str] = "device.RemoveStation.v1"


class RotatePassword(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Give a station another password (A01). `credential`: the stored form of the new one, `length`: its characters.

    `ask`: the SetVariables that tells the station, its frame sealed. `limit`: a station that refuses the password is
    answered Pending from its next boot on (A01.FR.05). `evidence_ms`: how long a station that did not say what it did
    may go on, before its connection is closed to see which password it comes back with. `reboot_ms`: how long one that
    takes the password at its next boot may wait with that, before it is sent Reset; 0: for ever. `end_ms`: how long
    both passwords are admitted at most, 0: for ever. `factory`: only where the station still has the password of its
    factory.
    """

    NAME: ClassVar[str] = "device.RotatePassword.v1"
    operation_id: str
    ask: Ask
    credential: str
    length: int
    limit: bool
    evidence_ms: int
    factory: bool = False
    reboot_ms: int = 0
    end_ms: int = 0


class SendPassword(msgspec.Struct, frozen=True, kw_only=True):
    """The new password is admitted everywhere by now: tell the station."""

    NAME: ClassVar[str] = "device.SendPassword.v1"
    operation_id: str
    command_id: str


class UpgradeProfile(msgspec.Struct, frozen=True, kw_only=True):
    """Have a station connect with another security profile (A05).

    `url`, `interface`, `message_timeout_s`: of the NetworkConnectionProfile that is written, into `slot` or (None) a
    free one; `prepared`: it stands in `slot` already. `assured`: the certificates that it takes are known to be there.
    `reset`: ResetEnumType. `downgrade`: from 3 to 2 is allowed. `wait_ms`: until a missing effect is said.
    """

    NAME: ClassVar[str] = "device.UpgradeProfile.v1"
    operation_id: str
    security_profile: int
    url: str
    interface: str
    message_timeout_s: int
    slot: int | None
    prepared: bool
    assured: bool
    reset: Literal["OnIdle", "Immediate"]
    downgrade: bool
    wait_ms: int


# Events


class StationEvent(Event, frozen=True, kw_only=True, omit_defaults=True):
    """About one station, spelled as in the URL it connected to, or as it was registered."""

    station: str

    def subject(self) -> str:
        return normalise(self.station)


class StationRegistered(StationEvent, frozen=True, kw_only=True, omit_defaults=True):
    TYPE: ClassVar[str] = "device.StationRegistered.v1"
    state: StationState
    actor: str = ""


class StationChanged(StationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """`state` is the whole state after the change, `changed` names the fields of it that differ."""

    TYPE: ClassVar[str] = "device.StationChanged.v1"
    state: StationState
    changed: tuple[str, ...]
    actor: str = ""


class StationRemoved(StationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """`connectors`: those that it had shown, as (EVSE, connector)."""

    TYPE: ClassVar[str] = "device.StationRemoved.v1"
    actor: str = ""
    connectors: tuple[tuple[int, int], ...] = ()


class StationBooted(StationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """BootNotification and its answer (B01-B03). `charging_station`: ChargingStationType as JSON, all of it.

    `cause` says why it was not accepted: the registry (`boot`), `disabled`, `unregistered`, `password` (it refused a
    new one, A01.FR.05), `certificate` (it has expired, A00.FR.429), or `serialNumber` (not that of its certificate,
    B01.FR.12). `epoch`: its connection's. `local_list`: its Local Authorization List is to be looked after.
    """

    TYPE: ClassVar[str] = "device.StationBooted.v1"
    reason: str
    charging_station: msgspec.Raw
    status: Registration
    interval_s: int
    cause: str = ""
    epoch: int = -1
    local_list: bool = False


class StationConnected(StationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """What let it in is as in `envelope.ConnectionChange`."""

    TYPE: ClassVar[str] = "device.StationConnected.v1"
    slot: int
    epoch: int
    subprotocol: str
    security_profile: int = 0
    credential: AdmittedBy = ""
    certificate_name: str = ""


class StationDisconnected(StationEvent, frozen=True, kw_only=True, omit_defaults=True):
    TYPE: ClassVar[str] = "device.StationDisconnected.v1"
    slot: int
    epoch: int


RotationState = Literal["started", "asked", "unsure", "changed", "kept", "replaced"]
"""started: both passwords are admitted. asked: the station is being told. unsure: nobody knows which one it has, both
are admitted until it connects, or their time is over. changed: the new one is in force, alone. kept: the old one is.
replaced: somebody set another in the registry, or the station was removed."""


class FactoryPasswordDue(StationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A station was accepted that has the password of its factory (A00.FR.805): another of `length` characters is made
    for it, outside of decisions, and comes back as `RotatePassword`."""

    TYPE: ClassVar[str] = "device.FactoryPasswordDue.v1"
    length: int


class PasswordRotationStarted(StationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A01: from here on both are admitted; the `StationChanged` beside it has the next one's stored form.

    `reboot_ms` and `end_ms` as in `RotatePassword`.
    """

    TYPE: ClassVar[str] = "device.PasswordRotationStarted.v1"
    operation_id: str
    command_id: str
    limit: bool
    evidence_ms: int
    actor: str = ""
    reboot_ms: int = 0
    end_ms: int = 0


class PasswordRotationMoved(StationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """`epoch`: only a later connection shows which password the station has. `reboot`: it said that it takes the new
    one at its next boot. `closings`: how often its connection was closed to find out. `refused`: by the station.

    `resets`: how often it was sent Reset; `overdue`: it was away when that was due, and is sent it when it comes.
    """

    TYPE: ClassVar[str] = "device.PasswordRotationMoved.v1"
    operation_id: str
    state: RotationState
    reason: str = ""
    epoch: int = -1
    reboot: bool = False
    closings: int = 0
    refused: bool = False
    resets: int = 0
    overdue: bool = False


UpgradeState = Literal[
    "checking", "reading", "writing", "choosing", "resetting", "waiting", "upgraded", "kept", "no_effect", "replaced"
]
"""checking: whether the certificate of the CSMS's root is installed. reading: the present priorities. writing: the
NetworkConnectionProfile. choosing: its priority. resetting: Reset is asked. waiting: for the first connection with the
new profile. upgraded: it came, the old profile is refused. kept: the old one alone. no_effect: it did not come in
time; it is admitted if it comes yet. replaced: somebody set a profile in the registry, or the station was removed."""


class ProfileUpgradeStarted(StationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A05: from here on both profiles are admitted. Fields as in `UpgradeProfile`; `due`: when no effect is said."""

    TYPE: ClassVar[str] = "device.ProfileUpgradeStarted.v1"
    operation_id: str
    from_profile: int
    to_profile: int
    url: str
    interface: str
    message_timeout_s: int
    prepared: bool
    assured: bool
    reset: Literal["OnIdle", "Immediate"]
    due: int
    slot: int | None = None
    actor: str = ""


class ProfileUpgradeMoved(StationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """`asked`: how many commands it took so far. `slot`: in which the profile is, `spare`: further ones to try,
    `priority`: the slots that the station had before, the active one first."""

    TYPE: ClassVar[str] = "device.ProfileUpgradeMoved.v1"
    operation_id: str
    state: UpgradeState
    reason: str = ""
    asked: int = 0
    slot: int | None = None
    spare: tuple[int, ...] = ()
    priority: tuple[int, ...] = ()


class ConnectorStatusChanged(StationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A connector's status as the station said it (G01), by `via`: StatusNotification or NotifyEvent.

    `connector_id` 0: the EVSE as such; `evse_id` 0: the station as such. `timestamp` (ms) is the station's.
    """

    TYPE: ClassVar[str] = "device.ConnectorStatusChanged.v1"
    evse_id: int
    connector_id: int
    status: Status
    timestamp: int
    via: Literal["StatusNotification", "NotifyEvent"]


class StationMessage(StationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """What a station said, kept: `payload` is the request as JSON, without secrets."""

    payload: msgspec.Raw


class StationEventsReported(StationMessage, frozen=True, kw_only=True, omit_defaults=True):
    """NotifyEvent."""

    TYPE: ClassVar[str] = "device.StationEventsReported.v1"


class StationResult(StationMessage, frozen=True, kw_only=True, omit_defaults=True):
    """What a station sends later for a command: `command_id`, of the one that it accepted with this requestId.

    `unsolicited`: none was accepted with it. Neither: the message names no request.
    """

    command_id: str = ""
    unsolicited: bool = False


class ReportReceived(StationResult, frozen=True, kw_only=True, omit_defaults=True):
    """NotifyReport; the values of write-only variables are hidden."""

    TYPE: ClassVar[str] = "device.ReportReceived.v1"


class MonitoringReportReceived(StationResult, frozen=True, kw_only=True, omit_defaults=True):
    """NotifyMonitoringReport."""

    TYPE: ClassVar[str] = "device.MonitoringReportReceived.v1"


class SecurityEventReported(StationMessage, frozen=True, kw_only=True, omit_defaults=True):
    """SecurityEventNotification (A04). `critical`: by the standard's list, None for a type that is not on it.
    `timestamp` (ms) is the station's."""

    TYPE: ClassVar[str] = "device.SecurityEventReported.v1"
    type: str = ""
    timestamp: int = 0
    critical: bool | None = None


class SecurityEventObserved(StationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """What the CSMS itself saw of a station (A00.FR.408): a handshake that failed, or with `admitted` one that passed
    although its certificate has expired (A00.FR.429). Or with `info`, in words, something that is no handshake: type
    `PasswordUnconfirmed`, nothing showed which of two passwords the station has, and one was or will be ended.

    `type` and `critical` are as if the station had reported it; `cause` is the gateway's word. `address`: where the
    handshake came from; `secure`: over TLS. `more`: so many refused ones before it have no event of their own.
    """

    TYPE: ClassVar[str] = "device.SecurityEventObserved.v1"
    type: str
    critical: bool | None
    cause: str
    address: str = ""
    secure: bool = False
    more: int = 0
    admitted: bool = False
    info: str = ""


class FirmwareStatusReported(StationResult, frozen=True, kw_only=True, omit_defaults=True):
    """FirmwareStatusNotification."""

    TYPE: ClassVar[str] = "device.FirmwareStatusReported.v1"


class PublishFirmwareStatusReported(StationResult, frozen=True, kw_only=True, omit_defaults=True):
    """PublishFirmwareStatusNotification."""

    TYPE: ClassVar[str] = "device.PublishFirmwareStatusReported.v1"


class LogStatusReported(StationResult, frozen=True, kw_only=True, omit_defaults=True):
    """LogStatusNotification."""

    TYPE: ClassVar[str] = "device.LogStatusReported.v1"


class DisplayMessagesReported(StationResult, frozen=True, kw_only=True, omit_defaults=True):
    """NotifyDisplayMessages."""

    TYPE: ClassVar[str] = "device.DisplayMessagesReported.v1"


class CustomerInformationReceived(StationResult, frozen=True, kw_only=True, omit_defaults=True):
    """NotifyCustomerInformation: that it came, never its content, which is about a person."""

    TYPE: ClassVar[str] = "device.CustomerInformationReceived.v1"


class DataTransferRefused(StationMessage, frozen=True, kw_only=True, omit_defaults=True):
    """DataTransfer of a vendor that nobody here knows: vendorId and messageId; its data only the vendor understands."""

    TYPE: ClassVar[str] = "device.DataTransferRefused.v1"
