"""THE table of the 64 actions of OCPP 2.0.1: functional blocks, direction, owner service, types, safe to repeat.

Literal data; everything that routes, validates or sends looks here. The service that owns an action handles it when a
station sends it and is the only one to send it to a station. `blocks` names the functional block that defines the
message first (Part 2), then others whose use cases depend on it.

`idempotent` (only for actions to stations) answers one question: a CALL was written to the socket, no answer came
and the connection was lost; may the same payload be sent again without anybody asking? Yes where the second
execution leaves the station as the first did (reads, settings of absolute values, replacing by id, removals, whose
second answer may differ: Unknown, NotFound, Rejected). No where it acts on the world or a process twice: it moves
something (UnlockConnector), restarts something (Reset, UpdateFirmware, PublishFirmware, GetLog: the second cancels
the first), starts another transaction (RequestStartTransaction), makes another key pair (TriggerMessage), consumes
what is there once (CertificateSigned: the CSR; CustomerInformation: cleared data), or means what a vendor says
(DataTransfer). Repeating keeps its order: only before a later command of the same station is sent.
"""

import importlib
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

import msgspec

if TYPE_CHECKING:
    from ocppcore.wire import WireModel

Owner = Literal["device", "auth", "transactions", "smartcharging"]


class Direction(StrEnum):
    """Who sends the CALL."""

    STATION_TO_CSMS = "station_to_csms"
    CSMS_TO_STATION = "csms_to_station"
    BOTH = "both"


class Action(msgspec.Struct, frozen=True):
    """One action. `idempotent` is None for an action that only stations send."""

    name: str
    blocks: str
    direction: Direction
    owner: Owner
    request: str
    response: str
    idempotent: bool | None


def _from(name: str, blocks: str, owner: Owner) -> Action:
    return Action(name, blocks, Direction.STATION_TO_CSMS, owner, f"{name}Request", f"{name}Response", None)


def _to(name: str, blocks: str, owner: Owner, *, idempotent: bool) -> Action:
    return Action(name, blocks, Direction.CSMS_TO_STATION, owner, f"{name}Request", f"{name}Response", idempotent)


