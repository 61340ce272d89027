"""What must hold after every run, whatever happened in it: promises 1 to 4."""

import hashlib
from collections import Counter
from collections.abc import Iterator

import msgspec
import orjson

from csms.torture.judge import comparable
from ocppcore import actions, topics
from ocppcore.authorization import OpenState
from ocppcore.contracts.charge_details import ChargeDetailMade
from ocppcore.contracts.inquiries import InquiryEvent, TransactionGraded
from ocppcore.contracts.open_transactions import ExcessStopped, OpenTransactionsChanged, TransactionCounted
from ocppcore.contracts.transactions import TransactionConflict, TransactionEnded, TransactionEvent
from ocppcore.engine.batch import Batch, Cache, Cell, decode_event, event_id
from ocppcore.engine.rebuild import projection_hash, rebuild
from ocppcore.envelope import is_deletion
from ocppcore.log import Record
from ocppcore.memory import MemoryLog, MemoryStore
from ocppcore.service import Follow
from ocppcore.store import StateKey
from tests.simulation.world import CELLS, Decided, World

UNORDERED = (TransactionEvent, TransactionConflict, InquiryEvent)
SENT_NEVER = ("not_connected", "expired")


def digest_of(payload: dict[str, object]) -> str:
    """The same content as the service's own digest, computed here once more."""
    content = orjson.dumps(payload, option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(content, digest_size=8).hexdigest()


async def violations(world: World) -> list[str]:
    """Everything that does not hold; [] for a good run."""
    found = list(world.problems)
    found += [error for station in world.stations for error in station.errors]
    found += [text for station in world.stations for text in station.tokenless_answers]
    found += acknowledged_once(world)
    found += graded_truly(world)
    found += streams_whole(world)
    found += commands_true(world)
    found += counted_once(world)
    found += states_newest(world)
    found += in_order(world)
    found += await rebuilds_equal(world)
    found += replays_equal(world)
    return found


def _events(world: World, service: str) -> Iterator[tuple[object, dict[str, str]]]:
    for (topic, _), rows in world.tables[service].streams.items():
        if topic == f"{service}.events":
            for row in rows:
                yield decode_event(world.definitions[service], row.headers, row.value), dict(row.headers)


def acknowledged_once(world: World) -> list[str]:
    """Promise 1 and 2: an acknowledged TransactionEvent is in events and projection, once, with its content."""
    found = []
    counted: Counter[tuple[str, str, int]] = Counter()
    conflicts: Counter[tuple[str, str, int, str]] = Counter()
    digests = {}
    for event, _ in _events(world, "transactions"):
        if isinstance(event, TransactionConflict):
            conflicts[event.station, event.transaction_id, event.seq_no, event.digest] += 1
        elif isinstance(event, TransactionEvent):
            key = (event.station, event.transaction_id, event.seq_no)
            counted[key] += 1
            digests[key] = event.digest
    found += [f"counted {count} times: {key}" for key, count in counted.items() if count > 1]
    found += contradictions_once(world, conflicts)
    rows = world.tables["transactions"].rows["transactions"]
    for station in world.stations:
        name = station.identity.casefold()
        for (transaction, seq_no), payload in station.acknowledged.items():
            key = (name, transaction, seq_no)
            if not counted[key]:
                found.append(f"acknowledged and lost: {key}")
                continue
            if digests[key] != digest_of(payload):
                found.append(f"another content than was acknowledged: {key}")
            row = rows.get((name, transaction.casefold()))
            columns = list(world.definitions["transactions"].tables["transactions"].columns)
            seen = orjson.loads(str(row[columns.index("seen")])) if row else []
            if not any(low <= seq_no <= high for low, high in seen):
                found.append(f"acknowledged and not in the projection: {key}")
    return found


def graded_truly(world: World) -> list[str]:
    """What billing is told last of a transaction is what its station was acknowledged (E14)."""
    last = {
        (event.station, event.transaction_id): event
        for event, _ in _events(world, "transactions")
        if isinstance(event, TransactionGraded)
    }
    found = []
    for station in world.stations:
        name = station.identity.casefold()
        for id_ in {id_ for id_, _ in station.acknowledged}:
            said = {seq_no: event["eventType"] for (of, seq_no), event in station.acknowledged.items() if of == id_}
            kinds, gaps = set(said.values()), max(said) - min(said) + 1 - len(said)
            disputed = any(twins for (of, _), twins in station.contradicted.items() if of == id_)
            graded = last.get((name, id_))
            if disputed or graded is None:
                if "Ended" in kinds and graded is None:
                    found.append(f"{name} {id_}: ended, and not graded")
                continue
            expected = "complete" if {"Started", "Ended"} <= kinds and not gaps else "gaps"
            if graded.grade != ("estimated" if "Ended" not in kinds else expected):
                found.append(f"{name} {id_}: graded {graded.grade}, the station said {said}")
    return found


def charge_details(world: World) -> dict[str, bytes]:
    """The records of transactions that no station contradicted, by their ids: their bytes, less what was measured of
    the station's clock, which depends on when its messages came."""
    disputed = {(one.identity.casefold(), id_) for one in world.stations for id_, _ in one.twins}
    found: dict[str, bytes] = {}
    for event, _ in _events(world, "transactions"):
        if isinstance(event, ChargeDetailMade):
            made = event.detail
            if (made.station, made.transaction_id) in disputed:
                continue
            assert found.setdefault(made.id, comparable(made)) == comparable(made), made.id
    return found


def contradictions_once(world: World, conflicts: Counter[tuple[str, str, int, str]]) -> list[str]:
    """Promise 2: another content under a seqNo is raised as a conflict, once, and nothing else is."""
    found = [f"counted {count} times: the conflict {key}" for key, count in conflicts.items() if count > 1]
    caused: set[tuple[str, str, int, str]] = set()
    for station in world.stations:
        name = station.identity.casefold()
        for (transaction, seq_no), twins in station.twins.items():
            caused.update((name, transaction, seq_no, digest_of(twin)) for twin in twins)
        for (transaction, seq_no), twins in station.contradicted.items():
            keys = [(name, transaction, seq_no, digest_of(twin)) for twin in twins]
            found += [f"acknowledged and lost: the conflict {key}" for key in keys if not conflicts[key]]
    found += [f"a conflict nobody caused: {key}" for key in conflicts if conflicts[key] and key not in caused]
    return found


def streams_whole(world: World) -> list[str]:
    """Promise 1 and 2: numbers are dense, and the topic holds exactly the committed rows, repeats being equal."""
    found = []
    for service, tables in world.tables.items():
        for topic in world.definitions[service].streams:
            for cell in range(CELLS):
                rows = tables.streams[topic, cell]
                stored = {row.number: row.value for row in rows}
                if sorted(stored) != list(range(len(stored))):
                    found.append(f"{topic}/{cell}: numbers are not dense: {sorted(stored)}")
                published: dict[int, bytes] = {}
                for record in world.cluster.partitions[topic][cell]:
                    number = int(record.headers["number"])
                    if published.setdefault(number, record.value) != record.value:
                        found.append(f"{topic}/{cell}/{number}: published twice with different content")
                if published != stored:
                    missing, strange = stored.keys() - published.keys(), published.keys() - stored.keys()
                    found.append(f"{topic}/{cell}: not published {sorted(missing)}, never committed {sorted(strange)}")
    return found


def commands_true(world: World) -> list[str]:
    """Promise 2: no command is silently repeated, each ends, and its status says what happened."""
    found = []
    executed: Counter[str] = Counter()
    for station in world.stations:
        executed.update(station.executed)
    statuses = {}
    for service, tables in world.tables.items():
        columns = list(world.definitions[service].tables["commands"].columns)
        for row in tables.rows["commands"].values():
            statuses[str(row[columns.index("command_id")])] = str(row[columns.index("status")])
    for command, action in world.asked.items():
        times, status = executed[command], statuses.get(command)
        if status in (None, "waiting", "queued", "sending"):
            found.append(f"{command} never ended: {status}")
        if times > 1 and not actions.ACTIONS[action].idempotent:
            found.append(f"{command} ({action}) was carried out {times} times")
        if status == "answered" and not times:
            found.append(f"{command} is answered and was never carried out")
        if status in SENT_NEVER and times:
            found.append(f"{command} is {status} and was carried out {times} times")
    return found


def counted_once(world: World) -> list[str]:
    """What is counted at a token's home, and in the copies of that, is what the stations' cells said; what was one too
    many was stopped, or had ended."""
    counted: set[tuple[str, str]] = set()
    excess: set[tuple[str, str]] = set()
    over: set[tuple[str, str]] = set()
    for event, _ in _events(world, "transactions"):
        if isinstance(event, TransactionCounted):
            transaction = f"{event.station}/{event.transaction_id.casefold()}"
            keys = {(holder.key, transaction) for holder in event.holders}
            counted = counted | keys if event.began is not None else counted - keys
        elif isinstance(event, OpenTransactionsChanged) and event.excess is not None:
            excess.add((event.open[-1].station, event.excess.transaction_id.casefold()))
        elif isinstance(event, ExcessStopped | TransactionEnded):
            over.add((event.station, event.transaction_id.casefold()))
    found = [f"one too many and left alone: {one}" for one in excess - over]
    home: dict[str, tuple[str, ...]] = {}
    for event, _ in _events(world, "transactions"):
        if isinstance(event, OpenTransactionsChanged) and event.key.startswith("token:"):
            home[event.key] = tuple(one.transaction for one in event.open)
    at_home = {(key, transaction) for key, held in home.items() for transaction in held}
    if at_home != counted:
        found.append(f"other open transactions at their homes: {sorted(at_home ^ counted)}")
    for service in ("transactions", "auth"):
        copy = {
            (key, one.transaction)
            for key, (row, _) in world.tables[service].copies[topics.OPEN].items()
            if row.value is not None and key.startswith("token:")
            for one in msgspec.json.decode(row.value, type=OpenState).open
        }
        if copy != at_home:
            found.append(f"{service} has other open transactions than their homes: {sorted(copy ^ at_home)}")
    return found


def states_newest(world: World) -> list[str]:
    """Of every key of a state topic, the newest state that its home decided is what all copies hold, and what the log
    holds last: that is what compaction leaves, whatever a process published late."""
    found = []
    for service, definition in world.definitions.items():
        newest = _newest_states(world, service)
        last: dict[tuple[str, str], Record] = {}
        for topic, partitions in world.cluster.partitions.items():
            if topics.is_state_of(topic, service):
                last |= {(topic, record.key): record for records in partitions for record in records}
        for (topic, key), record in last.items():
            if record.value != newest[topic, key]:
                found.append(f"{topic}: the last record of {key} on the log is no more its newest state")
        for copier, tables in world.tables.items():
            for topic in world.definitions[copier].copies:
                if not topics.is_state_of(topic, definition.name):
                    continue
                held = {key: row.value for key, (row, _) in tables.copies[topic].items() if row.value is not None}
                wanted = {key: value for (of, key), value in newest.items() if of == topic and not is_deletion(value)}
                if strange := sorted(key for key in held.keys() | wanted.keys() if held.get(key) != wanted.get(key)):
                    found.append(f"{copier}'s copy of {topic} holds other states than their homes: {strange}")
    return found


def _newest_states(world: World, service: str) -> dict[tuple[str, str], bytes]:
    """By topic and key, what follows from the home's events, in their order."""
    definition = world.definitions[service]
    newest: dict[tuple[str, str], bytes] = {}
    for (topic, cell), rows in world.tables[service].streams.items():
        for row in rows:
            event = decode_event(definition, row.headers, row.value)
            follow = Follow(event_id(topic, cell, row.number), CELLS)
            for record in definition.folds[type(event)].derive(event, follow):
                if topics.is_state_of(record.topic, service):
                    newest[record.topic, record.key] = record.value
    return newest


def in_order(world: World) -> list[str]:
    """Promise 3: what one station sends is decided in the order in which it was sent. Events that carry their own
    order (TransactionEvents) may come late; answers to commands cross CALLs that wait their turn."""
    found = []
    for service in world.tables:
        last: dict[str, tuple[int, int]] = {}
        for event, headers in _events(world, service):
            place = _place(headers.get("cause", ""))
            if place is None or ".Command" in headers["ce_type"] or isinstance(event, UNORDERED):
                continue
            station, epoch, n = place
            if last.get(station, (-1, -1)) > (epoch, n):
                found.append(f"{service}: {type(event).__name__} of {station} frame {epoch}/{n} after {last[station]}")
            last[station] = max(last.get(station, (-1, -1)), (epoch, n))
    return found


def _place(cause: str) -> tuple[str, int, int] | None:
    parts = cause.split("/")
    if len(parts) != 3 or not parts[1].isdigit() or not parts[2].isdigit():
        return None
    return parts[0], int(parts[1]), int(parts[2])


async def rebuilds_equal(world: World) -> list[str]:
    """Promise 4: state and projections are a fold of the service's own events alone."""
    found = []
    world.cluster.interrupt = None
    for service, tables in world.tables.items():
        tables.owners = 0
        store = MemoryStore(tables)
        before = await projection_hash(store)
        definition = world.definitions[service]
        try:
            after = await rebuild(definition, MemoryLog(world.cluster), store, CELLS, lambda *_: None)
        except* AssertionError as broken:
            found.append(f"{service}: a rebuild fails: {broken.exceptions[0]!r}")
            after = before
        if before != after:
            found.append(f"{service}: a rebuild gives other rows")
    return found


class _Nothing(dict[StateKey, object]):
    """A cache that knows: what was never put does not exist."""

    def __missing__(self, key: StateKey) -> None:
        return None


def replays_equal(world: World) -> list[str]:
    """Promise 4: the recorded inputs in the recorded order give the same events again, byte for byte."""
    from tests.simulation.world import SimEngine

    found = []
    for service, decided in world.decided.items():
        engine: SimEngine = world._engine_maker(service)(MemoryLog(world.cluster))
        cache: Cache = _Nothing()  # type: ignore[assignment]
        engine._cache = cache
        engine._cells = {n: Cell(n, 0, {}, {}, 0, {}, {}) for n in range(CELLS)}
        for batch in decided:
            found += _replay(engine, batch, service)
    return found


def _replay(engine: object, batch: Decided, service: str) -> list[str]:
    made: Batch
    made, _, _ = engine._decide(batch.works, batch.found, batch.late)  # type: ignore[attr-defined]
    for key, (_, aggregate, _, _) in made.changed.items():
        engine._cache[key] = aggregate  # type: ignore[attr-defined]
    for number, cell in made.cells.items():
        engine._cells[number] = cell  # type: ignore[attr-defined]
    if [row.value for row in made.stream] != [row.value for row in batch.stream]:
        first = batch.works[0].record
        return [f"{service}: replaying from {first.topic}/{first.partition}/{first.position} gives other events"]
    return []
