"""Attack: a small message that becomes a big one, by compression or by the depth of its JSON. Over TLS.

Passes if it is refused, the process takes no more memory than the limit on messages allows, and others are served.

Embedded only: bombs by compression, which become no frame that could be written.
"""

import asyncio
import json
import zlib

import pytest

from tests.support.guarded import PASSWORD, Guarded, beat
from tests.support.raw_ws import CLOSE, basic, deflated, frame

pytest_plugins = [
    "tests.support.kafka_broker", "tests.support.system", "tests.support.guarded_system", "tests.support.guarded_broker"
]  # fmt: skip

GROWTH_BYTES_MAX = 64 * 1024 * 1024


def bomb(size: int) -> bytes:
    """So many bytes of spaces between brackets, deflated without having them all in memory."""
    packer = zlib.compressobj(9, wbits=-12)
    parts = [packer.compress(b"[")]
    parts += [packer.compress(b" " * 1_000_000) for _ in range(size // 1_000_000)]
    return b"".join((*parts, packer.flush(zlib.Z_SYNC_FLUSH)))[:-4]


@pytest.mark.parametrize("size", [10_000_000, 500_000_000], ids=["10 MB", "500 MB"])
async def test_a_compression_bomb_is_not_inflated(guarded_embedded: Guarded, size: int) -> None:
    guarded = guarded_embedded
    bystander, name = await guarded.register(), await guarded.register(securityProfile=2)
    data = await asyncio.to_thread(bomb, size)
    memory = guarded.process().memory_info().rss
    async with guarded.station(bystander) as other, guarded.raw(tls=guarded.context()) as socket:
        offer = "permessage-deflate; client_max_window_bits"
        await socket.open(f"/ocpp/{name}", authorization=basic(name, PASSWORD), sec_websocket_extensions=offer)
        sending = asyncio.create_task(socket.send(frame(data, rsv1=True)))
        await beat(other)
        message = await socket.message()
        assert message is not None and (message.opcode, message.close_code) == (CLOSE, 1009)
        await beat(other)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    assert guarded.process().memory_info().rss - memory < GROWTH_BYTES_MAX


BOMBS = {
    "deep arrays": b"[" * 400_000,
    "deep objects": b'[2,"x","Heartbeat",' + b'{"a":' * 100_000,
    "wide": b'[2,"x","Heartbeat",{' + b",".join(b'"k%d":0' % n for n in range(90_000)) + b"}]",
    "one key 90,000 times": b'[2,"x","Heartbeat",{' + b",".join([b'"k":0'] * 90_000) + b"}]",
    "a number of 900,000 digits": b'[2,"x","Heartbeat",{"a":' + b"9" * 900_000 + b"}]",
    "an exponent": b'[2,"x","Heartbeat",{"a":1e999999999}]',
    "escapes": b'[2,"x","DataTransfer",{"vendorId":"' + b"\\u0041" * 150_000 + b'"}]',
    "deflated depth": deflated(b"[" * 900_000),
}


@pytest.mark.requirement("GEN.FR.03")
@pytest.mark.parametrize("name", BOMBS)
async def test_a_json_bomb_is_answered_with_an_error_in_time(guarded: Guarded, name: str) -> None:
    bystander, identity = await guarded.register(), await guarded.register(securityProfile=2)
    async with guarded.station(bystander) as other, guarded.raw(tls=guarded.context()) as socket:
        offer = "permessage-deflate; client_max_window_bits"
        await socket.open(f"/ocpp/{identity}", authorization=basic(identity, PASSWORD), sec_websocket_extensions=offer)
        await socket.send(frame(BOMBS[name], rsv1=name == "deflated depth"))
        async with asyncio.timeout(5):
            await beat(other)
            message = await socket.message()
        assert message is not None
        data = message.data
        if message.compressed:
            data = zlib.decompressobj(-15).decompress(data + b"\x00\x00\xff\xff")
        answer = json.loads(data)
        assert answer[0] == 4, answer
        assert len(data) < 1000, "and no longer than it has to be"
