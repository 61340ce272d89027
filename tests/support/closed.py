"""A system that is shut tight and talks as much as it can, for tests that try its doors and listen behind them.

It takes tokens of a local issuer, reads its secrets from files, logs at debug level, and sends every span to a
collector. The fixtures are in `closed_system.py`.
"""

import dataclasses
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from csms.harness import Routed, System
from ocppcore.kafka import KafkaLog
from ocppcore.log import Log
from ocppcore.postgres.log import PostgresLog
from ocppcore.settings import BaseServiceSettings, secret_variables
from services.auth.settings import Settings as AuthSettings
from tests.support.issuer import Issuer

NAMESPACE = "closed"
SECRETS = secret_variables(BaseServiceSettings) | secret_variables(AuthSettings)


@dataclass
class Collector:
    """Of spans, over OTLP: keeps what it was sent as it came."""

    url: str = ""
    sent: list[bytes] = field(default_factory=list, repr=False)


@contextmanager
def collecting() -> Iterator[Collector]:
    """On a port of its own until the block ends."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.sent.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """What was sent is kept; how it came is no matter."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Closed:
    """The system, who issues its tokens, who collects its spans, and its secrets by variable."""

    system: System
    issuer: Issuer
    collector: Collector
    secrets: Mapping[str, str]
    kafka: str = ""

    def bearer(self, credential: str) -> httpx.AsyncClient:
        """The APIs of all services, with this credential; "" for none."""
        return self.system.client(credential)

    @property
    def admin(self) -> httpx.AsyncClient:
        return self.system.client()

    def raw(self) -> httpx.AsyncClient:
        """Without any header of ours."""
        return httpx.AsyncClient(transport=Routed(self.system.addresses), base_url="http://csms", timeout=30)

    async def log(self) -> Log:
        """The system's log, to be read and closed."""
        if self.kafka:
            return KafkaLog(self.kafka, NAMESPACE)
        return await PostgresLog.open(self.system.dsn(), "")

    def logged(self) -> str:
        """All that its processes wrote."""
        return "\n".join(one.output.read_text(errors="replace") for one in self.system.programs.values())


def secrets_in_files(system: System, place: Path) -> tuple[System, dict[str, str]]:
    """The same system, whose environment names files where it held secrets; and the secrets."""
    found: dict[str, str] = {}

    def moved(environment: Mapping[str, str]) -> dict[str, str]:
        made = dict(environment)
        for variable in SECRETS & environment.keys():
            found[variable] = made.pop(variable)
            (place / variable).write_text(f"{found[variable]}\n")
            made[f"{variable}_FILE"] = str(place / variable)
        return made

    programs = {
        name: dataclasses.replace(program, environment=moved(program.environment))
        for name, program in system.programs.items()
    }
    return dataclasses.replace(system, programs=programs, environment=moved(system.environment)), found
