"""How many stations connect in a second: with a password, with one over TLS, with a client certificate (ECDSA).

`python -m csms.bench.handshakes` is the driver, a process of its own: each of its connections shakes hands, is let in,
and goes, and the next one comes.
"""

import asyncio
import base64
import json
import ssl
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import uvloop

from csms.bench import certificates
from csms.bench.figures import Handshakes
from csms.bench.systems import System
from csms.bench.usage import Meter

STATIONS = 100
AT_ONCE = 50
KINDS = {"password": 1, "TLS, password": 2, "TLS, certificate": 3}
"""The security profile of each."""

_REQUEST = "\r\n".join(
    (
        "GET {path} HTTP/1.1",
        "Host: localhost",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Protocol: ocpp2.0.1",
        "Authorization: Basic {basic}",
        "",
        "",
    )
)


def request(identity: str, basic: str) -> bytes:
    """The opening handshake of a station; `basic`: its name and password, as HTTP wants them."""
    return _REQUEST.format(path=f"/ocpp/{identity}", basic=basic).encode()


class Station(NamedTuple):
    identity: str
    password: str


async def prepare(system: System, profile: int) -> list[Station]:
    """Stations of a profile, with passwords that the CSMS makes."""
    made = []
    async with system.running.client() as api:
        for number in range(STATIONS):
            identity = f"HANDS-{profile}-{number}"
            await api.delete(f"/device/stations/{identity}")
            answer = await api.put(f"/device/stations/{identity}", json={"securityProfile": profile})
            answer.raise_for_status()
            made.append(Station(identity, answer.json().get("password", "")))
    return made


async def measure(system: System, kind: str, seconds: float) -> Handshakes:
    """One run over a system with TLS (`certificates.settings`). Raises httpx.HTTPError."""
    profile = KINDS[kind]
    stations = await prepare(system, profile)
    folder = system.running.directory
    if profile == 3:
        authority = certificates.load(folder)
        for station in stations:
            authority.write(station.identity)
    order = {
        "url": system.running.secured[0] if profile > 1 else system.ocpp_url,
        "stations": stations,
        "folder": str(folder) if profile > 1 else "",
        "own": profile == 3,
        "seconds": seconds,
    }
    async with Meter(system.groups) as meter:
        driver = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "csms.bench.handshakes", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        said, _ = await driver.communicate(json.dumps(order).encode())
    counted = json.loads(said)
    spent = sum(meter.cpu_s(counted["begin"], counted["end"]).values())
    return Handshakes(
        kind=kind,
        per_s=round(counted["done"] / (counted["end"] - counted["begin"]), 1),
        cpu_us=round(spent * 1e6 / max(1, counted["done"]), 1),
        errors=counted["errors"],
    )


class Counted:
    def __init__(self) -> None:
        self.done = self.errors = 0


async def _drive(order: dict[str, object]) -> dict[str, float]:
    secured, address = str(order["url"]).split("://")
    host, _, port = address.partition("/")[0].partition(":")
    stations = [Station(*one) for one in order["stations"]]  # type: ignore[attr-defined]
    contexts = [_context(Path(str(order["folder"])), one, bool(order["own"])) for one in stations]
    counted = Counted()
    begin = time.monotonic()
    end = begin + float(order["seconds"])  # type: ignore[arg-type]
    turns = _turns(len(stations))

    async def keep() -> None:
        while time.monotonic() < end:
            number = next(turns)
            tls = contexts[number] if secured == "wss" else None
            if await _connect(host, int(port), stations[number], tls):
                counted.done += 1
            else:
                counted.errors += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(keep())
    return {"begin": begin, "end": time.monotonic(), "done": counted.done, "errors": counted.errors}


def _turns(count: int) -> Iterator[int]:
    while True:
        yield from range(count)


async def _connect(host: str, port: int, station: Station, tls: ssl.SSLContext | None) -> bool:
    """Whether the station was let in."""
    basic = base64.b64encode(f"{station.identity}:{station.password}".encode()).decode()
    try:
        name = certificates.HOST if tls else None
        reader, writer = await asyncio.open_connection(host, port, ssl=tls, server_hostname=name)
        try:
            writer.write(request(station.identity, basic))
            return (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        finally:
            writer.transport.abort()
    except (OSError, asyncio.IncompleteReadError):
        return False


def _context(folder: Path, station: Station, own: bool) -> ssl.SSLContext | None:
    if not folder.name:
        return None
    made = ssl.create_default_context(cafile=str(folder / f"{certificates.ROOT}.pem"))
    if own:
        made.load_cert_chain(folder / f"{station.identity}.pem", folder / f"{station.identity}.key")
    return made


if __name__ == "__main__":
    print(json.dumps(uvloop.run(_drive(json.load(sys.stdin)))))
