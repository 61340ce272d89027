"""`python -m csms.torture`, or `make torture ARGS="--kills 100"`."""

import asyncio
import secrets
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from csms.harness import temporary_directory
from csms.kafka_broker import BrokerFailed
from csms.kafka_jars import BrokerUnavailable
from csms.torture.run import NotStarted, Report, Wanted, torture

KEPT, BROKEN, NOT_STARTED = 0, 1, 2
FAULTS_SHOWN_MAX = 50


def main(
    kills: Annotated[int, typer.Option(min=1, help="How many processes are killed")] = 60,
    stations: Annotated[int, typer.Option(min=1, help="How many stations charge meanwhile")] = 40,
    speed: Annotated[float, typer.Option(min=1, help="How much faster than life they do")] = 300.0,
    gap: Annotated[float, typer.Option(min=0, help="Seconds between two kills, on average")] = 2.0,
    seed: Annotated[int | None, typer.Option(help="Repeats who is killed, and when; without: drawn anew")] = None,
) -> None:
    """Kill processes at random under load on Kafka, then look for anything lost or doubled."""
    console = Console()
    wanted = Wanted(
        seed=secrets.randbelow(2**31) if seed is None else seed, kills=kills, stations=stations, speed=speed, gap_s=gap
    )
    again = f"--seed {wanted.seed} --kills {kills} --stations {stations} --speed {speed:g} --gap {gap:g}"
    console.print(f"This order of kills again: [bold]make torture ARGS='{again}'[/bold]", soft_wrap=True)
    try:
        with temporary_directory() as place:
            report = asyncio.run(torture(wanted, place, console))
    except (BrokerUnavailable, BrokerFailed, NotStarted) as error:
        console.print(f"[red]not started:[/red] {error}", highlight=False)
        raise typer.Exit(NOT_STARTED) from None
    show(report, console)
    raise typer.Exit(BROKEN if report.faults else KEPT)


def show(report: Report, console: Console) -> None:
    """The summary, and what was broken, word by word."""
    table = Table(title="Torture", show_header=False)
    table.add_column(style="dim")
    table.add_column()
    for name, value in vars(report).items():
        if name == "faults":
            continue
        if isinstance(value, float):
            value = f"{value:.1f}"
        elif isinstance(value, dict):
            value = ", ".join(f"{key} {count}" for key, count in sorted(value.items())) or "none"
        table.add_row(name.replace("_", " "), str(value))
    console.print(table)
    for fault in report.faults[:FAULTS_SHOWN_MAX]:
        console.print(f"[red]broken:[/red] {fault}", highlight=False, soft_wrap=True)
    if len(report.faults) > FAULTS_SHOWN_MAX:
        console.print(f"... and {len(report.faults) - FAULTS_SHOWN_MAX} more.")
    if not report.faults:
        console.print("[green]Nothing lost, nothing twice, and a rebuild gives the same.[/green]")


if __name__ == "__main__":
    typer.run(main)
