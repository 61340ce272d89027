"""What a process publishes late, after its successor: copies drop it, and the log gets the newer state again."""

from ocppcore import topics
from ocppcore.log import NewRecord, Record, TopicPartition
from tests.unit.ocppcore.engine.test_loop import made, running, until, virtual
from tests.unit.ocppcore.engine.toy import START, SetAlarm, Toy, wanted

KEYS = ("cs-1", "cs-1/other")
FAR = START + 10**9


def states(toy: Toy, key: str) -> list[Record]:
    """The records under a key, in the log's order."""
    return [record for part in toy.cluster.partitions[topics.STATIONS] for record in part if record.key == key]


def again(record: Record) -> NewRecord:
    return NewRecord(record.topic, record.partition, record.key, record.value, record.headers)


@virtual
async def test_the_newest_state_stands_last_again_after_an_older_one_came_late() -> None:
    toy = made()
    async with running(toy) as (engine, log, store):
        for number in (1, 2):
            await log.append([wanted(f"r{number}", "toy.alarm.v1", SetAlarm(FAR + number))])
            await until(lambda: all(len(states(toy, key)) == number for key in KEYS))  # noqa: B023
        newest = {key: states(toy, key)[1] for key in KEYS}
        await log.append([again(states(toy, key)[0]) for key in KEYS])
        await engine.copies.catch_up([topics.STATIONS])
        held = await store.copy_find(topics.STATIONS, KEYS)
        assert {key: row.value for key, row in held.items()} == {key: newest[key].value for key in KEYS}

        await until(lambda: all(len(states(toy, key)) == 4 for key in KEYS))
        for key in KEYS:
            last = states(toy, key)[-1]
            assert (last.value, last.headers) == (newest[key].value, newest[key].headers)
        ends = await log.ends([TopicPartition(topics.STATIONS, n) for n in range(2)])
        await until(lambda: not any(kept.stale for kept in toy.tables.copies[topics.STATIONS].values()))
        assert await log.ends(list(ends)) == ends, "once is enough"


@virtual
async def test_what_came_late_while_nobody_was_there_is_mended_by_who_comes() -> None:
    toy = made()
    async with running(toy) as (_, log, _):
        for number in (1, 2):
            await log.append([wanted(f"r{number}", "toy.alarm.v1", SetAlarm(FAR + number))])
            await until(lambda: len(states(toy, "cs-1")) == number)  # noqa: B023
        # Noted as published: the next owner has no reason of its own to publish them again.
        await until(lambda: all(cell.published == cell.next for cell in toy.tables.cells.values()))
    first, newest = states(toy, "cs-1")
    toy.cluster.put(again(first))
    async with running(toy):
        await until(lambda: states(toy, "cs-1")[-1].value == newest.value)


@virtual
async def test_a_repeat_of_all_that_was_published_needs_no_mending() -> None:
    """A new owner begins where the last one's acknowledgements end."""
    toy = made()
    async with running(toy, reassert_every_s=0.5) as (engine, log, _):
        for number in (1, 2):
            await log.append([wanted(f"r{number}", "toy.alarm.v1", SetAlarm(FAR + number))])
            await until(lambda: len(states(toy, "cs-1")) == number)  # noqa: B023
        await log.append([again(record) for record in states(toy, "cs-1")])
        await engine.copies.catch_up([topics.STATIONS])
        await log.append([wanted("r3", "toy.alarm.v1", SetAlarm(FAR + 3))])
        await until(lambda: len(states(toy, "cs-1")) == 5)
        begun = toy.cluster.clock()
        await until(lambda: toy.cluster.clock() > begun + 5000)
        assert len(states(toy, "cs-1")) == 5
