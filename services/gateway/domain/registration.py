"""The registration gate: which CALLs a station that is not accepted may send, and which commands it may be sent.

Accepted: everything. Rejected: BootNotification in, nothing out (B03.FR.03, B03.FR.07). Pending: BootNotification in,
and what an accepted TriggerMessage, GetBaseReport or GetReport asked for (B01.FR.10, B02.FR.09); everything out but
remote starts and stops (B02.FR.05). The errata of 2025-09 take the general rule (GEN.FR.04) back to these.
"""

from typing import Final

import msgspec

from ocppcore.envelope import Registration

BOOT: Final = "BootNotification"
REMOTE: Final = frozenset({"RequestStartTransaction", "RequestStopTransaction"})
ASKING: Final = frozenset({"TriggerMessage", "GetBaseReport", "GetReport"})
REPORTS_MAX: Final = 16

_TRIGGERED: Final = {
    "SignChargingStationCertificate": "SignCertificate",
    "SignV2GCertificate": "SignCertificate",
    "SignCombinedCertificate": "SignCertificate",
}
"""Messages that TriggerMessage names otherwise than by their action (MessageTriggerEnumType)."""


class _Status(msgspec.Struct):
    status: str


class _Report(msgspec.Struct):
    requestId: int


class _Trigger(msgspec.Struct):
    requestedMessage: str


class Gate:
    """One connection's registration and what was asked for while it is Pending. Times are ms.

    `never_accepted`: it is Pending at best, whatever the registry and the boot answer say (A00.FR.429).
    """

    __slots__ = ("_actions", "_never_accepted", "_reports", "registration")

    def __init__(self, registration: Registration, *, never_accepted: bool = False) -> None:
        self._never_accepted = never_accepted
        self.registration: Registration = self._at_best(registration)
        self._actions: dict[str, int] = {}
        self._reports: dict[int, None] = {}

    def change(self, registration: Registration) -> None:
        """The boot answer that just passed says so. What was asked for stays asked for while Pending lasts."""
        self.registration = self._at_best(registration)
        if self.registration != "Pending":
            self._actions.clear()
            self._reports.clear()

    def _at_best(self, registration: Registration) -> Registration:
        return "Pending" if self._never_accepted and registration == "Accepted" else registration

    def refuses_call(self, action: str, payload: bytes, now: int) -> str | None:
        """Why a station's CALL gets SecurityError, or None when it passes."""
        if self.registration == "Accepted" or action == BOOT:
            return None
        if self.registration == "Pending" and self._asked_for(action, payload, now):
            return None
        return f"registration is {self.registration}: {action} is not accepted before BootNotification is"

    def refuses_command(self, action: str) -> str | None:
        """Why a command is not sent, or None when it is."""
        if self.registration == "Accepted":
            return None
        if self.registration == "Rejected" or action in REMOTE:
            return f"registration is {self.registration}: {action} is not sent"
        return None

    def answered(self, action: str, request: bytes, response: bytes, now: int, window_ms: int) -> None:
        """A command was answered by a CALLRESULT; both payloads. A trigger opens its action for `window_ms`."""
        if self.registration != "Pending" or action not in ASKING:
            return
        try:
            if msgspec.json.decode(response, type=_Status).status != "Accepted":
                return
            if action == "TriggerMessage":
                message = msgspec.json.decode(request, type=_Trigger).requestedMessage
                self._actions[_TRIGGERED.get(message, message)] = now + window_ms
            else:
                self._reports[msgspec.json.decode(request, type=_Report).requestId] = None
                while len(self._reports) > REPORTS_MAX:
                    del self._reports[next(iter(self._reports))]
        except msgspec.DecodeError:
            return  # not a valid answer: the service says so; nothing was asked for

    def _asked_for(self, action: str, payload: bytes, now: int) -> bool:
        if self._actions.get(action, -1) >= now:
            return True
        if action != "NotifyReport" or not self._reports:
            return False
        try:
            return msgspec.json.decode(payload, type=_Report).requestId in self._reports
        except msgspec.DecodeError:
            return False
