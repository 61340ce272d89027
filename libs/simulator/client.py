"""Plays one `Station` over a real WebSocket (Part 4, section 3)."""

import asyncio
import base64
import time
from asyncio import Semaphore
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.typing import Subprotocol

from .actions import Actions
from .inputs import Connected, ConnectFailed, Disconnected, Event, Received, Wake
from .station import Station
from .tls import context

SUBPROTOCOL = Subprotocol("ocpp2.0.1")
FRAME_BYTES_MAX = 1 << 20
OPEN_TIMEOUT_S = 30
CLOSE_TIMEOUT_S = 2
INJECTED_MAX = 100

Observer = Callable[[Station, Actions], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """How stations reach the CSMS. `url` is the endpoint to which the identity is appended; `dials` limits how many
    handshakes run at once; `sources` are the local addresses to spread over (there are 28,000 ports on each)."""

    url: str
    dials: Semaphore
    sources: tuple[str, ...] = ()
    compression: bool = False


class Clock:
    """Wall time in ms since 1970 that never goes back."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def now_ms(self) -> int:
        return int((time.monotonic() + self._offset) * 1000)


class Player:
    """One station, its socket and its task. `inject` is for the fleet: faults for all, the end of the run."""

    __slots__ = ("_clock", "_deadline", "_injected", "_network", "_number", "_observe", "_stopped", "_ws", "station")

    def __init__(self, station: Station, number: int, network: Network, clock: Clock, observe: Observer) -> None:
        self.station = station
        self._number = number
        self._network = network
        self._clock = clock
        self._observe = observe
        self._ws: ClientConnection | None = None
        self._injected: list[Event] = []
        self._deadline: asyncio.Timeout | None = None
        self._stopped = False

    def inject(self, event: Event) -> None:
        """Makes something happen to the station as soon as it has finished what it is doing."""
        if len(self._injected) < INJECTED_MAX:
            self._injected.append(event)
        self._interrupt()

    def stop(self) -> None:
        """Ends `run`: the socket is closed, what is unsent stays unsent."""
        self._stopped = True
        self._interrupt()

    def _interrupt(self) -> None:
        if self._deadline is not None and not self._deadline.expired():
            self._deadline.reschedule(asyncio.get_running_loop().time())

    async def run(self) -> None:
        """Plays until `stop`."""
        event: Event = Wake()
        try:
            while not self._stopped:
                wake_at = await self._step(event)
                event = self._injected.pop(0) if self._injected else await self._wait(wake_at)
        finally:
            await self._close(abrupt=False)

    async def _step(self, event: Event) -> int | None:
        """Lets the station take an event, and those that carrying out its actions brings about."""
        next_event: Event | None = event
        wake_at: int | None = None
        while next_event is not None:
            actions = self.station.step(self._clock.now_ms(), next_event)
            self._observe(self.station, actions)
            wake_at, next_event = actions.wake_at, None
            try:
                if self._ws is not None:
                    for frame in actions.frames:
                        await self._ws.send(frame, text=True)
            except ConnectionClosed:
                self._ws, next_event = None, Disconnected()
            if actions.disconnect:
                await self._close(abrupt=actions.abrupt)
            if actions.connect:
                next_event = await self._dial()
        return wake_at

    async def _wait(self, wake_at: int | None) -> Event:
        """The next frame, the loss of the connection, or the time that the station wants to be woken at."""
        delay_s = None if wake_at is None else max(0.0, (wake_at - self._clock.now_ms()) / 1000)
        try:
            async with asyncio.timeout(delay_s) as self._deadline:
                if self._injected or self._stopped:
                    return Wake()
                if self._ws is None:
                    await asyncio.get_running_loop().create_future()
                else:
                    return Received(await self._ws.recv(decode=False))
        except TimeoutError:
            return Wake()
        except ConnectionClosed:
            self._ws = None
            return Disconnected()
        finally:
            self._deadline = None
        raise AssertionError("nothing completes the future")

    async def _dial(self) -> Event:
        station_id, password, target = (
            self.station.config.station_id,
            self.station.password,
            self.station.networks.target,
        )
        headers, tls, sources = {}, None, self._network.sources
        if password is not None and target.security_profile < 3:
            credentials = base64.b64encode(f"{station_id}:{password}".encode()).decode()
            headers["Authorization"] = f"Basic {credentials}"
        if target.url:
            sources = ()
        try:
            if target.security_profile > 1:
                own = self.station.certificate if target.security_profile == 3 else None
                tls = context(self.station.csms_roots.values(), own)
            async with self._network.dials:
                self._ws = await connect(
                    f"{target.url.rstrip('/') or self._network.url}/{quote(station_id, safe='')}",
                    ssl=tls,
                    subprotocols=[SUBPROTOCOL],
                    additional_headers=headers,
                    user_agent_header=None,
                    compression="deflate" if self._network.compression else None,
                    proxy=None,
                    open_timeout=OPEN_TIMEOUT_S,
                    close_timeout=CLOSE_TIMEOUT_S,
                    ping_interval=None,
                    max_size=FRAME_BYTES_MAX,
                    local_addr=(sources[self._number % len(sources)], 0) if sources else None,
                )
        except InvalidStatus as refused:
            return ConnectFailed(refused.response.status_code)
        except (OSError, TimeoutError, InvalidHandshake, InvalidURI, ConnectionClosed):
            return ConnectFailed()
        if self._ws.subprotocol != SUBPROTOCOL:
            await self._close(abrupt=False)
            return ConnectFailed()
        return Connected()

    async def _close(self, *, abrupt: bool) -> None:
        ws, self._ws = self._ws, None
        if ws is None:
            return
        if abrupt:
            ws.transport.abort()
        else:
            await ws.close()
