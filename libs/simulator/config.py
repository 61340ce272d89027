"""What kind of station to play: plain data, chosen by the caller, never read from the environment."""

from dataclasses import dataclass, field
from typing import NamedTuple

from .inputs import IdToken


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What goes wrong with one station on purpose. Probabilities per transaction (offline), per answered CALL
    (duplicates), and per command that changes what it connects with (power_cuts): it dies before it has obeyed, or
    after it has and before it says so. The storm of reconnects concerns all stations at once and is made by the
    fleet."""

    offline: float = 0.0
    duplicates: float = 0.0
    power_cuts: float = 0.0
    offline_min_s: int = 5
    offline_max_s: int = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class Drivers:
    """Who comes to charge. Times are in seconds of the simulated world."""

    tokens: tuple[IdToken, ...]
    gap_s: int = 600
    stay_min_s: int = 900
    stay_max_s: int = 3600


class Setting(NamedTuple):
    """An initial value of the device model."""

    component: str
    variable: str
    value: str
    instance: str | None = None


class ClientCertificate(NamedTuple):
    """A station's own certificate with what is above it, and its key (security profile 3). Both PEM."""

    chain: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StationConfig:
    """One station. `run` makes transactionIds and message ids of this run unlike those of every other
    (E01.FR.08, Part 4 section 4.1.4), with the same seed or not. `speed`: how many seconds pass in the world
    of drivers and batteries while one passes on the wire (timestamps, heartbeats, timeouts and retries stay
    in real time)."""

    station_id: str
    seed: int = 0
    run: str = "0"
    evses: int = 1
    connectors: int = 1
    max_power_w: int = 22_000
    tx_start_point: str = "PowerPathClosed"
    tx_stop_point: str = "PowerPathClosed"
    speed: float = 1.0
    drivers: Drivers | None = None
    faults: Faults = field(default_factory=Faults)
    password: str | None = None
    security_profile: int = 1
    csms_roots: str = ""
    """Root certificates (PEM) by which the station knows the CSMS; "": those of this machine."""
    certificate: ClientCertificate | None = None
    message_timeout_ms: int = 30_000
    queue_limit: int = 500
    variables: tuple[Setting, ...] = ()
    """Further initial values."""
