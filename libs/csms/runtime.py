"""One process: a log, stores, the services it hosts, an HTTP server around them, and how it all starts and stops."""

import asyncio
import contextlib
import signal
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import structlog
import uvicorn
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from csms import houses
from csms.administrator import put_in_force
from csms.watchdog import watchdog
from ocppcore import telemetry, topics
from ocppcore.clock import system_clock
from ocppcore.embedded import EmbeddedPostgres, home_of
from ocppcore.engine.loop import Engine
from ocppcore.host import Environment, Hosted
from ocppcore.http import oidc
from ocppcore.http.app import build_app
from ocppcore.http.auth import Authenticator, KeyRing
from ocppcore.http.server import Server, config, listen
from ocppcore.in_force import InForce
from ocppcore.kafka import KafkaLog
from ocppcore.kafka.acls import used_in
from ocppcore.kafka.security import security
from ocppcore.log import Log, LogError, NewRecord, TopicPartition
from ocppcore.postgres.log import PostgresLog
from ocppcore.postgres.reach import check_files
from ocppcore.postgres.store import PostgresStore
from ocppcore.settings import AdminKey, BaseServiceSettings, Keys, SettingsError, fingerprint, keys, read
from ocppcore.store import Store
from services.gateway.app import Built
from services.gateway.settings import Settings as GatewaySettings

logger = structlog.get_logger(__name__)
STOP_WITHIN_S = 20.0
TELL_AFTER_S = 3.0
TELL_AGAIN_S = 30.0
HTTP_DRAIN_S = 5


@asynccontextmanager
async def database(settings: BaseServiceSettings, *, embedded: bool) -> AsyncIterator[str]:
    """The DSN of the database: `DATABASE_URL`, or with `embedded` a server of our own in `CSMS_DATA`."""
    if settings.database_url is not None:
        dsn = settings.database_url.get_secret_value()
        check_files(dsn)
        yield dsn
    elif embedded:
        async with EmbeddedPostgres(settings.data / "postgres") as server:
            yield server.dsn
    else:
        raise SettingsError("DATABASE_URL is required: a service on its own brings no database")


@asynccontextmanager
async def open_log(settings: BaseServiceSettings, dsn: str, names: Sequence[str] = ()) -> AsyncIterator[Log]:
    """The log that the settings name, with every topic declared and the rights of `names`, which run here, at hand."""
    counts = topics.partition_counts(settings.partition_count, read(GatewaySettings).slots)
    log: Log
    if settings.log == "kafka":
        log = kafka = KafkaLog(settings.kafka_bootstrap_servers, settings.namespace, security=security(settings))
        declared = kafka.declare(counts, compacted=topics.COMPACTED, retention_days=settings.retention_days)
    else:
        async with telling(database_at(settings, dsn)):
            log = await PostgresLog.open(dsn, settings.namespace, retention_days=settings.retention_days)
        declared = log.declare(counts, compacted=topics.COMPACTED)
    try:
        async with telling(_log_at(settings, dsn)):
            await declared
            if isinstance(log, KafkaLog):
                await log.check_rights(used_in(settings.namespace, names))
        yield log
    finally:
        await log.close()


@asynccontextmanager
async def telling(what: str) -> AsyncIterator[None]:
    """Say what is waited for, where the block takes longer than a person waits in silence, and again now and then."""

    async def tell() -> None:
        await asyncio.sleep(TELL_AFTER_S)
        while True:
            logger.warning(f"waiting for {what}")
            await asyncio.sleep(TELL_AGAIN_S)

    teller = asyncio.create_task(tell())
    try:
        yield
    finally:
        teller.cancel()


def _log_at(settings: BaseServiceSettings, dsn: str) -> str:
    if settings.log == "kafka":
        return f"Kafka at {settings.kafka_bootstrap_servers} (KAFKA_BOOTSTRAP_SERVERS)"
    return database_at(settings, dsn)


def database_at(settings: BaseServiceSettings, dsn: str) -> str:
    """The database in words, without its password."""
    if settings.database_url is None:
        return f"the database in {settings.data}"
    try:
        parts = urlsplit(dsn)
        place = f"{parts.hostname or 'a socket'}:{parts.port or 5432}{parts.path}"
    except ValueError:
        place = "an address that cannot be read"
    return f"the database at {place} (DATABASE_URL)"


