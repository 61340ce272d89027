"""CPU and memory of groups of processes, as the kernel counts them."""

import asyncio
import bisect
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import psutil  # type: ignore[import-untyped]

SAMPLE_S = 0.1

Groups = Callable[[], Mapping[str, list[psutil.Process]]]
"""The processes of each group at present."""


MACHINE = "(machine)"


class Reading(NamedTuple):
    """CPU seconds of each group since its processes started, and of the machine; `at` is time.monotonic()."""

    at: float
    cpu_s: Mapping[str, float]


def family(pid: int) -> list[psutil.Process]:
    """A process and its descendants that are alive."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def cpu_s(process: psutil.Process) -> float:
    """User and system time, with that of children that have ended; 0 if it is gone."""
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system + times.children_user + times.children_system)


def busy_s() -> float:
    """CPU seconds that the machine has spent on anything since it started."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))


def rss_bytes(process: psutil.Process) -> int:
    """Resident memory; 0 if it is gone."""
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


@dataclass
class Meter:
    """`async with Meter(groups) as meter:` reads the CPU clocks ten times a second, so that any window is known."""

    groups: Groups
    readings: list[Reading] = field(default_factory=list)
    _task: "asyncio.Task[None] | None" = None

    async def __aenter__(self) -> "Meter":
        self._read()
        self._task = asyncio.create_task(self._keep())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])
        self._read()

    def cpu_s(self, begin: float, end: float) -> dict[str, float]:
        """CPU seconds that each group spent between two points of the monotonic clock."""
        last = self.readings[-1].cpu_s
        return {group: self._spent(group, begin, end) for group in last if group != MACHINE}

    def others_cores(self, begin: float, end: float, driver_cpu_s: float) -> float:
        """How many cores, on average, did something that was neither of the groups nor of the driver."""
        known = sum(self.cpu_s(begin, end).values()) + driver_cpu_s
        return max(0.0, self._spent(MACHINE, begin, end) - known) / (end - begin)

    def _spent(self, group: str, begin: float, end: float) -> float:
        return max(0.0, self._at(group, end) - self._at(group, begin))

    def _at(self, group: str, at: float) -> float:
        """The group's clock at a point in time, between the readings around it in proportion."""
        times = [reading.at for reading in self.readings]
        after = min(max(bisect.bisect_left(times, at), 1), len(times) - 1)
        first, second = self.readings[after - 1], self.readings[after]
        low, high = first.cpu_s.get(group, 0.0), second.cpu_s.get(group, 0.0)
        share = (at - first.at) / (second.at - first.at)
        return low + (high - low) * min(max(share, 0.0), 1.0)

    def _read(self) -> None:
        spent = {group: sum(map(cpu_s, found)) for group, found in self.groups().items()}
        spent[MACHINE] = busy_s()
        self.readings.append(Reading(time.monotonic(), spent))

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(SAMPLE_S)
            self._read()
