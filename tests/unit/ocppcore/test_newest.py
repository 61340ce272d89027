"""Records that an earlier event left behind a later one's, and the copies in memory that drop them."""

import asyncio
from typing import Literal

import msgspec
import pytest

from ocppcore import topics
from ocppcore.contracts.auth import ApiKeyState, AuthorityState
from ocppcore.envelope import origin
from ocppcore.http.auth import KeyRing
from ocppcore.log import NewRecord, Record
from ocppcore.memory import MemoryLog
from ocppcore.newest import Newest
from services.gateway.authorities import Authorities


def record(topic: str, key: str, value: object, id_: str) -> Record:
    return Record(topic, 0, 0, key, msgspec.json.encode(value), {"ce_id": id_} if id_ else {}, 0)


@pytest.mark.parametrize(
    ("id_", "made"),
    [
        ("device/0/17", ("device/0", 17)),
        ("transactions.meter/3/0", ("transactions.meter/3", 0)),
        ("device/0/17/excess", ("", -1)),
        ("cs-1/1700000000000", ("", -1)),
        ("/0/17", ("", -1)),
        ("device/x/17", ("", -1)),
        ("device/0/-1", ("", -1)),
        ("17", ("", -1)),
        ("", ("", -1)),
    ],
)
def test_an_event_s_id_tells_its_cell_and_number(id_: str, made: tuple[str, int]) -> None:
    assert origin(id_) == made


def test_a_record_counts_unless_a_later_event_of_its_cell_came_before_it() -> None:
    newest = Newest()
    said = [
        ("a", "device/0/5", True),
        ("b", "device/0/3", True),
        ("a", "device/0/6", True),
        ("a", "device/0/5", False),
        ("a", "device/0/6", True),
        ("a", "device/1/2", True),
        ("a", "", True),
        ("a", "", True),
        ("a", "device/0/1", True),
    ]
    assert [newest.takes(record(topics.TOKENS, key, {}, id_)) for key, id_, _ in said] == [
        counts for *_, counts in said
    ]


async def test_a_revoked_api_key_stays_revoked_when_an_earlier_record_comes_late() -> None:
    log = MemoryLog()
    await log.declare({topics.APIKEYS: 1})
    ring = KeyRing(log, 1)

    async def say(number: int, *, deleted: bool = False) -> None:
        state = ApiKeyState(id="k", hash="h", scope="viewer", created_at=0, deleted=deleted)
        said = record(topics.APIKEYS, "k", state, f"auth/0/{number}")
        await log.append([NewRecord(said.topic, 0, said.key, said.value, said.headers)])

    async with asyncio.TaskGroup() as group:
        following = group.create_task(ring.run())
        await say(1)
        assert await ring.find("h") is not None
        await say(2, deleted=True)
        await say(1)
        await say(1)
        await ring.find("another")  # has read to the end
        assert await ring.find("h") is None
        following.cancel()


def test_a_certificate_stays_revoked_and_an_authority_distrusted() -> None:
    authorities = Authorities()

    def state(number: int, kind: Literal["root", "revoked"], *, deleted: bool = False) -> Record:
        use: Literal["ChargingStationCertificate"] = "ChargingStationCertificate"
        value = AuthorityState(fingerprint=kind, kind=kind, use=use, not_after=0, certificate="PEM", deleted=deleted)
        return record(topics.AUTHORITIES, kind, value, f"auth/0/{number}")

    authorities.apply(state(1, "root"))
    authorities.apply(state(2, "root", deleted=True))
    assert authorities.apply(state(4, "revoked")) == "revoked"
    changes = authorities.changes
    authorities.apply(state(1, "root"))
    assert authorities.apply(state(3, "revoked", deleted=True)) == ""
    assert (authorities.trusted, authorities.has_revoked("revoked"), authorities.changes) == ((), True, changes)
