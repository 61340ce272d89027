"""The system as real processes: for end-to-end tests, the torture run and whoever else starts, kills and stops it.

`embedded` is `csms up`; `on_kafka` gives each service a process of its own around a broker and a PostgreSQL that the
caller brings. Both are a `System`: the same address book, the same key, the same `csms` tools beside it.
"""

import asyncio
import ctypes
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import httpx

from csms import houses
from csms.houses import GATEWAY, HOSTS
from ocppcore.embedded import running_dsn
from ocppcore.engine.rebuild import projection_hash
from ocppcore.postgres.store import PostgresStore
from ocppcore.settings import Keys

READY_WITHIN_S = 90.0
STOPPED_WITHIN_S = 60.0
LOOK_AGAIN_S = 0.1
TAIL_LINES = 40
PARTITIONS = 4
HOST = "127.0.0.1"
NO_KEYS = Keys(b"", b"")
"""For a service's tables, which do not depend on keys."""


class ProcessFailed(Exception):
    """A process did not start, died, or did not stop; the message ends with the last lines it logged."""


class Ran(NamedTuple):
    """A command that has ended; `output` is what it wrote to both streams."""

    code: int
    output: str


def free_ports(count: int) -> list[int]:
    """So many different TCP ports on which nobody listens now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((HOST, 0))
        return [int(one.getsockname()[1]) for one in sockets]


@contextmanager
def temporary_directory(owner: int | None = None) -> Iterator[Path]:
    """One that the database's own user can reach, also where we are root; `owner`: whose it is."""
    place = Path(tempfile.mkdtemp(prefix="csms-", dir="/tmp"))
    try:
        place.chmod(0o711)
        if owner is not None:
            os.chown(place, owner, -1)
        yield place
    finally:
        shutil.rmtree(place)


