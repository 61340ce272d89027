"""All connections of one gateway, without sockets: who is connected, which frame goes where, what is recorded.

`ws.py` puts WebSockets on it; tests and the simulation put anything else on it that is a `Transport`.
"""

import asyncio
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

import msgspec
import structlog
from cryptography.exceptions import InvalidTag

from ocppcore import topics
from ocppcore.clock import Clock
from ocppcore.envelope import (
    BadRecord,
    ConnectionChange,
    Frame,
    OutFrame,
    Refusal,
    connection_record,
    frame_record,
    parse_json,
    parse_outbound,
    receipt_record,
    refusal_record,
)
from ocppcore.leases import Holder
from ocppcore.log import Log, NewRecord, Record
from ocppcore.seal import Seal
from ocppcore.sealed_frames import holds_key_code, seal_frame
from services.gateway.appender import Appender
from services.gateway.copies import Station, StationsCopy
from services.gateway.domain.connection import (
    SERVICE_RESTART,
    Ack,
    Append,
    CannotOpen,
    Connection,
    Limits,
    Origin,
    gateway_receipt,
)
from services.gateway.domain.grants import CERTIFICATE_REVOKED, Grant, holds, promoted
from services.gateway.door import UNAUTHORIZED, Admitted, Refused
from services.gateway.metrics import Stats
from services.gateway.session import Session, Transport

REPLACED: Final = 1008
CREDENTIALS_CHANGED: Final = 1008
CLOSED_BY_SERVICE: Final = 1008
TOO_BIG: Final = 1009
OPENING_FRAMES_MAX: Final = 100

log = structlog.get_logger(__name__)


@dataclass(eq=False, slots=True)
class _Opening:
    """Handshakes of one station whose `connected` records are on their way, and what came before these were known."""

    handshakes: int = 0
    newest: int = -1
    frames: deque[OutFrame] = field(default_factory=deque)


