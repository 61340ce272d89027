"""Who is let in: station, password and security profile against the gateway's copy, closed by default.

A refusal is given only after the copy has caught up with the log as it was when the question came: nobody is turned
away for what was registered or changed a moment before.
"""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final, NamedTuple

import structlog

from ocppcore import topics
from ocppcore.credentials import BadCredential
from ocppcore.log import Log, TopicPartition
from ocppcore.topics import normalise
from services.gateway.copies import Station, StationsCopy
from services.gateway.domain.admission import Basic, names_station
from services.gateway.passwords import Passwords, TooBusy

log = structlog.get_logger(__name__)


class Refused(NamedTuple):
    """A handshake that is not let in: the HTTP answer."""

    status: HTTPStatus
    reason: str


UNAUTHORIZED: Final = Refused(HTTPStatus.UNAUTHORIZED, "credentials are missing or wrong")


class Door:
    """`allow_unauthenticated`: no station needs a password; `hide_unknown`: unknown ones hear 401 like all others."""

    def __init__(
        self,
        log_: Log,
        stations: StationsCopy,
        passwords: Passwords,
        *,
        cells: int,
        catch_up_s: float,
        allow_unauthenticated: bool,
        hide_unknown: bool,
    ) -> None:
        self._log = log_
        self._stations = stations
        self._passwords = passwords
        self._partitions = [TopicPartition(topics.STATIONS, cell) for cell in range(cells)]
        self._catch_up_s = catch_up_s
        self._allow_unauthenticated = allow_unauthenticated
        self._hide_unknown = hide_unknown
        self._asking = asyncio.Lock()
        self._questions = 0
        self._answered = 0
        self._ends: Mapping[int, int] = {}

    async def admit(self, identity: str, basic: Basic | None, security_profile: int) -> Station | Refused:
        """Whether a station may connect on a listener of this security profile."""
        key = normalise(identity)
        known = self._stations.find(key)
        refused = await self._judge(key, known, basic, security_profile)
        if isinstance(known, Station) and refused is None:
            return known
        if refused is not None and refused.status is HTTPStatus.SERVICE_UNAVAILABLE:
            return refused
        if not await self._catch_up(key):
            return Refused(HTTPStatus.SERVICE_UNAVAILABLE, "the copy of the stations is behind")
        newer = self._stations.find(key)
        if newer != known:
            refused = await self._judge(key, newer, basic, security_profile)
        if refused is not None:
            return refused
        return newer or self._unknown(identity)

    async def knows(self, identity: str) -> bool:
        """Whether the station is registered, looking as far as the log goes now."""
        key = normalise(identity)
        if self._stations.find(key) is None:
            await self._catch_up(key)
        return self._stations.find(key) is not None

    async def ends(self) -> Mapping[int, int]:
        """The end of every partition of the stations' topic."""
        return {tp.partition: end for tp, end in (await self._log.ends(self._partitions)).items()}

    def _unknown(self, identity: str) -> Refused:
        if self._hide_unknown:
            return UNAUTHORIZED
        return Refused(HTTPStatus.NOT_FOUND, f"no Charging Station {identity!r} is registered")

    async def _judge(
        self, key: str, station: Station | None, basic: Basic | None, security_profile: int
    ) -> Refused | None:
        """None for an unknown station too. The same work whoever asks, so that the time it takes tells nothing."""
        password = basic.password if basic is not None else ""
        try:
            right = await self._passwords.check(key, password, station.credential if station else "")
        except TooBusy:
            return Refused(HTTPStatus.SERVICE_UNAVAILABLE, "too many passwords are being checked")
        except BadCredential as error:
            log.error("stored credential cannot be read", station=key, error=str(error))
            right = False
        if station is None:
            return None
        if basic is None or not station.credential:
            admitted = self._allow_unauthenticated or station.allow_unauthenticated
        else:
            admitted = right and names_station(basic, key)
        if station.disabled or not admitted or station.security_profile != security_profile:  # A00.FR.002
            return UNAUTHORIZED
        return None

    async def _catch_up(self, key: str) -> bool:
        """Whether the copy has folded all that stood in the station's partition when this was asked."""
        self._questions += 1
        question = self._questions
        async with self._asking:
            if self._answered < question:
                # One look at the log answers everybody who asked before it.
                answers = self._questions
                self._ends = await self.ends()
                self._answered = answers
            ends = self._ends
        partition = topics.partition_of(key, len(self._partitions))
        return await self._stations.reach({partition: ends[partition]}, self._catch_up_s)
