"""A real Kafka broker for tests, the torture run and the benchmark; production brings its own.

Where it comes from, in this order: the broker that `KAFKA_BOOTSTRAP_SERVERS` names; a container, where Docker runs;
the broker's own jars through Maven (KRaft, one node, on 127.0.0.1), where Java 17 or newer is. Otherwise
`BrokerUnavailable` says what is missing.

    async with KafkaBroker.start() as broker:
        KafkaLog(broker.bootstrap)

`python -m csms.kafka_broker --fetch` fills the cache of jars, after which no network is needed.
"""

import argparse
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
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from aiokafka.client import AIOKafkaClient  # type: ignore[import-untyped]
from aiokafka.errors import KafkaError  # type: ignore[import-untyped]

from csms.kafka_guard import ADMIN, LISTENERS, Guard
from csms.kafka_jars import BrokerUnavailable, fetch_jars, find_java
from ocppcore.kafka.security import PLAINTEXT, Security

IMAGE = "confluentinc/cp-kafka:7.6.0"
"""The image that testcontainers itself is tested with (Kafka 3.6): it runs scripts inside it."""

START_TIMEOUT_S = 120.0
FORMAT_TIMEOUT_S = 60.0
LOG_TAIL_LINES = 60


class BrokerFailed(Exception):
    """The broker did not start or died; the message ends with its log."""


class _Runner(Protocol):
    bootstrap: str
    security: Security

    async def start(self) -> None: ...

    def kill(self) -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    async def stop(self) -> None: ...

    def log_tail(self) -> str: ...


class KafkaBroker:
    """A running broker. `bootstrap` is `host:port` and stays the same over `kill` and `restart`.

    `secured`: of a guarded one, the address for each protocol (`SASL_PLAINTEXT`, `SASL_SSL`, `SSL`).
    """

    def __init__(self, bootstrap: str, runner: _Runner | None) -> None:
        self.bootstrap = bootstrap
        self._runner = runner
        self.secured: Mapping[str, str] = runner.secured if isinstance(runner, _Jars) else {}

    @classmethod
    @asynccontextmanager
    async def start(
        cls, *, own: bool = False, heap_mb: int = 512, guard: Guard | None = None
    ) -> AsyncIterator["KafkaBroker"]:
        """Start a broker, or use the one that `KAFKA_BOOTSTRAP_SERVERS` names.

        `own`: it will be killed and restarted, so somebody else's broker does not do. `guard`: it asks for users and
        rights, which only one that runs from its jars can be told to. Raises BrokerUnavailable when there is no way to
        have one, BrokerFailed when it does not come up.
        """
        named = os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "")
        if named and not own and guard is None:
            yield cls(named, None)
            return
        contained = guard is None and _docker_runs()
        runner: _Runner = _Container() if contained else _Jars(await asyncio.to_thread(fetch_jars), heap_mb, guard)
        try:
            await runner.start()
            await _ready(runner)
            yield cls(runner.bootstrap, runner)
        finally:
            await runner.stop()

    @property
    def killable(self) -> bool:
        return self._runner is not None

    @property
    def running(self) -> bool:
        """Whether its process lives; a container or somebody else's broker is taken to."""
        return self._runner is None or _alive(self._runner)

    def kill(self) -> None:
        """SIGKILL; returns once the process is gone."""
        self._owned().kill()

    def tool(self, *arguments: str) -> list[str]:
        """The command that runs one of Kafka's own programs, by its class. Raises BrokerUnavailable without jars."""
        if not isinstance(self._runner, _Jars):
            raise BrokerUnavailable(f"the broker at {self.bootstrap} does not run from jars of ours")
        return self._runner.command("-XX:TieredStopAtLevel=1", *arguments)

    async def restart(self) -> None:
        """Start again on the same data and port, after `kill`; returns once it answers."""
        await self._owned().start()
        await _ready(self._owned())

    def pause(self) -> None:
        """Freeze it: connections stay, nothing is answered until `resume`."""
        self._owned().pause()

    def resume(self) -> None:
        self._owned().resume()

    def log_tail(self) -> str:
        """The last lines that the broker logged, "" for somebody else's broker."""
        return self._runner.log_tail() if self._runner else ""

    def _owned(self) -> _Runner:
        if self._runner is None:
            raise BrokerUnavailable(f"{self.bootstrap} is not ours to kill")
        return self._runner