@dataclass(eq=False)
class Program:
    """One `csms` process, with all its lives: what it says goes to one file. `prefix`: a command that runs it."""

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    output: Path
    http_port: int
    prefix: tuple[str, ...] = ()
    process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start it; returns at once. It is asked to stop when the thread that started it ends."""
        assert not self.running, f"{self.name} runs already"
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [*self.prefix, sys.executable, "-m", "csms.cli", *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(self.environment),
                cwd=self.output.parent,
                start_new_session=True,  # a Ctrl-C in our terminal is not for it: we stop it, in order
                preexec_fn=_stop_with_parent if sys.platform == "linux" else None,
            )

    async def ready(self, seconds: float = READY_WITHIN_S) -> None:
        """Wait until it serves. Raises ProcessFailed when it ends before that, or takes longer."""
        said = "nothing listens"
        async with httpx.AsyncClient(base_url=f"http://{HOST}:{self.http_port}", timeout=5) as client:
            for _ in range(int(seconds / LOOK_AGAIN_S)):
                if not self.running:
                    raise ProcessFailed(f"{self.name} ended at its start ({self.code})\n{self.tail()}")
                try:
                    answer = await client.get("/readyz")
                except httpx.TransportError as error:
                    said = repr(error)
                else:
                    said = answer.text
                    if answer.status_code == 200:
                        return
                await asyncio.sleep(LOOK_AGAIN_S)
        raise ProcessFailed(f"{self.name} is not ready after {seconds:.0f} s: {said}\n{self.tail()}")

    @property
    def code(self) -> int | None:
        """How it ended: its exit code, or the signal's number less than 0."""
        return self.process.returncode if self.process else None

    async def stop(self, ask: signal.Signals = signal.SIGTERM, seconds: float = STOPPED_WITHIN_S) -> int:
        """Ask it to stop; its exit code. Raises ProcessFailed, and kills it, when it takes longer."""
        assert self.process is not None, f"{self.name} was never started"
        if self.running:
            self.process.send_signal(ask)
        for _ in range(int(seconds / LOOK_AGAIN_S)):
            if not self.running:
                return self.process.returncode
            await asyncio.sleep(LOOK_AGAIN_S)
        self.kill()
        raise ProcessFailed(f"{self.name} does not stop within {seconds:.0f} s of {ask.name}\n{self.tail()}")

    def kill(self) -> None:
        """kill -9; returns once it is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def tail(self, lines: int = TAIL_LINES) -> str:
        """The last lines it wrote, in all its lives."""
        if not self.output.exists():
            return ""
        return "\n".join(self.output.read_text(errors="replace").splitlines()[-lines:])


@dataclass
class System:
    """A system and how to reach it. `environment`: what its processes see, and tools that run beside it.

    `addresses`: the HTTP API of each service; `gateways`: where stations connect, one URL per gateway; `secured`: the
    same with TLS, where `CSMS_OCPP_TLS_CERTS` is among the settings.
    """

    directory: Path
    key: str
    environment: Mapping[str, str]
    programs: Mapping[str, Program]
    addresses: Mapping[str, str]
    gateways: Sequence[str]
    secured: Sequence[str] = ()

    async def start(self) -> None:
        """Start what does not run, and wait until all of it serves."""
        for program in self.programs.values():
            if not program.running:
                program.start()
        await asyncio.gather(*(program.ready() for program in self.programs.values()))

    async def stop(self) -> dict[str, int]:
        """Ask all to stop, gateways first as an operator would; their exit codes."""
        first = [program for name, program in self.programs.items() if name.startswith(GATEWAY)]
        rest = [program for program in self.programs.values() if program not in first]
        return {**await _stopped(first), **await _stopped(rest)}

    def kill(self) -> None:
        """kill -9 of everything that runs."""
        for program in self.programs.values():
            program.kill()

    def tails(self) -> str:
        """What every process wrote last."""
        return "\n\n".join(f"--- {name}\n{program.tail()}" for name, program in self.programs.items())

    def client(self, key: str | None = None, **more: float) -> httpx.AsyncClient:
        """For the APIs of all services under one address; `key` "": without one, None: the administrator's."""
        used = self.key if key is None else key
        return httpx.AsyncClient(
            transport=Routed(self.addresses),
            base_url="http://csms",
            headers={"Authorization": f"Bearer {used}"} if used else {},
            timeout=more.get("timeout", 30.0),
        )

    def dsn(self) -> str:
        """Of its database; of the embedded one only while it runs."""
        given = self.environment.get("DATABASE_URL")
        found = given or running_dsn(Path(self.environment["CSMS_DATA"]) / "postgres")
        assert found, "the embedded database is not running"
        return found

    async def projections(self, service: str, *, without: str | None = None) -> str:
        """The hash of a service's state and projections as they are now; a rebuild must give the same."""
        definition = houses.definition(service, NO_KEYS)
        store = PostgresStore(self.dsn(), service, self.environment.get("CSMS_NAMESPACE", ""))
        try:
            await store.prepare([*definition.tables.values()], definition.streams, definition.copies)
            return await projection_hash(store, without=without)
        finally:
            await store.close()

    async def csms(self, *arguments: str, seconds: float = 60.0, beside: str = "") -> Ran:
        """Run a `csms` command beside the system, to its end; `beside`: in the environment of this service's process,
        where it has one of its own."""
        program = self.programs.get(beside)
        environment = program.environment if program else self.environment
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "csms.cli", *arguments,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            env={**environment, "COLUMNS": "200"}, cwd=self.directory,
        )  # fmt: skip
        try:
            output, _ = await asyncio.wait_for(process.communicate(), seconds)
        except BaseException:
            process.kill()
            raise
        assert process.returncode is not None
        return Ran(process.returncode, output.decode(errors="replace"))


class Routed(httpx.AsyncBaseTransport):
    """Sends each request to the process that serves its path, as an ingress would."""

    def __init__(self, addresses: Mapping[str, str]) -> None:
        self._addresses = {service: httpx.URL(address) for service, address in addresses.items()}
        self._inner = httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        service = request.url.path.split("/")[1]
        # What no service owns (an unknown path) is asked of any one of them.
        address = self._addresses.get(service) or next(iter(self._addresses.values()))
        request.url = request.url.copy_with(host=address.host, port=address.port)
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


