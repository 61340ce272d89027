"""New passwords for stations: the random, the hashing and the sealing that no decision may do itself (A01, A00.FR.205).

The password itself is in the sealed frame alone, never in a record, a row or a log.
"""

import secrets
import string
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec
import orjson

from ocppcore import credentials
from ocppcore.command_payload import show
from ocppcore.commands import Ask
from ocppcore.contracts.device import FactoryPasswordDue, RotatePassword
from ocppcore.pseudonym import Pseudonyms
from ocppcore.seal import Seal
from ocppcore.service import Effect, EffectResult, Event
from services.device.domain.rotation import PASSWORD_CHARACTERS, REFERENCE
from services.device.settings import Settings

_ALPHABET: Final = string.ascii_letters + string.digits
_VARIABLE: Final = {"component": {"name": "SecurityCtrlr"}, "variable": {"name": "BasicAuthPassword"}}


@dataclass(frozen=True)
class Passwords:
    """What making one needs; `key` is `CSMS_PASSWORD_KEY`."""

    key: bytes
    pseudonyms: Pseudonyms
    seal: Seal
    settings: Settings

    def rotation(self, station_id: str, length: int = PASSWORD_CHARACTERS, *, factory: bool = False) -> RotatePassword:
        """What gives this station (its id as registered) another password of so many characters."""
        password = "".join(secrets.choice(_ALPHABET) for _ in range(length))
        operation_id, command_id = uuid.uuid4().hex, str(uuid.uuid4())
        payload = orjson.dumps({"setVariableData": [{**_VARIABLE, "attributeValue": password}]})
        shown = show(command_id, "SetVariables", payload, self.pseudonyms, self.seal)
        return RotatePassword(
            operation_id=operation_id,
            ask=Ask(
                command_id=command_id,
                action="SetVariables",
                payload=msgspec.Raw(shown.payload),
                sealed=shown.sealed,
                identity=station_id,
                reply_service="device",
                reference=REFERENCE + operation_id,
            ),
            credential=credentials.hash_generated(password, self.key),
            length=length,
            limit=self.settings.password_refused_boot == "pending",
            evidence_ms=self.settings.password_evidence_s * 1000,
            factory=factory,
            reboot_ms=self.settings.password_reboot_s * 1000,
            end_ms=self.settings.password_both_s * 1000,
        )

    def effects(self) -> Mapping[type[Event], Effect]:
        """What events ask for."""
        return {FactoryPasswordDue: self._due}

    async def _due(self, event: FactoryPasswordDue) -> EffectResult:
        return EffectResult(RotatePassword.NAME, self.rotation(event.station, event.length, factory=True))
