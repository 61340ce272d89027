"""What the smartcharging service says (block K)."""

from typing import ClassVar

import msgspec

from ocppcore.service import Event
from ocppcore.topics import normalise


class ChargingMessage(Event, frozen=True, kw_only=True, omit_defaults=True):
    """What a station said, kept: `payload` is the request as JSON."""

    station: str
    payload: msgspec.Raw

    def subject(self) -> str:
        return normalise(self.station)


class ChargingLimitReported(ChargingMessage, frozen=True, kw_only=True, omit_defaults=True):
    """NotifyChargingLimit."""

    TYPE: ClassVar[str] = "smartcharging.ChargingLimitReported.v1"


class ChargingLimitCleared(ChargingMessage, frozen=True, kw_only=True, omit_defaults=True):
    """ClearedChargingLimit."""

    TYPE: ClassVar[str] = "smartcharging.ChargingLimitCleared.v1"


class ChargingNeedsRefused(ChargingMessage, frozen=True, kw_only=True, omit_defaults=True):
    """NotifyEVChargingNeeds, answered Rejected."""

    TYPE: ClassVar[str] = "smartcharging.ChargingNeedsRefused.v1"


class ChargingScheduleRefused(ChargingMessage, frozen=True, kw_only=True, omit_defaults=True):
    """NotifyEVChargingSchedule, answered Rejected."""

    TYPE: ClassVar[str] = "smartcharging.ChargingScheduleRefused.v1"


class ChargingProfilesReported(ChargingMessage, frozen=True, kw_only=True, omit_defaults=True):
    """ReportChargingProfiles. `command_id`: of the GetChargingProfiles that the station accepted with this requestId;
    `unsolicited`: none was."""

    TYPE: ClassVar[str] = "smartcharging.ChargingProfilesReported.v1"
    command_id: str = ""
    unsolicited: bool = False
