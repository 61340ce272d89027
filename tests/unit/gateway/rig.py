"""A gateway on an in-memory log: with sockets or without, and hands to play the services with."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from ocppcore import topics
from ocppcore.clock import Clock, system_clock
from ocppcore.contracts.device import StationState
from ocppcore.credentials import hash_generated
from ocppcore.envelope import ConnectionChange, OutFrame, outbound_record, parse_frame, parse_json, state_record
from ocppcore.log import Record, TopicPartition
from ocppcore.memory import MemoryCluster, MemoryLog
from ocppcore.seal import Seal
from services.gateway.copies import Station
from services.gateway.domain.grants import Grant
from services.gateway.door import Admitted, Rules
from services.gateway.gateway import Gateway, Numbers
from services.gateway.passwords import Passwords
from services.gateway.tls import Tls
from services.gateway.ws import WsListener, WsSettings

CELLS = 4
SLOTS = 8
KEY = b"k" * 32
PASSWORD = "correct-horse-battery"
SEAL = Seal(b"s" * 32, "outbound")


class Wire:
    """A transport that keeps what it is given."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.closed: tuple[int, str] | None = None
        self.reading = True

    def send(self, frame: bytes) -> None:
        self.sent.append(frame)

    def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)

    def pause(self) -> None:
        self.reading = False

    def resume(self) -> None:
        self.reading = True


class Rig:
    """The log and what tests do to it."""

    def __init__(self, clock: Clock = system_clock) -> None:
        self.clock = clock
        self.cluster = MemoryCluster(clock=clock)
        self.cluster.declare(topics.partition_counts(CELLS, SLOTS))
        self.log = MemoryLog(self.cluster)

    def gateway(self, name: str = "gw", *listeners: WsListener, **numbers: Any) -> Gateway:
        passwords = Passwords(KEY, threads=1, waiting_max=10, remembered_max=10)
        rules = {name: numbers.pop(name) for name in Rules.__dataclass_fields__ if name in numbers}
        numbers = {**numbers, "rules": Rules(**rules)}
        tls = next((one.tls for one in listeners if one.tls is not None), None)
        made = Numbers(**{"cells": CELLS, "slots": SLOTS, "drain_s": 0.2, "tick_s": 0.02, **numbers})
        return Gateway(
            self.log, made, self.clock, passwords, SEAL, name, listeners=listeners, chance=random.Random(name),
            trust=tls,
        )  # fmt: skip

    async def register(self, identity: str, **state: Any) -> None:
        """What the device service writes about a station; a password unless `credential` says otherwise."""
        default = {"security_profile": 1, "credential": hash_generated(PASSWORD, KEY), "registration": "Accepted"}
        value = msgspec.to_builtins(StationState(id=identity, **{**default, **state}))
        key = topics.normalise(identity)
        at = self.clock()
        await self.log.append([state_record(topics.STATIONS, key, value, "/device", f"{key}/{at}", at, CELLS)])

    async def put(self, out: OutFrame) -> None:
        """A service sends a frame for a station."""
        await self.log.append([outbound_record(out, "device", self.clock())])

    def records(self, topic: str) -> list[Record]:
        return [record for partition in self.cluster.partitions[topic] for record in partition]

    def frames(self) -> list[Any]:
        """Frames and receipts on all four topics."""
        return [parse_frame(record) for service in topics.SERVICES for record in self.records(topics.frames(service))]

    def changes(self) -> list[ConnectionChange]:
        return [parse_json(record, ConnectionChange) for record in self.records(topics.CONNECTIONS)]

    async def until(self, condition: Any, wait_s: float = 5.0) -> Any:
        """Wait until `condition()` is true: it is looked at whenever the log grows and a few times a second."""
        async with asyncio.timeout(wait_s):
            while not (value := condition()):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.cluster.grew.wait(), 0.02)
            return value

    async def answer_all(self) -> None:
        """Plays the services: answers every CALL that the gateway did not refuse, with an empty object."""
        reader = self.log.reader()
        partitions = [TopicPartition(topics.frames(s), cell) for s in topics.SERVICES for cell in range(CELLS)]
        reader.assign(await self.log.ends(partitions))
        while True:
            for record in await reader.fetch(100, 1.0):
                frame = parse_frame(record)
                if getattr(frame, "kind", "") == "call" and not frame.refused:
                    answer = b"[3," + msgspec.json.encode(frame.message_id) + b",{}]"
                    await self.put(
                        OutFrame(
                            frame.station, frame.slot, frame.epoch, "reply", frame.message_id, frame.action, answer
                        )
                    )


def admitted(station: Station) -> Admitted:
    """As if it had given the right password over the right listener."""
    return Admitted(station, Grant(station.station, station.security_profile, station.credential, "current"))


@contextlib.asynccontextmanager
async def running(*gateways: Gateway) -> AsyncIterator[None]:
    """Run gateways until the block ends; they are ready inside. What a callback raised is raised at the end."""
    raised: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: raised.append(context))
    tasks = [asyncio.create_task(gateway.run()) for gateway in gateways]
    try:
        async with asyncio.timeout(5):
            while any(gateway.not_ready() for gateway in gateways):
                for task in tasks:
                    if task.done():
                        task.result()
                await asyncio.sleep(0)
        yield
    finally:
        for gateway, task in zip(gateways, tasks, strict=True):
            if not task.done():
                await gateway.drain()
        await asyncio.gather(*tasks)
    assert not raised, raised


@contextlib.asynccontextmanager
async def playing_services(rig: Rig) -> AsyncIterator[None]:
    task = asyncio.create_task(rig.answer_all())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def listener(tls: Tls | None = None, **settings: Any) -> WsListener:
    """On a free port of the loopback; fast where a person would wait."""
    made = {"host": "127.0.0.1", "port": 0, "refusal_delay_s": 0.0, "close_timeout_s": 0.5, **settings}
    return WsListener(WsSettings(**made), tls=tls)
