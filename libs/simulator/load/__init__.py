"""The load generator: plays many stations as cheaply as Python can, so that it is not the driver that is
measured.

`await drive(config)` runs in this process; `await drive_apart(config)` starts a process of its own, which is
what a benchmark wants. `python -m simulator.load` reads a LoadConfig as JSON from standard input and writes
the LoadResult to standard output.
"""

import asyncio
import sys
from dataclasses import asdict
from typing import Any

import msgspec
import orjson

from .driver import Driver
from .report import Latency, LoadConfig, LoadResult
from .station import NO_COST

__all__ = ["NO_COST", "Latency", "LoadConfig", "LoadError", "LoadResult", "drive", "drive_apart"]


class LoadError(Exception):
    """The driver's process failed; its message says why."""


async def drive(config: LoadConfig) -> LoadResult:
    """Runs the load in this event loop. Raises ValueError for impossible settings, or if no station became ready."""
    return await Driver(config).run()


async def drive_apart(config: LoadConfig) -> LoadResult:
    """Runs the load in a process of its own, which ends with this task. Raises LoadError."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "simulator.load",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await process.communicate(orjson.dumps(asdict(config)))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise LoadError(err.decode(errors="replace")[-2000:])
    return msgspec.json.decode(out, type=LoadResult)


def read_config(data: bytes) -> LoadConfig:
    """A LoadConfig from JSON; raises ValueError (msgspec's ValidationError) with the field's name."""
    return msgspec.json.decode(data, type=LoadConfig)


def write_result(result: LoadResult) -> bytes:
    values: dict[str, Any] = asdict(result)
    return orjson.dumps(values)