def database_elsewhere(settings: BaseServiceSettings) -> Path | None:
    """The folder of the embedded PostgreSQL's files where they are not in `CSMS_DATA`: as root they may be."""
    if settings.database_url is not None:
        return None
    home = home_of(settings.data / "postgres")
    return None if home.is_relative_to(settings.data) else home


async def check_keys(log: Log, held: Keys) -> None:
    """Note the keys' fingerprints in the log, or refuse keys that are not the ones noted. Raises SettingsError."""
    tp = TopicPartition(topics.KEYS, 0)
    wanted = {"pseudonym": fingerprint(held.pseudonym), "password": fingerprint(held.password)}
    noted = await _noted(log, tp)
    missing = [
        NewRecord(topics.KEYS, 0, name, value.encode(), {}) for name, value in wanted.items() if name not in noted
    ]
    if missing:
        await log.append(missing)
        noted = await _noted(log, tp)
    for name, value in wanted.items():
        if noted[name] != value:
            raise SettingsError(
                f"CSMS_{name.upper()}_KEY is not the key that this log's data was written with "
                f"(fingerprint {value}, the log has {noted[name]}): restore the first key from your backup"
            )


async def _noted(log: Log, tp: TopicPartition) -> dict[str, str]:
    found: dict[str, str] = {}
    end = (await log.ends([tp]))[tp]
    position = (await log.starts([tp]))[tp]
    reader = log.reader()
    reader.assign({tp: position})
    try:
        while position < end and (records := await reader.fetch(100, 5.0)):
            for record in records:
                found.setdefault(record.key, record.value.decode())
            position = records[-1].position + 1
    finally:
        await reader.close()
    return found


