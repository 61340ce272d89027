"""Who is let in: station, security profile, password or certificate against the gateway's copy, closed by default.

A refusal is given only after the copy has caught up with the log as it was when the question came: nobody is turned
away for what was registered or changed a moment before.
"""

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, NamedTuple

import structlog

from ocppcore import topics
from ocppcore.clock import Clock
from ocppcore.credentials import BadCredential
from ocppcore.envelope import AdmittedBy, Refusal
from ocppcore.log import Log, TopicPartition
from ocppcore.topics import normalise
from services.gateway.copies import Station, StationsCopy
from services.gateway.domain import certificates
from services.gateway.domain.admission import Basic, Knock, names_station
from services.gateway.domain.certificates import ClientCertificate
from services.gateway.domain.grants import Grant, carrier_of, profiles
from services.gateway.domain.limiter import Buckets, Gate, Limiter, PerMinute, Rate
from services.gateway.line import TooBusy
from services.gateway.metrics import Stats
from services.gateway.passwords import Passwords
from services.gateway.turns import Turns

LOOK_EVERY_S: Final = 0.05
"""Refusals wait for one look at the log together: a flood of them costs no more than so many looks."""

JUDGED_AT_ONCE: Final = 4
"""After a look, in one turn of the event loop: a quarter of a millisecond of work."""

PER_IDENTITY: Final = Rate(20, 1.0)
PER_SOURCE: Final = Rate(200, 2.0)
LOGGED: Final = Rate(500, 20.0)
PAIR_JUDGED: Final = Rate(10, 10.0)
SOURCE_JUDGED: Final = Rate(20, 20.0)
"""Passwords looked at while too many fail: two times (new ones, and such that come back) 20 ms of a thread each."""

log = structlog.get_logger(__name__)


class Refused(NamedTuple):
    """A handshake that is not let in: the HTTP answer. `cause` is a word for metrics and the log."""

    status: HTTPStatus
    reason: str
    cause: str = ""


class Admitted(NamedTuple):
    """A station that is let in, and with what."""

    station: Station
    grant: Grant


UNAUTHORIZED: Final = Refused(HTTPStatus.UNAUTHORIZED, "credentials are missing or wrong", "credentials")
UNJUDGED: Final = Refused(HTTPStatus.SERVICE_UNAVAILABLE, "too many passwords are being checked", "unjudged")
"""No failure and no security event: nobody has looked at the password."""


@dataclass(frozen=True, slots=True)
class Rules:
    """`allow_unauthenticated`: no station needs a password; `hide_unknown`: unknown ones hear 401 like all others.

    `organizations`: whose certificates count (A00.FR.404), empty: anybody's whom a trusted authority has certified.
    `identity` and `source`: how many handshakes may fail; `remembered_max`: of how many of each that is counted;
    `logged`: how many failures of all together are written to the log, else a flood from many addresses at many
    stations, all within their limits, would cost more to write down than to refuse.
    `recorded_per_station` and `recorded_max`: how many refusals are recorded in a minute (A00.FR.408).
    """

    allow_unauthenticated: bool = False
    hide_unknown: bool = False
    organizations: tuple[str, ...] = ()
    identity: Rate = PER_IDENTITY
    source: Rate = PER_SOURCE
    remembered_max: int = 20_000
    logged: Rate = LOGGED
    recorded_per_station: int = 3
    recorded_max: int = 60


async def _unasked(_: ClientCertificate) -> str:
    return ""


