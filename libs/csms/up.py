"""`csms up`: the whole system in one process on one machine, and the words with which it greets."""

import asyncio
import contextlib
import time

from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from csms import houses
from csms.runtime import Process, check_port, open_process, stop_on_signals
from ocppcore.settings import AdminKey, BaseServiceSettings, admin_key, read
from services.gateway.settings import Settings as GatewaySettings

READY_WITHIN_S = 600.0


async def up(settings: BaseServiceSettings, console: Console) -> None:
    """Run everything until SIGINT or SIGTERM. Raises PortTaken before anything is started."""
    ports = read(GatewaySettings)
    check_port(ports.ocpp_host, ports.ocpp_port, "CSMS_OCPP_PORT")
    if ports.ocpp_tls_certs:
        check_port(ports.ocpp_host, ports.ocpp_tls_port, "CSMS_OCPP_TLS_PORT")
    check_port(settings.http_host, settings.http_port, "CSMS_HTTP_PORT")
    began = time.monotonic()
    admin = admin_key(settings)
    with console.status("Starting: database, log, services, gateway ..."):
        opening = open_process(houses.NAMES, settings, embedded=True, admin=admin)
        process = await opening.__aenter__()
    try:
        stop_on_signals(process.stop)
        serving = asyncio.create_task(process.serve())
        greeting = asyncio.create_task(_greet(process, admin, settings, ports, console, began))
        try:
            await serving
        finally:
            greeting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await greeting
    finally:
        console.print("Stopping ...", style="dim")
        await opening.__aexit__(None, None, None)
        console.print("Stopped. All data is kept; start again with the same command.", style="dim")


async def _greet(
    process: Process,
    admin: AdminKey,
    settings: BaseServiceSettings,
    ports: GatewaySettings,
    console: Console,
    began: float,
) -> None:
    await process.until_ready(READY_WITHIN_S)
    host = "127.0.0.1" if settings.http_host in ("0.0.0.0", "::") else settings.http_host
    api = f"http://{host}:{settings.http_port}"
    where = Table.grid(padding=(0, 2))
    where.add_row("Stations connect to", f"ws://{_shown(ports.ocpp_host)}:{ports.ocpp_port}/ocpp/[i]STATION-ID[/i]")
    if ports.ocpp_tls_certs:
        where.add_row("With TLS", f"wss://{_shown(ports.ocpp_host)}:{ports.ocpp_tls_port}/ocpp/[i]STATION-ID[/i]")
    where.add_row("APIs", "  ".join(f"{api}/{name}" for name in houses.NAMES[:2]) + "  ...")
    where.add_row("API documentation", f"{api}/device/docs  (auth, transactions, smartcharging, gateway likewise)")
    where.add_row("Health, metrics", f"{api}/readyz  {api}/metrics")
    where.add_row("Data", str(settings.data))
    if admin.made:
        where.add_row("Administrator's key", f"[bold]{admin.key.get_secret_value()}[/bold]")
        where.add_row("", f"[dim]shown this once; kept in {settings.data / 'admin.key'}[/dim]")
    console.print(
        Panel(where, title="The CSMS is running", subtitle=f"in {time.monotonic() - began:.1f} s", expand=False)
    )
    console.print("Next, in another terminal: [bold].venv/bin/csms simulate --stations 5 --register[/bold]")
    console.print("and watch the frames:      [bold].venv/bin/csms frames --follow[/bold]")
    console.print("Stop with Ctrl-C.", style="dim")


def _shown(host: str) -> str:
    return "127.0.0.1" if host in ("0.0.0.0", "::") else host
