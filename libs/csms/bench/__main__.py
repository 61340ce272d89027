"""The command line of the benchmark: `python -m csms.bench`, `make bench`."""

import platform
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import orjson
import psutil  # type: ignore[import-untyped]
import typer
import uvloop
from rich.console import Console

from csms.bench.figures import Report
from csms.bench.runs import LOGS, PARTS, Options, run
from csms.bench.table import table
from csms.garbage import collect_garbage_seldom
from csms.harness import ProcessFailed
from csms.kafka_jars import BrokerUnavailable
from simulator.load import LoadError

QUICK = Options(runs=1, seconds=5.0, connections=500, hold_s=10.0, events=50_000, transactions=100_000)


def main(
    log: Annotated[
        list[str] | None, typer.Option(help="`embedded`, `kafka`, `kafka-apart`; may be repeated; without: all")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help=f"{', '.join(f'`{one}`' for one in PARTS)}; may be repeated")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A short smoke run: its figures mean little")] = False,
    runs: Annotated[int | None, typer.Option(min=1, help="Medians of how many runs")] = None,
    seconds: Annotated[float | None, typer.Option(min=1, help="Measured window of each run")] = None,
    stations: Annotated[int | None, typer.Option(min=1, help="Stations of the closed and the open loop")] = None,
    rate: Annotated[float | None, typer.Option(min=1, help="Calls a second of the open loop")] = None,
    connections: Annotated[int | None, typer.Option(min=0, help="Connections to hold; 0: leave out")] = None,
    events: Annotated[int | None, typer.Option(min=0, help="Events to replay; 0: leave out")] = None,
    transactions: Annotated[int | None, typer.Option(min=0, help="Transactions to look among; 0: leave out")] = None,
    partitions: Annotated[int | None, typer.Option(min=1, max=64, help="CSMS_PARTITIONS")] = None,
    json: Annotated[Path | None, typer.Option("--json", help="Write every run's figures there")] = None,
) -> None:
    """Measure throughput, latency, connections and replay of the whole system on this machine."""
    given: dict[str, Any] = {
        "logs": tuple(log) if log else None,
        "parts": tuple(only) if only else None,
        "runs": runs,
        "seconds": seconds,
        "stations": stations,
        "rate": rate,
        "connections": connections,
        "events": events,
        "transactions": transactions,
        "partitions": partitions,
    }
    options = replace(
        QUICK if quick else Options(), **{name: value for name, value in given.items() if value is not None}
    )
    if unknown := set(options.logs) - set(LOGS):
        raise typer.BadParameter(f"no such log: {', '.join(unknown)}; there are {', '.join(LOGS)}")
    if unknown := set(options.parts) - set(PARTS):
        raise typer.BadParameter(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    console = Console()
    report = Report(machine())
    collect_garbage_seldom()
    try:
        uvloop.run(run(options, report, console))
    except (ProcessFailed, BrokerUnavailable, LoadError) as error:
        Console(stderr=True).print(f"[red]csms bench:[/red] {error}", soft_wrap=True)
        raise typer.Exit(1) from None
    finally:
        if report.logs:
            console.print(table(report))
        if json is not None:
            json.write_bytes(orjson.dumps(report.as_json(), option=orjson.OPT_INDENT_2))


def machine() -> str:
    """What the figures are of."""
    memory = psutil.virtual_memory().total / 2**30
    python = ".".join(map(str, sys.version_info[:2]))
    return f"{psutil.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}, Python {python}"


if __name__ == "__main__":
    typer.run(main)