class Hub:
    """Knows every session by its station. `holder` is the slot that the gateway holds, None without one.

    `objection`: why the certificate of a grant counts no more, "" if it does; one may be revoked, or its authority
    distrusted, between its TLS handshake and the connection that it opens.
    """

    def __init__(
        self,
        log_: Log,
        clock: Clock,
        stations: StationsCopy,
        seal: Seal,
        new_trace: Callable[[], str],
        *,
        cells: int,
        limits: Limits,
        handled_max: int,
        append_bytes_max: int,
    ) -> None:
        self._stations = stations
        self._seal = seal
        self._new_trace = new_trace
        self._cells = cells
        self._limits = limits
        self._handled_max = handled_max
        self.clock = clock
        self.stats = Stats()
        self.appender = Appender(log_, self.stats, append_bytes_max, self._on_room)
        self.sessions: dict[str, Session] = {}
        self.timed: dict[Session, None] = {}
        self.held_back: dict[Session, None] = {}
        self.holder: Holder | None = None
        self.lease_until: Callable[[], int] = lambda: sys.maxsize
        self.objection: Callable[[Grant], str] = lambda _: ""
        self.draining = False
        self._opening: dict[str, _Opening] = {}
        self._carried: dict[str, dict[Session, None]] = {}
        """Sessions of other stations by the Local Controller whose credentials they carry."""
        self._refusals = 0
        self._handled: dict[tuple[int, str], None] = {}
        self._ended = asyncio.Event()

    @property
    def full(self) -> bool:
        """Whether the log is behind: sockets are not read meanwhile."""
        return self.appender.full

    # -- connections come and go -----------------------------------------------------------------------------------

    async def connect(
        self, admitted: Admitted, identity: str, subprotocol: str, transport: Transport
    ) -> Session | Refused:
        """Record the connection of an admitted station; frames may be given to the session from now on.

        The newest connection of a station wins, here and on every other gateway.
        """
        holder = self.holder
        if holder is None or self.draining:
            return _CLOSED
        station, grant = admitted
        key = station.station
        change = ConnectionChange(
            identity=identity,
            slot=holder.slot,
            claim=holder.claim,
            connected=True,
            subprotocol=subprotocol,
            at=self.clock(),
            security_profile=grant.security_profile,
            credential=grant.by,
            certificate_name=grant.certificate_name,
            certificate_expired=grant.expired,
        )
        opening = self._opening.setdefault(key, _Opening())
        opening.handshakes += 1
        epoch = -1
        try:
            epoch = await self.appender.append(connection_record(change, self._cells))
            origin = Origin(key, identity, holder.slot, epoch, subprotocol, holder.claim)
            connection = Connection(
                origin,
                station.registration,
                self._limits,
                self.clock(),
                self._open_sealed,
                self._new_trace,
                never_accepted=grant.expired,
            )
            session = Session(self, key, grant, connection, transport)
            return self._enter(session, opening.newest, holder)
        finally:
            opening.handshakes -= 1
            if not opening.handshakes:
                del self._opening[key]
            frames, opening.frames = opening.frames, deque()
            for out in frames:
                if out.epoch == epoch or not opening.handshakes:
                    self._dispatch(out)
                else:
                    opening.frames.append(out)

    def _enter(self, session: Session, newest: int, holder: Holder) -> Session | Refused:
        key, epoch = session.station, session.epoch
        older = self.sessions.get(key)
        if newest > epoch or (older is not None and older.epoch > epoch):
            session.closed = True
            return _REPLACED
        if older is not None:
            self.end(older, REPLACED, "replaced by a newer connection", superseded=True)
        self.sessions[key] = session
        if self.holder != holder or self.draining:
            self.end(session, SERVICE_RESTART, "gateway is stopping")
            return _CLOSED
        if session.grant.carrier != key:
            self._carried.setdefault(session.grant.carrier, {})[session] = None
        if not self._holds(session):
            self.end(session, CREDENTIALS_CHANGED, "credentials changed")
            return UNAUTHORIZED
        return session

    def end(self, session: Session, code: int, reason: str, *, superseded: bool = False) -> None:
        """A connection is over, for whatever reason. Idempotent.

        Nothing is recorded for one that a newer connection replaced: that one's record says it, and a later record
        of the older would hide it on the compacted topic.
        """
        if session.closed:
            return
        session.closed = True
        key = session.station
        if self.sessions.get(key) is session:
            del self.sessions[key]
        if (carried := self._carried.get(session.grant.carrier)) is not None:
            carried.pop(session, None)
            if not carried:
                del self._carried[session.grant.carrier]
        self.timed.pop(session, None)
        self.held_back.pop(session, None)
        self.stats.closed[str(code)] += 1
        self._ended.set()
        session.carry_out(session.connection.ended(self.clock()))
        session.transport.close(code, reason)
        if not superseded:
            self._disconnected(session, f"{code} {reason}".rstrip())

    def end_all(self, reason: str) -> None:
        """Close every connection with 1012: stations reconnect, elsewhere or later."""
        for session in list(self.sessions.values()):
            self.end(session, SERVICE_RESTART, reason)

    async def emptied(self, wait_s: float) -> bool:
        """Wait until no connection is left, at most `wait_s`; whether that is so."""
        try:
            async with asyncio.timeout(wait_s):
                while self.sessions:
                    self._ended.clear()
                    await self._ended.wait()
        except TimeoutError:
            return False
        return True

    def refused(self, refusal: Refusal) -> bool:
        """Note a handshake that was refused; False while the log is behind or no slot is held: it goes unrecorded."""
        if self.full or self.holder is None:
            return False
        self._refusals += 1
        placed = msgspec.structs.replace(refusal, slot=self.holder.slot)
        self.appender.put(refusal_record(placed, self._refusals, self._cells))
        return True

    def _disconnected(self, session: Session, reason: str) -> None:
        origin = session.connection.origin
        change = ConnectionChange(
            identity=origin.identity,
            slot=origin.slot,
            claim=origin.claim,
            connected=False,
            subprotocol=origin.subprotocol,
            at=self.clock(),
            epoch=origin.epoch,
            reason=reason,
        )
        self.appender.put(connection_record(change, self._cells))

    # -- to the log ------------------------------------------------------------------------------------------------

    def append(self, effect: Append, session: Session | None) -> None:
        """Carry an Append out; its acknowledgement goes back to the session."""
        ack = effect.ack
        record = self._record(effect)
        if session is None:
            self.appender.put(record)
        elif ack is None:
            self.appender.put(record, None, lambda: self.end(session, TOO_BIG, "too large for the log"))
        else:
            self.appender.put(
                record,
                lambda _: self._acknowledged(session, ack),
                lambda: self.end(session, TOO_BIG, "too large for the log"),
            )

    def _acknowledged(self, session: Session, ack: Ack) -> None:
        """The record is in the log. A command is written to the socket only while the slot is held: once the lease is
        over, services may have judged by the receipts that were there then."""
        now = self.clock()
        if isinstance(ack, OutFrame) and now >= self.lease_until():
            self.end(session, SERVICE_RESTART, "the gateway lost its slot")
        session.carry_out(session.connection.acknowledged(ack, now))

    def _record(self, effect: Append) -> NewRecord:
        entry = effect.entry
        if isinstance(entry, Frame):
            if entry.refused:
                self.stats.refused[entry.refused] += 1
            if holds_key_code(entry.frame):
                entry = seal_frame(entry, self._seal)
            return frame_record(entry, effect.service, self._cells)
        self.stats.receipts[entry.what] += 1
        return receipt_record(entry, effect.service, self._cells)

    def _on_room(self) -> None:
        held_back = list(self.held_back)
        self.held_back.clear()
        for session in held_back:
            session.look_at_reading()

    # -- from the log ----------------------------------------------------------------------------------------------

    def deliver(self, record: Record) -> None:
        """A record of our partition of `ocpp.outbound`."""
        try:
            self._dispatch(parse_outbound(record))
        except BadRecord as error:
            log.error("outbound record cannot be read", error=str(error))

    def _dispatch(self, out: OutFrame) -> None:
        session = self.sessions.get(out.station)
        if session is not None and session.epoch == out.epoch:
            if out.kind == "close":
                self.end(session, CLOSED_BY_SERVICE, out.frame.decode(errors="replace"))
            elif out.kind == "reply" or self._first_time(out):
                session.deliver(out)
            return
        opening = self._opening.get(out.station)
        is_newer = session is None or out.epoch > session.epoch
        if opening is not None and is_newer and len(opening.frames) < OPENING_FRAMES_MAX:
            # Services may read a `connected` record before its appender hears of the position.
            opening.frames.append(out)
        elif out.kind in ("reply", "close"):
            self.stats.outbound_dropped += 1
        elif self._first_time(out):
            reason = "no such connection on this gateway"
            slot = self.holder.slot if self.holder else out.slot
            self.append(gateway_receipt(slot, out, "gone", reason, self.clock()), None)

    def _first_time(self, out: OutFrame) -> bool:
        """A command frame may come again when a service was restarted: it is handled once."""
        key = (out.epoch, out.message_id)
        if key in self._handled:
            self.stats.outbound_dropped += 1
            return False
        self._handled[key] = None
        if len(self._handled) > self._handled_max:
            del self._handled[next(iter(self._handled))]
        return True

    def _open_sealed(self, out: OutFrame) -> bytes:
        try:
            return self._seal.open(out.frame, out.message_id.encode())
        except InvalidTag:
            raise CannotOpen from None

    def observe(self, record: Record) -> None:
        """A record of `ocpp.connections` or `device.stations`."""
        if record.topic == topics.STATIONS:
            before, after = self._stations.apply(record)
            if before != after:
                self._changed(record.key, before, after)
            return
        try:
            change = parse_json(record, ConnectionChange)
        except BadRecord as error:
            log.error("connection record cannot be read", error=str(error))
            return
        if not change.connected:
            return
        session = self.sessions.get(record.key)
        if session is not None and session.epoch < record.position:
            self.end(session, REPLACED, "replaced by a newer connection", superseded=True)
        opening = self._opening.get(record.key)
        if opening is not None:
            opening.newest = max(opening.newest, record.position)

    def _changed(self, key: str, before: Station | None, after: Station | None) -> None:
        """What the registry says of a station is another thing now: end what it would not let in again."""
        concerned = list(self._carried.get(key, ()))
        if (own := self.sessions.get(key)) is not None:
            concerned.append(own)
        for session in concerned:
            if session.grant.carrier == key:
                session.grant = promoted(session.grant, before, after)
            if not self._holds(session):
                self.end(session, CREDENTIALS_CHANGED, "credentials changed")

    def _holds(self, session: Session) -> bool:
        find, grant = self._stations.find, session.grant
        if grant.fingerprint and self.objection(grant):
            return False
        return holds(grant, find(session.station), find(grant.carrier))

    def look_at_certificates(self) -> None:
        """Lists of revoked certificates, or authorities, have changed: end the connections that none would open now."""
        for session in [one for one in self.sessions.values() if one.grant.fingerprint]:
            if objection := self.objection(session.grant):
                self.end(session, CREDENTIALS_CHANGED, objection)

    def revoked(self, fingerprint: str) -> None:
        """A client certificate, or an authority's, counts no more: end the connections that it opened."""
        for session in list(self.sessions.values()):
            grant = session.grant
            if grant.fingerprint == fingerprint or (grant.issuers and fingerprint in grant.issuers.fingerprints):
                self.end(session, CREDENTIALS_CHANGED, CERTIFICATE_REVOKED)

    def tick(self) -> None:
        """Look at every connection that waits for something."""
        now = self.clock()
        for session in list(self.timed):
            if not session.tick(now):
                self.timed.pop(session, None)


_CLOSED: Final = Refused(HTTPStatus.SERVICE_UNAVAILABLE, "the gateway is stopping or has no slot")
_REPLACED: Final = Refused(HTTPStatus.SERVICE_UNAVAILABLE, "replaced by a newer connection")
