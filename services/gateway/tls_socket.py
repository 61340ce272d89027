"""TLS between a TCP connection and a `Socket`: the standard library's TLS without IO, under a protocol of our own.

It knows what `loop.create_server(ssl=...)` keeps to itself: sockets that are still shaking hands (which count, and are
cut), why a handshake failed (the other side gets the alert), and a context for each connection.
"""

import asyncio
import contextlib
import ssl
from typing import Any, Final, Protocol, cast

RECORD_BYTES_MAX: Final = 16_384


class Doorstep(Protocol):
    """Where connections stand that have not shaken hands yet."""

    def came(self, connection: "TlsSocket") -> bool:
        """A TCP connection was accepted; whether there is room for it."""

    def opened(self, connection: "TlsSocket") -> asyncio.Protocol:
        """The handshake is done: who goes on from here."""

    def failed(self, connection: "TlsSocket", reason: str) -> None:
        """It came to nothing; a word that says why."""


class TlsSocket(asyncio.Protocol, asyncio.Transport):
    """A protocol to the TCP transport, a transport to whom `Doorstep.opened` names. `timeout_s`: for the handshake."""

    def __init__(
        self, context: ssl.SSLContext, loop: asyncio.AbstractEventLoop, timeout_s: float, doorstep: Doorstep
    ) -> None:
        super().__init__()
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._loop = loop
        self._timeout_s = timeout_s
        self._doorstep = doorstep
        self._tcp: asyncio.Transport | None = None
        self._upper: asyncio.Protocol | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._over = False
        self._said_all = False
        self._paused = False

    # -- protocol --------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._tcp = cast(asyncio.Transport, transport)
        if not self._doorstep.came(self):
            self._give_up("overflow")
            return
        self._timer = self._loop.call_later(self._timeout_s, self._give_up, "slow")

    def data_received(self, data: bytes) -> None:
        if self._said_all or self._over:
            return  # it is read so that our last words arrive, and dropped
        self._incoming.write(data)
        if self._upper is None:
            self._shake_hands()
        else:
            self._read(self._upper)

    def eof_received(self) -> bool:
        if self._upper is None:
            self._give_up("gone")
        else:
            self._upper.eof_received()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._tcp = None
        if self._upper is None:
            self._give_up("gone")
        else:
            self._upper.connection_lost(exc)

    def pause_writing(self) -> None:
        if self._upper is not None:
            self._upper.pause_writing()

    def resume_writing(self) -> None:
        if self._upper is not None:
            self._upper.resume_writing()

    def _shake_hands(self) -> None:
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except ssl.SSLCertVerificationError as error:
            self._give_up("certificate_" + error.verify_message.replace(" ", "_"))
            return
        except ssl.SSLError as error:
            self._give_up((error.reason or "tls").lower())
            return
        self._flush()
        self._stop_timer()
        self._upper = upper = self._doorstep.opened(self)
        upper.connection_made(self)
        self._read(upper)

    def _read(self, upper: asyncio.Protocol) -> None:
        """Hand on what is whole, until the other side has to send more, or we are to read no more."""
        try:
            while not (self._paused or self._said_all or self._tcp is None):
                if data := self.tls.read(RECORD_BYTES_MAX):
                    upper.data_received(data)
                else:
                    upper.eof_received()  # the other side has said its good-bye
                    self.close()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            self.abort()
        self._flush()

    def _give_up(self, reason: str) -> None:
        """The handshake came to nothing: send the alert, if there is one, and close."""
        if self._over:
            return
        self._over = True
        self._stop_timer()
        self._flush()
        if self._tcp is not None:
            if reason in ("slow", "overflow"):
                self._tcp.abort()
            else:
                self._tcp.close()
        self._doorstep.failed(self, reason)

    def _flush(self) -> None:
        if self._outgoing.pending and self._tcp is not None:
            self._tcp.write(self._outgoing.read())

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- transport -------------------------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._said_all or self._tcp is None:
            return
        left = memoryview(data)
        while left:
            left = left[self.tls.write(left) :]
        self._flush()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """Say that no more will come; what still comes in is dropped."""
        if self._said_all or self._tcp is None:
            return
        self._said_all = True
        with contextlib.suppress(ssl.SSLError):  # the other side's own good-bye is not waited for
            self.tls.unwrap()
        self._flush()
        self._tcp.write_eof()

    def close(self) -> None:
        self.write_eof()
        if self._tcp is not None:
            self._tcp.close()

    def abort(self) -> None:
        if self._tcp is not None:
            self._tcp.abort()

    def is_closing(self) -> bool:
        return self._tcp is None or self._tcp.is_closing()

    def pause_reading(self) -> None:
        self._paused = True
        if self._tcp is not None and not self._tcp.is_closing():
            self._tcp.pause_reading()

    def resume_reading(self) -> None:
        self._paused = False
        if self._tcp is not None and not self._tcp.is_closing():
            self._tcp.resume_reading()
            self._loop.call_soon(self._read_on)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if self._tcp is not None:
            self._tcp.set_write_buffer_limits(high, low)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default if self._tcp is None else self._tcp.get_extra_info(name, default)

    def _read_on(self) -> None:
        """What came in while reading was paused."""
        if self._upper is not None and not self._said_all:
            self._read(self._upper)
