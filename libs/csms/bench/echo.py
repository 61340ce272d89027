"""`python -m csms.bench.echo PORT`: a WebSocket server that answers every CALL at once and does nothing else.

The limit of a gateway made with the library `websockets` in one process, as its users write a server.
"""

import sys

import uvloop
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

ANSWER = b'[3,%b,{"status":"Accepted","idTokenInfo":{"status":"Accepted"}}]'


async def _answer(connection: ServerConnection) -> None:
    try:
        while True:
            frame = await connection.recv(decode=False)
            message_id = frame.split(b",", 2)[1]
            await connection.send(ANSWER % message_id, text=True)
    except ConnectionClosed:
        pass


async def _serve(port: int) -> None:
    async with serve(
        _answer, "127.0.0.1", port, subprotocols=[Subprotocol("ocpp2.0.1")], compression=None, ping_interval=None
    ) as server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
