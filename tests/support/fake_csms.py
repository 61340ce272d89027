"""A minimal CSMS on a real WebSocket, for tests of the simulator: it can refuse, drop, delay, keep silent and repeat.

async with FakeCsms() as csms:
    ...  # connect stations to csms.url
    await csms.wait_for(lambda: len(csms.stations) == 3)
"""

import asyncio
import base64
import ssl
from collections import Counter
from collections.abc import Callable
from typing import Any, Self

import orjson
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

Json = dict[str, Any]
NOW = "2026-01-01T00:00:00.000Z"


class FakeCsms:
    """`calls`: (station, action, payload) as received; `opened`: connections per station; `sources`: client
    addresses; `closed`: the close code of each connection that ended, None if there was none. A test sets
    what it needs: `refuse` (HTTP status), `delay_s`, `silent` (answers nothing), `drop_after` (ends a
    connection after so many CALLs, without an answer), `token_status`, `boot_status`, `interval_s`, `answers`
    (by action), `greeting` (a CALL on every new connection). `tls`: it speaks TLS; `certificates`: the subject that
    each station's certificate named."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.url = ""
        self.certificates: dict[str, Any] = {}
        self._tls = tls
        self.calls: list[tuple[str, str, Json]] = []
        self.ids: list[str] = []
        self.opened: Counter[str] = Counter()
        self.authorization: dict[str, str] = {}
        self.sources: set[str] = set()
        self.stations: dict[str, ServerConnection] = {}
        self.refuse: int | None = None
        self.delay_s = 0.0
        self.silent = False
        self.drop_after: int | None = None
        self.token_status = "Accepted"
        self.boot_status = "Accepted"
        self.interval_s = 300
        self.answers: dict[str, Json] = {}
        self.greeting: tuple[str, Json] | None = None
        self.malformed = 0
        self.closed: list[int | None] = []
        self._asked: dict[str, asyncio.Future[list[Any]]] = {}
        self._changed = asyncio.Event()
        self._server: Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._serve,
            "127.0.0.1",
            0,
            subprotocols=[Subprotocol("ocpp2.0.1")],
            process_request=self._knock,
            ping_interval=None,
            ssl=self._tls,
        )
        port = next(iter(self._server.sockets)).getsockname()[1]
        self.url = f"wss://localhost:{port}/ocpp" if self._tls else f"ws://127.0.0.1:{port}/ocpp"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def ask(self, station_id: str, action: str, payload: Json) -> list[Any]:
        """Sends a CALL; returns the whole CALLRESULT or CALLERROR frame."""
        message_id = f"ask-{len(self._asked)}"
        self._asked[message_id] = answer = asyncio.get_running_loop().create_future()
        await self.stations[station_id].send(orjson.dumps([2, message_id, action, payload]), text=True)
        return await answer

    async def wait_for(self, condition: Callable[[], bool], timeout_s: float = 20) -> None:
        """Until something that was received makes the condition true."""
        async with asyncio.timeout(timeout_s):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def drop_all(self) -> None:
        for ws in list(self.stations.values()):
            ws.transport.abort()

    def of(self, action: str, station_id: str | None = None) -> list[Json]:
        return [p for s, a, p in self.calls if a == action and station_id in (None, s)]

    def _knock(self, ws: ServerConnection, request: Request) -> Response | None:
        station_id = request.path.rpartition("/")[2]
        encoded = request.headers.get("Authorization", "Basic ").removeprefix("Basic ")
        self.authorization[station_id] = base64.b64decode(encoded).decode()
        self.sources.add(ws.remote_address[0])
        if (secured := ws.transport.get_extra_info("ssl_object")) is not None:
            self.certificates[station_id] = dict(one[0] for one in (secured.getpeercert() or {}).get("subject", ()))
        if self.refuse is not None:
            self._changed.set()
            return ws.respond(self.refuse, "refused\n")
        return None

    async def _serve(self, ws: ServerConnection) -> None:
        assert ws.request is not None
        station_id = ws.request.path.rpartition("/")[2]
        self.opened[station_id] += 1
        self.stations[station_id] = ws
        self._changed.set()
        received = 0
        if self.greeting is not None:
            message_id = f"greeting-{len(self._asked)}"
            self._asked[message_id] = asyncio.get_running_loop().create_future()
            await ws.send(orjson.dumps([2, message_id, *self.greeting]), text=True)
        try:
            async for data in ws:
                received += 1
                if self.drop_after is not None and received > self.drop_after:
                    ws.transport.abort()
                    return
                await self._take(ws, station_id, orjson.loads(data))
                self._changed.set()
        except ConnectionClosed:
            pass
        finally:
            self.closed.append(ws.protocol.close_rcvd.code if ws.protocol.close_rcvd else None)
            if self.stations.get(station_id) is ws:
                del self.stations[station_id]
            self._changed.set()

    async def _take(self, ws: ServerConnection, station_id: str, frame: list[Any]) -> None:
        match frame:
            case [2, str(message_id), str(action), dict(payload)]:
                self.calls.append((station_id, action, payload))
                self.ids.append(message_id)
                if not self.silent:
                    await asyncio.sleep(self.delay_s)
                    await ws.send(orjson.dumps([3, message_id, self._answer(action, payload)]), text=True)
            case [3 | 4, str(message_id), *_] if message_id in self._asked:
                self._asked[message_id].set_result(frame)
            case _:
                self.malformed += 1

    def _answer(self, action: str, payload: Json) -> Json:
        if action in self.answers:
            return self.answers[action]
        match action:
            case "BootNotification":
                return {"currentTime": NOW, "interval": self.interval_s, "status": self.boot_status}
            case "Heartbeat":
                return {"currentTime": NOW}
            case "Authorize":
                return {"idTokenInfo": {"status": self.token_status}}
            case "TransactionEvent" if "idToken" in payload:
                return {"idTokenInfo": {"status": self.token_status}}
            case "SignCertificate":
                return {"status": "Rejected"}
            case _:
                return {}
