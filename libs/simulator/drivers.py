"""Who comes to charge, in which order they do things, and when they leave. Drawn from the seed.

Most plug in and present their idToken, or the other way round; some forget one of the two; some tear the
cable out.
"""

from enum import Enum
from typing import Protocol

from .config import Drivers
from .evse import Evse
from .inputs import IdToken
from .rng import Rng


class Hands(Protocol):
    """What a driver can do at a station."""

    world_rng: Rng
    finishing: bool

    def world(self, seconds: float) -> int: ...
    def set_timer(self, name: str, evse_id: int, after_ms: int) -> None: ...
    def present_token(self, evse: Evse, token: IdToken) -> None: ...


class Phase(Enum):
    AWAY = "away"
    TO_PLUG = "to plug in"
    TO_PRESENT = "to present the idToken"
    WAITING = "waiting"
    STAYING = "staying"
    TO_UNPLUG = "to unplug"


class DriverAt:
    """The driver (one after the other) at one EVSE."""

    __slots__ = ("_evse", "_hands", "_plan", "_token", "_will_present", "phase")

    def __init__(self, evse: Evse, hands: Hands, plan: Drivers, first_within_s: int) -> None:
        self._evse, self._hands, self._plan = evse, hands, plan
        self._token = hands.world_rng.choice(plan.tokens)
        self._will_present = True
        self.phase = Phase.AWAY
        self._later(Phase.AWAY, 1, max(2, first_within_s))

    def act(self) -> None:
        """The driver's timer is due."""
        match self.phase:
            case Phase.AWAY:
                self._arrive()
            case Phase.TO_PLUG:
                self._plug_in()
            case Phase.TO_PRESENT:
                self._later(Phase.WAITING, 60, 120)
                self._hands.present_token(self._evse, self._token)
            case Phase.WAITING | Phase.TO_UNPLUG:
                self._unplug()
            case Phase.STAYING:
                self._leave()

    def noticed(self, what: str) -> None:
        """Something changed at the EVSE."""
        match what:
            case "refused" if self.phase is Phase.WAITING:
                self._later(Phase.TO_UNPLUG, 5, 30)
            case "refused" if self.phase is Phase.TO_PLUG:
                self._go_away()
            case "remote-started" if not self._evse.plugged:
                self._later(Phase.TO_PLUG, 5, 40)
            case "remote-started" | "authorized":
                self._stay()
            case "stopped" if self._evse.plugged and self.phase is not Phase.TO_UNPLUG:
                self._later(Phase.TO_UNPLUG, 5, 60)
            case "stopped" if self.phase in (Phase.WAITING, Phase.STAYING):
                self._go_away()
            case "unplugged":
                self._go_away()

    def finish(self) -> None:
        """The run ends: leave now."""
        if self.phase is Phase.AWAY and not (self._evse.plugged or self._evse.authorized):
            return
        self._later(Phase.STAYING, 0, 1)

    def _arrive(self) -> None:
        rng = self._hands.world_rng
        if self._hands.finishing:
            return
        if not self._evse.free:
            self._go_away()
            return
        self._token = rng.choice(self._plan.tokens)
        self._will_present = not rng.chance(0.04)
        if rng.chance(0.6):
            self._plug_in()
        else:
            if rng.chance(0.05):
                self._later(Phase.WAITING, 100, 200)  # never plugs in
            else:
                self._later(Phase.TO_PLUG, 5, 45)
            self._hands.present_token(self._evse, self._token)

    def _plug_in(self) -> None:
        if not self._evse.plug_in(self._hands.world_rng.between(1, len(self._evse.connector_operative))):
            self._go_away()
        elif self._evse.authorized:
            self._stay()
        elif self._will_present and self.phase is Phase.AWAY:
            self._later(Phase.TO_PRESENT, 3, 40)
        else:
            self._later(Phase.WAITING, 60, 300)

    def _stay(self) -> None:
        if self._evse.plugged:
            self._later(Phase.STAYING, self._plan.stay_min_s, self._plan.stay_max_s)

    def _leave(self) -> None:
        """Most stop with their idToken and take the cable out, some just pull."""
        evse = self._evse
        if evse.authorized and evse.token is not None and not self._hands.world_rng.chance(0.15):
            self._hands.present_token(evse, evse.token)
            if evse.plugged:
                self._later(Phase.TO_UNPLUG, 3, 40)
        else:
            self._unplug()

    def _unplug(self) -> None:
        if self._evse.plugged:
            self._evse.unplug()
        else:
            self._go_away()

    def _go_away(self) -> None:
        gap_s = self._plan.gap_s
        self._later(Phase.AWAY, max(1, gap_s // 4), max(2, 2 * gap_s - gap_s // 4))

    def _later(self, phase: Phase, low_s: int, high_s: int) -> None:
        self.phase = phase
        seconds = 0 if self._hands.finishing else self._hands.world_rng.between(low_s, high_s)
        self._hands.set_timer("driver", self._evse.id, self._hands.world(seconds))
