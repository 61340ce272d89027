"""What goes on in other processes: one connection that listens, polls, and tells the others.

A process tells the others at most once a batch that partitions have grown, after the batch is committed and beside the
next one: NOTIFY inside an append would make all appends of a database commit one after the other. Nothing is told while
no other process has the log open. Notifications may get lost; a poll every second is behind them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
import structlog

from ocppcore.log import TopicPartition
from ocppcore.postgres.log_connection import Dial, Pauses
from ocppcore.postgres.log_schema import Schema
from ocppcore.postgres.log_tail import Tail
from ocppcore.postgres.reach import UNREACHABLE, Connection, describe

_log = structlog.get_logger(__name__)

PAYLOAD_BYTES_MAX = 7900
"""PostgreSQL takes less than 8000; longer news are replaced by an empty one, upon which the others look themselves."""

Ends = Callable[[Connection, Sequence[TopicPartition]], Awaitable[Mapping[TopicPartition, int]]]


class Watch:
    def __init__(self, dial: Dial, schema: Schema, tail: Tail, ends: Ends, poll_s: float) -> None:
        self._dial = dial
        self._schema = schema
        self._tail = tail
        self._ends = ends
        self._poll_s = poll_s
        self._news: set[TopicPartition] = set()
        self._something = asyncio.Event()
        self._look = True
        self._others = False
        self._connection: Connection = None

    def grown(self, partitions: Sequence[TopicPartition]) -> None:
        """This process made these partitions longer."""
        if self._others:
            self._news.update(partitions)
            self._something.set()

    async def run(self) -> None:
        """Until cancelled. Connects again for ever: who needs the database hears from appends and reads."""
        pauses = Pauses()
        try:
            while True:
                try:
                    self._connection = await self._dial.connect()
                    await self._attend()
                    pauses = Pauses()
                    while True:
                        await self._round()
                except UNREACHABLE as error:
                    _log.warning("lost the connection that hears of other processes", error=describe(error))
                    self._end()
                await pauses.take()
        finally:
            self._end()

    def _end(self) -> None:
        if self._connection is not None:
            self._connection.terminate()

    async def _attend(self) -> None:
        self._me: int = self._connection.get_server_pid()
        # News need not be on the disk, and waiting for that would keep all others from telling theirs.
        await self._connection.execute("SET synchronous_commit = off")
        await self._connection.add_listener(self._schema.channel, self._heard)
        await self._connection.execute("SELECT pg_advisory_lock_shared($1)", self._schema.presence)
        self._look = True

    async def _round(self) -> None:
        if self._look:
            self._look = False
            await self._poll()
        if self._news:
            await self._tell()
        try:
            async with asyncio.timeout(self._poll_s):
                await self._something.wait()
        except TimeoutError:
            self._look = True
        self._something.clear()

    async def _poll(self) -> None:
        processes = await self._connection.fetchval(self._schema.query("processes"), self._schema.presence)
        self._others = processes > 1
        for partition, end in (await self._ends(self._connection, self._tail.followed)).items():
            self._tail.reached(partition, end)

    async def _tell(self) -> None:
        news = [(topic, partition, self._tail.end(TopicPartition(topic, partition))) for topic, partition in self._news]
        self._news.clear()
        payload = msgspec.json.encode(news).decode()
        if len(payload) > PAYLOAD_BYTES_MAX:
            payload = ""
        await self._connection.execute("SELECT pg_notify($1, $2)", self._schema.channel, payload)

    def _heard(self, _connection: Any, pid: int, _channel: str, payload: str) -> None:
        if pid == self._me:
            return
        if payload:
            for topic, partition, end in msgspec.json.decode(payload, type=list[tuple[str, int, int]]):
                self._tail.reached(TopicPartition(topic, partition), end)
        else:
            self._look = True
            self._something.set()
