"""Figures of a run: what the table shows while it lasts and the summary afterwards."""

from collections import Counter
from dataclasses import dataclass, field

from .actions import Actions
from .histogram import Histogram
from .notes import (
    CallAnswered,
    CallFailed,
    CallLost,
    CommandAnswered,
    FaultInjected,
    PromiseBroken,
    Refused,
    TransactionBegan,
)

EXAMPLES_MAX = 20


@dataclass
class Stats:
    """Counts since the start; `latency_ms` of the CALLs that were answered."""

    calls: Counter[str] = field(default_factory=Counter)
    latency_ms: Histogram = field(default_factory=Histogram)
    commands: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    transactions: int = 0
    dials: int = 0
    broken: int = 0
    examples: list[str] = field(default_factory=list)

    def take(self, station_id: str, actions: Actions) -> None:
        """Reads what one step of one station brought."""
        self.dials += actions.connect
        for note in actions.notes:
            match note:
                case CallAnswered(action, _, latency_ms):
                    self.calls[action] += 1
                    self.latency_ms.add(latency_ms)
                case TransactionBegan():
                    self.transactions += 1
                case CommandAnswered(action):
                    self.commands[action] += 1
                case FaultInjected(kind):
                    self.faults[kind] += 1
                case CallLost():
                    self.lost += 1
                case Refused(status):
                    self.refused["no connection" if status is None else f"HTTP {status}"] += 1
                case CallFailed(action, message_id, code, description, explained):
                    self.failed[f"{action}: {code}"] += 1
                    if not explained:
                        self.broke(f"{station_id} {action} {message_id}: {code} {description}")
                case PromiseBroken(what):
                    self.broke(f"{station_id}: the CSMS {what}")

    def broke(self, what: str) -> None:
        """A promise was broken; the first few are kept word by word."""
        self.broken += 1
        if len(self.examples) < EXAMPLES_MAX:
            self.examples.append(what)

    @property
    def answered(self) -> int:
        return self.latency_ms.count
