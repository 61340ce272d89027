"""The copy of the stations."""

import asyncio
import sys

import msgspec
import pytest

from ocppcore import topics
from ocppcore.contracts.device import StationState
from ocppcore.credentials import hash_generated
from ocppcore.log import Record
from services.gateway.copies import Station, StationsCopy


def state(identity: str, **more) -> StationState:
    return StationState(id=identity, **{"security_profile": 1, "credential": "c", "registration": "Accepted", **more})


def record(value: StationState | bytes, position: int = 0, partition: int = 0, key: str = "cs1") -> Record:
    encoded = value if isinstance(value, bytes) else msgspec.json.encode(value)
    return Record(topics.STATIONS, partition, position, key, encoded, {}, 0)


@pytest.mark.parametrize("registration", ["Accepted", "Pending", "Rejected"])
@pytest.mark.parametrize("flag", ["disabled", "allow_unauthenticated", None])
def test_a_station_comes_out_as_it_was_put_in(registration, flag):
    copy = StationsCopy()

    copy.apply(record(state("CS1", registration=registration, **({flag: True} if flag else {}))))

    assert copy.find("cs1") == Station(
        "cs1", "CS1", 1, "c", flag == "disabled", registration, flag == "allow_unauthenticated"
    )


def test_a_later_record_replaces_and_a_deleted_one_removes():
    copy = StationsCopy()
    copy.apply(record(state("CS1")))

    before, after = copy.apply(record(state("CS1", credential=None), 1))
    assert (before.credential, after.credential) == ("c", "")
    assert copy.apply(record(state("CS1", deleted=True), 2))[1] is None
    assert copy.find("cs1") is None


def test_a_record_that_cannot_be_read_shuts_the_station_out():
    copy = StationsCopy()
    copy.apply(record(state("CS1")))

    copy.apply(record(b'{"id": 7}', 1))

    assert copy.find("cs1") is None
    assert copy.has_reached({0: 2})


def test_only_what_admits_counts_as_changed_credentials():
    copy = StationsCopy()
    first = copy.apply(record(state("CS1")))[1]

    assert first.admits_like(copy.apply(record(state("CS1", registration="Pending"), 1))[1])
    assert not first.admits_like(copy.apply(record(state("CS1", credential="d"), 2))[1])
    assert not first.admits_like(copy.apply(record(state("CS1", disabled=True), 3))[1])
    assert not first.admits_like(copy.apply(record(state("CS1", security_profile=2), 4))[1])
    assert not first.admits_like(None)


async def test_reach_waits_for_a_position_at_most_so_long():
    copy = StationsCopy()
    copy.start({0: 0, 1: 5})
    assert copy.has_reached({0: 0, 1: 5})
    assert not await copy.reach({0: 1}, 0.01)

    waiting = asyncio.create_task(copy.reach({0: 2}, 5))
    await asyncio.sleep(0)
    copy.apply(record(state("CS1"), 0))
    await asyncio.sleep(0)
    assert not waiting.done()
    copy.apply(record(state("CS1"), 1))
    assert await waiting


def test_a_station_takes_at_most_300_bytes():
    def size(copy: StationsCopy) -> int:
        packed = copy._packed
        return sys.getsizeof(packed) + sum(sys.getsizeof(k) + sys.getsizeof(v) for k, v in packed.items())

    copy = StationsCopy()
    count = 20_000
    credential = hash_generated("password", b"k" * 32)
    for n in range(count):
        name = f"NL*ABC*STATION{n:06d}"
        copy.apply(record(state(name, credential=credential), n, key=topics.normalise(name)))

    assert size(copy) / count <= 300
