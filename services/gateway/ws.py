"""WebSockets: the `websockets` library's protocol without IO under an asyncio protocol of our own.

One object per socket and no task: measured, that is 17 microseconds a call where the library's own server takes 24.
Handshakes (RFC 6455; Part 4, section 3), compression (RFC 7692, Part 4, section 3.3) with small windows, keepalive by
pings to silent sockets, limits on everything a stranger may send.
"""

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, NamedTuple, Protocol, cast

import structlog
from websockets.exceptions import InvalidMessage, NegotiationError
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import BINARY, CLOSE, CONT, TEXT, Frame
from websockets.http11 import Request, Response
from websockets.protocol import CONNECTING, OPEN
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from ocppcore.log import LogError
from services.gateway.domain.admission import BadIdentity, Knock, basic_of, choose_subprotocol, identity_of
from services.gateway.door import Refused, source_of
from services.gateway.gateway import Gateway
from services.gateway.session import ABNORMAL, Session
from services.gateway.tls import Tls, look_on_hangup
from services.gateway.tls_socket import TlsSocket
from services.gateway.turns import Turns

PROTOCOL_ERROR: Final = 1002
NOBODY: Final = Knock()
WRITE_BUFFER_BYTES_MAX: Final = 256 * 1024
BEGIN_AT_ONCE: Final = 4
"""Handshakes that begin in one turn of the event loop: half a millisecond of work."""
BAD_REQUEST: Final = (
    b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: 26\r\n\r\nThis is no HTTP request.\r\n"
)

log = structlog.get_logger(__name__)
_quiet = logging.getLogger("services.gateway.ws.protocol")
_quiet.setLevel(logging.CRITICAL)  # it would log a line for each connection, and URLs


@dataclass(frozen=True, slots=True)
class WsSettings:
    """One listener: plain, or with a `Tls` given to it.

    The windows of compression are small because a station's messages are, and 10,000 stations are connected: 43 KiB a
    connection in all, 59 KiB for a station that does not let us limit its own window.
    `refusal_delay_s`: a 401 is sent this long after its request, whatever was found; `refuse_subprotocol`:
    HTTP 400 where no OCPP version is in common, instead of Part 4's 101 without the header followed by a close.
    `tls_look_s`: how often the files of certificates are looked at.
    """

    host: str = "0.0.0.0"
    port: int = 9000
    prefix: str = "/ocpp/"
    connections_max: int = 15_000
    backlog: int = 4096
    frame_bytes_max: int = 1_000_000
    handshake_timeout_s: float = 10.0
    close_timeout_s: float = 5.0
    write_timeout_s: float = 30.0
    ping_interval_s: float = 60.0
    pong_timeout_s: float = 30.0
    refusal_delay_s: float = 0.3
    refuse_subprotocol: bool = False
    compression: bool = True
    server_window_bits: int = 10
    client_window_bits: int = 12
    memory_level: int = 3
    tls_look_s: float = 1.0


class Opened(NamedTuple):
    """A station that is let in: the answer, and its session; None where it speaks no version of OCPP that we do."""

    response: Response
    session: Session | None


class Open(Protocol):
    """A connection that a listener counts."""

    def abort(self) -> None: ...


