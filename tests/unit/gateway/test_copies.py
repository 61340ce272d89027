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


def of_event(number: int, value: StationState | bytes, position: int) -> Record:
    return record(value, position)._replace(headers={"ce_id": f"device/0/{number}"})


def test_what_an_earlier_event_says_and_comes_late_changes_nothing():
    copy = StationsCopy()
    copy.apply(of_event(5, state("CS1", credential="old"), 0))
    copy.apply(of_event(6, state("CS1", credential="new"), 1))

    before, after = copy.apply(of_event(5, state("CS1", credential="old"), 2))

    assert before == after == copy.find("cs1")
    assert after is not None and after.credential == "new"
    assert copy.has_reached({0: 3})
    copy.apply(of_event(6, state("CS1", credential="new"), 3))
    copy.apply(of_event(7, state("CS1", credential="newest"), 4))
    assert copy.find("cs1").credential == "newest"


@pytest.mark.parametrize("last", [state("CS1", deleted=True), b'{"id": 7}'])
def test_a_station_that_is_gone_is_not_brought_back_by_an_earlier_event(last):
    copy = StationsCopy()
    copy.apply(of_event(5, state("CS1"), 0))
    copy.apply(of_event(6, last, 1))

    assert copy.apply(of_event(5, state("CS1"), 2)) == (None, None)
    assert copy.apply(of_event(7, state("CS1"), 3))[1] is not None


def test_a_record_that_cannot_be_read_shuts_the_station_out():
    copy = StationsCopy()
    copy.apply(record(state("CS1")))

    copy.apply(record(b'{"id": 7}', 1))

    assert copy.find("cs1") is None
    assert copy.has_reached({0: 2})


def test_what_few_stations_have_comes_out_too():
    copy = StationsCopy()
    more = {"next_credential": "d", "next_security_profile": 3, "allow_expired_certificate": True, "controller": "LC 1"}

    copy.apply(record(state("CS1", serial_number="SN1", **more)))
    copy.apply(record(state("CS2", serial_number="SN2"), 1, key="cs2"))

    first, second = copy.find("cs1"), copy.find("cs2")
    assert (first.serial_number, first.next_credential, first.next_security_profile) == ("SN1", "d", 3)
    assert (first.allow_expired_certificate, first.controller) == (True, "lc 1")
    assert second == Station("cs2", "CS2", 1, "c", False, "Accepted", False, "SN2")


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
        one = record(state(name, credential=credential), n, key=topics.normalise(name))
        copy.apply(one._replace(headers={"ce_id": f"device/0/{n * 1000}"}))

    assert size(copy) / count <= 300
