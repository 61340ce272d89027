"""THE table of topics. A topic is declared here or it does not exist: code produces to these names only."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

Spread = Literal["cells", "slots", "one"]
"""How many partitions: as many as cells (fixed per installation), as gateway slots, or one."""

Retention = Literal["frames", "requests", "meter"]
"""What is kept for a time, by the setting that says how long."""

RETENTION_DEFAULT: Final[Mapping[Retention, int]] = {"frames": 14, "requests": 1, "meter": 396}
"""Days. Meter values: 13 months, so that a year can be compared with the one before."""

DELETED_KEPT_DAYS: Final = 30
"""How long a record with `deleted: true` is still there to be read; a copy that was not followed for longer is read
from the start."""

SERVICES = ("auth", "transactions", "smartcharging", "device")


@dataclass(frozen=True, slots=True)
class Topic:
    """One row. `retention` None: kept for ever (or compacted); `stream`: numbered rows of a service's store.

    `producers` and `consumers` are also the rights on a cluster that asks for them (`ocppcore.kafka.acls`); `csms`
    stands for every process. A service consumes its own events where it rebuilds, a gateway frames where it shows them.
    A service consumes the states that it decides itself as well, to see to it that the newest one stands last.
    `sparse`: most keys have no record and none is a refusal, so that who finds nothing in a copy waits for nothing.
    """

    name: str
    key: str
    payload: str
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    spread: Spread = "cells"
    compacted: bool = False
    retention: Retention | None = None
    stream: bool = False
    sparse: bool = False

    @property
    def retention_days(self) -> int | None:
        """Unless a setting says otherwise."""
        return None if self.retention is None else RETENTION_DEFAULT[self.retention]


def _frames(service: str) -> Topic:
    refusals = "; handshakes of registered stations that were refused" if service == "device" else ""
    return Topic(
        f"ocpp.frames.{service}",
        "station id",
        "frames that stations sent, as received (encrypted if a key code is in it), and receipts of commands, for the "
        f"actions of this service{refusals}",
        ("gateway",),
        (service, "gateway"),
        retention="frames",
    )


def _requests(service: str) -> Topic:
    return Topic(
        f"{service}.requests",
        "the aggregate's key",
        "writes asked for over HTTP, results of effects, ticks, what another cell or service wants",
        SERVICES,
        (service,),
        retention="requests",
    )


def _events(service: str) -> Topic:
    return Topic(
        f"{service}.events",
        "the aggregate's key",
        "domain events, never edited",
        (service,),
        (service, "event stream consumers"),
        stream=True,
    )


_STATE = "the newest state under its key, or deleted: true"

TABLE: tuple[Topic, ...] = (
    *(_frames(service) for service in SERVICES),
    Topic(
        "ocpp.outbound",
        "station id",
        "every frame for a station: replies and commands; partition = gateway slot",
        SERVICES,
        ("gateway",),
        spread="slots",
        retention="frames",
    ),
    Topic(
        "ocpp.connections",
        "station id",
        "connected and disconnected, with gateway slot and subprotocol; a connected record's position is the epoch",
        ("gateway",),
        (*SERVICES, "gateway"),
        compacted=True,
    ),
    Topic(
        "ocpp.gateways",
        "slot",
        "claims and leases of gateway slots",
        ("gateway",),
        (*SERVICES, "gateway"),
        spread="one",
        compacted=True,
    ),
    *(_requests(service) for service in SERVICES),
    *(_events(service) for service in SERVICES),
    Topic(
        "transactions.meter",
        "station id",
        "meter values as stations sent them, numbered like events",
        ("transactions",),
        ("transactions", "event stream consumers"),
        retention="meter",
        stream=True,
    ),
    Topic(
        "csms.keys",
        "name of the key",
        "fingerprints of the keys that this log's data depends on; the first record of a name counts",
        ("csms",),
        ("csms",),
        spread="one",
        compacted=True,
    ),
    Topic(
        "csms.copies",
        "name of the process",
        "until when a process lives, what it has asked of the others' copies and answered of its own",
        ("csms",),
        ("csms",),
        spread="one",
        compacted=True,
    ),
    Topic(
        "device.stations",
        "station id",
        _STATE,
        ("device",),
        ("gateway", *SERVICES),
        compacted=True,
    ),
    Topic("auth.tokens", "pseudonym of the idToken", _STATE, ("auth",), ("auth", "transactions"), compacted=True),
    Topic("transactions.tariffs", "tariff id", _STATE, ("transactions",), ("auth", "transactions"), compacted=True),
    Topic("auth.apikeys", "key id", _STATE, ("auth",), ("gateway", *SERVICES), compacted=True),
    Topic(
        "transactions.open",
        "`token:`, `group:` or `station:` and whose",
        "open transactions of a token or group that has a limit or a credit; those of a station that nobody is "
        "authorized for any more; or deleted: true",
        ("transactions",),
        ("auth", "transactions"),
        compacted=True,
        sparse=True,
    ),
    Topic("auth.authorities", "fingerprint of the certificate", _STATE, ("auth",), ("auth", "gateway"), compacted=True),
    Topic(
        "device.connectors",
        "station id/EVSE/connector",
        _STATE,
        ("device",),
        ("device", "transactions"),
        compacted=True,
    ),
)

BY_NAME = {topic.name: topic for topic in TABLE}

OUTBOUND = "ocpp.outbound"
CONNECTIONS = "ocpp.connections"
GATEWAYS = "ocpp.gateways"
KEYS = "csms.keys"
COPIES = "csms.copies"
STATIONS = "device.stations"
TOKENS = "auth.tokens"
APIKEYS = "auth.apikeys"
AUTHORITIES = "auth.authorities"
OPEN = "transactions.open"
CONNECTORS = "device.connectors"
METER = "transactions.meter"
TARIFFS = "transactions.tariffs"
STATES = frozenset(topic.name for topic in TABLE if topic.payload is _STATE)
"""State that others keep a copy of: a change of it is in force once they have read it."""


@lru_cache(maxsize=1024)
def is_state_of(topic: str, service: str) -> bool:
    """Whether this is a topic of states that this service alone decides, and numbers."""
    return topic in BY_NAME and BY_NAME[topic].compacted and BY_NAME[topic].producers == (service,)


def frames(service: str) -> str:
    """The topic of frames for a service's actions."""
    return BY_NAME[f"ocpp.frames.{service}"].name


