"""A station whose password and profile change: it says of itself what it has, and answers as a test wants."""

import asyncio
import base64
import itertools
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from simulator.client import Clock, Network, Player
from simulator.config import Setting, StationConfig
from simulator.notes import Note
from simulator.station import Station

Answer = Callable[[dict[str, Any]], dict[str, Any] | None]
"""A CALL's payload -> the response's; None: it is not answered."""


def set_variables(status: str, *, take: Callable[[str, str], object] = lambda name, value: None) -> Answer:
    """Answers every item so; `take` hears the values."""

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        results = []
        for item in request["setVariableData"]:
            take(item["variable"]["name"], item["attributeValue"])
            results.append({"attributeStatus": status, "component": item["component"], "variable": item["variable"]})
        return {"setVariableResult": results}

    return answer


@dataclass(eq=False)
class Line:
    """One connection of the station. `heard`: the commands that came on it."""

    socket: ClientConnection
    answers: dict[str, Answer]
    heard: "asyncio.Queue[tuple[str, dict[str, Any]]]" = field(default_factory=asyncio.Queue)
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    _waiting: "dict[str, asyncio.Future[Any]]" = field(default_factory=dict)

    async def listen(self) -> None:
        async for text in self.socket:
            frame = json.loads(text)
            if frame[0] != 2:
                self._waiting.pop(frame[1]).set_result(frame)
                continue
            _, id_, action, payload = frame
            answer = self.answers.get(action)
            response = answer(payload) if answer else None
            self.heard.put_nowait((action, payload))
            if response is not None:
                await self.socket.send(json.dumps([3, id_, response]))
            elif answer is None:
                await self.socket.send(json.dumps([4, id_, "NotSupported", "", {}]))

    async def call(self, action: str, payload: dict[str, Any]) -> Any:
        """The answer's frame."""
        id_ = f"m{next(self.numbers)}"
        self._waiting[id_] = asyncio.get_running_loop().create_future()
        await self.socket.send(json.dumps([2, id_, action, payload]))
        return await asyncio.wait_for(self._waiting[id_], 20)

    async def hears(self, action: str) -> dict[str, Any]:
        """The payload of the next command of this action."""
        while True:
            name, payload = await asyncio.wait_for(self.heard.get(), 30)
            if name == action:
                return payload


@asynccontextmanager
async def online(
    url: str, identity: str, password: str | None, answers: dict[str, Answer] | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Line]:  # fmt: skip
    """Connected until the block ends, or the CSMS closes. Raises InvalidStatus."""
    headers = {}
    if password is not None:
        headers["Authorization"] = "Basic " + base64.b64encode(f"{identity}:{password}".encode()).decode()
    async with connect(
        f"{url}/{identity}", subprotocols=["ocpp2.0.1"], additional_headers=headers, ssl=tls, proxy=None,  # type: ignore[list-item]
    ) as socket:  # fmt: skip
        line = Line(socket, answers or {})
        listening = asyncio.create_task(line.listen())
        try:
            yield line
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


async def refused(url: str, identity: str, password: str | None, tls: ssl.SSLContext | None = None) -> int:
    """The HTTP status with which the station is not let in; 101 if it is."""
    try:
        async with online(url, identity, password, tls=tls):
            return 101
    except InvalidStatus as answer:
        return answer.response.status_code


async def closed(line: Line) -> None:
    """Wait until the CSMS has closed the connection."""
    try:
        await asyncio.wait_for(line.socket.wait_closed(), 20)
    except ConnectionClosed:
        return


SOON = (
    Setting("OCPPCommCtrlr", "RetryBackOffWaitMinimum", "1"),
    Setting("OCPPCommCtrlr", "RetryBackOffRandomRange", "0"),
    Setting("OCPPCommCtrlr", "NetworkProfileConnectionAttempts", "1"),
)
"""A simulated station tries again without waiting for long."""


@asynccontextmanager
async def simulated(
    url: str, identity: str, password: str, notes: list[Note] | None = None, **config: Any
) -> AsyncIterator[Station]:
    """A station of the simulator that plays until the block ends and boots fast; `config`: of `StationConfig`.

    `notes`: takes what it tells its surroundings.
    """
    told = notes if notes is not None else []
    clock = Clock()
    station = Station(
        StationConfig(station_id=identity, password=password, variables=SOON, speed=20.0, **config), clock.now_ms()
    )
    network = Network(url=url, dials=asyncio.Semaphore(1))
    player = Player(station, 0, network, clock, lambda _, actions: told.extend(actions.notes))
    playing = asyncio.create_task(player.run())
    try:
        yield station
    finally:
        player.stop()
        await asyncio.wait_for(playing, 20)