async def _ready(runner: _Runner) -> None:
    """Wait until the broker answers a metadata request with itself in it."""
    host, _, port = runner.bootstrap.rpartition(":")
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            while not (await _listens(host, int(port)) and await _answers(runner)):
                if not _alive(runner):
                    raise BrokerFailed(f"the broker stopped while starting\n{runner.log_tail()}")
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise BrokerFailed(f"no answer within {START_TIMEOUT_S:.0f} s\n{runner.log_tail()}") from None


def _alive(runner: _Runner) -> bool:
    return not isinstance(runner, _Jars) or runner.running


async def _listens(host: str, port: int) -> bool:
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, port), 2)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


async def _answers(runner: _Runner) -> bool:
    client = AIOKafkaClient(bootstrap_servers=runner.bootstrap, request_timeout_ms=5000, **runner.security.options())
    try:
        await client.bootstrap()
        return bool(client.cluster.brokers())
    except KafkaError:
        return False
    finally:
        await client.close()


class _Jars:
    """The broker as a Java process of ours, its data in a temporary directory."""

    def __init__(self, jars: Path, heap_mb: int, guard: Guard | None) -> None:
        self._java = find_java()
        self._jars = jars
        self._heap_mb = heap_mb
        self._home = Path(tempfile.mkdtemp(prefix="csms-kafka-"))
        self._log = self._home / "broker.log"
        self._properties = self._home / "server.properties"
        self._process: subprocess.Popen[bytes] | None = None
        self._guard = guard
        *ports, controller_port = _free_ports(len(LISTENERS) if guard else 2)
        self.bootstrap = f"127.0.0.1:{ports[0]}"
        self.security = guard.user(ADMIN, "PLAIN") if guard else PLAINTEXT
        self.secured = guard.addresses(ports) if guard else {}
        settings = _properties(ports[0], controller_port, self._home / "data")
        if guard:
            settings |= guard.properties([*ports, controller_port])
        self._properties.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        self._properties.chmod(0o600)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    async def start(self) -> None:
        if not (self._home / "data").exists():
            await self._format()
        with self._log.open("ab") as log:
            # Popen in this thread, not in a worker: the child dies with the thread that made it (`_die_with_parent`).
            self._process = subprocess.Popen(  # noqa: ASYNC220
                self.command(f"-Xmx{self._heap_mb}m", f"-Xms{self._heap_mb}m", "kafka.Kafka", str(self._properties)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._home,
                start_new_session=True,  # a Ctrl-C in our terminal is not for it
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    async def stop(self) -> None:
        """Its data goes with it, so there is nothing to shut down in order."""
        self.kill()
        await asyncio.to_thread(shutil.rmtree, self._home, ignore_errors=True)

    def log_tail(self) -> str:
        if not self._log.exists():
            return ""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])

    def command(self, *arguments: str) -> list[str]:
        quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
        return [self._java, "-XX:+UseSerialGC", "-XX:-UsePerfData", quiet, "-cp", f"{self._jars}{os.sep}*", *arguments]

    async def _format(self) -> None:
        # Joined with "=": it may begin with a hyphen, which would read as another option.
        cluster_id = urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")
        tool = [
            "kafka.tools.StorageTool",
            "format",
            "--standalone",
            f"--cluster-id={cluster_id}",
            "-c",
            str(self._properties),
            *(self._guard.scram() if self._guard else ()),
        ]
        process = await asyncio.create_subprocess_exec(
            *self.command("-XX:TieredStopAtLevel=1", *tool),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            output, _ = await asyncio.wait_for(process.communicate(), FORMAT_TIMEOUT_S)
        except BaseException:
            process.kill()
            raise
        if process.returncode:
            raise BrokerFailed(f"formatting the storage failed\n{output.decode(errors='replace')}")


def _die_with_parent() -> None:
    """Ask Linux to kill this child when its parent dies, however it dies, so that no broker outlives a test run."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # 1 = PR_SET_PDEATHSIG


class _Container:
    """The broker in a container (testcontainers); needs the package `testcontainers`."""

    def __init__(self) -> None:
        # Imported here: testcontainers is a dependency of development only.
        from testcontainers.community.kafka import KafkaContainer

        (port,) = _free_ports(1)
        # A fixed port on the host: a port chosen by Docker would change with every start, the advertised one would not.
        self._container: Any = (
            KafkaContainer(image=IMAGE)
            .with_kraft()
            .with_bind_ports(9093, port)
            .with_env("KAFKA_AUTO_CREATE_TOPICS_ENABLE", "false")
            .with_env("KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS", "1000")
            .with_env("KAFKA_BROKER_SESSION_TIMEOUT_MS", "3000")
            .with_env("KAFKA_BROKER_HEARTBEAT_INTERVAL_MS", "500")
        )
        self._started = False
        self.security = PLAINTEXT
        self.bootstrap = f"127.0.0.1:{port}"

    async def start(self) -> None:
        if self._started:
            await asyncio.to_thread(self._container.get_wrapped_container().start)
            return
        await asyncio.to_thread(self._container.start, int(START_TIMEOUT_S))
        self._started = True
        self.bootstrap = self._container.get_bootstrap_server()

    def kill(self) -> None:
        self._container.get_wrapped_container().kill()

    def pause(self) -> None:
        self._container.get_wrapped_container().pause()

    def resume(self) -> None:
        self._container.get_wrapped_container().unpause()

    async def stop(self) -> None:
        if self._started:
            await asyncio.to_thread(self._container.stop)

    def log_tail(self) -> str:
        output: bytes = self._container.get_wrapped_container().logs(tail=LOG_TAIL_LINES)
        return output.decode(errors="replace")


def _docker_runs() -> bool:
    """Whether a Docker daemon answers and testcontainers is installed."""
    docker = shutil.which("docker")
    if docker is None or not _importable("testcontainers"):
        return False
    try:
        asked = subprocess.run([docker, "info"], capture_output=True, timeout=10, check=False)
    except subprocess.TimeoutExpired:
        return False
    return asked.returncode == 0


def _importable(name: str) -> bool:
    from importlib.util import find_spec

    return find_spec(name) is not None


def _properties(port: int, controller_port: int, data: Path) -> dict[str, str | int]:
    """One KRaft node, sized for a laptop: small indexes and cleaner buffers, hundreds of partitions."""
    return {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller_port}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": str(data),
        "auto.create.topics.enable": "false",
        "offsets.topic.num.partitions": 4,
        "offsets.topic.replication.factor": 1,
        "transaction.state.log.num.partitions": 1,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "share.coordinator.state.topic.num.partitions": 1,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": 1000,
        "broker.heartbeat.interval.ms": 500,
        "broker.session.timeout.ms": 3000,
        "num.network.threads": 2,
        "num.io.threads": 4,
        "num.recovery.threads.per.data.dir": 2,
        "log.segment.bytes": 268_435_456,
        "log.index.size.max.bytes": 1_048_576,
        "log.cleaner.dedupe.buffer.size": 4_194_304,
    }


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _prefetch() -> str:
    """Make sure that `KafkaBroker.start` needs no network; says where its broker will come from."""
    if named := os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        return named
    if not _docker_runs():
        return str(fetch_jars())
    with suppress(BrokerUnavailable):  # a guarded broker runs from its jars; without them its tests say so
        fetch_jars()
    return IMAGE


async def _run(heap_mb: int) -> None:
    async with KafkaBroker.start(own=True, heap_mb=heap_mb) as broker:
        print(f"KAFKA_BOOTSTRAP_SERVERS={broker.bootstrap}", flush=True)
        await asyncio.get_running_loop().create_future()


def main() -> None:
    """`--fetch` fills the cache of jars, if they would be used, and ends; without it a broker runs until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m csms.kafka_broker", description=__doc__)
    parser.add_argument("--fetch", action="store_true", help="fetch the broker's jars into the cache, and end")
    parser.add_argument("--heap-mb", type=int, default=512)
    arguments = parser.parse_args()
    try:
        if arguments.fetch:
            print(_prefetch())
        else:
            asyncio.run(_run(arguments.heap_mb))
    except BrokerUnavailable as reason:
        sys.exit(f"no Kafka broker: {reason}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
