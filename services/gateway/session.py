"""A connection and its transport, and the carrying out of effects between them."""

from typing import Protocol

from ocppcore.clock import Clock
from ocppcore.envelope import OutFrame
from services.gateway.domain.connection import Append, Close, Connection, Effect, Send
from services.gateway.domain.grants import Grant
from services.gateway.metrics import Stats

ABNORMAL: int = 1006
"""The close code of a socket that went without a closing handshake (RFC 6455, section 7.1.5)."""


class Transport(Protocol):
    """The socket's side of a session. None of these wait."""

    def send(self, frame: bytes) -> None: ...

    def close(self, code: int, reason: str) -> None:
        """Start to close; frames that still come in are ignored."""

    def pause(self) -> None:
        """Stop reading the socket."""

    def resume(self) -> None: ...


class Host(Protocol):
    """What a session needs of the hub. `timed`: sessions to tick; `held_back`: not read until the log has room.

    Both keep the order of entry, so that a simulated run is the same every time.
    """

    clock: Clock
    stats: Stats
    timed: dict["Session", None]
    held_back: dict["Session", None]

    @property
    def full(self) -> bool: ...

    def append(self, effect: Append, session: "Session | None") -> None: ...

    def end(self, session: "Session", code: int, reason: str) -> None: ...


class Session:
    """One connected station. `grant` is what it was admitted with."""

    __slots__ = ("_called_at", "_host", "_paused", "_timed", "closed", "connection", "grant", "station", "transport")

    def __init__(self, host: Host, station: str, grant: Grant, connection: Connection, transport: Transport) -> None:
        self._host = host
        self.station = station
        self.grant = grant
        self.connection = connection
        self.transport = transport
        self.closed = False
        self._paused = False
        self._timed = False
        self._called_at = 0

    @property
    def epoch(self) -> int:
        return self.connection.origin.epoch

    def receive(self, frame: bytes) -> None:
        """A whole message from the socket."""
        if self.closed:
            return
        host, connection = self._host, self.connection
        now = host.clock()
        stats = host.stats
        stats.frames_in += 1
        stats.bytes_in += len(frame)
        if not connection.calling:
            self._called_at = now
        self.carry_out(connection.receive(frame, now))

    def ended(self, code: int = ABNORMAL, reason: str = "") -> None:
        """The socket is no more."""
        self._host.end(self, code, reason)

    def deliver(self, out: OutFrame) -> None:
        """A frame of `ocpp.outbound` for this connection."""
        host, connection = self._host, self.connection
        now = host.clock()
        dropped = connection.dropped_replies
        effects = connection.outbound(out, now)
        if out.kind == "reply":
            if connection.dropped_replies > dropped:
                host.stats.outbound_dropped += 1
            else:
                host.stats.latency(now - self._called_at)
                self._called_at = now
        self.carry_out(effects)

    def tick(self, now: int) -> bool:
        """Time has passed; whether there is still something to wait for."""
        wake_at = self.connection.wake_at
        if wake_at is not None and wake_at <= now:
            self.carry_out(self.connection.tick(now))
            wake_at = self.connection.wake_at
        self._timed = wake_at is not None and not self.closed
        return self._timed

    def carry_out(self, effects: list[Effect]) -> None:
        """Do what the connection wants, in order, then look at reading and time."""
        host = self._host
        for effect in effects:
            if type(effect) is Append:
                host.append(effect, self)
            elif type(effect) is Send:
                stats = host.stats
                stats.frames_out += 1
                stats.bytes_out += len(effect.frame)
                self.transport.send(effect.frame)
            elif type(effect) is Close:
                host.end(self, effect.code, effect.reason)
        if self.closed:
            return
        connection = self.connection
        if not self._timed and connection.wake_at is not None:
            self._timed = True
            host.timed[self] = None
        if self._paused is connection.reading or host.full:
            self.look_at_reading()

    def look_at_reading(self) -> None:
        """Stop or go on reading the socket, as connection and log want."""
        full = self._host.full
        reading = self.connection.reading and not full
        if reading and self._paused:
            self._paused = False
            self.transport.resume()
        elif not reading and not self._paused:
            self._paused = True
            self.transport.pause()
        if full:
            self._host.held_back[self] = None