def embedded(directory: Path, *, prefix: tuple[str, ...] = (), **settings: str) -> System:
    """`csms up` with its data and output in this directory; `prefix`: a command that runs it."""
    http, ocpp, tls = free_ports(3)
    environment = _environment(directory, **settings) | {
        "CSMS_DATA": str(directory / "data"), "CSMS_HTTP_PORT": str(http), "CSMS_OCPP_PORT": str(ocpp),
        "CSMS_OCPP_TLS_PORT": str(tls),
    }  # fmt: skip
    program = Program("up", ("up",), environment, directory / "up.log", http, prefix)
    address = f"http://{HOST}:{http}"
    return System(
        directory,
        environment["CSMS_ADMIN_KEY"],
        environment,
        {"up": program},
        dict.fromkeys((*HOSTS, GATEWAY), address),
        [f"ws://{HOST}:{ocpp}/ocpp"],
        [f"wss://{HOST}:{tls}/ocpp"] if "CSMS_OCPP_TLS_CERTS" in settings else [],
    )


def on_kafka(
    directory: Path,
    bootstrap: str,
    dsn: str,
    *,
    replicas: Mapping[str, int] | None = None,
    own: Mapping[str, Mapping[str, str]] | None = None,
    **settings: str,
) -> System:
    """Each service in a process of its own, or in several: `replicas` by service. The second one is `NAME-2`.

    `own`: settings of one service alone, by service.
    """
    environment = _environment(directory, **settings) | {
        "CSMS_LOG": "kafka", "KAFKA_BOOTSTRAP_SERVERS": bootstrap, "DATABASE_URL": dsn,
        "CSMS_PSEUDONYM_KEY": secrets.token_urlsafe(32), "CSMS_PASSWORD_KEY": secrets.token_urlsafe(32),
    }  # fmt: skip
    programs: dict[str, Program] = {}
    addresses: dict[str, str] = {}
    gateways: list[str] = []
    secured: list[str] = []
    for service in (*HOSTS, GATEWAY):
        for number in range((replicas or {}).get(service, 1)):
            name = service if number == 0 else f"{service}-{number + 1}"
            http, ocpp, tls = free_ports(3)
            at = {"CSMS_HTTP_PORT": str(http), **(own or {}).get(service, {})}
            if service == GATEWAY:
                at |= {"CSMS_OCPP_PORT": str(ocpp), "CSMS_OCPP_TLS_PORT": str(tls)}
                gateways.append(f"ws://{HOST}:{ocpp}/ocpp")
                if "CSMS_OCPP_TLS_CERTS" in settings:
                    secured.append(f"wss://{HOST}:{tls}/ocpp")
            programs[name] = Program(name, (service,), environment | at, directory / f"{name}.log", http)
            addresses.setdefault(service, f"http://{HOST}:{http}")
    return System(directory, environment["CSMS_ADMIN_KEY"], environment, programs, addresses, gateways, secured)


def _environment(directory: Path, **settings: str) -> dict[str, str]:
    """Nothing of ours is inherited: a setting of whoever runs this must not reach the system."""
    return {
        "PATH": os.defpath,
        "HOME": str(directory),
        "LC_ALL": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "CSMS_ADMIN_KEY": secrets.token_urlsafe(32),
        "CSMS_HTTP_HOST": HOST,
        "CSMS_OCPP_HOST": HOST,
        "CSMS_PARTITIONS": str(PARTITIONS),
        "CSMS_LOG_FORMAT": "json",
        **settings,
    }


async def _stopped(programs: Iterable[Program]) -> dict[str, int]:
    started = [program for program in programs if program.process]
    codes = await asyncio.gather(*(program.stop() for program in started))
    return {program.name: code for program, code in zip(started, codes, strict=True)}


def _stop_with_parent() -> None:
    """Ask Linux to stop this child when its parent dies, so that none outlives a run that was killed."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # 1 = PR_SET_PDEATHSIG
