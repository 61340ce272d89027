"""`csms frames`: the newest frames of all partitions, by time, and a word about stations that nobody knows."""

import io
import json

import pytest
from rich.console import Console

from csms.tools.access import Access
from csms.tools.frames import frames
from ocppcore import topics
from ocppcore.envelope import Frame, frame_record, state_record
from ocppcore.errors import OperatorError
from ocppcore.memory import MemoryLog
from ocppcore.settings import BaseServiceSettings, Keys
from tests.support.given import NOW

SETTINGS = BaseServiceSettings(partitions=4)
SLOTS = 2


async def log_of(*said: tuple[str, int, str]) -> MemoryLog:
    """A log that holds a CALL of each of these: station, second, action."""
    log = MemoryLog()
    await log.declare(topics.partition_counts(4, SLOTS))
    for n, (station, second, action) in enumerate(said):
        call = json.dumps([2, str(n), action, {}]).encode()
        sent = Frame(
            topics.normalise(station), station, 0, 1, n, "ocpp2.0.1", NOW + second * 1000, "call", str(n), action, "",
            call, "",
        )  # fmt: skip
        await log.append([frame_record(sent, "device" if action == "Heartbeat" else "auth", 4)])
    return log


async def printed(log: MemoryLog, **wanted: object) -> list[tuple[str, str]]:
    """Station and action of each line."""
    out = io.StringIO()
    opened = Access(SETTINGS, "", log, Keys(b"", b""))
    options = {"station": None, "follow": False, "last": 20, "slots": SLOTS} | wanted
    await frames(opened, Console(file=out, width=300), **options)  # type: ignore[arg-type]
    return [(line.split()[1], line.split()[3]) for line in out.getvalue().splitlines()]


async def test_the_last_ones_of_all_are_shown_by_time() -> None:
    said = [(f"CS-{n}", 10 - n, "Heartbeat" if n % 2 else "Authorize") for n in range(10)]
    log = await log_of(*said)
    by_time = [(station, action) for station, _, action in reversed(said)]
    assert await printed(log) == by_time
    assert await printed(log, last=3) == by_time[-3:]
    assert await printed(log, last=0) == []


async def test_those_of_a_station_are_found_behind_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("csms.tools.frames.STEP_MIN", 2)
    names = (f"Often-{n}" for n in range(100))
    often = next(name for name in names if topics.partition_of(name.casefold(), 4) == topics.partition_of("rare", 4))
    log = await log_of(("Rare", 0, "Heartbeat"), ("Rare", 1, "Authorize"), *((often, 2, "Heartbeat"),) * 50)
    assert await printed(log, station="RARE", last=2) == [("Rare", "Heartbeat"), ("Rare", "Authorize")]
    assert await printed(log, station="rare", last=1) == [("Rare", "Authorize")]


async def test_a_station_that_nobody_knows_is_named() -> None:
    log = await log_of(("CS-1", 0, "Heartbeat"))
    with pytest.raises(OperatorError, match="no station NOPE is registered"):
        await printed(log, station="NOPE")
    registered = state_record(topics.STATIONS, "silent", {"id": "Silent"}, "/test", "t", NOW, 4)
    await log.append([registered])
    assert await printed(log, station="SILENT") == []
