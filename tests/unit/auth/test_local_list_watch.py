"""Looks at what the rules give: how many stations one sets going, and that the rest waits for the next."""

from collections.abc import Mapping

import msgspec
import pytest

from ocppcore import topics
from ocppcore.contracts.device import Automatic, StationState
from ocppcore.contracts.local_lists import FollowLocalList, ListRule, Stations, Tokens
from ocppcore.log import Record
from ocppcore.memory import MemoryLog, MemoryStore
from ocppcore.store import Commit, Upsert
from services.auth.domain.local_list import MARKS, RULES
from services.auth.domain.local_list_tables import LISTS
from services.auth.local_list_watch import Watcher
from services.auth.projections import TOKENS

CELLS = 4
RULE = ListRule(id="all", applies_to=Stations(sites=("depot",)), selects=Tokens(tags=("staff",)))


def of_station(identity: str, site: str = "depot", *, automatic: bool = True, deleted: bool = False) -> Record:
    state = StationState(
        id=identity, security_profile=1, credential=None, registration="Accepted", site=site, deleted=deleted,
        automatic=Automatic(local_list=automatic),
    )  # fmt: skip
    key = topics.normalise(identity)
    place = topics.partition_of(key, CELLS)
    return Record(topics.STATIONS, place, 0, key, msgspec.json.encode(state), {}, 0)


class Rig:
    def __init__(self) -> None:
        self.log, self.store = MemoryLog(), MemoryStore()
        self.owned = frozenset(range(CELLS))
        self.watcher = Watcher(self.store, self.log, lambda: 0, CELLS, lambda: self.owned, 1.0, 2)

    async def open(self) -> None:
        await self.log.declare(topics.partition_counts(CELLS, 1))
        await self.store.prepare([RULES, MARKS, LISTS, TOKENS], ["auth.events"], [])
        await self.write(Upsert(RULES, ("all", msgspec.json.encode(RULE).decode(), 0)))

    async def write(self, *rows: Upsert) -> None:
        await self.store.load_rebuilt(Commit((), rows=rows))

    def asked(self) -> Mapping[str, list[bool]]:
        found: dict[str, list[bool]] = {}
        for partition in self.log.cluster.partitions["auth.requests"]:
            for record in partition:
                body = msgspec.json.decode(record.value, type=FollowLocalList)
                found.setdefault(record.key, []).append(body.automatic)
        return found


@pytest.fixture
async def rig() -> Rig:
    made = Rig()
    await made.open()
    return made


async def test_a_look_sets_some_stations_going_and_the_next_looks_the_others(rig: Rig) -> None:
    for n in range(5):
        rig.watcher.apply(of_station(f"CS-{n}"))
    rig.watcher.apply(of_station("CS-8", "elsewhere"))
    rig.watcher.apply(of_station("CS-9", automatic=False))
    assert [await rig.watcher.look() for _ in range(5)] == [2, 2, 1, 0, 0]
    assert rig.asked() == {f"cs-{n}": [True] for n in range(5)}


async def test_only_marks_that_the_rules_name_count(rig: Rig) -> None:
    rig.watcher.apply(of_station("CS-1"))
    assert await rig.watcher.look() == 1
    await rig.write(Upsert(MARKS, ("tag/other", 0, "x")), Upsert(MARKS, ("all", 0, "x")))
    assert await rig.watcher.look() == 0
    await rig.write(Upsert(MARKS, ("tag/staff", 3, "x")))
    assert await rig.watcher.look() == 1


async def test_stations_of_other_processes_are_theirs(rig: Rig) -> None:
    rig.owned = frozenset({topics.partition_of("cs-1", CELLS)})
    stations = [f"CS-{n}" for n in range(1, 9)]
    for station in stations:
        rig.watcher.apply(of_station(station))
    while await rig.watcher.look():
        pass
    mine = {one.casefold() for one in stations if topics.partition_of(one.casefold(), CELLS) in rig.owned}
    assert set(rig.asked()) == mine
    assert "cs-1" in mine


async def test_who_is_not_to_be_looked_after_any_more_is_told_once(rig: Rig) -> None:
    rig.watcher.apply(of_station("CS-1"))
    await rig.watcher.look()
    rig.watcher.apply(of_station("CS-1", automatic=False))
    assert [await rig.watcher.look() for _ in range(2)] == [1, 0]
    assert rig.asked() == {"cs-1": [True, False]}
    rig.watcher.apply(of_station("CS-1", deleted=True))
    assert await rig.watcher.look() == 0


async def test_a_new_owner_goes_by_the_rows(rig: Rig) -> None:
    rig.watcher.apply(of_station("CS-1"))
    rig.watcher.apply(of_station("CS-2"))
    assert await rig.watcher.look() == 2
    bodies = {
        record.key: msgspec.json.decode(record.value, type=FollowLocalList)
        for partition in rig.log.cluster.partitions["auth.requests"]
        for record in partition
    }
    await rig.write(Upsert(LISTS, ("cs-1", "CS-1", "synced", True, 1, 0, bodies["cs-1"].fingerprint, "", 0)))
    again = Watcher(rig.store, rig.log, lambda: 1, CELLS, lambda: rig.owned, 1.0, 10)
    again.apply(of_station("CS-1"))
    again.apply(of_station("CS-2"))
    assert await again.look() == 1
    assert rig.asked() == {"cs-1": [True], "cs-2": [True, True]}
