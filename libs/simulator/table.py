"""What the run looks like while it lasts: a live table in a terminal, a line now and then elsewhere."""

import asyncio
import time
from collections.abc import Iterator

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from .fleet import Fleet

REFRESH_S = 0.5
LINE_EVERY_S = 5.0


class View:
    """Follows a fleet on a console until it is cancelled."""

    def __init__(self, fleet: Fleet, console: Console) -> None:
        self._fleet = fleet
        self._console = console
        self._started = time.monotonic()
        self._before = (self._started, 0)
        self._rate = 0.0

    async def follow(self) -> None:
        if not self._console.is_terminal:
            while True:
                await asyncio.sleep(LINE_EVERY_S)
                self._console.print(self.line(), highlight=False, soft_wrap=True)
        with Live(self.table(), console=self._console, auto_refresh=False) as live:
            while True:
                await asyncio.sleep(REFRESH_S)
                live.update(self.table(), refresh=True)

    def line(self) -> str:
        return "  ".join(f"{name} {value}" for name, value in self._figures())

    def table(self) -> Table:
        table = Table(
            title=Text(f"{self._fleet.config.stations} stations at {self._fleet.config.url}"), show_header=False
        )
        table.add_column(style="dim")
        table.add_column(justify="right")
        for name, value in self._figures():
            table.add_row(name, value)
        return table

    def _figures(self) -> Iterator[tuple[str, str]]:
        fleet, stats = self._fleet, self._fleet.stats
        self._measure()
        yield "time", f"{time.monotonic() - self._started:.0f} s"
        yield "connected", f"{fleet.count(lambda s: s.link.up)}"
        yield "charging", f"{fleet.count(lambda s: s.charging)}"
        yield "transactions", f"{stats.transactions}"
        yield "calls", f"{stats.answered}"
        yield "calls/s", f"{self._rate:.0f}"
        latency = stats.latency_ms
        yield "p50/p99", f"{latency.percentile(50):.0f}/{latency.percentile(99):.0f} ms"
        yield "queued offline", f"{sum(p.station.outbox.queued_events for p in fleet.players if not p.station.link.up)}"
        yield "from CSMS", f"{stats.commands.total()}"
        yield "faults", _counts(stats.faults) or "none"
        yield "failures", _counts(stats.failed + stats.refused) or "none"
        yield "broken promises", f"{stats.broken}"

    def _measure(self) -> None:
        now, answered = time.monotonic(), self._fleet.stats.answered
        then, before = self._before
        if now - then >= 1:
            self._rate = (answered - before) / (now - then)
            self._before = now, answered


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
