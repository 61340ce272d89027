"""Attack: frames that are almost right, bytes changed at random.

Passes if the process lives, nothing is parked, and every CALL whose id can still be read is answered, exactly once. In
tests a few thousand; `python -m tests.attacks.test_mutated_frames 1000000` for all, and its seed behind it to see a
failure again.
"""

import asyncio
import contextlib
import json
import random
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection

from ocppcore.rpc import Call, Malformed, parse
from tests.support.guarded import Guarded

pytest_plugins = [
    "tests.support.kafka_broker", "tests.support.system", "tests.support.guarded_system", "tests.support.guarded_broker"
]  # fmt: skip

FRAMES = 1500
CONNECTIONS, CONNECTIONS_OF_THE_WHOLE = 16, 48
SEEDS = [
    [2, "ID", "Heartbeat", {}],
    [2, "ID", "BootNotification", {"reason": "PowerUp", "chargingStation": {"model": "M", "vendorName": "V"}}],
    [2, "ID", "Authorize", {"idToken": {"idToken": "04AA11", "type": "ISO14443"}}],
    [2, "ID", "StatusNotification",
     {"timestamp": "2026-01-01T00:00:00Z", "connectorStatus": "Available", "evseId": 1, "connectorId": 1}],
    [2, "ID", "TransactionEvent",
     {"eventType": "Started", "timestamp": "2026-01-01T00:00:00Z", "triggerReason": "Authorized", "seqNo": 0,
      "transactionInfo": {"transactionId": "T-ID"}, "meterValue": [
          {"timestamp": "2026-01-01T00:00:00Z", "sampledValue": [{"value": 1.5, "context": "Transaction.Begin"}]}]}],
    [2, "ID", "DataTransfer", {"vendorId": "com.example", "data": {"a": [1, 2.5, None, True, "é"]}}],
    [2, "ID", "NotifyEvent", {"generatedAt": "2026-01-01T00:00:00Z", "seqNo": 0, "eventData": [
        {"eventId": 1, "timestamp": "2026-01-01T00:00:00Z", "trigger": "Alerting", "actualValue": "x",
         "eventNotificationType": "HardWiredNotification", "component": {"name": "C"}, "variable": {"name": "V"}}]}],
    [3, "ID", {"status": "Accepted"}],
    [4, "ID", "InternalError", "", {}],
]  # fmt: skip
INTERESTING = [b"\"", b"\\", b"{", b"}", b"[", b"]", b",", b":", b"\0", b"\xff", b"\xed\xa0\x80", b"1e999", b"-0",
               b"null", b"9" * 30, b"\\u0000", b"\\ud800", b" " * 50, b"\xef\xbb\xbf"]  # fmt: skip


def mutated(chance: random.Random, number: int) -> bytes:
    """One of the seeds under an id of its own, changed in one to four places, or not at all."""
    text = bytearray(json.dumps(chance.choice(SEEDS)).replace("ID", f"m{number}").encode())
    for _ in range(chance.randrange(5)):
        at = chance.randrange(len(text) + 1)
        match chance.randrange(5):
            case 0:
                text[at:at] = chance.choice(INTERESTING)
            case 1:
                del text[at : at + chance.randrange(1, 9)]
            case 2:
                text[at : at + 1] = bytes([chance.randrange(256)])
            case 3:
                to = chance.randrange(len(text) + 1)
                text[at:at] = text[min(at, to) : max(at, to)][:200]
            case _:
                del text[at:]
        if not text:
            break
    return bytes(text)


def wants(frame: bytes) -> str | None:
    """The id that an answer to this frame must have; None where none is due."""
    match parse(frame, bytes_max=1_000_000, depth_max=32):
        case Call(message_id=message_id):
            return message_id
        case Malformed(reply=reply) if reply is not None:
            return reply.message_id
    return None


class Attacker:
    """One station's connection. Each frame is followed by a Heartbeat, whose answer proves that nothing more comes."""

    def __init__(self, guarded: Guarded, identity: str) -> None:
        self._guarded = guarded
        self._identity = identity

    async def run(self, frames: Iterator[tuple[int, bytes]]) -> int:
        """Send them all; how many answers were due and came."""
        answered = 0
        for number, frame in frames:
            async with self._connection() as connection:
                answered += await self._strike(connection, number, frame)
                for number, frame in frames:
                    answered += await self._strike(connection, number, frame)
                    if connection.close_code is not None:
                        break
        return answered

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[ClientConnection]:
        async with self._guarded.station(self._identity) as connection:
            yield connection

    async def _strike(self, connection: ClientConnection, number: int, frame: bytes) -> int:
        await connection.send(frame, text=True)
        await connection.send(json.dumps([2, f"after-{number}", "Heartbeat", {}]))
        due = wants(frame)
        wanted = [f"after-{number}", *([due] if due is not None else [])]
        answers: list[Any] = []
        async with asyncio.timeout(30):
            # In any order: the second was sent without waiting for the first. One answer too many is the next one's.
            while len(answers) < len(wanted):
                answers.append(json.loads(await connection.recv()))
        assert sorted(str(answer[1]) for answer in answers) == sorted(map(str, wanted)), (frame, answers)
        return len(wanted) - 1


async def attack(guarded: Guarded, count: int, seed: int, connections: int) -> int:
    """All frames over a few connections at once; how many answers came."""
    chance = random.Random(seed)
    identities = [await guarded.register() for _ in range(connections)]
    frames = ((number, mutated(chance, number)) for number in range(count))
    counts = await asyncio.gather(*(Attacker(guarded, identity).run(frames) for identity in identities))
    return sum(counts)


async def survived(guarded: Guarded, count: int, seed: int, connections: int = CONNECTIONS) -> int:
    """The attack, and that nothing came of it; how many answers came."""
    process = guarded.process()
    answered = await attack(guarded, count, seed, connections)

    assert answered > count / 2, "the attack is not blunt"
    assert process.is_running() and guarded.process() == process
    for service in ("auth", "device", "smartcharging", "transactions"):
        assert await guarded.metric("csms_engine_parked_total", service=service) == 0
    return answered


@pytest.mark.requirement("GEN.FR.03")
async def test_every_readable_call_is_answered_once(guarded: Guarded) -> None:
    await survived(guarded, FRAMES, seed=4)


async def _whole(count: int, seed: int) -> None:
    from tests.support.guarded_system import opened

    print(f"{count} frames, seed {seed}", flush=True)
    async with opened() as guarded, guarded.system.client() as http:
        guarded.http = http
        began, before = time.monotonic(), guarded.process().memory_info().rss
        answered = await survived(guarded, count, seed, CONNECTIONS_OF_THE_WHOLE)
        grown = (guarded.process().memory_info().rss - before) / 2**20
        print(f"{answered} answers in {time.monotonic() - began:.0f} s; memory {grown:+.0f} MiB; nothing parked")


if __name__ == "__main__":
    count, *seeds = map(int, sys.argv[1:])
    asyncio.run(_whole(count, seeds[0] if seeds else random.SystemRandom().randrange(2**32)))