def requests(service: str) -> str:
    """The topic of writes wanted from a service."""
    return BY_NAME[f"{service}.requests"].name


def events(service: str) -> str:
    """The topic of a service's domain events."""
    return BY_NAME[f"{service}.events"].name


def cells_group(service: str) -> str:
    """The group in which the processes of a service share its cells."""
    return f"{service}.cells"


def partition_counts(cells: int, slots: int) -> dict[str, int]:
    """Topic name -> partitions, for `Log.declare`."""
    counts: dict[Spread, int] = {"cells": cells, "slots": slots, "one": 1}
    return {topic.name: counts[topic.spread] for topic in TABLE}


def retention_days(chosen: Mapping[Retention, int] = RETENTION_DEFAULT) -> dict[str, int]:
    """Topic -> days; topics that are not named are kept for ever, or compacted."""
    return {topic.name: chosen[topic.retention] for topic in TABLE if topic.retention is not None}


COMPACTED = frozenset(topic.name for topic in TABLE if topic.compacted)


def normalise(identifier: str) -> str:
    """The form under which identifierStrings compare: they are case-insensitive (OCPP 2.0.1 part 2, data types)."""
    return identifier.casefold()


@lru_cache(maxsize=1 << 17)
def partition_of(key: str, partitions: int) -> int:
    """The partition of a normalised key, as Java's default Kafka partitioner chooses it (murmur2)."""
    return (_murmur2(key.encode()) & 0x7FFFFFFF) % partitions


def _murmur2(data: bytes) -> int:
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    length = len(data)
    h = (0x9747B28C ^ length) & mask
    tail = length & ~3
    for i in range(0, tail, 4):
        k = (int.from_bytes(data[i : i + 4], "little") * m) & mask
        k = ((k ^ (k >> 24)) * m) & mask
        h = ((h * m) & mask) ^ k
    if tail != length:
        h ^= int.from_bytes(data[tail:], "little")
        h = (h * m) & mask
    h = ((h ^ (h >> 13)) * m) & mask
    return h ^ (h >> 15)
