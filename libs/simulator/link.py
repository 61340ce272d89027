"""When a station dials: at once after power-up, and with a growing, random back-off after a loss (Part 4,
sections 5.3 and 8)."""

from enum import Enum

from .device_model import DeviceModel
from .rng import Rng


class LinkState(Enum):
    DOWN = "down"
    DIALLING = "dialling"
    UP = "up"


class Link:
    """The state of the connection, and how long to wait before the next attempt."""

    __slots__ = ("_attempts", "_wait_ms", "down_since", "state")

    def __init__(self) -> None:
        self.state = LinkState.DOWN
        self.down_since: int | None = None
        self._attempts = 0
        self._wait_ms = 0

    @property
    def up(self) -> bool:
        return self.state is LinkState.UP

    def opened(self) -> None:
        self.state = LinkState.UP
        self._attempts = 0

    def lost(self, now_ms: int) -> None:
        if self.up:
            self.down_since = now_ms
        self.state = LinkState.DOWN

    def back_off_ms(self, model: DeviceModel, rng: Rng) -> int:
        """The wait before the next attempt: the minimum plus a random part, doubled (plus a new random part)
        after each failure, RetryBackOffRepeatTimes times; from then on it stays."""
        random_ms = rng.between(0, model.integer("OCPPCommCtrlr", "RetryBackOffRandomRange") * 1000)
        if self._attempts == 0:
            self._wait_ms = model.integer("OCPPCommCtrlr", "RetryBackOffWaitMinimum") * 1000 + random_ms
        elif self._attempts <= model.integer("OCPPCommCtrlr", "RetryBackOffRepeatTimes"):
            self._wait_ms = 2 * self._wait_ms + random_ms
        self._attempts += 1
        return self._wait_ms