@dataclass
class Process:
    """The services of one process and what they share. `serve` runs until `stop` is set or something fails.

    `admin`: the administrator's key, which a process that runs auth puts in force before it is ready. `tokens`: of
    issuers, beside API keys; whether these can be reached makes no process unready.
    """

    env: Environment
    key_ring: KeyRing
    hosted: list[Hosted]
    gateway: Built | None
    admin: AdminKey | None = None
    tokens: oidc.Tokens | None = None
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    admitted: asyncio.Event = field(default_factory=asyncio.Event)

    def checks(self) -> dict[str, Callable[[], bool]]:
        """What must be so before this process is ready, by name."""
        asked = {hosted.name: hosted.ready for hosted in self.hosted}
        asked["keys"] = self.key_ring.ready.is_set
        if self.gateway:
            asked["gateway"] = self.gateway.hosted.ready
        if self.admin and self._auth:
            asked["administrator"] = self.admitted.is_set
        return asked

    def ready(self) -> bool:
        """Every service serves and, if it is here, the gateway takes stations."""
        return all(check() for check in self.checks().values())

    @property
    def _auth(self) -> Engine | None:
        return next((hosted.engine for hosted in self.hosted if hosted.name == "auth"), None)

    async def _admit(self, engine: Engine, admin: AdminKey) -> None:
        await put_in_force(engine, admin, self.env.keys.password)
        self.admitted.set()

    async def until_ready(self, seconds: float = 60.0) -> None:
        """Wait until everything serves. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while not self.ready():  # noqa: ASYNC110  nothing tells when all of them are
                await asyncio.sleep(0.05)

    async def serve(self) -> None:
        """Run everything; on `stop` the gateway drains first, then the rest ends. Errors come as an ExceptionGroup."""
        server = _server(self)
        async with watchdog(self.env.settings.hang_s):
            await self._serve(server)

    async def _serve(self, server: uvicorn.Server) -> None:
        async with asyncio.TaskGroup() as group:
            await self.env.in_force.announce()
            tasks = [group.create_task(self.env.in_force.run(), name="copies")]
            tasks.append(group.create_task(self.key_ring.run(), name="keys"))
            if self.tokens:
                tasks.append(group.create_task(self.tokens.run(), name="tokens"))
            tasks += [group.create_task(_run(hosted, self.stop), name=hosted.name) for hosted in self.hosted]
            tasks.append(group.create_task(_serve_http(server), name="http"))
            if self.admin and (engine := self._auth):
                tasks.append(group.create_task(self._admit(engine, self.admin), name="administrator"))
            gateway = group.create_task(_run(self.gateway.hosted, self.stop), name="gateway") if self.gateway else None
            await self.stop.wait()
            if self.gateway and gateway:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(STOP_WITHIN_S):
                        await self.gateway.gateway.drain()
                gateway.cancel()
            with contextlib.suppress(LogError):
                await self.env.in_force.leave()
            server.should_exit = True
            for task in tasks:
                if task.get_name() != "http":
                    task.cancel()


async def _run(hosted: Hosted, stop: asyncio.Event) -> None:
    """Raises RuntimeError when it ends before `stop`: a process that serves nothing must not live on."""
    task = asyncio.current_task()
    try:
        await hosted.run()
    except asyncio.CancelledError:
        if task is None or task.cancelling():
            raise
    if not stop.is_set():
        raise RuntimeError(f"{hosted.name} has ended by itself")


async def _serve_http(server: uvicorn.Server) -> None:
    await server.serve()


def _server(process: Process) -> uvicorn.Server:
    settings = process.env.settings
    apps = {hosted.name: hosted.app for hosted in process.hosted}
    if process.gateway:
        apps["gateway"] = process.gateway.hosted.app
    app = build_app(apps, registry=process.env.registry, ready=process.checks())
    return Server(
        config(
            app,
            host=settings.http_host,
            port=settings.http_port,
            trusted_proxies=settings.http_trusted_proxies,
            drain_s=HTTP_DRAIN_S,
        )
    )


@asynccontextmanager
async def open_process(
    names: Sequence[str], settings: BaseServiceSettings, *, embedded: bool, admin: AdminKey | None = None
) -> AsyncIterator[Process]:
    """Everything that `names` (services, `gateway`) need, opened; not yet running. `admin`: see `Process`."""
    held = keys(settings, make=embedded)
    rules = oidc.rules(settings)
    # A gateway holds sockets, nothing else: alone on Kafka it has no database.
    rows = settings.log == "postgres" or any(name != houses.GATEWAY for name in names)
    reaching = database(settings, embedded=embedded) if rows else contextlib.nullcontext("")
    async with reaching as dsn, open_log(settings, dsn, names) as log:
        await check_keys(log, held)
        registry = telemetry.new_registry()
        key_ring = KeyRing(log, settings.partition_count)
        stores: dict[str, Store] = {}

        def store(service: str) -> Store:
            if service not in stores:
                stores[service] = PostgresStore(
                    dsn, service, settings.namespace, retention_days=settings.retention_days
                )
            return stores[service]

        tokens = oidc.Tokens(rules) if rules else None
        authenticator = Authenticator(key_ring, held.password, tokens)
        in_force = InForce(log, system_clock, f"{'+'.join(names)}/{uuid.uuid4()}")
        in_force.followers.append(key_ring.followed)
        env = Environment(settings, held, log, system_clock, store, authenticator, registry, in_force)
        hosted = [houses.build(name, env) for name in names if name != "gateway"]
        gateway = houses.build_gateway(env) if "gateway" in names else None
        registry.register(_Engines(hosted))
        try:
            yield Process(env, key_ring, hosted, gateway, admin, tokens)
        finally:
            for opened in stores.values():
                await opened.close()


class _Engines(Collector):
    """What the engines of this process hold and have done."""

    def __init__(self, hosted: Sequence[Hosted]) -> None:
        self._engines = [(one.name, one.engine) for one in hosted if one.engine is not None]

    def collect(self) -> Iterator[Metric]:
        cells = GaugeMetricFamily("csms_engine_cells", "Cells that this process owns", labels=["service"])
        ready = GaugeMetricFamily("csms_engine_ready", "1 while the service serves", labels=["service"])
        for name, engine in self._engines:
            cells.add_metric([name], len(engine.cells))
            ready.add_metric([name], float(engine.ready))
        yield from (cells, ready)
        for what in ("batches", "records", "events", "parked"):
            counted = CounterMetricFamily(f"csms_engine_{what}", f"{what.title()} since the start", labels=["service"])
            for name, engine in self._engines:
                counted.add_metric([name], getattr(engine.counts, what))
            yield counted


def check_port(host: str, port: int, setting: str) -> None:
    """Raise PortTaken if nobody can listen there."""
    listen(host, port, setting).close()


def stop_on_signals(stop: asyncio.Event) -> None:
    """SIGINT and SIGTERM set `stop`; a second one ends the process at once."""
    loop = asyncio.get_running_loop()

    def ask() -> None:
        if stop.is_set():
            raise SystemExit(130)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ask)


def read_settings() -> BaseServiceSettings:
    """What all services share, from the environment, and the logging it asks for."""
    settings = read(BaseServiceSettings)
    telemetry.configure_logging(settings.log_level, settings.log_format)
    telemetry.configure_tracing("csms", settings.trace_ratio, settings.trace_endpoint)
    return settings