class WsListener:
    """A listening socket and all connections accepted on it.

    `sockets` speak HTTP or WebSocket, `shaking` are in their TLS handshake; `opening` are those of both that have not
    been let in yet, the oldest first.
    """

    def __init__(self, settings: WsSettings, bound: socket.socket | None = None, tls: Tls | None = None) -> None:
        """`bound` listens already, instead of the host and port in the settings."""
        self.settings = settings
        self.tls = tls
        self._bound = bound
        self.sockets: set[Socket] = set()
        self.shaking: set[TlsSocket] = set()
        self.opening: dict[Open, None] = {}
        self.handshakes: set[asyncio.Task[None]] = set()
        self.lost = asyncio.Event()
        self.turns = Turns(BEGIN_AT_ONCE)
        self.extensions = (
            [
                ServerPerMessageDeflateFactory(
                    server_max_window_bits=settings.server_window_bits,
                    client_max_window_bits=settings.client_window_bits,
                    compress_settings={"memLevel": settings.memory_level},
                )
            ]
            if settings.compression
            else []
        )
        self._server: asyncio.Server | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._undo_hangup: Callable[[], None] = lambda: None

    @property
    def port(self) -> int:
        """The port listened on (of use when the setting says 0)."""
        assert self._server is not None
        return cast(int, self._server.sockets[0].getsockname()[1])

    async def start(self, gateway: Gateway) -> None:
        """Listen. Raises OSError when the port is taken."""
        s, loop, tls = self.settings, asyncio.get_running_loop(), self.tls

        def accepted() -> asyncio.Protocol:
            if tls is None:
                return Socket(self, gateway, loop)
            return TlsSocket(tls.context(), loop, s.handshake_timeout_s, Arrivals(self, gateway, loop, tls))

        if self._bound is not None:
            self._server = await loop.create_server(accepted, sock=self._bound, backlog=s.backlog)
        else:
            self._server = await loop.create_server(accepted, s.host, s.port, backlog=s.backlog)
        self._tasks = [asyncio.create_task(self._sweep(loop))]
        if tls is not None:
            self._tasks.append(asyncio.create_task(self._watch(tls)))
            self._undo_hangup = look_on_hangup(loop, tls)
        log.info("listening for stations", host=s.host, port=self.port, tls=tls is not None)

    async def stop(self) -> None:
        """Accept no more."""
        if self._server is not None:
            self._server.close()

    async def close(self) -> None:
        """Wait at most `close_timeout_s` for the sockets to close, then cut them."""
        await self.stop()
        self._undo_hangup()
        for task in self._tasks:
            task.cancel()
        for early in list(self.shaking):
            early.abort()
        for one in list(self.sockets):
            one.give_up()
        try:
            async with asyncio.timeout(self.settings.close_timeout_s):
                while self.sockets:
                    self.lost.clear()
                    await self.lost.wait()
        except TimeoutError:
            for one in list(self.sockets):
                one.abort()
        for task in self.handshakes:
            task.cancel()

    def makes_room(self, newcomer: Open) -> bool:
        """Whether there is room for one that was just counted: at the limit, who has been opening for longest goes."""
        self.opening[newcomer] = None
        if len(self.sockets) + len(self.shaking) <= self.settings.connections_max:
            return True
        oldest = next(iter(self.opening))
        del self.opening[oldest]
        oldest.abort()
        return oldest is not newcomer

    async def _watch(self, tls: Tls) -> None:
        while True:
            await asyncio.sleep(self.settings.tls_look_s)
            tls.look()

    async def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        period_s = min(5.0, self.settings.ping_interval_s / 4, self.settings.pong_timeout_s / 2)
        while True:
            await asyncio.sleep(period_s)
            now = loop.time()
            for one in list(self.sockets):
                one.look(now)


class Arrivals:
    """TLS connections on their way to a `Socket`. Implements `Doorstep`."""

    def __init__(self, listener: WsListener, gateway: Gateway, loop: asyncio.AbstractEventLoop, tls: Tls) -> None:
        self._listener = listener
        self._gateway = gateway
        self._loop = loop
        self._tls = tls
        self._source = ""

    def came(self, connection: TlsSocket) -> bool:
        self._source = _source(connection)
        self._listener.shaking.add(connection)
        return self._listener.makes_room(connection)

    def opened(self, connection: TlsSocket) -> asyncio.Protocol:
        self._left(connection)
        certificate = self._tls.certificate(connection.tls)
        return Socket(self._listener, self._gateway, self._loop, Knock(secure=True, certificate=certificate))

    def failed(self, connection: TlsSocket, reason: str) -> None:
        self._left(connection)
        self._gateway.stats.handshakes["tls"] += 1
        self._gateway.failed(self._source, f"tls_{reason}")

    def _left(self, connection: TlsSocket) -> None:
        self._listener.shaking.discard(connection)
        self._listener.opening.pop(connection, None)


