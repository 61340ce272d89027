"""What a station wants done after a step."""

from dataclasses import dataclass, field

from .notes import Note


@dataclass(slots=True)
class Actions:
    """Carry out in this order: write `frames`; close the socket if `disconnect`; dial if `connect` (and
    report Connected or ConnectFailed); step again at `wake_at` (ms since 1970), or earlier if something
    happens."""

    frames: list[bytes] = field(default_factory=list)
    disconnect: bool = False
    connect: bool = False
    wake_at: int | None = None
    notes: list[Note] = field(default_factory=list)
