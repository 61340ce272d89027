"""The `csms` command line."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.text import Text

from csms import houses
from csms.garbage import collect_garbage_seldom
from csms.running import Addresses, running
from csms.runtime import check_port, database_at, database_elsewhere, open_process, read_settings, stop_on_signals
from csms.tools import acls as acls_tool
from csms.tools import frames as frames_tool
from csms.tools import parked as parked_tool
from csms.tools import rerating as rerating_tool
from csms.tools import tokens as tokens_tool
from csms.tools.access import Access, access
from csms.tools.rebuilding import run_rebuild, run_recover
from csms.up import up as run_up
from ocppcore.errors import OperatorError, Unavailable
from ocppcore.kafka.acls import acls as kafka_acls
from ocppcore.settings import BaseServiceSettings, admin_key, read
from services.gateway.settings import Settings as GatewaySettings
from simulator import command as simulator

app = typer.Typer(
    name="csms",
    help="A Charging Station Management System for OCPP 2.0.1.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
parked = typer.Typer(help="Records that a service could not decide.", no_args_is_help=True)
app.add_typer(parked, name="parked")
tokens = typer.Typer(help="idTokens in bulk, through the API.", no_args_is_help=True)
app.add_typer(tokens, name="tokens")
console = Console()
errors = Console(stderr=True)
T = TypeVar("T")
ServiceName = StrEnum("ServiceName", {name: name for name in houses.HOSTS})  # type: ignore[misc]
AclFormat = StrEnum("AclFormat", {name: name for name in ("kafka-acls", "json")})  # type: ignore[misc]

Api = Annotated[str | None, typer.Option(help="The CSMS's API; without: the system on this machine")]
ApiKey = Annotated[
    str | None,
    typer.Option(help="An operator's API key; without: that of the system on this machine", envvar="CSMS_ADMIN_KEY"),
]

EXPECTED = (OperatorError, Unavailable)


def _run(work: Callable[[BaseServiceSettings], Awaitable[T]]) -> T:
    """Run a command; what a person can mend is said in one line, without a traceback."""
    collect_garbage_seldom()
    settings: BaseServiceSettings | None = None
    try:
        settings = read_settings()
        if sys.platform != "win32":
            import uvloop

            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                return runner.run(_plain(work, settings))
        return asyncio.run(_plain(work, settings))
    except EXPECTED as error:
        errors.print(f"[red]csms:[/red] {escape(str(error))}", soft_wrap=True)
    except OSError as error:
        if settings is None or not _within(error.filename, settings.data):
            raise
        errors.print(
            f"[red]csms:[/red] {escape(str(error.filename))}: {error.strerror}. All data of the system is in CSMS_DATA "
            f"({escape(str(settings.data))}): make it writable, or name another directory",
            soft_wrap=True,
        )
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    raise typer.Exit(1)


def _within(path: object, data: Path) -> bool:
    """Also a parent of the directory, which could not be made in it."""
    return isinstance(path, str) and (data.is_relative_to(path) or Path(path).is_relative_to(data))


async def _plain(work: Callable[[BaseServiceSettings], Awaitable[T]], settings: BaseServiceSettings) -> T:
    """One expected error inside groups comes out on its own."""
    try:
        return await work(settings)
    except BaseExceptionGroup as group:
        inner: BaseException = group
        while isinstance(inner, BaseExceptionGroup) and len(inner.exceptions) == 1:
            inner = inner.exceptions[0]
        if isinstance(inner, (*EXPECTED, OSError)):
            raise inner from None
        raise


@app.command()
def up() -> None:
    """Run everything on this machine: database, log, all services, gateway."""
    _run(lambda settings: run_up(settings, console))


async def _serve(settings: BaseServiceSettings, name: str) -> None:
    if name == houses.GATEWAY:
        ports = houses.gateway_settings()
        check_port(ports.ocpp_host, ports.ocpp_port, "CSMS_OCPP_PORT")
        if ports.ocpp_tls_certs:
            check_port(ports.ocpp_host, ports.ocpp_tls_port, "CSMS_OCPP_TLS_PORT")
    check_port(settings.http_host, settings.http_port, "CSMS_HTTP_PORT")
    admin = admin_key(settings) if settings.admin_key is not None else None
    async with open_process([name], settings, embedded=False, admin=admin) as process:
        stop_on_signals(process.stop)
        await process.serve()


def _service_command(name: str) -> None:
    @app.command(name, help=f"Run one {name} process, for Kafka and Kubernetes.")
    def serve() -> None:
        _run(lambda settings: _serve(settings, name))


for _name in (houses.GATEWAY, *houses.HOSTS):
    _service_command(_name)


@app.command()
def simulate(
    stations: Annotated[int, typer.Option(min=1, help="How many stations")] = 10,
    url: Annotated[str | None, typer.Option(help="Where they connect; without: the system on this machine")] = None,
    seed: Annotated[int, typer.Option(help="Repeats a run")] = 0,
    faults: Annotated[str, typer.Option(help="offline,duplicates,reconnect-storm,power-cuts")] = "",
    password: Annotated[str | None, typer.Option(help="Of all stations; without: those made at registration")] = None,
    duration: Annotated[float | None, typer.Option(help="Seconds; without: until Ctrl-C")] = None,
    speed: Annotated[float, typer.Option(help="How much faster than life drivers and batteries are")] = 60.0,
    token: Annotated[list[str] | None, typer.Option(help="TYPE:VALUE or VALUE; may be repeated")] = None,
    evses: Annotated[int, typer.Option(min=1)] = 1,
    prefix: Annotated[str, typer.Option(help="Stations are PREFIX-00001 and so on")] = "SIM",
    profile: Annotated[int, typer.Option(min=1, max=3, help="Security profile; 2 and 3 are TLS")] = 1,
    ca_file: Annotated[Path | None, typer.Option(help="By which they know the CSMS, PEM")] = None,
    certificates: Annotated[
        Path | None, typer.Option(help="Directory of STATION.pem and STATION.key, profile 3")
    ] = None,
    journal: Annotated[Path | None, typer.Option(help="JSON lines of what was acknowledged")] = None,
    api: Annotated[str | None, typer.Option(help="The CSMS's API, to register and to compare afterwards")] = None,
    key: ApiKey = None,
    register: Annotated[bool, typer.Option(help="Register first, with the key of the system on this machine")] = False,
) -> None:
    """Play stations against a CSMS, and say whether it kept its promises."""

    async def play(settings: BaseServiceSettings) -> simulator.Outcome:
        here = running(settings.data)
        own_api, own_key = _reach(settings, api, key) if api or register else (None, None)
        return await simulator.run(
            url=url or _own_url(here, profile),
            profile=profile,
            ca_file=ca_file,
            certificates=certificates,
            stations=stations,
            seed=seed,
            faults=[fault for fault in faults.split(",") if fault],
            password=password,
            duration_s=duration,
            speed=speed,
            tokens=token or (),
            evses=evses,
            prefix=prefix,
            journal=journal,
            api=own_api,
            key=own_key,
            console=console,
        )

    try:
        outcome = _run(play)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    raise typer.Exit(outcome.exit_code)


def _own_url(here: Addresses | None, profile: int) -> str:
    """Of the system on this machine; where none is known to run, as the settings say."""
    ports = read(GatewaySettings)
    if profile == 1:
        return here.stations if here else f"ws://127.0.0.1:{ports.ocpp_port}/ocpp"
    if here and here.tls:
        return here.tls.replace("//127.0.0.1:", "//localhost:")
    return f"wss://localhost:{ports.ocpp_tls_port}/ocpp"


def _reach(settings: BaseServiceSettings, api: str | None, key: str | None) -> tuple[str, str]:
    """An address and the key for it. Never a guess, and the key of the system on this machine goes to that alone."""
    here = running(settings.data)
    if api is not None and (here is None or api.rstrip("/") != here.api.rstrip("/")):
        if not key:
            raise OperatorError(
                f"{api} is not the system that runs on {settings.data}, whose key is sent to nobody else: give --key"
            )
        return api, key
    if here is None:
        raise OperatorError(
            f"no system runs on {settings.data}: start one (csms up), set CSMS_DATA to the directory of the one that "
            "runs, or give --api and --key"
        )
    return api or here.api, key or _own_key(settings)


def _own_key(settings: BaseServiceSettings) -> str:
    path = settings.data / "admin.key"
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise OperatorError(f"{path}: {error.strerror}; start the system first, or give --api and --key") from None


@app.command()
def where() -> None:
    """Where this system keeps its data: what to back up, and what to remove to begin again."""

    async def show(settings: BaseServiceSettings) -> None:
        here, place = running(settings.data), settings.data
        console.print(Text(f"data        {place}{'' if place.exists() else ' (not made yet)'}"), soft_wrap=True)
        if settings.database_url is not None:
            console.print(Text(f"PostgreSQL  {database_at(settings, settings.database_url.get_secret_value())}"))
        else:
            console.print(Text(f"PostgreSQL  {database_elsewhere(settings) or place / 'postgres'}"), soft_wrap=True)
        console.print(Text(f"running     {here.api if here else 'no'}"), soft_wrap=True)

    _run(show)


@app.command()
def acls(
    principal_prefix: Annotated[str, typer.Option(help="Before the service's name: csms-gateway")] = "csms-",
    format_: Annotated[AclFormat, typer.Option("--format", help="Commands to run, or data")] = AclFormat["kafka-acls"],
    apply: Annotated[bool, typer.Option("--apply", help="Grant them, as the user that KAFKA_SASL_... names")] = False,
) -> None:
    """The rights that each service's user needs on Kafka, from the table of topics. Only shown, unless --apply."""

    async def show(settings: BaseServiceSettings) -> None:
        found = kafka_acls(settings.namespace, principal_prefix)
        if apply:
            typer.echo(await acls_tool.apply(found, settings))
            return
        as_json = format_ is AclFormat["json"]
        shown = acls_tool.as_json(found) if as_json else acls_tool.as_commands(found, settings.kafka_bootstrap_servers)
        typer.echo(shown)

    _run(show)