class Socket(asyncio.Protocol):
    """One TCP connection: handshake, then frames between `websockets` and a session. Implements `Transport`."""

    __slots__ = (
        "_arrived",
        "_blocked_since",
        "_closing",
        "_early",
        "_end_of_head",
        "_gateway",
        "_knock",
        "_listener",
        "_loop",
        "_parts",
        "_pinged",
        "_protocol",
        "_requested",
        "_seen",
        "_session",
        "_stopped",
        "_timer",
        "_transport",
        "_wants_pause",
    )

    def __init__(
        self, listener: WsListener, gateway: Gateway, loop: asyncio.AbstractEventLoop, knock: Knock = NOBODY
    ) -> None:
        """`knock`: what TLS has shown before."""
        self._listener = listener
        self._knock = knock
        self._gateway = gateway
        self._loop = loop
        self._protocol = ServerProtocol(
            extensions=listener.extensions,
            select_subprotocol=_select_strictly if listener.settings.refuse_subprotocol else _select,
            max_size=listener.settings.frame_bytes_max,
            logger=_quiet,
        )
        self._transport: asyncio.Transport | None = None
        self._session: Session | None = None
        self._parts: list[bytes] | None = None
        self._requested = False
        self._arrived = b""
        self._end_of_head = b""
        self._early = b""
        self._closing = False
        self._stopped = False
        self._wants_pause = False
        self._blocked_since: float | None = None
        self._pinged = False
        self._seen = loop.time()
        self._timer: asyncio.TimerHandle | None = None

    # -- asyncio ---------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(WRITE_BUFFER_BYTES_MAX)
        listener = self._listener
        listener.sockets.add(self)
        self._knock = self._knock._replace(source=_source(self._transport))
        if not listener.makes_room(self):
            self._count("overflow")
            return
        self._timer = self._loop.call_later(listener.settings.handshake_timeout_s, self._too_slow)

    def data_received(self, data: bytes) -> None:
        self._seen = self._loop.time()
        self._pinged = False
        if self._arrived:
            self._arrived += data
        elif self._protocol.state is CONNECTING and not self._requested:
            self._arrived = data
            self._listener.turns.add(self.begin)
            self._apply_reading()  # what more is sent until then waits in the socket
        else:
            self._take(data)

    def begin(self) -> None:
        """Its turn: what has come of its handshake is looked at."""
        data, self._arrived = self._arrived, b""
        if data and self._transport is not None:
            self._take(data)
            self._apply_reading()

    def _take(self, data: bytes) -> None:
        protocol = self._protocol
        if protocol.state is CONNECTING:
            data = self._handshake_only(data)
        protocol.receive_data(data)
        for event in protocol.events_received():
            if isinstance(event, Frame):
                if self._session is not None:
                    self._frame(event, self._session)
            elif isinstance(event, Request):
                self._request(event)
        if protocol.writes or protocol.state is not OPEN:
            self._flush()

    def eof_received(self) -> bool:
        self.begin()
        self._protocol.receive_eof()
        self._flush()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._listener.sockets.discard(self)
        self._listener.opening.pop(self, None)
        self._listener.lost.set()
        self._stop_timer()
        session, self._session = self._session, None
        self._closing = True
        self._transport = None
        if session is not None:
            code = self._protocol.close_rcvd.code if self._protocol.close_rcvd else ABNORMAL
            session.ended(int(code), "closed by the station" if self._protocol.close_rcvd else "connection lost")

    def pause_writing(self) -> None:
        """The station does not read what it is sent: stop reading what it sends."""
        self._blocked_since = self._loop.time()
        self._apply_reading()

    def resume_writing(self) -> None:
        self._blocked_since = None
        self._apply_reading()

    # -- Transport -------------------------------------------------------------------------------------------------

    def send(self, frame: bytes) -> None:
        protocol, transport = self._protocol, self._transport
        if transport is not None and protocol.state is OPEN:
            protocol.send_text(frame)
            for data in protocol.data_to_send():
                transport.write(data)

    def close(self, code: int, reason: str) -> None:
        self._session = None
        if self._transport is not None and not self._closing and self._protocol.state is OPEN:
            self._protocol.send_close(code, reason[:100])
            self._flush()

    def pause(self) -> None:
        self._wants_pause = True
        self._apply_reading()

    def resume(self) -> None:
        self._wants_pause = False
        self._apply_reading()

    # -- the listener ----------------------------------------------------------------------------------------------

    def look(self, now: float) -> None:
        """Ping a silent socket, cut one that stays silent or does not read."""
        s = self._listener.settings
        if self._blocked_since is not None and now - self._blocked_since > s.write_timeout_s:
            self.abort()
        if self._protocol.state is not OPEN or self._stopped:
            return
        silent_s = now - self._seen
        if silent_s > s.ping_interval_s + s.pong_timeout_s:
            self.abort()
        elif silent_s > s.ping_interval_s and not self._pinged:
            self._pinged = True
            self._protocol.send_ping(b"")
            self._flush()

    def give_up(self) -> None:
        """The gateway goes: whatever is not closing yet is cut."""
        if not self._closing:
            self.abort()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # -- handshake -------------------------------------------------------------------------------------------------

    def _handshake_only(self, data: bytes) -> bytes:
        """The part of `data` that belongs to the request; what a hasty client sent behind it waits for our answer."""
        if self._requested:
            self._early += data
            return b""
        text = self._end_of_head + data
        end = text.find(b"\r\n\r\n")
        if end < 0:
            self._end_of_head = text[-3:]
            return data
        cut = end + 4 - len(self._end_of_head)
        self._early = data[cut:]
        return data[:cut]

    def _request(self, request: Request) -> None:
        if "Upgrade" not in request.headers:
            self._turn_away(self._protocol.accept(request))  # nobody who speaks WebSocket
            return
        self._requested = True
        self._apply_reading()  # what is sent before our answer waits in the socket
        task = self._loop.create_task(self._handshake(request))
        self._listener.handshakes.add(task)
        task.add_done_callback(self._handshake_over)

    def _handshake_over(self, task: asyncio.Task[None]) -> None:
        self._listener.handshakes.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("handshake failed", error=repr(error))
            self.abort()

    async def _handshake(self, request: Request) -> None:
        began = self._loop.time()
        outcome: Opened | Refused | Response
        try:
            outcome = await self._admitted(request)
        except LogError as error:
            log.error("no station can be let in", error=str(error))
            outcome = Refused(HTTPStatus.SERVICE_UNAVAILABLE, "the log is not available")
        if isinstance(outcome, Refused) and outcome.status is HTTPStatus.UNAUTHORIZED:
            await asyncio.sleep(max(0.0, began + self._listener.settings.refusal_delay_s - self._loop.time()))
        if self._transport is None:
            if isinstance(outcome, Opened) and outcome.session is not None:
                outcome.session.ended(ABNORMAL, "connection lost during the handshake")
            return
        self._answer(outcome)
        self._requested = False
        self._stop_timer()
        self._flush()
        self._apply_reading()
        if self._early:
            early, self._early = self._early, b""
            self.data_received(early)

    async def _admitted(self, request: Request) -> Opened | Refused | Response:
        """A session, a refusal, or what is wrong with the request. Who is not let in costs no negotiation of the
        protocol, which makes compressors."""
        try:
            identity = identity_of(request.path, self._listener.settings.prefix)
        except BadIdentity as error:
            return Refused(HTTPStatus.NOT_FOUND, str(error))
        basic = basic_of(request.headers.get_all("Authorization"))
        admitted = await self._gateway.admit(identity, self._knock._replace(basic=basic))
        self._knock = NOBODY  # nothing of it is kept for as long as the connection lasts
        if isinstance(admitted, Refused):
            return admitted
        response = self._protocol.accept(request)
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            return response
        subprotocol = self._protocol.subprotocol
        if subprotocol is None:
            return Opened(response, None)
        session = await self._gateway.connect(admitted, identity, subprotocol, self)
        return session if isinstance(session, Refused) else Opened(response, session)

    def _turn_away(self, response: Response) -> None:
        """The request is no good handshake (RFC 6455, section 4.2.2)."""
        self._count(str(response.status_code))
        self._protocol.send_response(response)

    def _answer(self, outcome: Opened | Refused | Response) -> None:
        protocol = self._protocol
        if isinstance(outcome, Refused):
            response = protocol.reject(outcome.status, f"{outcome.reason}\r\n")
            if outcome.status is HTTPStatus.UNAUTHORIZED:
                response.headers["WWW-Authenticate"] = 'Basic realm="ocpp", charset="UTF-8"'
            elif outcome.status is HTTPStatus.SERVICE_UNAVAILABLE:
                response.headers["Retry-After"] = "5"
            self._count(str(int(outcome.status)))
            protocol.send_response(response)
            return
        if isinstance(outcome, Response):
            self._turn_away(outcome)
            return
        protocol.send_response(outcome.response)
        session = outcome.session
        if session is None:
            self._count("subprotocol")
            protocol.send_close(PROTOCOL_ERROR, "no OCPP version in common: ocpp2.0.1 is spoken here")
        elif session.closed:
            protocol.send_close(1012, "closed while it was opened")
        else:
            self._count("101")
            self._session = session
            self._listener.opening.pop(self, None)

    def _too_slow(self) -> None:
        self._count("timeout")
        self._gateway.failed(self._knock.source, "slow")
        self.abort()

    # -- frames ----------------------------------------------------------------------------------------------------

    def _frame(self, frame: Frame, session: Session) -> None:
        """A whole message goes to the session; fragments are put together (`max_size` bounds their sum)."""
        opcode = frame.opcode
        if opcode is TEXT or opcode is BINARY:
            if frame.fin:
                session.receive(bytes(frame.data))
            else:
                self._parts = [bytes(frame.data)]
        elif opcode is CONT and self._parts is not None:
            self._parts.append(bytes(frame.data))
            if frame.fin:
                message, self._parts = b"".join(self._parts), None
                session.receive(message)
        elif opcode is CLOSE:
            self._session = None
            code = self._protocol.close_rcvd.code if self._protocol.close_rcvd else ABNORMAL
            session.ended(int(code), "closed by the station")

    def _flush(self) -> None:
        """Write what the protocol wants written; begin to close the TCP connection when it wants that."""
        transport = self._transport
        if transport is None:
            return
        for data in self._protocol.data_to_send():
            if data:
                transport.write(data)
            else:
                self._finish(transport)
        if self._protocol.close_expected() and not self._closing:
            self._linger()

    def _finish(self, transport: asyncio.Transport) -> None:
        """No more to say. The rest of what comes in is read and dropped, so that our last words arrive."""
        if isinstance(self._protocol.handshake_exc, InvalidMessage):
            self._count("400")
            transport.write(BAD_REQUEST)
        if transport.can_write_eof():
            transport.write_eof()
        else:
            transport.close()
        self._linger()

    def _linger(self) -> None:
        """Give the other side a moment to close, then cut it."""
        if self._closing:
            return
        self._closing = True
        session, self._session = self._session, None
        if session is not None:
            sent = self._protocol.close_sent
            session.ended(int(sent.code) if sent else ABNORMAL, sent.reason if sent else "")
        self._stop_timer()
        self._timer = self._loop.call_later(self._listener.settings.close_timeout_s, self.abort)
        self._apply_reading()

    def _apply_reading(self) -> None:
        """Read the socket unless the handshake waits for its turn or is being decided, the connection wants a pause or
        nobody reads ours."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        opening = self._requested or bool(self._arrived)
        stop = (opening or self._wants_pause or self._blocked_since is not None) and not self._closing
        if stop and not self._stopped:
            self._stopped = True
            transport.pause_reading()
        elif not stop and self._stopped:
            self._stopped = False
            self._seen = self._loop.time()
            transport.resume_reading()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _count(self, outcome: str) -> None:
        self._gateway.stats.handshakes[outcome] += 1


def _source(connection: asyncio.BaseTransport) -> str:
    peer = connection.get_extra_info("peername")
    return source_of(str(peer[0])) if peer else ""


def _select(protocol: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    chosen = choose_subprotocol(offered)
    return None if chosen is None else Subprotocol(chosen)


def _select_strictly(protocol: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    chosen = _select(protocol, offered)
    if chosen is None:
        raise NegotiationError("no OCPP version in common: ocpp2.0.1 is spoken here")
    return chosen
