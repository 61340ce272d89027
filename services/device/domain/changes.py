"""Changes of what a station connects with, under way: its password (A01), its security profile (A05). State and rows.

At most one of each kind at a time per station. What has ended is a row, no state.
"""

import msgspec

from ocppcore.contracts.device import (
    PasswordRotationMoved,
    PasswordRotationStarted,
    ProfileUpgradeMoved,
    ProfileUpgradeStarted,
    RotationState,
    UpgradeState,
)
from ocppcore.service import Result
from ocppcore.store import Table, Upsert

CHANGES = Table(
    "credential_changes",
    {
        "operation_id": "text",
        "station": "text",
        "identity": "text",
        "kind": "text",
        "state": "text",
        "reason": "text",
        "command_id": "text",
        "from_profile": "bigint",
        "to_profile": "bigint",
        "asked_at": "bigint",
        "changed_at": "bigint",
        "actor": "text",
    },
    ("operation_id",),
    indexes=(("station", "asked_at"),),
)
"""A row an operation. `command_id`: of the newest command that it took. Times in ms."""

ROTATION_OPEN: tuple[RotationState, ...] = ("started", "asked", "unsure")
UPGRADE_ASKING: tuple[UpgradeState, ...] = ("checking", "reading", "writing", "choosing", "resetting")
UPGRADE_OPEN: tuple[UpgradeState, ...] = (*UPGRADE_ASKING, "waiting")


class Rotation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A change of the password; fields as in its events."""

    started: PasswordRotationStarted
    state: RotationState = "started"
    epoch: int = -1
    reboot: bool = False
    closings: int = 0
    resets: int = 0
    overdue: bool = False


class Upgrade(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A change of the security profile; fields as in its events. It stays after no_effect: the effect may come yet."""

    started: ProfileUpgradeStarted
    state: UpgradeState = "checking"
    asked: int = 0
    slot: int | None = None
    spare: tuple[int, ...] = ()
    priority: tuple[int, ...] = ()

    @property
    def busy(self) -> bool:
        """Whether another change of the station's credentials has to wait."""
        return self.state in UPGRADE_OPEN


def begun(operation_id: str) -> Result:
    """The answer to who asked for a change: where it can be followed."""
    return Result(202, {"operationId": operation_id, "location": f"/device/credential-changes/{operation_id}"})


def command_id(operation_id: str, number: int) -> str:
    """The id of the operation's command of this number; a message id has at most 36 characters."""
    return f"{operation_id}-{number}"


def rotation_row(
    started: PasswordRotationStarted, moved: PasswordRotationStarted | PasswordRotationMoved, state: RotationState
) -> Upsert:
    reason = moved.reason if isinstance(moved, PasswordRotationMoved) else ""
    row = (
        started.operation_id,
        started.subject(),
        started.station,
        "password",
        state,
        reason or None,
        started.command_id,
        None,
        None,
        started.at,
        moved.at,
        started.actor,
    )
    return Upsert(CHANGES, row)


def upgrade_row(
    started: ProfileUpgradeStarted,
    moved: ProfileUpgradeStarted | ProfileUpgradeMoved,
    state: UpgradeState,
    asked: int,
) -> Upsert:
    reason = moved.reason if isinstance(moved, ProfileUpgradeMoved) else ""
    row = (
        started.operation_id,
        started.subject(),
        started.station,
        "securityProfile",
        state,
        reason or None,
        command_id(started.operation_id, asked) if asked else None,
        started.from_profile,
        started.to_profile,
        started.at,
        moved.at,
        started.actor,
    )
    return Upsert(CHANGES, row)
