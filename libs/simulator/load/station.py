"""One station of the load: an asyncio Protocol with its script. Everything on the path of a CALL is here, and
is kept short."""

import asyncio
import zlib
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, cast

import orjson

from ..inputs import IdToken
from . import wire
from .script import AVAILABLE, BOOT, HEARTBEAT, OCCUPIED, SETUP, UPDATED, Step, token_steps

if TYPE_CHECKING:
    from .driver import Driver

PENDING_RETRY_S = 1.0
COSTED = frozenset({"Updated", "Ended"})
"""Events with meter values whose answers tell the cost, where there is a tariff (I02, I03)."""
NO_COST = "no totalCost"


class LoadStation(asyncio.Protocol):
    """At most one CALL is open. A lost connection is dialled again by the driver; the open CALL is then sent
    again, byte for byte."""

    __slots__ = (
        "_buffer",
        "_call",
        "_deflate",
        "_driver",
        "_expected",
        "_key",
        "_path",
        "_steps",
        "_transport",
        "backlog",
        "booted",
        "cycle",
        "due",
        "energy",
        "id",
        "id_prefix",
        "ids",
        "message_id",
        "number",
        "open",
        "sent_at",
        "seq_no",
        "served",
        "setup",
        "step",
        "token",
        "transaction",
        "up",
        "updates",
    )

    def __init__(self, driver: "Driver", number: int, station_id: str, token: IdToken, updates: int) -> None:
        self._driver = driver
        self._path = f"{driver.path}/{station_id}"
        self.id = station_id.encode()
        self.id_prefix = b""
        self.number = number
        self._steps = token_steps(token)
        self._transport: asyncio.Transport | None = None
        self._deflate: wire.Deflate | None = None
        self._buffer = b""
        self._key = ""
        self._call = b""
        self._expected = b""
        self.message_id = b""
        self.ids = 0
        self.up = self.booted = self.setup = self.open = False
        self.step: Step = BOOT
        self.due = self.sent_at = 0
        self.cycle = 0
        self.updates = updates
        self.seq_no = 0
        self.energy = 10_000 * (number + 1)
        self.transaction = b""
        self.backlog = 0  # open and idle mode: CALLs that are due and not sent
        self.served = 0  # open and idle mode: CALLs that were sent

    # -- the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one, and does not say so
        self._key = wire.new_key()
        self._buffer = b""
        driver = self._driver
        passwords = driver.config.passwords
        password = passwords[self.number] if passwords else driver.config.password
        credentials = None if password is None else f"{self.id.decode()}:{password}"
        compression = driver.config.compression
        self._transport.write(wire.request(driver.host, self._path, self._key, credentials, compression=compression))

    def connection_lost(self, exc: Exception | None) -> None:
        was_up, self.up = self.up, False
        self._transport = self._deflate = None
        self._driver.lost(self, was_up)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.write(wire.frame(b"\x03\xe8", wire.CLOSE))
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if not self.up:
            self._handshake(data)
            return
        if self._buffer:
            data = self._buffer + data
        # The usual case first: one whole, final, uncompressed text frame and nothing else.
        if len(data) > 4 and data[0] == 0x81:
            size = data[1]
            if size < 126:
                if len(data) == size + 2:
                    self._buffer = b""
                    self._text(data, 2)
                    return
            elif size == 126 and len(data) == (data[2] << 8 | data[3]) + 4:
                self._buffer = b""
                self._text(data, 4)
                return
        self._frames(data)

    def _handshake(self, data: bytes) -> None:
        self._buffer += data
        try:
            answer = wire.response(self._buffer, self._key)
        except wire.HandshakeError as error:
            self._driver.error(f"HTTP {error.status}", f"{self.id.decode()}: {error}")
            self.abort()
            return
        if answer is None:
            return
        agreed, self._buffer = answer
        if agreed.subprotocol != "ocpp2.0.1":
            self._driver.error("no subprotocol", self.id.decode())
            self.abort()
            return
        if agreed.server_window_bits is not None:
            self._deflate = wire.Deflate(agreed)
        self.up = True
        self._driver.connected(self)
        self._resume()
        if self._buffer:
            rest, self._buffer = self._buffer, b""
            self._frames(rest)

    def _frames(self, data: bytes) -> None:
        """The general case: any number of frames, the last perhaps in part."""
        while len(data) >= 2:
            size, head = data[1], 2
            if size >= 126:
                head = 4 if size == 126 else 10
                if len(data) < head:
                    break
                size = int.from_bytes(data[2:head], "big")
            if size > wire.FRAME_BYTES_MAX:
                self._driver.error("malformed", f"a frame of {size} bytes")
                self.abort()
                return
            if len(data) < head + size:
                break
            self._frame(data[0], data[head : head + size])
            data = data[head + size :]
        self._buffer = data

    def _frame(self, first: int, payload: bytes) -> None:
        opcode = first & 0x0F
        if opcode == wire.PING:
            self._write(payload, wire.PONG)
        elif opcode == wire.CLOSE:
            self.abort()
        elif opcode == wire.TEXT and first & 0x80:
            if first & 0x40 and self._deflate is not None:
                try:
                    payload = self._deflate.decompress(payload)
                except (zlib.error, ValueError) as error:
                    self._driver.error("malformed", f"{self.id.decode()}: {error}")
                    self.abort()
                    return
            self._text(payload, 0)
        elif opcode != wire.PONG:
            self._driver.error("malformed", f"{self.id.decode()}: frame that begins with {first:#x}")
            self.abort()

    def _write(self, payload: bytes, opcode: int = wire.TEXT) -> None:
        if self._transport is None:
            return
        if self._deflate is not None and opcode == wire.TEXT:
            self._transport.write(wire.frame(self._deflate.compress(payload), compressed=True))
        else:
            self._transport.write(wire.frame(payload, opcode))

    # -- answers

    def _text(self, data: bytes, start: int) -> None:
        if data.startswith(self._expected, start) and self.open:
            if self._driver.priced and self.step.event in COSTED and b'"totalCost":' not in data:
                self._driver.error(NO_COST, f"{self.id.decode()} {self.step.name}")
            if self.step.accepts and b'"status":"Accepted"' not in data:
                self._answer(orjson.loads(data[start:]))
            else:
                self._done(accepted=True)
            return
        try:
            message = orjson.loads(data[start:])
        except orjson.JSONDecodeError:
            self._driver.error("malformed", f"{self.id.decode()}: {data[start:][:200]!r}")
            return
        self._answer(message)

    def _answer(self, message: Any) -> None:
        """Anything but the plain, expected answer."""
        match message:
            case [3, str(message_id), dict(payload)] if self.open and message_id.encode() == self.message_id:
                accepted = payload.get("idTokenInfo", payload).get("status", "Accepted") == "Accepted"
                if not accepted:
                    self._driver.error("not accepted", f"{self.id.decode()} {self.step.name}: {payload}")
                if self.step is BOOT and not accepted:
                    self.open = False
                    self._driver.later(PENDING_RETRY_S, self._resume)
                else:
                    self._done(accepted=accepted)
            case [4, str(message_id), code, *_] if self.open and message_id.encode() == self.message_id:
                self._driver.error(f"CALLERROR {code}", f"{self.id.decode()} {self.step.name}: {message}")
                self._done(accepted=False)
            case [2, str(message_id), str(_), *_]:
                self._driver.csms_calls += 1
                self._write(b'[4,"%b","NotImplemented","",{}]' % message_id.encode())
            case _:
                self._driver.error("wrong id", f"{self.id.decode()}: {str(message)[:200]}")

    def _done(self, *, accepted: bool) -> None:
        """The open CALL was answered: count it, and go on."""
        step, driver = self.step, self._driver
        now = perf_counter_ns()
        self.open = False
        driver.count(step, self.due, now)
        if step.event:
            if accepted and driver.journal is not None:
                driver.write_journal(self)
            self.seq_no += 1
            if step is self._steps[2]:
                driver.transactions += 1  # and nothing flows until the next one: its register begins where this ended
            else:
                self.energy += 1533
        if step is BOOT:
            self.booted = accepted
            self._resume()
            return
        if step is SETUP:
            if not self.setup:
                self.setup = True
                driver.became_ready()
        elif step is not HEARTBEAT:
            self.cycle += 1
            if step is AVAILABLE:
                self.cycle, self.updates = 0, driver.config.updates
        if driver.closed_loop:
            if driver.running:
                self.send(self.next_step(), now)
        elif self.backlog:
            self.send_due()

    # -- CALLs

    def _resume(self) -> None:
        """After a connect: the open CALL again, or what the station has to say first."""
        if not self.up:
            return
        if self.open:
            self._driver.resent += 1
            self.sent_at = perf_counter_ns()
            self._write(self._call)
        elif not self.booted:
            self.send(BOOT, perf_counter_ns())
        elif not self.setup:
            self.send(SETUP, perf_counter_ns())
        elif self._driver.closed_loop:
            self.go()
        elif self.backlog:
            self.send_due()

    def go(self) -> None:
        """The load begins (closed loop), or goes on."""
        if self._driver.running and self.up and self.setup and not self.open:
            self.send(self.next_step(), perf_counter_ns())

    def send_due(self) -> None:
        """Sends the first CALL that is due (open and idle mode), if the station is free to."""
        if not self.up or not self.setup or self.open:
            return
        driver = self._driver
        due = driver.due_at(self, self.served)
        self.backlog -= 1
        self.served += 1
        self.send(HEARTBEAT if driver.idle else self.next_step(), due)

    def next_step(self) -> Step:
        """The present step of the cycle; a transaction begins when it is due."""
        cycle = self.cycle
        if 2 < cycle < 3 + self.updates:
            return UPDATED
        if cycle == 0:
            return self._steps[0]
        if cycle == 1:
            return OCCUPIED
        if cycle == 2:
            self.seq_no = 0
            self.transaction = b"T%b%x" % (self.id_prefix, self.ids)
            return self._steps[1]
        return self._steps[2] if cycle == 3 + self.updates else AVAILABLE

    def send(self, step: Step, due: int) -> None:
        """Sends a CALL; `due` is when it should have been sent (perf_counter_ns)."""
        driver = self._driver
        self.ids = number = self.ids + 1
        self.message_id = message_id = b"%b%x" % (self.id_prefix, number)
        if step.event:
            stamp = driver.stamp()
            energy = self.energy
            self._call = call = step.template % (
                message_id,
                stamp,
                self.seq_no,
                self.transaction,
                stamp,
                energy // 10,
                energy % 10,
                11_000 + self.seq_no,
            )
        elif step is BOOT or step is HEARTBEAT or step is self._steps[0]:
            self._call = call = step.template % message_id
        else:
            self._call = call = step.template % (message_id, driver.stamp())
        self._expected = b'[3,"%b",' % message_id
        self.step, self.due, self.open = step, due, True
        self.sent_at = perf_counter_ns()
        self._write(call)
