"""The gateway's copy of `device.stations`: credentials and registration of every station, in memory.

Packed, so that 100,000 stations fit into 30 MB: a station is one entry of a dict, its value a few dozen bytes that
are unpacked when the station connects.
"""

import asyncio
from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec
import structlog

from ocppcore.contracts.device import StationState
from ocppcore.envelope import Registration, origin
from ocppcore.log import Record
from ocppcore.topics import normalise

log = structlog.get_logger(__name__)

GONE_MAX: Final = 100_000
"""Stations that are no more, whose last event is remembered: an older state that comes late must not bring one back."""
_REGISTRATIONS: Final[tuple[Registration, ...]] = ("Accepted", "Pending", "Rejected")


class Station(NamedTuple):
    """What a gateway knows of a station, see `StationState`; an `Entry` of `grants.py`.

    Credentials are stored forms of `ocppcore.credentials`, "" for none; so are a missing controller and serial number.
    A `next_security_profile` of 0 is none.
    """

    station: str
    identity: str
    security_profile: int
    credential: str
    disabled: bool
    registration: Registration
    allow_unauthenticated: bool
    serial_number: str = ""
    next_credential: str = ""
    next_security_profile: int = 0
    allow_expired_certificate: bool = False
    controller: str = ""


class StationsCopy:
    """Feed it every record of the topic, in order per partition. Positions tell how far it has come."""

    def __init__(self) -> None:
        self._packed: dict[str, bytes] = {}
        self._gone: dict[str, int] = {}
        self._positions: dict[int, int] = {}
        self._moved = asyncio.Event()

    def __len__(self) -> int:
        return len(self._packed)

    def start(self, positions: Mapping[int, int]) -> None:
        """Reading begins at these positions (partition -> position)."""
        self._positions = dict(positions)

    def apply(self, record: Record) -> tuple[Station | None, Station | None]:
        """Fold a record; what the station was before and is now. One that cannot be read closes the station out; one
        that follows from an earlier event than the last, and came late, changes nothing."""
        before = self.find(record.key)
        _, number = origin(record.headers.get("ce_id", ""))  # of the station's own cell, always
        if number < 0 or number >= self._number(record.key):
            self._fold(record, number)
        self._positions[record.partition] = record.position + 1
        self._moved.set()
        self._moved = asyncio.Event()
        return before, self.find(record.key)

    def _number(self, key: str) -> int:
        """Of the event that the station's state follows from; -1 where none is known."""
        packed = self._packed.get(key)
        return self._gone.get(key, -1) if packed is None else _decoder.decode(packed).number

    def _fold(self, record: Record, number: int) -> None:
        try:
            state = msgspec.json.decode(record.value, type=StationState)
        except msgspec.DecodeError as error:
            log.error("station cannot be read, it is shut out", station=record.key, error=str(error))
            state = None
        if state is None or state.deleted:
            self._packed.pop(record.key, None)
            self._gone[record.key] = number
            if len(self._gone) > GONE_MAX:
                del self._gone[next(iter(self._gone))]
        else:
            self._gone.pop(record.key, None)
            self._packed[record.key] = _pack(record.key, state, number)

    def find(self, station: str) -> Station | None:
        """The station of a normalised id."""
        packed = self._packed.get(station)
        return None if packed is None else _unpack(station, packed)

    def has_reached(self, ends: Mapping[int, int]) -> bool:
        """Whether everything before these ends (partition -> position) is folded."""
        return all(self._positions.get(partition, 0) >= end for partition, end in ends.items())

    async def reach(self, ends: Mapping[int, int], wait_s: float) -> bool:
        """Wait until `has_reached`, at most `wait_s`; whether it has."""
        if self.has_reached(ends):
            return True
        try:
            async with asyncio.timeout(wait_s):
                while not self.has_reached(ends):
                    await self._moved.wait()
        except TimeoutError:
            return False
        return True


class _Packed(msgspec.Struct, array_like=True):
    identity: str
    credential: str
    profile: int
    flags: int
    serial_number: str
    number: int
    next_credential: str = ""
    next_profile: int = 0
    controller: str = ""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Packed)


def _pack(key: str, state: StationState, number: int) -> bytes:
    """Most stations have no change under way and no controller: those fields are there only where one is set."""
    identity = "" if state.id == key else state.id
    flags = (
        state.disabled
        | state.allow_unauthenticated << 1
        | state.allow_expired_certificate << 2
        | _REGISTRATIONS.index(state.registration) << 3
    )
    head = (identity, state.credential or "", state.security_profile, flags, state.serial_number or "", number)
    rare = (state.next_credential or "", state.next_security_profile or 0, normalise(state.controller))
    return _encoder.encode(head + rare if any(rare) else head)


def _unpack(key: str, packed: bytes) -> Station:
    one = _decoder.decode(packed)
    flags = one.flags
    return Station(
        key,
        one.identity or key,
        one.profile,
        one.credential,
        bool(flags & 1),
        _REGISTRATIONS[flags >> 3],
        bool(flags & 2),
        one.serial_number,
        one.next_credential,
        one.next_profile,
        bool(flags & 4),
        one.controller,
    )
