"""Auth with its worker and watcher, a gateway that loses things, and stations that keep local lists, in virtual time
(`virtual_time.py`).

What the lists must be is computed here from what was put, by other means than the service's.
"""

import asyncio
import contextlib
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ocppcore import topics
from ocppcore.authorization import Group, TokenState
from ocppcore.command_payload import PURPOSE
from ocppcore.contracts.auth import PutToken, RemoveToken
from ocppcore.contracts.device import Automatic, Limit, StationState
from ocppcore.contracts.local_lists import (
    ListRule,
    PutListRule,
    RemoveListRule,
    StationBoot,
    Stations,
    SyncLocalList,
    Tokens,
)
from ocppcore.engine.loop import Engine, EngineSettings
from ocppcore.envelope import (
    ConnectionChange,
    Frame,
    OutFrame,
    Receipt,
    ReceiptKind,
    Request,
    connection_record,
    frame_record,
    parse_outbound,
    receipt_record,
    request_record,
    state_record,
)
from ocppcore.log import NewRecord, TopicPartition
from ocppcore.memory import MemoryCluster, MemoryLog, MemoryStore, MemoryTables
from ocppcore.pseudonym import Pseudonyms
from ocppcore.seal import Seal
from services.auth import service as auth
from services.auth.domain.local_list_tables import LISTS, SYNCS
from services.auth.drivers import Drivers
from services.auth.local_list_watch import Watcher
from services.auth.local_list_worker import Bounds, Builder, desk
from simulator.authorization import KnownTokens

START = 1_700_000_000_000
CELLS = 2
KEY = b"k" * 32
PSEUDONYMS = Pseudonyms(b"pseudonyms of the lists")
SEAL = Seal(KEY, PURPOSE)
Json = dict[str, Any]


@dataclass
class Station:
    """`entries`: how many it can keep. `asked`: what it was sent, oldest first. `answers`: what it says next instead,
    `mute`: how many answers get lost, `refuses`: what it says to every SendLocalList, `error`: a CALLERROR to all."""

    identity: str
    site: str = ""
    groups: tuple[str, ...] = ()
    automatic: bool = True
    items: int | None = 10
    entries: int | None = None
    known: KnownTokens = field(default_factory=KnownTokens)
    epoch: int = -1
    asked: list[tuple[str, Json]] = field(default_factory=list)
    statuses: list[str] = field(default_factory=list)
    answers: list[Json] = field(default_factory=list)
    mute: int = 0
    refuses: Json | None = None
    error: str = ""

    @property
    def key(self) -> str:
        return topics.normalise(self.identity)

    def state(self) -> StationState:
        return StationState(
            id=self.identity,
            security_profile=1,
            credential=None,
            registration="Accepted",
            automatic=Automatic(local_list=self.automatic),
            site=self.site,
            groups=self.groups,
            limits={"SendLocalList": Limit(items=self.items, entries=self.entries)},
        )

    def answer(self, action: str, payload: Json) -> Json:
        """Carries it out."""
        self.asked.append((action, payload))
        if self.answers:
            return self.answers.pop(0)
        if self.refuses and action == "SendLocalList":
            return self.refuses
        if action == "GetLocalListVersion":
            return {"versionNumber": self.known.version}
        assert len(payload.get("localAuthorizationList", ())) <= (self.items or 100), "D01.FR.11"
        assert payload["versionNumber"] > 0, "D01.FR.18"
        status = self.known.update_list(payload, self.entries)
        self.statuses.append(status)
        return {"status": status}


