"""Who guesses passwords in the benchmark: at the lowest priority, and it counts what it offered."""

import asyncio
import json
import sys

import psutil

from csms.bench import flood

UNAUTHORIZED = b"HTTP/1.1 401 Unauthorized\r\n\r\n"


async def test_it_counts_what_it_offered_and_gives_way_to_all_others() -> None:
    heard, enough = [0], asyncio.Event()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        heard[0] += 1
        writer.write(UNAUTHORIZED)
        await writer.drain()
        writer.close()
        if heard[0] == 50:
            enough.set()

    async with asyncio.timeout(60), await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        guessing = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "csms.bench.flood", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        assert guessing.stdin is not None
        port = server.sockets[0].getsockname()[1]
        order = {"url": f"ws://127.0.0.1:{port}/ocpp", "identities": ["CS-1"], "kind": flood.KINDS[0]}
        guessing.stdin.write(json.dumps(order).encode() + b"\n")
        await enough.wait()
        assert psutil.Process(guessing.pid).nice() == flood.NICE
        guessing.stdin.close()
        said, _ = await guessing.communicate()
    counted = json.loads(said)
    assert counted["others"] == 0
    assert 49 <= counted["refused"] <= counted["offered"]
    assert counted["offered"] <= flood.RATE * counted["seconds"] + 1
