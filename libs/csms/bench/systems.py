"""The system under measurement, as real processes: everything in one on the embedded log, or each service on Kafka."""

import asyncio
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil  # type: ignore[import-untyped]

from csms import houses
from csms.bench.usage import family
from csms.kafka_broker import KafkaBroker
from ocppcore.embedded import EmbeddedPostgres

READY_WITHIN_S = 90.0
STOP_WITHIN_S = 40.0
LOG_TAIL_BYTES = 4000
LOOPBACK = "127.0.0.1"


class SystemFailed(Exception):
    """A process of the system did not come up, or ended; the message ends with what it said."""


@dataclass(frozen=True)
class System:
    """A running system. `apis`: base URL per service; `environment`: what its processes were started with."""

    name: str
    ocpp_url: str
    apis: Mapping[str, str]
    key: str
    environment: Mapping[str, str]
    pids: Mapping[str, int]

    def groups(self) -> Mapping[str, list[psutil.Process]]:
        """Its processes by what they are: services, `postgres`, `kafka`."""
        found: dict[str, list[psutil.Process]] = {}
        for name, pid in self.pids.items():
            for process in family(pid):
                found.setdefault("postgres" if _is_postgres(process) else name, []).append(process)
        return found

    @property
    def own_pids(self) -> list[int]:
        """Processes that run our code: neither database nor broker."""
        return [pid for name, pid in self.pids.items() if name not in ("postgres", "kafka")]

    @property
    def gateway_pid(self) -> int:
        """The process that holds the sockets."""
        return self.pids.get(houses.GATEWAY) or self.pids["csms"]


def _is_postgres(process: psutil.Process) -> bool:
    try:
        return "postgres" in process.name()
    except psutil.NoSuchProcess:
        return False


@asynccontextmanager
async def embedded(partitions: int) -> AsyncIterator[System]:
    """`csms up` as a user starts it, in a directory of its own."""
    ocpp_port, http_port = free_ports(2)
    with tempfile.TemporaryDirectory(prefix="csms-bench-") as directory:
        environment = _environment(Path(directory), partitions) | {
            "CSMS_OCPP_PORT": str(ocpp_port),
            "CSMS_HTTP_PORT": str(http_port),
        }
        api = f"http://{LOOPBACK}:{http_port}"
        async with _running(["up"], environment, Path(directory) / "up.log", api) as pid:
            yield System(
                "embedded",
                f"ws://{LOOPBACK}:{ocpp_port}/ocpp",
                dict.fromkeys(houses.NAMES, api),
                environment["CSMS_ADMIN_KEY"],
                environment,
                {"csms": pid},
            )


@asynccontextmanager
async def on_kafka(partitions: int) -> AsyncIterator[System]:
    """A broker, PostgreSQL, and a process for each service and the gateway. Raises BrokerUnavailable."""
    ocpp_port, *http_ports = free_ports(1 + len(houses.NAMES))
    apis = {name: f"http://{LOOPBACK}:{port}" for name, port in zip(houses.NAMES, http_ports, strict=True)}
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="csms-bench-")))
        broker = await stack.enter_async_context(KafkaBroker.start())
        postgres = await stack.enter_async_context(EmbeddedPostgres(directory / "postgres"))
        environment = _environment(directory, partitions) | {
            "CSMS_LOG": "kafka",
            "KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap,
            "DATABASE_URL": postgres.dsn,
            "CSMS_PSEUDONYM_KEY": secrets.token_urlsafe(32),
            "CSMS_PASSWORD_KEY": secrets.token_urlsafe(32),
            "CSMS_OCPP_PORT": str(ocpp_port),
        }
        pids = {"postgres": postgres.pid} | _broker_pid()
        for name, port in zip(houses.NAMES, http_ports, strict=True):
            own = environment | {"CSMS_HTTP_PORT": str(port)}
            pids[name] = await stack.enter_async_context(
                _running([name], own, directory / f"{name}.log", apis[name], wait=False)
            )
        for name in houses.NAMES:
            await _ready(apis[name], pids[name], directory / f"{name}.log")
        url = f"ws://{LOOPBACK}:{ocpp_port}/ocpp"
        yield System("Kafka", url, apis, environment["CSMS_ADMIN_KEY"], environment, pids)


def _environment(directory: Path, partitions: int) -> dict[str, str]:
    return {
        "PATH": os.defpath,
        "HOME": str(directory),
        "CSMS_DATA": str(directory / "data"),
        "CSMS_ADMIN_KEY": secrets.token_urlsafe(24),
        "CSMS_PARTITIONS": str(partitions),
        "CSMS_OCPP_HOST": LOOPBACK,
        "CSMS_HTTP_HOST": LOOPBACK,
        "CSMS_LOG_LEVEL": "warning",
        "CSMS_LOG_FORMAT": "json",
    }


def _broker_pid() -> dict[str, int]:
    """The broker that we started; one in a container or on another machine is not counted."""
    for child in psutil.Process().children():
        if "kafka.Kafka" in child.cmdline():
            return {"kafka": child.pid}
    return {}


@asynccontextmanager
async def _running(
    arguments: Sequence[str], environment: Mapping[str, str], log: Path, api: str, *, wait: bool = True
) -> AsyncIterator[int]:
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: ASYNC220  back in a moment
            [sys.executable, "-m", "csms.cli", *arguments],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        if wait:
            await _ready(api, process.pid, log)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.to_thread(process.wait, STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            await asyncio.to_thread(process.wait)


async def _ready(api: str, pid: int, log: Path) -> None:
    """Wait until the process says that it serves. Raises SystemFailed."""
    deadline = asyncio.get_running_loop().time() + READY_WITHIN_S
    async with httpx.AsyncClient(timeout=5) as http:
        while True:
            try:
                if (await http.get(f"{api}/readyz")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            ended = not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
            if ended or asyncio.get_running_loop().time() > deadline:
                raise SystemFailed(f"{log.stem} is not ready\n{_tail(log)}")
            await asyncio.sleep(0.1)


def _tail(log: Path) -> str:
    return log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")


def free_ports(count: int) -> list[int]:
    """Ports on which nobody listens now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
