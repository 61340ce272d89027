"""How a battery charges: constant power up to a knee, then a taper towards full. Exact, so that it makes no
difference how often it is asked."""

from dataclasses import dataclass
from math import exp, log

KNEE = 0.8
TAPER_LEFT = 0.06  # of the peak power, at 100 %


@dataclass(slots=True)
class Battery:
    """State of charge 0..1 of a battery of `capacity_wh` that takes at most `peak_w`, and is content at
    `target`."""

    capacity_wh: float
    peak_w: float
    soc: float
    target: float

    @property
    def full(self) -> bool:
        return self.soc >= self.target - 1e-9

    def power_w(self, offered_w: float) -> float:
        """What it draws now when `offered_w` is offered."""
        if self.full:
            return 0.0
        return min(offered_w, self.peak_w * self._share(self.soc))

    def charge(self, seconds: float, offered_w: float) -> float:
        """Draws for `seconds`; returns the energy taken in Wh."""
        before = self.soc
        flat_w = min(offered_w, self.peak_w)
        if flat_w > 0 and seconds > 0 and not self.full:
            hours = seconds / 3600
            bend = min(self.target, self._soc_at(flat_w / self.peak_w))
            flat_hours = max(0.0, bend - self.soc) * self.capacity_wh / flat_w
            if hours <= flat_hours:
                self.soc += hours * flat_w / self.capacity_wh
            else:
                self.soc = max(self.soc, bend)
                self._taper(hours - flat_hours)
            self.soc = min(self.soc, self.target)
        return (self.soc - before) * self.capacity_wh

    def _taper(self, hours: float) -> None:
        slope = (1 - TAPER_LEFT) / (1 - KNEE)
        share = self._share(self.soc) * exp(-slope * self.peak_w * hours / self.capacity_wh)
        self.soc = KNEE + (1 - share) / slope

    def seconds_to_full(self, offered_w: float) -> float | None:
        """How long until the target at this offer; None if never."""
        flat_w = min(offered_w, self.peak_w)
        if self.full:
            return 0.0
        if flat_w <= 0:
            return None
        bend = min(self.target, max(self.soc, self._soc_at(flat_w / self.peak_w)))
        hours = (bend - self.soc) * self.capacity_wh / flat_w
        if bend < self.target:
            slope = (1 - TAPER_LEFT) / (1 - KNEE)
            ratio = self._share(bend) / self._share(self.target)
            hours += log(ratio) * self.capacity_wh / (slope * self.peak_w)
        return hours * 3600

    @staticmethod
    def _share(soc: float) -> float:
        """The part of the peak power that the battery takes at this state of charge."""
        return 1.0 if soc <= KNEE else 1 - (soc - KNEE) / (1 - KNEE) * (1 - TAPER_LEFT)

    @staticmethod
    def _soc_at(share: float) -> float:
        """The state of charge from which on the battery takes no more than this part."""
        return KNEE + (1 - min(1.0, share)) * (1 - KNEE) / (1 - TAPER_LEFT)
