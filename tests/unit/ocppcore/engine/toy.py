"""A service of a few lines, to see what the engine does with any service: it counts what stations send."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar

import msgspec

from ocppcore import standard, topics
from ocppcore.engine.loop import Engine, EngineSettings
from ocppcore.envelope import Frame, Request, frame_record, request_record, state_record
from ocppcore.log import NewRecord, Record, TopicPartition
from ocppcore.memory import MemoryCluster, MemoryLog, MemoryStore, MemoryTables
from ocppcore.seal import Seal
from ocppcore.service import (
    ActionHandler,
    Aggregate,
    Context,
    Drop,
    EffectResult,
    Event,
    Fold,
    Follow,
    Outcome,
    Part,
    Put,
    RequestHandler,
    Result,
    Service,
    Timer,
    TimerHandler,
    View,
)
from ocppcore.store import Table, Upsert
from ocppcore.v201 import HeartbeatRequest, HeartbeatResponse

START = 1_700_000_000_000
PARTITIONS = 2
COUNTS = Table("counts", {"station": "text", "beats": "bigint"}, ("station",))


class Beat(Event, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "device.Beat.v1"
    station: str

    def subject(self) -> str:
        return self.station


class AlarmSet(Event, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "device.AlarmSet.v1"
    station: str
    due: int

    def subject(self) -> str:
        return self.station


class AlarmRang(Event, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "device.AlarmRang.v1"
    station: str

    def subject(self) -> str:
        return self.station


class LookWanted(Event, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "device.LookWanted.v1"
    station: str

    def subject(self) -> str:
        return self.station


class Looked(Event, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "device.Looked.v1"
    station: str
    found: str

    def subject(self) -> str:
        return self.station


class Count(Aggregate, frozen=True, kw_only=True):
    KIND: ClassVar[str] = "Count"
    beats: int = 0


class Known(msgspec.Struct):
    name: str


class SetAlarm(msgspec.Struct):
    due: int


class Ask(msgspec.Struct):
    token: str = ""


class Found(msgspec.Struct):
    found: str


def on_heartbeat(request: HeartbeatRequest, view: View, context: Context) -> Outcome:
    if context.station == "poison":
        raise ValueError("this station's beats cannot be decided")
    return Outcome(
        (Beat(at=context.now, station=context.station),), reply=HeartbeatResponse(currentTime="2026-01-01T00:00:00Z")
    )  # type: ignore[arg-type]


def evolve_beat(event: Beat, view: View) -> Iterable[Put]:
    before = view.get(Count, event.station) or Count()
    yield Put(event.station, Count(beats=before.beats + 1))


def project_beat(event: Beat, view: View) -> Iterable[Upsert]:
    count = view.get(Count, event.station)
    assert count is not None
    yield Upsert(COUNTS, (event.station, count.beats))


def set_alarm(body: SetAlarm, view: View, context: Context) -> Outcome:
    return Outcome((AlarmSet(at=context.now, station=context.station, due=body.due),), result=Result(201))


def ring(subject: str, view: View, context: Context) -> Outcome:
    return Outcome((AlarmRang(at=context.now, station=subject),))


def derive_alarm(event: AlarmSet, follow: Follow) -> Iterable[NewRecord]:
    """A state under two keys."""
    for key in (event.station, f"{event.station}/other"):
        value = {"due": event.due}
        yield state_record(topics.STATIONS, key, value, "/device", follow.id, event.at, follow.partitions)


def look(body: Ask, view: View, context: Context) -> Outcome:
    return Outcome((LookWanted(at=context.now, station=context.station),), result=Result(202))


def looked(body: Found, view: View, context: Context) -> Outcome:
    return Outcome((Looked(at=context.now, station=context.station, found=body.found),))


def ask(body: Ask, view: View, context: Context) -> Outcome:
    known = view.copy(topics.TOKENS, Known, body.token)
    return Outcome(result=Result(200, {"name": known.name}) if known else Result(404))


@dataclass
class Toy:
    """One process of the toy service on a cluster and tables that outlive it."""

    cluster: MemoryCluster
    tables: MemoryTables
    clock: list[int] = field(default_factory=lambda: [START])
    performed: list[str] = field(default_factory=list)
    fault: Exception | None = None

    def service(self) -> Service:
        async def effect(event: LookWanted) -> EffectResult:
            self.performed.append(event.station)
            if self.fault is not None:
                raise self.fault
            return EffectResult("toy.looked.v1", Found(found="it"))

        part = Part(
            actions={"Heartbeat": ActionHandler(HeartbeatRequest, on_heartbeat, lambda _, s: ((Count, s),))},
            requests=(
                RequestHandler("toy.alarm.v1", SetAlarm, set_alarm),
                RequestHandler("toy.look.v1", Ask, look),
                RequestHandler("toy.looked.v1", Found, looked),
                RequestHandler("toy.ask.v1", Ask, ask, lookups=lambda body, _: ((topics.TOKENS, body.token),)),
            ),
            timers=(TimerHandler("alarm", ring),),
            folds=(
                Fold(Beat, lambda e: ((Count, e.station),), evolve_beat, project_beat),
                Fold(AlarmSet, evolve=lambda e, _: (Timer("alarm", e.station, e.due),), derive=derive_alarm),
                Fold(AlarmRang, evolve=lambda e, _: (Timer("alarm", e.station, None), Drop(Count, "nobody"))),
                Fold(LookWanted),
                Fold(Looked),
            ),
            aggregates=(Count,),
            tables=(COUNTS,),
            copies=(topics.TOKENS, topics.STATIONS),
            effects={LookWanted: effect},
        )
        return standard.build("device", [part])

    def process(self, **settings: object) -> tuple[Engine, MemoryLog, MemoryStore]:
        log = MemoryLog(self.cluster)
        self.cluster.declare(topics.partition_counts(PARTITIONS, 2))
        store = MemoryStore(self.tables)
        made = EngineSettings(partitions=PARTITIONS, reopen_after_s=0.1, **settings)  # type: ignore[arg-type]
        seal = Seal(b"0" * 32, "parked")
        return (
            Engine(self.service(), log, store, clock=lambda: self.cluster.clock(), seal=seal, settings=made),
            log,
            store,
        )

    def outbound(self) -> list[Record]:
        return [record for slot in self.cluster.partitions[topics.OUTBOUND] for record in slot]

    def asked(self) -> list[str]:
        return [r.headers["ce_type"] for p in self.cluster.partitions["device.requests"] for r in p]

    def events(self) -> list[str]:
        return [r.headers["ce_type"] for p in self.cluster.partitions["device.events"] for r in p]


def beat(station: str, n: int, *, epoch: int = 0, at: int = START, message_id: str = "") -> NewRecord:
    raw = f'[2,"{message_id or n}","Heartbeat",{{}}]'.encode()
    frame = Frame(
        station, station, 0, epoch, n, "ocpp2.0.1", at, "call", message_id or str(n), "Heartbeat", "", raw, ""
    )
    return frame_record(frame, "device", PARTITIONS)


def request(id_: str, type_: str, body: msgspec.Struct, key: str = "cs-1", at: int = START) -> Request:
    return Request(id_, type_, key, msgspec.json.encode(body), at, "/test", "tester", "", "")


def wanted(id_: str, type_: str, body: msgspec.Struct, key: str = "cs-1") -> NewRecord:
    return request_record(request(id_, type_, body, key), "device", PARTITIONS)


def ends(cluster: MemoryCluster, topic: str) -> dict[TopicPartition, int]:
    return {TopicPartition(topic, n): len(p) for n, p in enumerate(cluster.partitions[topic])}
