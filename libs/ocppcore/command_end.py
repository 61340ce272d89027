"""How a command ended, as the service that asked for it is told: a record of its own requests."""

from typing import Final, Literal

import msgspec

ENDED: Final = "csms.command_ended.v1"

Status = Literal["answered", "error", "timeout", "not_connected", "refused", "expired", "unknown"]


class Ended(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the requester of a command is told; `response` is the station's, `error` names code and description.

    `epoch`: of the connection that it was given to last, -1 for none.
    """

    command_id: str
    action: str
    status: Status
    reference: str
    response: msgspec.Raw = msgspec.Raw(b"null")
    error: msgspec.Raw = msgspec.Raw(b"null")
    epoch: int = -1
