"""What a station wants done after a step."""

from dataclasses import dataclass, field

from .notes import Note


@dataclass(slots=True)
class Actions:
    """Carry out in this order: write `frames`; end the connection if `disconnect` (without a close frame if
    `abrupt`: the network is gone); dial if `connect`, and report Connected or ConnectFailed; step again at
    `wake_at` (ms since 1970), or earlier if something happens."""

    frames: list[bytes] = field(default_factory=list)
    disconnect: bool = False
    abrupt: bool = False
    connect: bool = False
    wake_at: int | None = None
    notes: list[Note] = field(default_factory=list)
