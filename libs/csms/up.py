"""`csms up`: the whole system in one process on one machine, and the words with which it greets."""

import asyncio
import contextlib
import sys
import time

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from csms import houses
from csms.next_steps import Carried, carried, program
from csms.running import Addresses, noted
from csms.runtime import Process, check_port, database_elsewhere, open_process, stop_on_signals
from ocppcore.settings import AdminKey, BaseServiceSettings, admin_key, admin_key_shown
from services.gateway.settings import Settings as GatewaySettings

READY_WITHIN_S = 600.0


async def up(settings: BaseServiceSettings, console: Console) -> None:
    """Run everything until SIGINT or SIGTERM. Raises PortTaken and SettingsError before anything is started."""
    ports = houses.gateway_settings()
    check_port(ports.ocpp_host, ports.ocpp_port, "CSMS_OCPP_PORT")
    if ports.ocpp_tls_certs:
        check_port(ports.ocpp_host, ports.ocpp_tls_port, "CSMS_OCPP_TLS_PORT")
    check_port(settings.http_host, settings.http_port, "CSMS_HTTP_PORT")
    began = time.monotonic()
    admin = admin_key(settings)
    with console.status("Starting: database, log, services, gateway ..."):
        opening = open_process(houses.NAMES, settings, embedded=True, admin=admin)
        process = await opening.__aenter__()
    here = _addresses(settings, ports)
    try:
        stop_on_signals(process.stop)
        serving = asyncio.create_task(process.serve())
        greeting = asyncio.create_task(_greet(process, admin, settings, ports, here, console, began))
        try:
            with noted(settings.data, here):
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
    here: Addresses,
    console: Console,
    began: float,
) -> None:
    await process.until_ready(READY_WITHIN_S)
    api = here.api
    where = Table.grid(padding=(0, 2))
    where.add_row("Stations connect to", f"{here.stations}/[i]STATION-ID[/i]")
    if here.tls:
        where.add_row("With TLS", f"{here.tls}/[i]STATION-ID[/i]")
    where.add_row("APIs", "  ".join(f"{api}/{name}" for name in houses.NAMES[:2]) + "  ...")
    where.add_row("API documentation", f"{api}/device/docs  (auth, transactions, smartcharging, gateway likewise)")
    where.add_row("Health, metrics", f"{api}/readyz  {api}/metrics")
    where.add_row("Data", escape(str(settings.data)))
    if (postgres := database_elsewhere(settings)) is not None:
        where.add_row("PostgreSQL's files", escape(str(postgres)))
    if admin.unseen:
        where.add_row("Administrator's key", f"[bold]{escape(admin.key.get_secret_value())}[/bold]")
        where.add_row("", f"[dim]shown this once; kept in {escape(str(settings.data / 'admin.key'))}[/dim]")
    console.print(
        Panel(where, title="The CSMS is running", subtitle=f"in {time.monotonic() - began:.1f} s", expand=False)
    )
    _say_next(console, carried((settings, ports)), program(sys.argv[0]))
    if admin.unseen:
        admin_key_shown(settings)


def _say_next(console: Console, found: Carried, csms: str) -> None:
    """Whole lines, however narrow the terminal: they are to be copied."""
    lines = (
        ("Next, in another terminal: ", "simulate --stations 5 --register"),
        ("and watch the frames:      ", "frames --follow"),
    )
    for words, arguments in lines:
        command = escape(f"{found.prefix}{csms} {arguments}")
        console.print(f"{words}[bold]{command}[/bold]", soft_wrap=True, highlight=False)
    if found.secrets:
        console.print(f"Both need {', '.join(found.secrets)} as it is set here.", soft_wrap=True)
    console.print("Stop with Ctrl-C.", style="dim")


def _addresses(settings: BaseServiceSettings, ports: GatewaySettings) -> Addresses:
    ocpp = _shown(ports.ocpp_host)
    return Addresses(
        api=f"http://{_shown(settings.http_host)}:{settings.http_port}",
        stations=f"ws://{ocpp}:{ports.ocpp_port}/ocpp",
        tls=f"wss://{ocpp}:{ports.ocpp_tls_port}/ocpp" if ports.ocpp_tls_certs else "",
    )


def _shown(host: str) -> str:
    """As a URL of this machine has it."""
    host = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    return f"[{host}]" if ":" in host else host
