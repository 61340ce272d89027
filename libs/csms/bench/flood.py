"""What wrong passwords cost the others: the open loop of real stations, calm and then while somebody guesses.

`python -m csms.bench.flood` is who guesses, a process of its own, until its input ends: so many handshakes a second,
each on a connection of its own, none waiting for another. It is load, as the driver is, on the same machine: it runs at
the lowest priority, or what it takes of the cores would be measured as the system's slowness. So on a small machine it
may not get round to guessing: what it offered is counted, and too little is no flood.
"""

import asyncio
import base64
import itertools
import json
import os
import random
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import cast

import uvloop

from csms.bench.figures import Flood
from csms.bench.handshakes import request
from csms.bench.scenarios import open_loop
from csms.bench.systems import System
from simulator.load import LoadConfig

RATE = 1000
KINDS = ("at stations, their address", "at stations, many addresses", "at unknown ones")
UNDER_WAY_MAX = 3000
"""A handshake that would be one more is not made: the system answers none any longer."""
TICK_S = 0.01
SECONDS_MAX = 600.0
NICE = 19
ANSWER_WITHIN_S = 10.0
REFUSED = (b"HTTP/1.1 401", b"HTTP/1.1 404", b"HTTP/1.1 503")
PASSWORD = "a wrong password that is long enough"


async def measure(system: System, config: LoadConfig) -> list[Flood]:
    """The same load without and with each kind of guessing. Raises LoadError."""
    calm = await open_loop(system, config)
    found = []
    for kind in KINDS:
        guessing = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "csms.bench.flood", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        assert guessing.stdin is not None, "a pipe"
        order = {"url": system.ocpp_url, "identities": config.station_ids, "kind": kind}
        guessing.stdin.write(json.dumps(order).encode() + b"\n")
        try:
            flooded = await open_loop(system, config)
        finally:
            guessing.stdin.close()
            said, _ = await guessing.communicate()
        counted = json.loads(said)
        per_s, offered = (counted[name] / counted["seconds"] for name in ("refused", "offered"))
        found.append(
            Flood(
                kind=kind,
                calm_p50_ms=calm.p50_ms,
                calm_p99_ms=calm.p99_ms,
                p50_ms=flooded.p50_ms,
                p99_ms=flooded.p99_ms,
                offered_per_s=round(offered, 1),
                refused_per_s=round(per_s, 1),
                refused_cpu_us=round((flooded.cpu_us - calm.cpu_us) * config.rate / max(1.0, per_s), 1),
                guessing_cores=round(counted["cpu_s"] / counted["seconds"], 2),
                other_answers=counted["others"],
                errors=calm.errors + flooded.errors,
            )
        )
    return found


class Guess(asyncio.Protocol):
    """One handshake; `answer` is the beginning of what came, b"" for nothing."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).write(self._text)

    def data_received(self, data: bytes) -> None:
        self._over(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._over(b"")

    def _over(self, data: bytes) -> None:
        if not self.answer.done():
            self.answer.set_result(data)


async def _guess(url: str, targets: Iterator[tuple[bytes, str]], rate: int, over: asyncio.Event) -> dict[str, float]:
    """Handshakes at this rate until `over`; how many were begun (`offered`), refused as they should be, and not."""
    host, _, port = url.split("://")[1].partition("/")[0].partition(":")
    counted = {"offered": 0, "refused": 0, "others": 0}
    under_way: set[asyncio.Task[None]] = set()
    loop = asyncio.get_running_loop()

    async def knock(text: bytes, source: str) -> None:
        answer = b""
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(ANSWER_WITHIN_S):
                local = (source, 0) if source else None
                transport, guess = await loop.create_connection(lambda: Guess(text), host, int(port), local_addr=local)
                try:
                    answer = await guess.answer
                finally:
                    transport.abort()
        counted["refused" if answer.startswith(REFUSED) else "others"] += 1

    begin, spent = time.monotonic(), time.process_time()
    made = 0
    while not over.is_set() and time.monotonic() < begin + SECONDS_MAX:
        due = int((time.monotonic() - begin) * rate)
        for text, source in itertools.islice(targets, max(0, min(due - made, UNDER_WAY_MAX - len(under_way)))):
            counted["offered"] += 1
            task = asyncio.create_task(knock(text, source))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        made = due
        with suppress(TimeoutError):
            async with asyncio.timeout(TICK_S):
                await over.wait()
    seconds = time.monotonic() - begin
    for task in under_way:
        task.cancel()
    return {**counted, "seconds": seconds, "cpu_s": time.process_time() - spent}


def targets(identities: Sequence[str], kind: str) -> Iterator[tuple[bytes, str]]:
    """Requests, and the address that each comes from, "" for the one that real stations come from too."""
    unknown = random.Random(1)
    for number in itertools.count():
        identity = identities[number % len(identities)]
        source = ""
        if kind == KINDS[1]:
            source = f"127.{1 + number % 200}.{number // 200 % 250}.1"
        if kind == KINDS[2]:
            identity = f"GUESS-{unknown.randrange(10**9)}"
        basic = base64.b64encode(f"{identity}:{PASSWORD}".encode()).decode()
        yield request(identity, basic), source


async def _main() -> dict[str, float]:
    loop, reader, over = asyncio.get_running_loop(), asyncio.StreamReader(), asyncio.Event()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    order = json.loads(await reader.readline())

    async def wait() -> None:
        await reader.read()
        over.set()

    async with asyncio.TaskGroup() as group:
        group.create_task(wait())
        return await _guess(order["url"], targets(order["identities"], order["kind"]), RATE, over)


if __name__ == "__main__":
    os.nice(NICE)
    print(json.dumps(uvloop.run(_main())))