_TABLE: Final = (
    # device: provisioning, security events, remote triggers, availability, firmware, diagnostics, display, data
    _from("BootNotification", "B", "device"),
    _from("Heartbeat", "G", "device"),
    _from("StatusNotification", "GBEH", "device"),
    _from("NotifyReport", "B", "device"),
    _from("NotifyMonitoringReport", "N", "device"),
    _from("NotifyEvent", "NGH", "device"),
    _from("SecurityEventNotification", "AL", "device"),
    _from("FirmwareStatusNotification", "L", "device"),
    _from("PublishFirmwareStatusNotification", "L", "device"),
    _from("LogStatusNotification", "N", "device"),
    _from("NotifyCustomerInformation", "N", "device"),
    _from("NotifyDisplayMessages", "O", "device"),
    Action(
        "DataTransfer", "P", Direction.BOTH, "device", "DataTransferRequest", "DataTransferResponse", idempotent=False
    ),
    _to("SetVariables", "BA", "device", idempotent=True),
    _to("GetVariables", "B", "device", idempotent=True),
    _to("GetBaseReport", "B", "device", idempotent=True),
    _to("GetReport", "B", "device", idempotent=True),
    _to("SetNetworkProfile", "B", "device", idempotent=True),
    _to("Reset", "B", "device", idempotent=False),
    _to("ChangeAvailability", "G", "device", idempotent=True),
    _to("TriggerMessage", "F", "device", idempotent=False),
    _to("UnlockConnector", "F", "device", idempotent=False),
    _to("UpdateFirmware", "L", "device", idempotent=False),
    _to("PublishFirmware", "L", "device", idempotent=False),
    _to("UnpublishFirmware", "L", "device", idempotent=True),
    _to("GetLog", "N", "device", idempotent=False),
    _to("SetMonitoringBase", "N", "device", idempotent=True),
    _to("SetMonitoringLevel", "N", "device", idempotent=True),
    _to("SetVariableMonitoring", "N", "device", idempotent=True),  # a second one is answered Duplicate
    _to("ClearVariableMonitoring", "N", "device", idempotent=True),
    _to("GetMonitoringReport", "N", "device", idempotent=True),
    _to("CustomerInformation", "N", "device", idempotent=False),
    _to("SetDisplayMessage", "O", "device", idempotent=True),
    _to("GetDisplayMessages", "O", "device", idempotent=True),
    _to("ClearDisplayMessage", "O", "device", idempotent=True),
    # auth: authorization, local list, certificates
    _from("Authorize", "C", "auth"),
    _from("SignCertificate", "A", "auth"),
    _from("Get15118EVCertificate", "M", "auth"),
    _from("GetCertificateStatus", "M", "auth"),
    _to("SendLocalList", "D", "auth", idempotent=True),  # a repeated version is answered VersionMismatch
    _to("GetLocalListVersion", "D", "auth", idempotent=True),
    _to("ClearCache", "C", "auth", idempotent=True),
    _to("CertificateSigned", "AM", "auth", idempotent=False),
    _to("InstallCertificate", "MA", "auth", idempotent=True),
    _to("DeleteCertificate", "M", "auth", idempotent=True),
    _to("GetInstalledCertificateIds", "M", "auth", idempotent=True),
    # transactions: transactions, remote control of them, reservation, cost, meter values
    _from("TransactionEvent", "ECDFHIJK", "transactions"),
    _from("MeterValues", "J", "transactions"),
    _from("ReservationStatusUpdate", "H", "transactions"),
    _to("RequestStartTransaction", "F", "transactions", idempotent=False),
    _to("RequestStopTransaction", "F", "transactions", idempotent=True),
    _to("GetTransactionStatus", "E", "transactions", idempotent=True),
    _to("ReserveNow", "H", "transactions", idempotent=True),  # the same id replaces the reservation (H01.FR.02)
    _to("CancelReservation", "H", "transactions", idempotent=True),
    _to("CostUpdated", "I", "transactions", idempotent=True),
    # smartcharging
    _from("NotifyChargingLimit", "K", "smartcharging"),
    _from("ClearedChargingLimit", "K", "smartcharging"),
    _from("NotifyEVChargingNeeds", "K", "smartcharging"),
    _from("NotifyEVChargingSchedule", "K", "smartcharging"),
    _from("ReportChargingProfiles", "K", "smartcharging"),
    _to("SetChargingProfile", "K", "smartcharging", idempotent=True),
    _to("GetChargingProfiles", "K", "smartcharging", idempotent=True),
    _to("ClearChargingProfile", "K", "smartcharging", idempotent=True),
    _to("GetCompositeSchedule", "K", "smartcharging", idempotent=True),
)

ACTIONS: Final[Mapping[str, Action]] = MappingProxyType({action.name: action for action in _TABLE})
"""All 64, by name as it stands in the CALL (case-sensitive)."""

OWNER: Final[Mapping[str, Owner]] = MappingProxyType({action.name: action.owner for action in _TABLE})
"""The service that owns the action."""

FROM_STATION: Final = frozenset(a.name for a in _TABLE if a.direction is not Direction.CSMS_TO_STATION)
"""The 25 actions that a station sends (DataTransfer included)."""

TO_STATION: Final = frozenset(a.name for a in _TABLE if a.direction is not Direction.STATION_TO_CSMS)
"""The 40 actions that the CSMS sends (DataTransfer included)."""

IDEMPOTENT: Final = frozenset(a.name for a in _TABLE if a.idempotent)
"""The actions to stations that may be repeated when their outcome is unknown."""


def owned_by(owner: str) -> tuple[Action, ...]:
    """The actions of a service, in the order of the table."""
    return tuple(action for action in _TABLE if action.owner == owner)


@cache
def request_type(action: str) -> type["WireModel"]:
    """The generated type of the action's request. Imports `ocppcore.v201` on first use. KeyError when unknown."""
    return _type(ACTIONS[action].request)


@cache
def response_type(action: str) -> type["WireModel"]:
    """The generated type of the action's response. Imports `ocppcore.v201` on first use. KeyError when unknown."""
    return _type(ACTIONS[action].response)


def _type(name: str) -> type["WireModel"]:
    found: type[WireModel] = getattr(importlib.import_module("ocppcore.v201"), name)
    return found