class ListWorld:
    """One run, from one seed. `loses`: how likely it is that a command does not get through and back. `moody`: so many
    stations have got another list meanwhile, or refuse."""

    def __init__(self, seed: int, loses: float = 0.0, moody: float = 0.0, look_s: float = 5.0) -> None:
        self.chance = random.Random(seed)
        self.loses = loses
        self.moody = moody
        self.look_s = look_s
        self.cluster = MemoryCluster(clock=self.clock)
        self.tables = MemoryTables()
        self.cluster.declare(topics.partition_counts(CELLS, 1))
        self.log = MemoryLog(self.cluster)
        self.stations: dict[str, Station] = {}
        self.rules: dict[str, ListRule] = {}
        self.tokens: dict[tuple[str, str], TokenState] = {}
        self.drivers = Drivers(b"d" * 32)
        self.final: dict[str, dict[str, Json]] = {}
        self.frames = 0
        self.held: list[NewRecord] | None = None
        self._made = 0
        self._running: asyncio.Task[None] | None = None
        self._served: MemoryLog | None = None
        self._gateway: asyncio.Task[None] | None = None
        self._waiting: set[asyncio.Task[None]] = set()

    def clock(self) -> int:
        return START + round(asyncio.get_running_loop().time() * 1000)

    # Running.

    async def start(self) -> None:
        self._gateway = asyncio.create_task(self._serve_stations())
        self.up()

    def up(self) -> None:
        self._served = MemoryLog(self.cluster)
        self._running = asyncio.create_task(self._serve_auth(self._served))

    async def crash(self) -> None:
        """kill -9 of auth, and another one in its place."""
        assert self._running is not None and self._served is not None
        self._served._closed = True
        self._running.cancel()
        await asyncio.wait({self._running})
        self.up()

    async def stop(self) -> None:
        """The end; `final` holds what the lists must be by now."""
        self.final = {station.key: self.expected(station) for station in self.stations.values()}
        for task in (self._running, self._gateway, *self._waiting):
            assert task is not None
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _serve_auth(self, log: MemoryLog) -> None:
        store = MemoryStore(self.tables)
        builder = Builder(
            store, desk(store, PSEUDONYMS, SEAL).ask, self.drivers, self.clock, bounds=Bounds(20, 4000, 10_000)
        )
        engine = Engine(
            auth.build(PSEUDONYMS, local_lists=builder.effects), log, store, clock=self.clock, seal=Seal(KEY, "parked"),
            settings=EngineSettings(partitions=CELLS, clean_every_s=3600.0),
        )  # fmt: skip
        watcher = Watcher(store, log, self.clock, CELLS, lambda: engine.cells, self.look_s)
        async with asyncio.TaskGroup() as group:
            group.create_task(engine.run())
            group.create_task(watcher.run())

    async def pass_time(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    # What operators do.

    async def add(self, station: Station, *, connect: bool = True) -> Station:
        self.stations[station.key] = station
        await self.register(station)
        if connect:
            await self.connect(station)
        return station

    async def register(self, station: Station) -> None:
        self._made += 1
        value = msgspec.to_builtins(station.state())
        id_ = f"test/{self._made}"
        await self.log.append([state_record(topics.STATIONS, station.key, value, "/t", id_, self.clock(), CELLS)])

    async def put_rule(self, id_: str, stations: Stations, tokens: Tokens, *, refused: bool = False) -> None:
        rule = ListRule(id=id_, applies_to=stations, selects=tokens, refused=refused)
        self.rules[id_] = rule
        await self.ask(PutListRule.NAME, PutListRule(rule=rule), id_)

    async def remove_rule(self, id_: str) -> None:
        del self.rules[id_]
        await self.ask(RemoveListRule.NAME, RemoveListRule(), id_)

    async def put_token(self, type_: str, value: str, **fields: Any) -> None:
        pseudonym = PSEUDONYMS.of(type_, value)
        sealed = self.drivers.seal(pseudonym, value)
        state = TokenState(**{"type": type_, "status": "Accepted", "sealed": sealed.value, **fields})
        self.tokens[type_, value] = state
        await self.ask(PutToken.NAME, PutToken(state=state, driver_key=sealed.key), pseudonym)

    async def remove_token(self, type_: str, value: str) -> None:
        del self.tokens[type_, value]
        await self.ask(RemoveToken.NAME, RemoveToken(), PSEUDONYMS.of(type_, value))

    async def sync(self, station: Station, *, full: bool = False, wait_s: int = 600) -> str:
        self._made += 1
        id_ = f"op-{self._made}"
        body = SyncLocalList(operation_id=id_, identity=station.identity, wait_ms=wait_s * 1000, full=full)
        await self.ask(SyncLocalList.NAME, body, station.key)
        return id_

    async def boot(self, station: Station) -> None:
        await self.ask(StationBoot.NAME, StationBoot(), station.key)

    async def ask(self, name: str, body: msgspec.Struct, key: str) -> None:
        self._made += 1
        request = Request(f"test/{self._made}", name, key, msgspec.json.encode(body), self.clock(), "/t", "me", "", "")
        record = request_record(request, "auth", CELLS)
        if self.held is None:
            await self.log.append([record])
        else:
            self.held.append(record)

    async def release(self) -> None:
        """What was held back comes at once."""
        held, self.held = self.held or [], None
        await self.log.append(held)

    # What is there.

    def row(self, station: Station) -> Json:
        return self._row(LISTS.name, station.key)

    def operation(self, id_: str) -> Json:
        return self._row(SYNCS.name, id_)

    def _row(self, table: str, key: str) -> Json:
        columns = (LISTS if table == LISTS.name else SYNCS).columns
        return dict(zip(columns, self.tables.rows[table][(key,)], strict=True))

    def events(self) -> list[str]:
        return [r.headers["ce_type"] for p in self.cluster.partitions["auth.events"] for r in p]

    def expected(self, station: Station) -> dict[str, Json]:
        """idToken (type/value, folded) -> status and group, as the rules say."""
        rules = [one for one in self.rules.values() if _is_for(one.applies_to, station)]
        found = {}
        for (type_, value), state in self.tokens.items():
            mine = [one for one in rules if _selects(one.selects, type_, value, state)]
            status = self._status(station, state)
            if any(one.refused or status == "Accepted" for one in mine):
                found[PSEUDONYMS.of(type_, value)] = (f"{type_}/{value}".casefold(), _info(status, state.group))
        kept = sorted(found)[: station.entries]
        return dict(found[one] for one in kept) if station.automatic else {}

    def actual(self, station: Station) -> dict[str, Json]:
        return {key: _info(info["status"], _group(info)) for key, info in station.known.entries().items()}

    def _status(self, station: Station, state: TokenState) -> str:
        if state.status != "Accepted":
            return state.status
        if state.valid_to is not None and state.valid_to <= self.clock():
            return "Expired"
        if state.valid_from is not None and self.clock() < state.valid_from:
            return "NotAtThisTime"
        return "Accepted" if state.stations is None or station.key in state.stations else "NotAtThisLocation"

    # The gateway.

    async def connect(self, station: Station) -> None:
        change = ConnectionChange(
            identity=station.identity, slot=0, claim=0, connected=True, subprotocol="ocpp2.0.1", at=self.clock()
        )
        record = connection_record(change, CELLS)
        await self.log.append([record])
        station.epoch = len(self.cluster.partitions[topics.CONNECTIONS][record.partition]) - 1

    async def disconnect(self, station: Station) -> None:
        change = ConnectionChange(
            identity=station.identity, slot=0, claim=0, connected=False, subprotocol="ocpp2.0.1", at=self.clock(),
            epoch=station.epoch,
        )  # fmt: skip
        station.epoch = -1
        await self.log.append([connection_record(change, CELLS)])

    async def _serve_stations(self) -> None:
        reader = self.log.reader()
        reader.assign({TopicPartition(topics.OUTBOUND, 0): 0})
        handled: set[tuple[str, int, str]] = set()
        while True:
            for record in await reader.fetch(100, 60):
                out = parse_outbound(record)
                if out.kind == "command" and (out.station, out.epoch, out.message_id) not in handled:
                    handled.add((out.station, out.epoch, out.message_id))
                    task = asyncio.create_task(self._command(out))
                    self._waiting.add(task)
                    task.add_done_callback(self._waiting.discard)

    async def _command(self, out: OutFrame) -> None:
        station = self.stations[out.station]
        if out.epoch != station.epoch:
            await self._receipt(out, "gone")
            return
        fate = self.chance.random() / self.loses if self.loses else 1.0
        await asyncio.sleep(self.chance.uniform(0.01, 0.2))
        if fate < 0.15:
            await self._receipt(out, "gone")
            return
        await self._receipt(out, "sending")
        if fate < 0.3:
            await self._cut(station, out)
            return
        answer = self._answer(station, out) if fate >= 0.6 else None
        if 0.6 <= fate < 0.8:
            await self._cut(station, out)
            return
        station.mute -= 1
        if answer is None or fate < 1.0 or station.mute >= 0:
            await asyncio.sleep(30)
            await self._receipt(out, "timeout")
            return
        self.frames += 1
        said = [4, out.message_id, station.error, "", {}] if station.error else [3, out.message_id, answer]
        frame = Frame(
            station.key, station.identity, 0, out.epoch, self.frames, "ocpp2.0.1", self.clock(),
            "error" if station.error else "result", out.message_id, out.action, "", json.dumps(said).encode(), "",
        )  # fmt: skip
        await self.log.append([frame_record(frame, "auth", CELLS)])

    async def _cut(self, station: Station, out: OutFrame) -> None:
        """The connection goes, another one comes."""
        await self._receipt(out, "lost")
        if station.epoch == out.epoch:
            await self.disconnect(station)
            await asyncio.sleep(self.chance.uniform(0.1, 20))
            await self.connect(station)

    def _answer(self, station: Station, out: OutFrame) -> Json:
        raw = SEAL.open(out.frame, out.message_id.encode()) if out.sealed else out.frame
        mood = self.chance.random() / self.moody if self.moody else 1.0
        if mood < 0.6:
            station.known.version += 3  # somebody else has sent it a list
        elif mood < 1.0 and out.action == "SendLocalList":
            station.statuses.append("Failed")
            return {"status": "Failed"}
        return station.answer(out.action, json.loads(raw)[3])

    async def _receipt(self, out: OutFrame, what: ReceiptKind) -> None:
        receipt = Receipt(out.station, 0, out.epoch, self.clock(), out.message_id, out.action, what, "", "")
        await self.log.append([receipt_record(receipt, "auth", CELLS)])

    def everything(self) -> str:
        """All that lies on the log and in the tables in clear, to be searched for what must not be there."""
        records: list[NewRecord | Any] = [r for t in self.cluster.partitions.values() for p in t for r in p]
        return f"{records} {self.tables.states} {dict(self.tables.rows)}"


def _is_for(stations: Stations, station: Station) -> bool:
    by_label = station.site in stations.sites or bool(set(station.groups) & set(stations.groups))
    return stations.all or station.key in stations.ids or by_label


def _selects(tokens: Tokens, type_: str, value: str, state: TokenState) -> bool:
    group = state.group is not None and state.group.id_token.casefold() in tokens.groups
    tagged = bool(set(state.tags) & set(tokens.tags))
    return tokens.all or group or tagged or PSEUDONYMS.of(type_, value) in tokens.ids


def _info(status: str, group: Any) -> Json:
    return {"status": status, "group": group.id_token if isinstance(group, Group) else group}


def _group(info: Mapping[str, Any]) -> str | None:
    return info["groupIdToken"]["idToken"] if "groupIdToken" in info else None
