"""Where a station dials: network connection profiles in slots, tried in their order of priority (B09, B10, A05)."""

from typing import TYPE_CHECKING, NamedTuple

from .device_model import Key

if TYPE_CHECKING:
    from .station import Station

PRIORITY = Key("OCPPCommCtrlr", "NetworkConfigurationPriority")
SLOTS = range(4)


class Profile(NamedTuple):
    """`url` "" is the one that the simulator was given for a station's own security profile."""

    url: str
    security_profile: int


class Networks:
    """The slots of one station; slot 0 is what it was delivered with."""

    __slots__ = ("_attempts", "_slots", "_station", "active")

    def __init__(self, station: "Station", security_profile: int) -> None:
        self._station = station
        self._slots = {0: Profile("", security_profile)}
        self._attempts = 0
        self.active = 0
        self._say()

    @property
    def target(self) -> Profile:
        """What to dial now."""
        return self._slots[self.active]

    @property
    def security_profile(self) -> int:
        return self._station.model.integer("SecurityCtrlr", "SecurityProfile")

    def put(self, slot: int, url: str, security_profile: int) -> str | None:
        """Keep a profile for later; the reason code where it is refused (B09.FR.02, FR.04, FR.05)."""
        if slot not in SLOTS or not url.startswith("wss:" if security_profile > 1 else "ws:"):
            return "InvalidConfSlot" if slot not in SLOTS else "InvalidURL"
        if security_profile < self.security_profile and not self._may_lower(security_profile):
            return "NoSecurityDowngrade"
        if slot == self.active:
            return "InvalidConfSlot"
        self._slots[slot] = Profile(url, security_profile)
        return None

    def allows(self, value: str) -> bool:
        """Whether it may be the order of priority: every slot is filled, and what each profile needs is there
        (A05.FR.02, FR.03, FR.08 to FR.10)."""
        profiles = [self._slots.get(int(slot)) for slot in value.split(",") if slot.isdecimal()]
        return bool(profiles) and all(profile is not None and self._is_possible(profile) for profile in profiles)

    def rebooted(self) -> None:
        """Begin with the first one (B10.FR.04)."""
        self._attempts = 0
        self.active = self._order()[0]

    def failed(self) -> None:
        """An attempt has failed: after so many, the next one's turn (B10.FR.03)."""
        self._attempts += 1
        if self._attempts >= self._station.model.integer("OCPPCommCtrlr", "NetworkProfileConnectionAttempts"):
            order = self._order()
            self._attempts = 0
            after = order.index(self.active) + 1 if self.active in order else 0
            self.active = order[after % len(order)]

    def connected(self) -> None:
        """This profile works: those with a lower security profile are forgotten (A05.FR.06)."""
        self._attempts = 0
        self._say()
        lowest = self.target.security_profile
        self._slots = {slot: one for slot, one in self._slots.items() if one.security_profile >= lowest}
        self._station.model.put(PRIORITY, ",".join(map(str, self._order())))

    def _order(self) -> list[int]:
        text = self._station.model.text(*PRIORITY[:2])
        order = [int(slot) for slot in text.split(",") if slot.isdecimal() and int(slot) in self._slots]
        return order or [self.active]

    def _is_possible(self, profile: Profile) -> bool:
        station, wanted = self._station, profile.security_profile
        if wanted < self.security_profile:
            return self._may_lower(wanted)
        if wanted == self.security_profile:
            return True
        return (wanted < 2 or bool(station.csms_roots)) and (wanted < 3 or station.certificate is not None)

    def _may_lower(self, wanted: int) -> bool:
        allowed = self._station.model.flag("SecurityCtrlr", "AllowSecurityProfileDowngrade")
        return allowed and (self.security_profile, wanted) == (3, 2)

    def _say(self) -> None:
        model = self._station.model
        model.put(Key("SecurityCtrlr", "SecurityProfile"), str(self.target.security_profile))
        model.put(Key("OCPPCommCtrlr", "ActiveNetworkProfile"), str(self.active))