@app.command()
def frames(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes")] = False,
    station: Annotated[str | None, typer.Option(help="Of one station")] = None,
    last: Annotated[int, typer.Option(min=0, help="The newest frames to begin with")] = 20,
) -> None:
    """Frames as they pass, both directions, readable and redacted."""

    async def work(opened: Access) -> None:
        slots = read(GatewaySettings).slots
        await frames_tool.frames(opened, console, station=station, follow=follow, last=last, slots=slots)

    _with_access(work)


@parked.command("list")
def parked_list(service: Annotated[ServiceName | None, typer.Option()] = None) -> None:
    """What is parked, and why."""
    _with_access(lambda opened: parked_tool.show(opened, console, service.value if service else None))


@parked.command("retry")
def parked_retry(
    service: ServiceName,
    record: Annotated[str | None, typer.Argument(help="topic/partition/position; without: all")] = None,
) -> None:
    """Have parked records decided again, with their first time of receipt."""
    count = _with_access(lambda opened: parked_tool.retry(opened, service.value, record))
    console.print(f"{count} records appended again.")


TokenFormat = Annotated[tokens_tool.Format | None, typer.Option("--format", help="Without: by the file's ending")]


@tokens.command("import")
def tokens_import(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV with a header, or JSON lines")],
    format_: TokenFormat = None,
    api: Api = None,
    key: ApiKey = None,
) -> None:
    """Create or replace the tokens of a file. Broken off, the same command goes on where it was."""

    async def work(settings: BaseServiceSettings) -> int:
        return await tokens_tool.import_file(file, format_, _reach(settings, api, key), console)

    raise typer.Exit(1 if _run(work) else 0)


