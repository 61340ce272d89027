"""What to drive, and what came of it: plain data that crosses the border between processes as JSON."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class LoadConfig:
    """One run. `mode`: "closed": the next CALL as soon as the last was answered; "open": `rate` CALLs a
    second on schedule, over all stations in turn, latency measured from the scheduled time; "idle": a
    Heartbeat per station every `heartbeat_s`, measured likewise. Stations are PREFIX-00001 and on; `first`
    shifts the numbers, so that several processes share the work. `tokens`: `TYPE:VALUE` or `VALUE`, one per
    station in turn. `passwords`: one per station, in their order, instead of one `password` for all. `updates`:
    Updated events per transaction. `priced`: an answer to an Updated or Ended without totalCost is an error."""

    url: str
    stations: int
    mode: Literal["closed", "open", "idle"] = "closed"
    rate: float = 1000.0
    duration_s: float = 15.0
    warmup_s: float = 2.0
    drain_s: float = 5.0
    heartbeat_s: float = 60.0
    updates: int = 8
    priced: bool = False
    prefix: str = "LOAD"
    first: int = 1
    password: str | None = None
    passwords: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ("ISO14443:04A1B2C3D4E5F6",)
    compression: bool = False
    connect_per_s: float = 1000.0
    connect_timeout_s: float = 120.0
    call_timeout_s: float = 60.0
    journal: str | None = None
    seed: int = 0

    @property
    def station_ids(self) -> list[str]:
        return [f"{self.prefix}-{n:05d}" for n in range(self.first, self.first + self.stations)]


@dataclass(frozen=True, kw_only=True)
class Latency:
    """In ms."""

    count: int
    mean: float
    p50: float
    p90: float
    p99: float
    p999: float
    largest: float


@dataclass(frozen=True, kw_only=True)
class LoadResult:
    """Counts are those of the measured window, except where said. `latency` is that of all CALLs of the
    window; in the open and idle modes CALLs that were due but never answered are in it with their age at the
    end. `lag`: how late this driver itself was to send what was due. `errors` (whole run): CALLERRORs,
    refusals, wrong ids, malformed frames, timeouts. `connect_s`: until all were connected and registered.
    `window`: when the window began and ended, by the machine's monotonic clock in s (`time.monotonic`)."""

    stations: int
    ready: int
    connected: int
    seconds: float
    window: tuple[float, float]
    calls: int
    calls_per_s: float
    transactions: int
    latency: Latency
    lag: Latency
    by_step: dict[str, Latency]
    unsent: int
    unanswered: int
    connect_s: float
    disconnects: int
    reconnects: int
    resent: int
    csms_calls: int
    errors: dict[str, int]
    samples: list[str] = field(default_factory=list)
    driver_cpu_us_per_call: float = 0.0
    driver_rss_bytes: int = 0
