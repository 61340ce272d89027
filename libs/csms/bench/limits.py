"""What the machine can do when nothing is built on it: a bare WebSocket server, a bare Kafka round trip."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import psutil  # type: ignore[import-untyped]

from csms.bench.figures import Closed, RoundTrip
from csms.bench.scenarios import closed_figures
from csms.bench.systems import System
from csms.bench.usage import Meter, family
from csms.harness import HOST, ProcessFailed, free_ports
from simulator.load import LoadConfig, drive_apart

LISTENS_WITHIN_S = 20.0


@asynccontextmanager
async def echo_server() -> AsyncIterator[tuple[str, int]]:
    """The URL and the process of a server that only answers."""
    [port] = free_ports(1)
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "csms.bench.echo", str(port))
    try:
        async with asyncio.timeout(LISTENS_WITHIN_S):
            while not await _listens(port):  # noqa: ASYNC110  nothing tells
                await asyncio.sleep(0.05)
        yield f"ws://{HOST}:{port}/ocpp", process.pid
    finally:
        process.terminate()
        await process.wait()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    writer.close()
    return True


async def echo(config: LoadConfig, pid: int) -> Closed:
    """The closed loop against the server that only answers."""
    async with Meter(lambda: {"echo": family(pid)}) as meter:
        result = await drive_apart(config)
    return closed_figures(result, meter)


async def kafka_round_trip(system: System) -> RoundTrip:
    """Records through the system's broker and back, while the system is idle. Raises ProcessFailed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "csms.bench.round_trip", system.environment["KAFKA_BOOTSTRAP_SERVERS"],
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip

    def groups() -> dict[str, list[psutil.Process]]:
        return {
            "client": family(process.pid),
            "kafka": family(system.others["kafka"]) if "kafka" in system.others else [],
        }

    async with Meter(groups) as meter:
        out, _ = await process.communicate()
    if process.returncode:
        raise ProcessFailed(f"the bare Kafka round trip ended with exit code {process.returncode}")
    found = orjson.loads(out)
    begin, end = found["window"]
    records = max(1, found["records"])
    return RoundTrip(
        records_per_s=round(records / (end - begin), 1),
        cpu_us=round(sum(meter.cpu_s(begin, end).values()) * 1e6 / records, 1),
        p50_ms=round(found["p50_ms"], 2),
        p99_ms=round(found["p99_ms"], 2),
    )