@tokens.command("export")
def tokens_export(
    file: Annotated[Path, typer.Argument(dir_okay=False, help="Written anew, mode 600")],
    format_: TokenFormat = None,
    api: Api = None,
    key: ApiKey = None,
) -> None:
    """Write all tokens to a file, as `import` takes it."""

    async def work(settings: BaseServiceSettings) -> int:
        return await tokens_tool.export_file(file, format_, _reach(settings, api, key))

    console.print(f"{_run(work)} bytes in {escape(str(file))}")


@app.command()
def rerate(
    tariff: Annotated[str, typer.Argument(help="Its id")],
    version: Annotated[int | None, typer.Option(help="Of those that were put; without: the newest")] = None,
    file: Annotated[Path | None, typer.Option(help="Try this one instead: as PUT takes it, JSON")] = None,
    station: Annotated[str | None, typer.Option(help="Of one station")] = None,
    token: Annotated[str | None, typer.Option(help="Of one idToken's pseudonym")] = None,
    rated_by: Annotated[str | None, typer.Option(help="Only what this tariff (its id) rated")] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Bill by it: a credit and a new record each")] = False,
    api: Api = None,
    key: ApiKey = None,
) -> None:
    """Rate past transactions by another tariff: each difference, explained, is a line of JSON."""

    async def work(settings: BaseServiceSettings) -> rerating_tool.Done:
        tried = rerating_tool.read_tariff(file) if file else None
        wanted = rerating_tool.Wanted(tariff, version, tried, station, token, rated_by, apply)
        return await rerating_tool.run(*_reach(settings, api, key), wanted, errors)

    done = _run(work)
    billed = f", {done.applied} billed by it" if apply else ""
    errors.print(f"{done.rated} records rated, {done.differing} would cost something else{billed}.", highlight=False)


@app.command()
def rebuild(service: ServiceName) -> None:
    """Drop a service's projections and build them again from its events. Refuses while the service runs."""
    hash_ = _with_access(lambda opened: run_rebuild(opened, console, service.value))
    console.print(f"{service.value}: {hash_}")


@app.command()
def recover(
    service: ServiceName,
    new_log: Annotated[bool, typer.Option("--new-log", help="The old log is lost: take this one")] = False,
) -> None:
    """A database behind its topic, or a log that was replaced."""
    _with_access(lambda opened: run_recover(opened, console, service.value, adopt=new_log))


def _with_access(work: Callable[[Access], Awaitable[T]]) -> T:
    async def opened(settings: BaseServiceSettings) -> T:
        async with access(settings) as granted:
            return await work(granted)

    return _run(opened)


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
