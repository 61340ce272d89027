"""What is measured, as data: one figure per run, and the median of several."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from simulator.load import LoadResult


@dataclass(frozen=True, kw_only=True)
class Closed:
    """One run of the closed loop. CPU in µs a call, by group of processes and in all; the driver's is not in it.

    `others_cores`: how busy the machine was with anything else; a run with much of it was disturbed.
    """

    calls_per_s: float
    cpu_us: float
    cpu_us_by: dict[str, float]
    driver_cpu_us: float
    p50_ms: float
    p99_ms: float
    others_cores: float
    errors: int


@dataclass(frozen=True, kw_only=True)
class Open:
    """One run of the open loop at `rate` calls a second, latencies from the scheduled time."""

    rate: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    others_cores: float
    late: int
    """CALLs that were due and not sent, or not answered."""
    errors: int
    authorize_p99_ms: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Held:
    """Many connections, each with a Heartbeat now and then. Memory: growth of the process with the sockets."""

    connections: int
    connected: int
    connect_s: float
    bytes_per_connection: int
    all_bytes_per_connection: int
    heartbeats_per_s: float
    p50_ms: float
    p99_ms: float
    errors: int


@dataclass(frozen=True, kw_only=True)
class Replay:
    """A rebuild of the transactions service. `hash_s` is the reading of all rows for their hash, after it."""

    events: int
    events_per_s: float
    seconds: float
    hash_s: float
    produce_s: float
    cpu_us: float


@dataclass(frozen=True, kw_only=True)
class RoundTrip:
    """Records through Kafka and back, bare: produced durably, consumed by the same process."""

    records_per_s: float
    cpu_us: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, kw_only=True)
class Handshakes:
    """Stations that connect and go, one after the other. CPU in µs a handshake, of all our processes."""

    kind: str
    per_s: float
    cpu_us: float
    errors: int


@dataclass(frozen=True, kw_only=True)
class Query:
    """One kind of question to the list of transactions, answered over HTTP; `rows`: on the fullest page."""

    what: str
    median_ms: float
    p99_ms: float
    rows: int


@dataclass(frozen=True, kw_only=True)
class Flood:
    """The open loop, calm and while somebody tries wrong passwords, `kind` of `flood.KINDS`.

    `offered_per_s`: handshakes begun; `refused_cpu_us`: what a refused one costs all our processes; `guessing_cores`:
    what who guesses takes of the same machine, at the lowest priority; `other_answers`: handshakes that were not
    refused with 401, 404 or 503.
    """

    kind: str
    calm_p50_ms: float
    calm_p99_ms: float
    p50_ms: float
    p99_ms: float
    offered_per_s: float
    refused_per_s: float
    refused_cpu_us: float
    guessing_cores: float
    other_answers: int
    errors: int


@dataclass
class LogFigures:
    """All runs on one log."""

    log: str
    closed: list[Closed] = field(default_factory=list)
    open: list[Open] = field(default_factory=list)
    half: list[Open] = field(default_factory=list)
    """At half of what the closed loop carried."""
    held: list[Held] = field(default_factory=list)
    replay: list[Replay] = field(default_factory=list)
    handshakes: list[Handshakes] = field(default_factory=list)
    transactions: int = 0
    queries: list[Query] = field(default_factory=list)
    flood: list[Flood] = field(default_factory=list)
    priced: list[Closed] = field(default_factory=list)
    """The closed loop under a tariff; each run right after one without."""


@dataclass
class Report:
    """Everything of one benchmark."""

    machine: str
    logs: list[LogFigures] = field(default_factory=list)
    echo: list[Closed] = field(default_factory=list)
    kafka: list[RoundTrip] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def middle(values: Sequence[float]) -> float:
    """The median; NaN of nothing."""
    return float(median(values)) if values else float("nan")


def errors_of(result: LoadResult) -> int:
    """Errors of a run, with connections that were lost or never made."""
    return sum(result.errors.values()) + result.disconnects + (result.stations - result.ready)
