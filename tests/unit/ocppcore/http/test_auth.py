import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import msgspec
import pytest

from ocppcore import topics
from ocppcore.contracts.auth import ApiKeyState, Scope
from ocppcore.http.auth import Authenticator, Caller, KeyRing, KeysBehind, hash_key
from ocppcore.http.problems import Problem
from ocppcore.log import NewRecord, TopicPartition
from ocppcore.memory import MemoryLog

SECRET = b"s" * 32
pytestmark = pytest.mark.timeout(10)


class CountingLog(MemoryLog):
    """Counts how often its end was asked for; `held` keeps the answer back."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.held = asyncio.Event()
        self.held.set()
        self.entered = asyncio.Event()

    def hold(self) -> None:
        self.held.clear()
        self.entered.clear()

    async def ends(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        self.asked += 1
        found = await super().ends(partitions)
        self.entered.set()
        await self.held.wait()
        return found


@asynccontextmanager
async def ring(log: MemoryLog, wait_s: float = 2.0) -> AsyncIterator[KeyRing]:
    await log.declare({topics.APIKEYS: 3})
    keys = KeyRing(log, 3, wait_s)
    running = asyncio.create_task(keys.run())
    try:
        yield keys
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def record(id_: str, hash_: str, scope: Scope = "viewer", deleted: bool = False) -> NewRecord:
    state = ApiKeyState(id=id_, hash=hash_, scope=scope, created_at=1, deleted=deleted)
    partition = topics.partition_of(id_, 3)
    return NewRecord(topics.APIKEYS, partition, id_, msgspec.json.encode(state), {})


async def test_keys_are_known_by_their_hash_with_their_scope() -> None:
    log = CountingLog()
    async with ring(log) as keys:
        await log.append([record("k1", "h1"), record("k2", "h2", "admin")])
        assert await keys.find("h1") == Caller("k1", "viewer")
        assert await keys.find("h2") == Caller("k2", "admin")
        assert await keys.find("h3") is None


async def test_a_key_made_a_moment_before_is_never_unknown() -> None:
    log = CountingLog()
    async with ring(log) as keys:
        for number in range(200):
            await log.append([record(f"k{number}", f"h{number}")])
            assert await keys.find(f"h{number}") is not None


async def test_a_key_that_was_there_before_the_process_is_found() -> None:
    log = CountingLog()
    await log.declare({topics.APIKEYS: 3})
    await log.append([record("k1", "h1")])
    async with ring(log) as keys:
        assert await keys.find("h1") == Caller("k1", "viewer")


async def test_a_revoked_or_replaced_key_opens_nothing() -> None:
    log = CountingLog()
    async with ring(log) as keys:
        await log.append([record("k1", "old"), record("k2", "h2")])
        await log.append([record("k1", "new"), record("k2", "h2", deleted=True)])
        assert await keys.find("new") is not None
        assert await keys.find("old") is None
        assert await keys.find("h2") is None


async def test_a_disabled_key_opens_nothing_and_an_expired_one_neither() -> None:
    log, now = MemoryLog(), [1000]
    await log.declare({topics.APIKEYS: 1})
    keys = KeyRing(log, 1, clock=lambda: now[0])
    running = asyncio.create_task(keys.run())
    try:
        for more in ({"disabled": True}, {"expires_at": 1001, "stations": ("cs-1",)}):
            state = ApiKeyState(id="k1", hash="h1", scope="viewer", created_at=1, **more)
            await log.append([NewRecord(topics.APIKEYS, 0, "k1", msgspec.json.encode(state), {})])
            found = await keys.find("h1")
            assert found == (None if "disabled" in more else Caller("k1", "viewer", ("cs-1",)))
        now[0] = 1001
        assert await keys.find("h1") is None
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_record_that_cannot_be_read_takes_its_key_out_of_force() -> None:
    log = CountingLog()
    async with ring(log) as keys:
        await log.append([record("k1", "h1")])
        assert await keys.find("h1") is not None
        await log.append([record("k1", "h1")._replace(value=b"{}")])
        await keys.find("another, so that it has read up to now")
        assert await keys.find("h1") is None


async def test_many_wrong_keys_at_once_ask_the_log_few_times() -> None:
    log = CountingLog()
    async with ring(log) as keys:
        await keys.find("first")
        before = log.asked
        log.hold()
        asking = [asyncio.create_task(keys.find(f"wrong {number}")) for number in range(100)]
        await log.entered.wait()
        log.held.set()
        assert await asyncio.gather(*asking) == [None] * 100
        assert log.asked - before <= 2


async def test_a_key_made_while_another_asks_is_found_all_the_same() -> None:
    """The answer to a question asked before the key was made does not count for it."""
    log = CountingLog()
    async with ring(log) as keys:
        await keys.find("first")
        log.hold()
        earlier = asyncio.create_task(keys.find("wrong"))
        await log.entered.wait()
        await log.append([record("k1", "h1")])
        later = asyncio.create_task(keys.find("h1"))
        log.held.set()
        assert await earlier is None
        assert await later == Caller("k1", "viewer")


async def test_while_nobody_can_say_a_key_is_not_called_unknown() -> None:
    log = CountingLog()
    async with ring(log, wait_s=0.02) as keys:
        await keys.find("first")
        log.hold()
        with pytest.raises(KeysBehind):
            await keys.find("h1")
        with pytest.raises(Problem) as refused:
            await Authenticator(keys, SECRET).caller("key")
        assert refused.value.status == 503


def test_the_stored_form_depends_on_the_secret_and_hides_the_key() -> None:
    assert hash_key("a", SECRET) == hash_key("a", SECRET)
    assert len({hash_key("a", SECRET), hash_key("b", SECRET), hash_key("a", b"t" * 32)}) == 3
    assert len(hash_key("\udcff", SECRET)) == 64