def source_of(address: str) -> str:
    """Who is behind an IP address, for limits: the address itself, or the /64 that an IPv6 host has to itself."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv4Address):
        return address
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ipaddress.ip_network((ip, 64), strict=False))


class Door:
    """`admit` judges and counts; what failed is in the log and in `stats.refusals`, within the limits on failures."""

    def __init__(
        self,
        log_: Log,
        stations: StationsCopy,
        passwords: Passwords,
        clock: Clock,
        stats: Stats,
        rules: Rules,
        *,
        cells: int,
        catch_up_s: float,
        record: Callable[[Refusal], bool],
        online: Callable[[ClientCertificate], Awaitable[str]] = _unasked,
    ) -> None:
        """`record` takes a refusal to the log, and says whether it does; `online` says why a certificate that opens
        the door does not after all, "" if it does."""
        self._log = log_
        self._stations = stations
        self._passwords = passwords
        self._clock = clock
        self._stats = stats
        self._rules = rules
        self._limiter = Limiter(rules.identity, rules.source, rules.remembered_max)
        self._gate = Gate(PAIR_JUDGED, SOURCE_JUDGED, rules.remembered_max)
        self._record = record
        self._online = online
        self._recorded = PerMinute(rules.recorded_per_station, rules.recorded_max, rules.remembered_max)
        self._logged = Buckets(rules.logged, 1)
        self._partitions = [TopicPartition(topics.STATIONS, cell) for cell in range(cells)]
        self._catch_up_s = catch_up_s
        self._turns = Turns(JUDGED_AT_ONCE)
        self._looking = asyncio.Lock()
        self._look: asyncio.Task[Mapping[int, int]] | None = None
        self._under_way: set[asyncio.Task[Mapping[int, int]]] = set()
        self._looks = 0
        self._looked_at = 0.0

    async def admit(self, identity: str, knock: Knock) -> Admitted | Refused:
        """Whether a station may connect with what it shows."""
        key = normalise(identity)
        verdict = await self._verdict(identity, key, knock)
        if verdict is UNJUDGED:
            self._stats.refusals[UNJUDGED.cause] += 1
            self._stats.refusals_unrecorded += self._stations.find(key) is not None
        if isinstance(verdict, Admitted) or verdict.status is HTTPStatus.SERVICE_UNAVAILABLE:
            return verdict
        return self._failed(key, knock, verdict)

    def failed(self, source: str, cause: str) -> None:
        """A handshake that came to nothing before it named a station."""
        if self._limiter.failed("", source, self._clock()):
            self._stats.refusals[cause] += 1
            if self._logged.take("", self._clock()):
                log.warning("handshake failed", source=source, cause=cause)
        else:
            self._stats.refusals["over_limit"] += 1

    async def knows(self, identity: str) -> bool:
        """Whether the station is registered, looking as far as the log goes now."""
        key = normalise(identity)
        if self._stations.find(key) is None:
            await self._catch_up(key)
        return self._stations.find(key) is not None

    async def ends(self) -> Mapping[int, int]:
        """The end of every partition of the stations' topic."""
        return {tp.partition: end for tp, end in (await self._log.ends(self._partitions)).items()}

    async def _verdict(self, identity: str, key: str, knock: Knock) -> Admitted | Refused:
        station, carrier = self._find(key)
        verdict = await self._judge(key, station, carrier, knock, at_once=True)
        if isinstance(verdict, Admitted):
            return verdict
        if self._turns_away(key, knock):
            return UNJUDGED
        if verdict is UNJUDGED:
            verdict = await self._judge(key, station, carrier, knock)
        if isinstance(verdict, Admitted) or verdict is UNJUDGED:
            return verdict
        newer, carries = await self._newest(key)
        if newer is _BEHIND:
            return Refused(HTTPStatus.SERVICE_UNAVAILABLE, "the copy of the stations is behind")
        if (newer, carries) != (station, carrier):
            verdict = await self._judge(key, newer, carries, knock)
        return verdict or self._unknown(identity)

    def _turns_away(self, key: str, knock: Knock) -> bool:
        """Whether this password, which is not known to be right, is not looked at now.

        So it goes while too many fail, or where nobody shall know who is registered; for every identity alike, since a
        503 for those alone whose passwords are slow to check would name them. A certificate is no guess.
        """
        if knock.basic is None or knock.certificate is not None:
            return False
        now = self._clock()
        if not self._rules.hide_unknown and not self._limiter.suspects(key, knock.source, now):
            return False
        return not self._gate.lets(self._passwords.mark(key, knock.basic.password), key, knock.source, now)

    def _find(self, key: str) -> tuple[Station | None, Station | None]:
        """A station and the entry whose credentials its connection carries."""
        station = self._stations.find(key)
        if station is None or (carrier := carrier_of(station)) == station.station:
            return station, station
        return station, self._stations.find(carrier)

    async def _newest(self, key: str) -> tuple[Station | None, Station | None]:
        """The same, after the copy has caught up; (_BEHIND, None) where it does not."""
        if not await self._catch_up(key):
            return _BEHIND, None
        station = self._stations.find(key)
        if station is not None and station.controller and not await self._catch_up(station.controller):
            return _BEHIND, None
        return self._find(key)

    def _unknown(self, identity: str) -> Refused:
        if self._rules.hide_unknown:
            return UNAUTHORIZED._replace(cause="unknown")
        return Refused(HTTPStatus.NOT_FOUND, f"no Charging Station {identity!r} is registered", "unknown")

    def _failed(self, key: str, knock: Knock, refused: Refused) -> Refused:
        """Count it. Beyond the limits nobody hears any more whether it was the station or its password."""
        now, source = self._clock(), knock.source
        self._note(key, knock, refused, now)
        if not self._limiter.failed(key, source, now):
            self._stats.refusals["over_limit"] += 1
            return UNAUTHORIZED
        self._stats.refusals[refused.cause] += 1
        if not self._logged.take("", now):
            return refused
        why = {}
        if refused.cause == "certificate_organization" and knock.certificate is not None:
            why["why"] = certificates.organizations_differ(knock.certificate, self._rules.organizations)
        log.warning("station refused", station=key, source=source, cause=refused.cause, tls=knock.secure, **why)
        if self._limiter.suspects(key, source, now):
            log.warning("too many handshakes fail: the next ones are counted only", station=key, source=source)
        return refused

    def _note(self, key: str, knock: Knock, refused: Refused, now: int) -> None:
        """Have it recorded, if it was a registered station's (A00.FR.408). Strangers are in the log alone."""
        station = self._stations.find(key)
        if station is None:
            return
        more = self._recorded.takes(key, now)
        if more is not None:
            refusal = Refusal(
                identity=station.identity,
                slot=-1,
                at=now,
                cause=refused.cause,
                address=knock.source,
                secure=knock.secure,
                more=more,
            )
            if self._record(refusal):
                return
            self._recorded.gives_back(key, more)
        self._stats.refusals_unrecorded += 1

    async def _judge(
        self, key: str, station: Station | None, carrier: Station | None, knock: Knock, *, at_once: bool = False
    ) -> Admitted | Refused | None:
        """None for an unknown station too. The same work whoever asks, so that the time it takes tells nothing.

        UNJUDGED: its turn did not come, or with `at_once` it would take one.
        """
        try:
            right = await self._password(carrier, knock, at_once)
        except TooBusy:
            return UNJUDGED
        except BadCredential as error:
            log.error("stored credential cannot be read", station=key, error=str(error))
            right = ""
        if station is None:
            return None
        if station.disabled or carrier is None or carrier.disabled:
            return UNAUTHORIZED._replace(cause="disabled" if carrier is not None else "controller_unknown")
        cause = "security_profile"
        for profile in profiles(carrier):  # A00.FR.002: another one than these is refused
            if (profile > 1) is not knock.secure:
                continue
            judged = (
                self._certified(station, carrier, knock)
                if profile == 3
                else self._authenticated(key, station, carrier, knock.basic, right, profile)
            )
            if profile == 3 and knock.certificate is not None and isinstance(judged, Grant):
                judged = await self._online(knock.certificate) or judged
            if isinstance(judged, Grant):
                return Admitted(station, judged)
            cause = judged
        return UNAUTHORIZED._replace(cause=cause)

    async def _password(self, carrier: Station | None, knock: Knock, at_once: bool) -> AdmittedBy:
        """Which of the carrier's passwords it is, "" for none. Raises TooBusy."""
        if knock.certificate is not None and carrier is not None and 2 not in profiles(carrier):
            return ""  # what else it shows does not matter, and is not waited for
        stored, following = (carrier.credential, carrier.next_credential) if carrier else ("", "")
        password = knock.basic.password if knock.basic is not None else ""
        whose = carrier.station if carrier else ""
        ways: list[tuple[AdmittedBy, str]] = [("current", stored)]
        if following:
            ways.append(("next", following))
        known = {by: self._passwords.at_once(whose, password, one) for by, one in ways}
        for by, one in ways:
            right = known[by]
            if right is None and not at_once:
                right = await self._passwords.check(whose, password, one, knock.source)
            if right:
                return by
        if None in known.values() and at_once:
            raise TooBusy
        return ""

    def _authenticated(
        self, key: str, station: Station, carrier: Station, basic: Basic | None, right: AdmittedBy, profile: int
    ) -> Grant | str:
        """Security profiles 1 and 2, or why not."""
        if basic is None or not (carrier.credential or carrier.next_credential):
            if not (self._rules.allow_unauthenticated or station.allow_unauthenticated):
                return "no_password"
            return Grant(carrier.station, profile, carrier.credential)
        if not right:
            return "password"
        if not names_station(basic, key, carrier.station):  # a Local Controller may give its own name
            return "user_name"
        credential = carrier.next_credential if right == "next" else carrier.credential
        return Grant(carrier.station, profile, credential, right if carrier.station == key else "")

    def _certified(self, station: Station, carrier: Station, knock: Knock) -> Grant | str:
        """Security profile 3, or why not (A00.FR.403 to FR.407, FR.429)."""
        shown = knock.certificate
        if shown is None:
            return "no_certificate"
        serial_number = carrier.serial_number
        refused = certificates.refuses(shown, carrier.identity, serial_number, self._rules.organizations)
        untimely = certificates.untimely(shown, self._clock())
        expired = untimely == "certificate_expired" and carrier.allow_expired_certificate
        if refused or (untimely and not expired):
            return refused or str(untimely)
        # The name of a Local Controller's certificate says nothing of the station behind it.
        name = shown.common_names[0] if carrier.station == station.station else ""
        return Grant(
            carrier.station,
            3,
            None,
            certificate_name=name,
            serial_number=serial_number,
            expired=expired,
            fingerprint=shown.fingerprint,
            certificate_serial=shown.serial_number,
            issuers=shown.issuers,
        )

    async def _catch_up(self, key: str) -> bool:
        """Whether the copy has folded all that stood in the station's partition when this was asked."""
        if self._look is None:
            self._look = asyncio.create_task(self._looked())
            self._under_way.add(self._look)
            self._look.add_done_callback(self._heard)
        ends = await asyncio.shield(self._look)
        await self._turns.mine()
        partition = topics.partition_of(key, len(self._partitions))
        return await self._stations.reach({partition: ends[partition]}, self._catch_up_s)

    async def _looked(self) -> Mapping[int, int]:
        """Where the log ends: one answer for all who asked before the look, given to all of them. Handed from one to
        the next it would cost a turn of the event loop each."""
        loop = asyncio.get_running_loop()
        async with self._looking:
            await asyncio.sleep(self._looked_at + LOOK_EVERY_S - loop.time())
            self._look = None  # who asks from here on may ask about what comes after this look
            try:
                return await self.ends()
            finally:
                self._looks += 1
                self._looked_at = loop.time()

    def _heard(self, look: asyncio.Task[Mapping[int, int]]) -> None:
        """An error is for those who wait for the look; maybe all of them have gone."""
        self._under_way.discard(look)
        if not look.cancelled():
            look.exception()


_BEHIND: Final = Station("", "", 0, "", True, "Rejected", False)
